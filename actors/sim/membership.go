package sim

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
)

// Who is in a conversation the oracle learns from its events. In a large one, and
// in a channel, joins are in none; those it learns from the rows of the members. It
// counts for itself when a conversation is large, so that each event is heard by
// whom it should be: the members, or else whoever watches.

// A membership is what a row says about one person.
type membership struct {
	user string
	role pb.Role
}

// rows returns what is to be learned from the rows of a Step, after its events.
func (o *oracle) rows(ref entity.Ref, writes []entity.Write) func() {
	var written []membership
	for _, w := range writes {
		m := &pb.Member{}
		if w.End != nil || w.Val == nil || !isMember(w.Key) {
			continue
		}
		if err := proto.Unmarshal(w.Val, m); err != nil {
			o.w.fail("%s: the row of a member cannot be read: %w", ref, err)
			continue
		}
		written = append(written, membership{m.UserId, m.Role})
	}
	return func() {
		if len(written) > 0 {
			o.placed(o.talk(ref), written)
		}
	}
}

// placed compares the rows of members with what the events have said.
func (o *oracle) placed(t *talk, written []membership) {
	unseen := ""
	for _, m := range written {
		in := m.role != pb.Role_ROLE_UNSPECIFIED
		switch {
		case in && t.dissolved != 0:
			o.w.fail("%s: %s is in it, and it was dissolved", t.ref, m.user)
		case in && !t.present(m.user):
			t.join(m.user, o.logs[t.ref]+1)
			t.since[m.user] = o.logs[t.ref]
			unseen = m.user
		case !in && t.present(m.user):
			o.w.fail("%s: %s is out of it, and no event says so", t.ref, m.user)
		}
		t.roles[m.user] = m.role
	}
	if o.resize(t); unseen != "" && !t.large && !t.channel {
		o.w.fail("%s: %s has joined, and no event says so", t.ref, unseen)
	}
}

// resize decides whether a conversation is large, after somebody came or went.
func (o *oracle) resize(t *talk) {
	members := 0
	for user := range t.members {
		if t.present(user) {
			members++
		}
	}
	policy := o.w.core.Policy(t.ref.Tenant)
	switch {
	case members > policy.LargeAbove:
		t.large = true
	case members < policy.SmallBelow:
		t.large = false
	}
}

// empty reports whether nobody is in a conversation.
func (t *talk) empty() bool {
	for user := range t.members {
		if t.present(user) {
			return false
		}
	}
	return true
}

// heard checks who hears an event of a conversation: all who may read it, by name
// or because they watch, and for the last time who leaves with it. large is what the
// conversation was before the event.
func (o *oracle) heard(t *talk, e *entity.Event, large bool) {
	gone := t.dissolved != 0 && e.Seq > t.dissolved
	var want []uint64
	if !large && !gone {
		want = t.audience(e.Seq)
	}
	if e.Audience.Watchers != (large && !gone) || !slices.Equal(e.Audience.Users, want) {
		o.w.fail("%s: event %d (%s) is for users %v (and who watches: %v); it is large: %v, and the members are %v",
			t.ref, e.Seq, e.Type.Name, e.Audience.Users, e.Audience.Watchers, large, t.audience(e.Seq))
	}
	for _, user := range people {
		number, may := entity.UserNumber(t.ref.Tenant, user), t.within(user, e.Seq)
		if may && e.Ends(number) == t.within(user, e.Seq+1) {
			o.w.fail("%s: event %d (%s) is the last one for %s: %v; it is not so", t.ref, e.Seq, e.Type.Name, user, e.Ends(number))
		}
		if !t.watching[user] {
			continue
		}
		hears := e.Audience.Watchers || slices.Contains(e.Audience.Users, number)
		if hears != may {
			o.w.fail("%s: %s watches; event %d (%s) reaches him: %v, and he may read it: %v", t.ref, user, e.Seq, e.Type.Name, hears, may)
		}
		if e.Ends(number) {
			delete(t.watching, user)
		}
	}
	if t.channel && e.By != "" && t.roles[e.By] < pb.Role_ADMIN {
		o.w.fail("%s: event %d (%s) of a channel shows %s, who is no admin", t.ref, e.Seq, e.Type.Name, e.By)
	}
}

// disconnect ends all sessions.
func (o *oracle) disconnect() {
	for _, t := range o.conversations {
		clear(t.watching)
	}
}

// leaver is who hears an event as his last one.
func (o *oracle) leaver(t *talk, e *entity.Event) string {
	for _, user := range people {
		if entity.UserNumber(t.ref.Tenant, user) == e.Leaving && t.present(user) {
			return user
		}
	}
	o.w.fail("%s: event %d (%s) is the last one of nobody who is there", t.ref, e.Seq, e.Type.Name)
	return ""
}

// dissolve lets everybody leave with an event.
func (t *talk) dissolve(seq uint64) {
	t.dissolved = seq
	for user := range t.members {
		if t.present(user) {
			t.leave(user, seq)
		}
	}
}

// view counts a user among the viewers of what he has not viewed before.
func (t *talk) view(user string, through uint64) {
	for seq := max(t.viewed[user], t.since[user]) + 1; seq <= through; seq++ {
		t.views[seq]++
	}
	t.viewed[user] = max(t.viewed[user], through)
}

// wrongViews says what is wrong with an answer to how often posts were viewed, or
// nothing.
func (t *talk) wrongViews(user string, asked []uint64, posts []*pb.PostViews) string {
	got := map[uint64]uint32{}
	for _, p := range posts {
		got[p.Seq] = p.Views
	}
	for _, seq := range asked {
		views, shown := got[seq]
		switch may := t.said[seq] != nil && t.may(user, seq); {
		case shown != may:
			return "the views of an event that he may not see, or not of one that he may"
		case shown && views != t.views[seq]:
			return "another number of views than were viewed"
		}
	}
	return ""
}

// kindAt and tableAt are where they are in the key of an entity's row: behind shard
// and tenant, and behind kind and id.
const (
	kindAt  = 2 + 4
	tableAt = kindAt + 1 + 8
)

var memberTable = byte(proto.GetExtension((&pb.Member{}).ProtoReflect().Descriptor().Options(), pb.E_Table).(*pb.Table).Number)

// isMember reports whether a row is that of a member of a conversation. What is told
// lies in other rows, of no entity.
func isMember(key []byte) bool {
	return len(key) > tableAt && key[kindAt] == byte(pb.Kind_CONVERSATION) && key[tableAt] == memberTable
}
