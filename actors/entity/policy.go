package entity

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Unlimited, as a window, means that it never closes. 0 means that it never
// opens.
const Unlimited time.Duration = -1

const day = 24 * time.Hour

// A Policy is the numbers of a tenant: what differs between messengers that are
// otherwise one program. Its values come from a profile (profiles.go) and from
// the keys that the tenant's configuration overrides; nothing in a feature or a
// door is a limit of its own. A Policy is made once, validated, and never
// changed, so it is shared by pointer.
//
// Each field says its unit, its usual value and where that comes from: the
// published limits of Telegram (limits.tginfo.me, core.telegram.org/bots/api)
// or of Easemob (doc.easemob.com/product/limitation), so that who comes from
// there finds what he is used to, or our choice and the reason. Bounds are in
// the table bounds.
type Policy struct {
	// Name is the profile that the policy began as. A profile may have bounds of
	// its own, which overriding keys cannot leave.
	Name string `koanf:"-"`

	// CreateUsers lets a valid token of a subject that nobody has seen yet make
	// the user. Usually true: until there is sign-up it is the only way.
	CreateUsers bool `koanf:"create_users"`

	// RequestWindow is how long the result of a request id is remembered. 24 h,
	// and never less: a phone may be without a network for a day.
	RequestWindow time.Duration `koanf:"request_window"`
	// RecoveryWindow is how long a log keeps changes (joins, edits, pins), and so
	// for how long a client can be away and recover without starting again. 30 d.
	RecoveryWindow time.Duration `koanf:"recovery_window"`

	// StepReads, StepWrites and StepTells bound one Step, in rows and tells.
	// 10,000, 4,000 and 1,000: a Step that touches every member of the largest
	// small group (500) twice is within them, and one that walks a table is not.
	// 10,000 cold reads take about 0.2 s, in which its entity answers nobody.
	StepReads  int `koanf:"step_reads"`
	StepWrites int `koanf:"step_writes"`
	StepTells  int `koanf:"step_tells"`
	// QueryAsks bounds the queries of other entities that one query may ask, each
	// within StepReads. 4,000: a list of as many dialogs.
	QueryAsks int `koanf:"query_asks"`

	// MaxTextBytes bounds a text in bytes of UTF-8; 0: MaxTextUTF16 alone counts.
	// 5 KiB for easemob, as Easemob has it.
	MaxTextBytes int `koanf:"max_text_bytes"`
	// MaxTextUTF16 bounds a text in UTF-16 units, as clients count; 0:
	// MaxTextBytes alone counts. 4,096, as Telegram has it.
	MaxTextUTF16 int `koanf:"max_text_utf16"`
	// MaxCaptionUTF16 bounds the caption of a medium, in UTF-16 units. 1,024,
	// as Telegram has it.
	MaxCaptionUTF16 int `koanf:"max_caption_utf16"`
	// MaxEntities bounds the marked parts of a text. 100, as Telegram has it.
	MaxEntities int `koanf:"max_entities"`
	// MaxMentions bounds those of them that mention somebody. 50, as Telegram
	// has it: beyond, it notifies nobody.
	MaxMentions int `koanf:"max_mentions"`
	// MaxContentBytes bounds a whole message of any type, encoded. 24 KiB: the
	// longest text with 100 entities fits, and its JSON stays within a frame of
	// 64 KiB, the most that a client may send.
	MaxContentBytes int `koanf:"max_content_bytes"`

	// RevokeWindowDirect is how long after sending a message the author can
	// revoke it (gone for all) in a direct conversation, by the server's clock.
	// Where a profile has both a recall and a delete-for-all, the longer of the
	// two: both leave nothing of the message.
	RevokeWindowDirect time.Duration `koanf:"revoke_window_direct"`
	// RevokeWindowGroup is the same in a group. Admins of a group can revoke at
	// any time, in every profile.
	RevokeWindowGroup time.Duration `koanf:"revoke_window_group"`
	// RevokeDirectByEither lets both people of a direct conversation revoke, each
	// also what the other wrote.
	RevokeDirectByEither bool `koanf:"revoke_direct_by_either"`
	// EditWindow is how long after sending a message its author can edit it.
	// 48 h, as Telegram has it.
	EditWindow time.Duration `koanf:"edit_window"`

	// MaxGroupMembers bounds the people in a group. 100,000, which is what we have
	// measured. No Step and no memory grows with it: above LargeAbove nobody's row
	// is read but the caller's, and long work is done in pages.
	MaxGroupMembers int `koanf:"max_group_members"`
	// MaxSubscribers bounds the people in a channel. 1,000,000: four small rows each,
	// and dissolving one takes 10,000 Steps.
	MaxSubscribers int `koanf:"max_subscribers"`
	// MaxAdmins bounds the admins of a group or a channel, its owner included. 100:
	// Easemob has 99 beside the owner, Telegram 50.
	MaxAdmins int `koanf:"max_admins"`
	// LargeAbove is the number of members above which a conversation is large: its
	// events go to those who watch it, and its joins are counted and not logged. 500:
	// naming so many hearers takes about 10 us, and each a push.
	LargeAbove int `koanf:"large_above"`
	// SmallBelow is the number of members below which a large conversation is small
	// again. 400: some way under LargeAbove, so that one who comes and goes does not
	// change how all the others listen.
	SmallBelow int `koanf:"small_below"`
	// SubscribersShown is how many people of a channel its admins can list. 200, as
	// Telegram has it.
	SubscribersShown int `koanf:"subscribers_shown"`
	// MaxInvites bounds the people invited by one call, and those whom one Step of
	// longer work lets in or out. 100: each costs four rows and a tell, and a person
	// picks no more at a time.
	MaxInvites int `koanf:"max_invites"`
	// MaxNameChars bounds the name of a group, in code points. 128, as
	// Telegram and Easemob have it.
	MaxNameChars int `koanf:"max_name_chars"`
	// MaxAnnouncementChars bounds its announcement, in code points. 512, as
	// Easemob has it.
	MaxAnnouncementChars int `koanf:"max_announcement_chars"`

	// MaxReactionsByUser bounds one person's reactions to a message, and
	// MaxReactionsByMessage the different ones of all. 3 and 11, as Telegram has
	// it.
	MaxReactionsByUser    int `koanf:"max_reactions_by_user"`
	MaxReactionsByMessage int `koanf:"max_reactions_by_message"`
	// MaxPins bounds the pinned messages of a conversation. 100: they are listed
	// whole.
	MaxPins int `koanf:"max_pins"`
	// MaxForwards bounds the messages that are forwarded at a time. 100, as
	// Telegram has it.
	MaxForwards int `koanf:"max_forwards"`

	// MaxTypingMembers bounds the conversations in which others are told who is
	// typing, in members. 200: in larger ones somebody always is.
	MaxTypingMembers int `koanf:"max_typing_members"`
	// MaxPersonNameChars bounds a person's first and last name, in code points,
	// and MaxBioChars what he says about himself. 64 and 70, as Telegram has it.
	MaxPersonNameChars int `koanf:"max_person_name_chars"`
	MaxBioChars        int `koanf:"max_bio_chars"`

	// MaxPresenceUsers bounds the people whose presence is asked for by one call,
	// and MaxPresenceSubscriptions those that one person is told of. 100 and
	// 3,000, as Easemob has it.
	MaxPresenceUsers         int `koanf:"max_presence_users"`
	MaxPresenceSubscriptions int `koanf:"max_presence_subscriptions"`
	// MaxPresenceMembers bounds the conversations whose members may be told of each
	// other, in members. 500: beyond, people do not know each other.
	MaxPresenceMembers int `koanf:"max_presence_members"`
	// MaxStatusChars bounds what somebody says about where he is, in code points.
	// 256: 1 KiB of any script, as Easemob has it.
	MaxStatusChars int `koanf:"max_status_chars"`

	// MaxMentionNotices is how many of those whom a message in a large conversation
	// mentions are told on their own logs. 5, as Telegram has it.
	MaxMentionNotices int `koanf:"max_mention_notices"`
	// MaxReadersGroup is up to how many members of a group the author of a message
	// sees who has read it. 100, as Telegram has it; 200 for easemob.
	MaxReadersGroup int `koanf:"max_readers_group"`
	// ReadersWindow is for how long after sending he does. 7 d, as Telegram has it;
	// 3 d for easemob.
	ReadersWindow time.Duration `koanf:"readers_window"`
	// MaxPinnedDialogs bounds the dialogs that a user keeps at the top of his list.
	// 5, as Telegram has it.
	MaxPinnedDialogs int `koanf:"max_pinned_dialogs"`

	// AutoDeleteStep and AutoDeleteMax say for how long a conversation can keep its
	// messages before they delete themselves: multiples of the one up to the other.
	// 24 h and 365 d, as Telegram has it.
	AutoDeleteStep time.Duration `koanf:"auto_delete_step"`
	AutoDeleteMax  time.Duration `koanf:"auto_delete_max"`
	// MaxScheduled bounds the messages of one person that wait in a conversation,
	// and ScheduleMax how long they wait. 100 and 365 d, as Telegram has it.
	MaxScheduled int           `koanf:"max_scheduled"`
	ScheduleMax  time.Duration `koanf:"schedule_max"`

	// TaskGiveUp is how long a task for the outside, a webhook say, is tried
	// before it goes to the dead letters. 72 h: a weekend in which nobody looks.
	TaskGiveUp time.Duration `koanf:"task_give_up"`

	// HistoryPage bounds the messages in one page of history. 100.
	HistoryPage int `koanf:"history_page"`
	// PageItems bounds the items in one page of any other list (members,
	// devices, dialogs). 200: at about 150 bytes of JSON each, 30 KB.
	PageItems int `koanf:"page_items"`

	// MaxChannels bounds the recoverable channels of a session. 200: an SDK sends
	// each with its position when it connects, about 70 bytes of JSON.
	MaxChannels int `koanf:"max_channels"`
	// MaxSessions bounds the connected sessions of a user; the oldest makes room.
	// 16: four platforms with four devices each.
	MaxSessions int `koanf:"max_sessions"`
	// MaxDevices bounds the devices that a user's list remembers. 32.
	MaxDevices int `koanf:"max_devices"`

	// OutQueueBytes bounds what waits for a connection whose socket is full, in
	// bytes; beyond it signals are dropped, then the connection, which recovers.
	// 256 KiB, the largest page: with 1 MiB, 10,000 slow readers would hold
	// 10 GB.
	OutQueueBytes int `koanf:"out_queue_bytes"`
	// RequestsPerMinute and RequestBurst bound a user's requests by a token
	// bucket; 0 per minute: no bound. 1,200 with a burst of 120: 20 per second
	// are more than a person makes, and the burst is a client that starts and asks
	// for everything it shows.
	RequestsPerMinute int `koanf:"requests_per_minute"`
	RequestBurst      int `koanf:"request_burst"`

	// Webhook says that the tenant has one. Where it is and what signs it is the
	// business of gateway/outbound.
	Webhook bool `koanf:"-"`

	// PingEvery is how often the server pings. 25 s: the default of the SDKs, and
	// with PongTimeout a silent drop is known within 35 s, before the minute after
	// which many NATs forget a connection that is silent.
	PingEvery time.Duration `koanf:"ping_every"`
	// PongTimeout is how long the answer to a ping may take. 10 s.
	PongTimeout time.Duration `koanf:"pong_timeout"`
	// AuthTimeout is how long a connection may live without a valid token. 5 s:
	// a slow phone needs two, and whoever says nothing holds a socket meanwhile.
	AuthTimeout time.Duration `koanf:"auth_timeout"`

	// TokenLeeway is how much the clock of whoever issues tokens may differ from
	// ours. 30 s: NTP is far better, and a phone's clock is not asked.
	TokenLeeway time.Duration `koanf:"token_leeway"`
	// TokenMaxLife bounds how far in the future a token may expire. 30 d: a
	// stolen token is good for no longer. Prefer hours, with refresh.
	TokenMaxLife time.Duration `koanf:"token_max_life"`
}

