package entity

import "time"

// profiles returns the built-in profiles: those of four
// products, one to develop with and one to measure with. Each says only how it
// differs from base.
func profiles() []Policy {
	return []Policy{kaliu(), baba(), easemob(), chatters(), dev(), bench()}
}

// base has the values of everybody who does not say otherwise. The fields of
// Policy say where each is from.
func base(name string) Policy {
	return Policy{
		Name:        name,
		CreateUsers: true,

		RequestWindow:  day,
		RecoveryWindow: 30 * day,

		StepReads:  10_000,
		StepWrites: 4_000,
		StepTells:  1_000,
		QueryAsks:  4_000,

		MaxTextUTF16:    4096,
		MaxCaptionUTF16: 1024,
		MaxEntities:     100,
		MaxMentions:     50,
		MaxContentBytes: 24 << 10,

		RevokeWindowDirect: 2 * day,
		RevokeWindowGroup:  2 * day,
		EditWindow:         2 * day,

		MaxGroupMembers:      100_000,
		MaxSubscribers:       1_000_000,
		MaxAdmins:            100,
		LargeAbove:           500,
		SmallBelow:           400,
		SubscribersShown:     200,
		MaxInvites:           100,
		MaxNameChars:         128,
		MaxAnnouncementChars: 512,

		MaxReactionsByUser:    3,
		MaxReactionsByMessage: 11,
		MaxPins:               100,
		MaxForwards:           100,

		MaxTypingMembers:   200,
		MaxPersonNameChars: 64,
		MaxBioChars:        70,

		MaxPresenceUsers:         100,
		MaxPresenceSubscriptions: 3000,
		MaxPresenceMembers:       500,
		MaxStatusChars:           256,

		MaxMentionNotices: 5,
		MaxReadersGroup:   100,
		ReadersWindow:     7 * day,
		MaxPinnedDialogs:  5,

		AutoDeleteStep: day,
		AutoDeleteMax:  365 * day,
		MaxScheduled:   100,
		ScheduleMax:    365 * day,

		TaskGiveUp: 3 * day,

		HistoryPage: 100,
		PageItems:   200,

		MaxChannels: 200,
		MaxSessions: 16,
		MaxDevices:  32,

		OutQueueBytes:     256 << 10,
		RequestsPerMinute: 1200,
		RequestBurst:      120,

		PingEvery:   25 * time.Second,
		PongTimeout: 10 * time.Second,
		AuthTimeout: 5 * time.Second,

		TokenLeeway:  30 * time.Second,
		TokenMaxLife: 30 * day,
	}
}

// kaliu deletes for all within 48 hours, in directs and in groups.
func kaliu() Policy { return base("kaliu") }

// baba deletes a direct message from one's own devices only, at any time; for
// both it has the recall of 120 seconds. Groups have 48 hours.
func baba() Policy {
	p := base("baba")
	p.RevokeWindowDirect = 120 * time.Second
	return p
}

// easemob has recall only: 120 seconds, which a tenant may lengthen to 7 days.
// Its texts are counted in bytes.
func easemob() Policy {
	p := base("easemob")
	p.MaxTextBytes, p.MaxTextUTF16 = 5<<10, 0
	p.RevokeWindowDirect = 120 * time.Second
	p.RevokeWindowGroup = 120 * time.Second
	p.MaxReadersGroup, p.ReadersWindow = 200, 3*day
	return p
}

// chatters lets either side of a direct conversation delete any message for
// both, "without any time limits", and the author for "at least 48 hours" in a
// group.
func chatters() Policy {
	p := base("chatters")
	p.RevokeWindowDirect = Unlimited
	p.RevokeDirectByEither = true
	return p
}

// dev is for a person at a terminal: no rate limit, and a token in a script
// still works next year.
func dev() Policy {
	p := base("dev")
	p.AutoDeleteStep = time.Second
	p.RequestsPerMinute, p.RequestBurst = 0, 0
	p.TokenMaxLife = 3660 * day
	return p
}

// bench is for load: no rate limit, and many sessions of one user.
func bench() Policy {
	p := base("bench")
	p.RequestsPerMinute, p.RequestBurst = 0, 0
	p.TokenMaxLife = 3660 * day
	p.MaxSessions, p.MaxDevices = 1000, 1000
	return p
}
