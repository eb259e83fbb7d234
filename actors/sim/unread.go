package sim

import (
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
)

// What is unread the oracle counts as it is defined: message by message, after the
// last one that somebody has read or written or that was there before he came. Every
// answer with a count is compared with that.

// unread counts for a present member, and how many messages mention him.
func (t *talk) unread(user string) (unread, mentions uint32) {
	for seq, s := range t.said {
		if seq <= t.read[user] || s.content == nil || !t.may(user, seq) {
			continue
		}
		unread++
		if s.mentions(user) {
			mentions++
		}
	}
	return unread, mentions
}

func (s *saying) mentions(user string) bool {
	for _, part := range s.content.GetText().GetEntities() {
		if part.Type == "mention" && part.Value == user && user != s.by {
			return true
		}
	}
	return false
}

// hasRead moves what somebody has read, which never moves back.
func (t *talk) hasRead(user string, seq uint64) { t.read[user] = max(t.read[user], seq) }

// own applies an event of a user's own log.
func (o *oracle) own(ref entity.Ref, body proto.Message) {
	dialogs := o.dialogs[ref]
	if dialogs == nil {
		dialogs = map[uint64]int{}
		o.dialogs[ref] = dialogs
	}
	switch b := body.(type) {
	case *pb.DialogJoined:
		dialogs[b.ConversationId] = max(dialogs[b.ConversationId], -dialogs[b.ConversationId]) + 1
	case *pb.DialogLeft:
		dialogs[b.ConversationId] *= -1
	}
}

// expire forgets messages.
func (t *talk) expire(from, through uint64) {
	for seq := range t.said {
		if seq >= from && seq <= through {
			delete(t.said, seq)
		}
	}
}

// newest is the last message that somebody may read; 0: none.
func (t *talk) newest(user string) (last uint64) {
	for seq := range t.said {
		if t.may(user, seq) {
			last = max(last, seq)
		}
	}
	return last
}

// wrongState says what is wrong with the state of a conversation as it was told to
// somebody, or "".
func (o *oracle) wrongState(t *talk, user string, s *pb.DialogState) string {
	var unread, mentions uint32
	if t.present(user) {
		unread, mentions = t.unread(user)
	}
	switch {
	case len(t.members[user]) == 0:
		return "the state of a conversation that he never was in"
	case t.channel && s.Mentions > s.Unread:
		return fmt.Sprintf("%d mentions in %d unread messages", s.Mentions, s.Unread)
	case s.Unread != unread || !t.channel && s.Mentions != mentions:
		return fmt.Sprintf("%d unread messages, %d of which mention him; it is %d and %d", s.Unread, s.Mentions, unread, mentions)
	case s.Last.GetSeq() != t.newest(user):
		return fmt.Sprintf("message %d as the last one; it is %d", s.Last.GetSeq(), t.newest(user))
	case s.Last != nil:
		return o.wrong(t, user, s.Last)
	}
	return ""
}

// wrongList says what is wrong with a list of dialogs.
func (o *oracle) wrongList(c *entity.Call, list *pb.ListDialogsResponse) string {
	req := c.Req.(*pb.ListDialogsRequest)
	unread := uint64(0)
	for i, item := range list.Dialogs {
		if item.State != nil {
			t := o.talk(entity.Conversation(c.Caller.Tenant, item.ConversationId))
			if problem := o.wrongState(t, c.Caller.User, item.State); problem != "" {
				return fmt.Sprintf("%d: %s", item.ConversationId, problem)
			}
			unread += uint64(item.State.Unread)
		}
		if item.Settings.GetArchived() != req.Archived {
			return "an archived dialog among others, or the other way round"
		}
		if i > 0 && !req.PinnedFirst && item.At > list.Dialogs[i-1].At {
			return "an older dialog before a newer one"
		}
	}
	whole := req.Cursor == "" && list.Cursor == ""
	if got := list.Totals.GetUnread() + list.Totals.GetUnreadMuted(); whole && req.Totals && got != unread {
		return fmt.Sprintf("%d unread messages in all dialogs; it is %d", got, unread)
	}
	return ""
}

// wrongReaders says what is wrong with who is said to have read a message.
func (o *oracle) wrongReaders(c *entity.Call, resp *pb.ReadersResponse) string {
	t, seq := o.talk(c.To), c.Req.(*pb.ReadersRequest).Seq
	if t.said[seq].by != c.Caller.User {
		return "who has read the message of somebody else"
	}
	listed := map[string]bool{c.Caller.User: true}
	for _, user := range resp.Read {
		if listed[user] || !t.present(user) || t.read[user] < seq {
			return user + ", who has not read it"
		}
		listed[user] = true
	}
	for _, user := range people {
		if t.present(user) && !listed[user] && t.read[user] >= seq && t.came[user] < seq && !o.discreet[discreet{c.Caller.Tenant, user}] {
			return "nothing of " + user + ", who has read it"
		}
	}
	return ""
}

// A discreet is somebody who has said at some time that he does not share how far
// he has read.
type discreet struct {
	tenant entity.Tenant
	user   string
}

// markers learns from the rows of a Step what an event of a channel, which nobody
// signs, does not say: that its author has read what was before it.
func (o *oracle) markers(ref entity.Ref, writes []entity.Write) func() {
	read, numbers := map[uint32]uint64{}, map[string]uint32{}
	for _, w := range writes {
		marker, member := &pb.Marker{}, &pb.Member{}
		switch {
		case w.End != nil || w.Val == nil || len(w.Key) <= tableAt || w.Key[kindAt] != byte(pb.Kind_CONVERSATION):
		case w.Key[tableAt] == markerTable && proto.Unmarshal(w.Val, marker) == nil:
			number, _ := entity.Key(w.Key[tableAt+1:]).TakeU32()
			read[number] = marker.Read
		case isMember(w.Key) && proto.Unmarshal(w.Val, member) == nil:
			numbers[member.UserId] = member.Number
		}
	}
	return func() {
		if len(read)+len(numbers) == 0 {
			return
		}
		t := o.talk(ref)
		maps.Copy(t.numbers, numbers)
		for user, number := range t.numbers {
			if t.channel {
				t.hasRead(user, read[number])
			}
		}
	}
}

var markerTable = byte(proto.GetExtension((&pb.Marker{}).ProtoReflect().Descriptor().Options(), pb.E_Table).(*pb.Table).Number)