// Profile returns the policy of a built-in profile, or false.
func Profile(name string) (Policy, bool) {
	for _, p := range profiles() {
		if p.Name == name {
			return p, true
		}
	}
	return Policy{}, false
}

// ProfileNames returns the names of the built-in profiles.
func ProfileNames() []string {
	var names []string
	for _, p := range profiles() {
		names = append(names, p.Name)
	}
	return names
}

// Validate returns a sentence for every value that is out of its bounds, joined.
func (p Policy) Validate() error {
	var errs []error
	for _, b := range p.bounds() {
		if err := b.check(); err != nil {
			errs = append(errs, err)
		}
	}
	if p.MaxTextBytes == 0 && p.MaxTextUTF16 == 0 {
		errs = append(errs, errors.New("max_text_bytes and max_text_utf16 are both 0; at least one must bound a text"))
	}
	if p.RequestsPerMinute > 0 && p.RequestBurst < 1 {
		errs = append(errs, errors.New("request_burst is 0; with requests_per_minute set it must be at least 1"))
	}
	if p.SmallBelow >= p.LargeAbove {
		errs = append(errs, fmt.Errorf("small_below is %d; it must be less than large_above (%d)", p.SmallBelow, p.LargeAbove))
	}
	if p.PongTimeout >= p.PingEvery {
		errs = append(errs, fmt.Errorf("pong_timeout is %v; it must be less than ping_every (%v)", p.PongTimeout, p.PingEvery))
	}
	return errors.Join(append(errs, p.validateProfile()...)...)
}

