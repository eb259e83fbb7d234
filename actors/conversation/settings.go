package conversation

import (
	"unicode"
	"unicode/utf8"

	"kith/actors/entity"
	"kith/actors/pb"
)

// Noun is what people call a conversation of its type.
func Noun(info *pb.Conversation) string {
	if info.GetType() == pb.Conversation_CHANNEL {
		return "channel"
	}
	return "group"
}

// Permit sets the permissions that are in change.
func Permit(p, change *pb.Permissions) {
	if change == nil {
		return
	}
	for _, set := range []struct{ to, from *pb.Role }{
		{&p.Send, &change.Send}, {&p.Invite, &change.Invite}, {&p.ChangeInfo, &change.ChangeInfo}, {&p.Pin, &change.Pin},
	} {
		if *set.from != pb.Role_ROLE_UNSPECIFIED {
			*set.to = *set.from
		}
	}
}

// Validate checks everything that a client can say about a group or a channel.
func Validate(p *entity.Policy, info *pb.Conversation) error {
	noun := Noun(info)
	switch {
	case info.Name == "":
		return entity.Errorf(entity.Invalid, "a %s needs a name", noun)
	case utf8.RuneCountInString(info.Name) > p.MaxNameChars:
		return entity.Errorf(entity.TooLarge, "the name of a %s has at most %d characters", noun, p.MaxNameChars)
	case utf8.RuneCountInString(info.Announcement) > p.MaxAnnouncementChars:
		return entity.Errorf(entity.TooLarge, "an announcement has at most %d characters", p.MaxAnnouncementChars)
	case hasControl(info.Name, 0):
		return entity.Errorf(entity.Invalid, "the name of a %s has no control characters", noun)
	case hasControl(info.Announcement, '\n'):
		return entity.Errorf(entity.Invalid, "an announcement has no control characters but new lines")
	case pb.JoinRule_name[int32(info.JoinRule)] == "":
		return entity.Errorf(entity.Invalid, "there is no join rule %d", info.JoinRule)
	case info.Type == pb.Conversation_CHANNEL && info.Permissions.Send < pb.Role_ADMIN:
		return entity.Errorf(entity.Invalid, "in a channel only admins post")
	}
	for _, r := range []pb.Role{info.Permissions.Send, info.Permissions.Invite, info.Permissions.ChangeInfo, info.Permissions.Pin} {
		if pb.Role_name[int32(r)] == "" {
			return entity.Errorf(entity.Invalid, "there is no role %d", r)
		}
	}
	return nil
}

// hasControl reports whether s has a control character other than allowed.
func hasControl(s string, allowed rune) bool {
	for _, r := range s {
		if unicode.IsControl(r) && r != allowed {
			return true
		}
	}
	return false
}