// validateProfile checks what only some profiles promise.
func (p Policy) validateProfile() []error {
	var errs []error
	switch p.Name {
	case "chatters":
		// Its users were told "at least 48 hours", "either side" and "without any
		// time limits".
		if p.RevokeWindowGroup != Unlimited && p.RevokeWindowGroup < 2*day {
			errs = append(errs, fmt.Errorf("revoke_window_group is %v; profile chatters promises at least 48h", p.RevokeWindowGroup))
		}
		if p.RevokeWindowDirect != Unlimited || !p.RevokeDirectByEither {
			errs = append(errs, errors.New("profile chatters promises that either side can revoke in a direct conversation at any time: "+
				"revoke_window_direct must be unlimited and revoke_direct_by_either true"))
		}
	case "easemob":
		// Recall can be set up to 7 days: doc.easemob.com/product/limitation.
		windows := []bound{
			span("revoke_window_direct", p.RevokeWindowDirect, 0, 7*day),
			span("revoke_window_group", p.RevokeWindowGroup, 0, 7*day),
		}
		for _, b := range windows {
			if err := b.check(); err != nil {
				errs = append(errs, fmt.Errorf("profile easemob: %w", err))
			}
		}
	}
	return errs
}

// A bound is a key with its value and what the value may be.
type bound struct {
	key                   string
	value, floor, ceiling int64
	spell                 func(int64) string
}

func (b bound) check() error {
	if b.value >= b.floor && b.value <= b.ceiling {
		return nil
	}
	return fmt.Errorf("%s is %s; it must be from %s to %s", b.key, b.spell(b.value), b.spell(b.floor), b.spell(b.ceiling))
}

// count bounds a number.
func count(key string, v, floor, ceiling int) bound {
	return bound{key, int64(v), int64(floor), int64(ceiling), func(n int64) string { return strconv.FormatInt(n, 10) }}
}

// span bounds a duration.
func span(key string, v, floor, ceiling time.Duration) bound {
	return bound{key, int64(v), int64(floor), int64(ceiling), func(n int64) string {
		if time.Duration(n) == Unlimited {
			return "unlimited"
		}
		return time.Duration(n).String()
	}}
}

// window bounds a duration that may also be Unlimited.
func window(key string, v time.Duration) bound {
	const century = 100 * 365 * day
	if v == Unlimited {
		return span(key, v, v, v)
	}
	return span(key, v, 0, century)
}

// bounds is the table of floors and ceilings that hold in every profile. A floor
// keeps a promise of the protocol, a ceiling keeps the server's memory and the
// other tenants safe from a typing error.
func (p Policy) bounds() []bound {
	return []bound{
		span("request_window", p.RequestWindow, day, 30*day),
		span("recovery_window", p.RecoveryWindow, day, 366*day),
		// The floors let a Step touch each of 500 members, and tell each.
		count("step_reads", p.StepReads, 2000, 1_000_000),
		count("step_writes", p.StepWrites, 1000, 100_000),
		count("step_tells", p.StepTells, 1000, 100_000),
		count("query_asks", p.QueryAsks, 200, 100_000),
		count("max_text_bytes", p.MaxTextBytes, 0, 32<<10),
		count("max_text_utf16", p.MaxTextUTF16, 0, 16<<10),
		count("max_caption_utf16", p.MaxCaptionUTF16, 0, 16<<10),
		count("max_entities", p.MaxEntities, 0, 1000),
		count("max_mentions", p.MaxMentions, 0, 1000),
		// The ceiling: 32 KiB of text escape to less than a frame's 64 KiB of JSON
		// unless most of it are control characters, which nobody writes.
		count("max_content_bytes", p.MaxContentBytes, 1<<10, 32<<10),
		window("revoke_window_direct", p.RevokeWindowDirect),
		window("revoke_window_group", p.RevokeWindowGroup),
		window("edit_window", p.EditWindow),
		count("max_group_members", p.MaxGroupMembers, 2, 100_000),
		count("max_subscribers", p.MaxSubscribers, 2, 10_000_000),
		count("max_admins", p.MaxAdmins, 1, 500),
		// The ceiling: a Step names each hearer of a small conversation.
		count("large_above", p.LargeAbove, 2, 500),
		count("small_below", p.SmallBelow, 1, 499),
		count("subscribers_shown", p.SubscribersShown, 0, 1000),
		count("max_invites", p.MaxInvites, 1, 100),
		count("max_name_chars", p.MaxNameChars, 1, 255),
		count("max_announcement_chars", p.MaxAnnouncementChars, 0, 4096),
		count("max_reactions_by_user", p.MaxReactionsByUser, 1, 20),
		count("max_reactions_by_message", p.MaxReactionsByMessage, 1, 100),
		count("max_pins", p.MaxPins, 1, 200),
		count("max_forwards", p.MaxForwards, 1, 100),
		count("max_typing_members", p.MaxTypingMembers, 0, 500),
		count("max_person_name_chars", p.MaxPersonNameChars, 1, 255),
		count("max_bio_chars", p.MaxBioChars, 0, 4096),
		count("max_presence_users", p.MaxPresenceUsers, 1, 200),
		count("max_presence_subscriptions", p.MaxPresenceSubscriptions, 1, 3000),
		count("max_presence_members", p.MaxPresenceMembers, 0, 5000),
		count("max_status_chars", p.MaxStatusChars, 0, 1024),
		// The ceilings bound what one message tells, and how many rows one answer reads.
		count("max_mention_notices", p.MaxMentionNotices, 0, 100),
		count("max_readers_group", p.MaxReadersGroup, 0, 500),
		window("readers_window", p.ReadersWindow),
		count("max_pinned_dialogs", p.MaxPinnedDialogs, 0, 100),
		span("auto_delete_step", p.AutoDeleteStep, time.Second, 30*day),
		span("auto_delete_max", p.AutoDeleteMax, time.Second, 3660*day),
		count("max_scheduled", p.MaxScheduled, 0, 1000),
		span("schedule_max", p.ScheduleMax, time.Minute, 3660*day),
		span("task_give_up", p.TaskGiveUp, time.Minute, 30*day),
		count("history_page", p.HistoryPage, 1, 1000),
		count("page_items", p.PageItems, 1, 1000),
		count("max_channels", p.MaxChannels, 1, 200),
		count("max_sessions", p.MaxSessions, 1, 1000),
		count("max_devices", p.MaxDevices, 1, 1000),
		// The floor holds the largest frame and its header.
		count("out_queue_bytes", p.OutQueueBytes, 64<<10, 16<<20),
		count("requests_per_minute", p.RequestsPerMinute, 0, 10_000_000),
		count("request_burst", p.RequestBurst, 0, 1_000_000),
		span("ping_every", p.PingEvery, time.Second, 10*time.Minute),
		span("pong_timeout", p.PongTimeout, time.Second, 5*time.Minute),
		span("auth_timeout", p.AuthTimeout, time.Second, time.Minute),
		span("token_leeway", p.TokenLeeway, 0, 5*time.Minute),
		span("token_max_life", p.TokenMaxLife, time.Minute, 3660*day),
	}
}
