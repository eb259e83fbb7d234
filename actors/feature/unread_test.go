package feature_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/pb"
	"kith/actors/sim"
)

// letting lets messages go from anywhere in a log when one is revoked, as timers do
// only where the time that messages are kept was changed.
var letting = entity.Feature{Name: "letting", Parts: []entity.Part{
	entity.After(func(tx *entity.Tx, _ *pb.MessageRevoked) error {
		if head := tx.Head().Seq; head%3 == 0 {
			from := head / 3 * (head % 4)
			conversation.Expire(tx, from, min(head-1, from+head%50))
		}
		return nil
	}),
}}

func withLetting() []entity.Feature {
	return append(feature.All[:len(feature.All):len(feature.All)], letting)
}

// A crowd is a group in which much is said. It counts what is unread as it is
// defined: message by message.
type crowd struct {
	*server
	team    uint64
	members []entity.Caller
	read    []uint64        // by member: seq
	gone    map[uint64]bool // revoked or expired
	hidden  []map[uint64]bool
	calls   []uint64 // seqs of messages
	whom    map[uint64]int
}

func newCrowd(t *testing.T, members int, features ...entity.Feature) *crowd {
	reg, err := entity.New(features...)
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{server: &server{Server: sim.NewServer(reg), t: t, reg: reg}, gone: map[uint64]bool{}, whom: map[uint64]int{}}
	for i := range members {
		who := caller(1, fmt.Sprint("member", i))
		if i == 0 {
			c.team = c.openGroup(who)
		} else {
			do[*pb.JoinResponse](c.server, who, "Groups.Join", &pb.JoinRequest{ConversationId: c.team})
		}
		c.members, c.read, c.hidden = append(c.members, who), append(c.read, 0), append(c.hidden, map[uint64]bool{})
	}
	return c
}

// say sends a message that mentions a member.
func (c *crowd) say(who, whom int) {
	c.t.Helper()
	content := &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: "hello", Entities: []*pb.TextEntity{
		{Type: "mention", Length: 5, Value: c.members[whom].User},
	}}}}
	seq := do[*pb.SendResponse](c.server, c.members[who], "Messages.Send", &pb.SendRequest{ConversationId: c.team, Content: content}).Seq
	c.calls, c.read[who], c.whom[seq] = append(c.calls, seq), seq, whom
}

func (c *crowd) markRead(who int, seq uint64) {
	c.t.Helper()
	do[*pb.MarkReadResponse](c.server, c.members[who], "Receipts.MarkRead", &pb.MarkReadRequest{ConversationId: c.team, Seq: seq})
	c.read[who] = max(c.read[who], seq)
}

// revoke is the owner's. What it lets go is gone, too.
func (c *crowd) revoke(seq uint64) {
	c.t.Helper()
	if c.gone[seq] {
		return
	}
	call, refused := c.reg.NewCall(c.reg.ByName("Messages.Revoke"), c.members[0], &pb.RevokeRequest{ConversationId: c.team, Seq: seq})
	if refused != nil {
		c.t.Fatal(refused)
	}
	out, err := c.Call(call)
	if err != nil || out.Err != nil {
		c.t.Fatal(err, out.Err)
	}
	c.gone[seq] = true
	for _, e := range out.Events {
		if b, ok := e.Body.(*pb.MessagesExpired); ok {
			for _, seq := range c.calls {
				c.gone[seq] = c.gone[seq] || seq >= b.From && seq <= b.Through
			}
		}
	}
}

func (c *crowd) hide(who int, seq uint64) {
	c.t.Helper()
	if c.gone[seq] {
		return
	}
	do[*pb.DeleteResponse](c.server, c.members[who], "Messages.Delete", &pb.DeleteRequest{ConversationId: c.team, Seqs: []uint64{seq}})
	c.hidden[who][seq] = true
}

// compare compares what each member's list says with the count, and has the store
// count again.
func (c *crowd) compare(when string) {
	c.t.Helper()
	for i, who := range c.members {
		unread, mentions := uint32(0), uint32(0)
		for _, seq := range c.calls {
			if seq > c.read[i] && !c.gone[seq] && !c.hidden[i][seq] {
				unread++
				if whom, ok := c.whom[seq]; ok && whom == i {
					mentions++
				}
			}
		}
		list := do[*pb.ListDialogsResponse](c.server, who, "Dialogs.List", &pb.ListDialogsRequest{})
		got := list.Dialogs[0].State
		if want := min(unread, conversation.MaxUnread); got.Unread != want || got.Mentions != min(mentions, want) {
			c.t.Errorf("%s: %s has %d unread messages and %d mentions, want %d and %d", when, who.User, got.Unread, got.Mentions, want, mentions)
		}
	}
	c.verify(when)
}

// verify reports what the checks of the features find.
func (s *server) verify(when string) (problems int) {
	s.t.Helper()
	_, err := s.reg.Verify(s.Rows(), func(p entity.Problem) {
		if p.Ref.Kind == pb.Kind_CONVERSATION && p.Text != "its tenant has no name" {
			s.t.Logf("%s: %s", when, p)
			problems++
		}
	}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return problems
}

func TestUnreadIsExactHoweverMuchIsSaid(t *testing.T) {
	for seed := range uint64(2) {
		c := newCrowd(t, 3, withLetting()...)
		rng := rand.New(rand.NewPCG(seed, 0))
		for i := range 2400 {
			who := rng.IntN(len(c.members))
			if rng.IntN(40) > 0 {
				who = i / 700 % 2 // One talks to himself for long, and the third is silent.
			}
			switch p := rng.IntN(1000); {
			case p < 960 || len(c.calls) == 0:
				c.say(who, rng.IntN(len(c.members)))
			case p < 964:
				c.markRead(who, c.calls[rng.IntN(len(c.calls))])
			case p < 967:
				c.markRead(2, c.calls[rng.IntN(len(c.calls))])
			case p < 980:
				c.revoke(c.calls[rng.IntN(len(c.calls))])
			default:
				c.hide(2, c.calls[rng.IntN(len(c.calls))])
			}
			if i%500 == 499 {
				c.compare(fmt.Sprintf("seed %d after %d calls", seed, i))
			}
		}
		if c.verify("at the end") > 0 {
			t.Errorf("seed %d: the store counts otherwise", seed)
		}
	}
}

// obeying does what the announcement of a group says: sends so many messages at
// once, or lets those of a range go.
var obeying = entity.Feature{Name: "obeying", Parts: []entity.Part{
	entity.After(func(tx *entity.Tx, changed *pb.GroupChanged) error {
		var n, from, through uint64
		if _, err := fmt.Sscanf(changed.Announcement, "send %d", &n); err == nil {
			for range n {
				tx.Emit(&pb.MessageSent{Content: say("hello")})
			}
		}
		if _, err := fmt.Sscanf(changed.Announcement, "drop %d %d", &from, &through); err == nil {
			conversation.Expire(tx, from, through)
		}
		return nil
	}),
}}

func withObeying() []entity.Feature {
	return append(feature.All[:len(feature.All):len(feature.All)], obeying)
}

// announce has the owner say what is to be done.
func (c *crowd) announce(format string, args ...any) {
	c.t.Helper()
	text := fmt.Sprintf(format, args...)
	do[*pb.ChangeGroupResponse](c.server, c.members[0], "Groups.Change", &pb.ChangeGroupRequest{ConversationId: c.team, Announcement: &text})
}

// sendMany has the owner send many messages, a few hundred at once.
func (c *crowd) sendMany(n int) {
	c.t.Helper()
	const atOnce = 500
	for ; n > 0; n -= atOnce {
		now := uint64(min(n, atOnce))
		c.announce("send %d (%d)", now, n)
		head := do[*pb.ListDialogsResponse](c.server, c.members[0], "Dialogs.List", &pb.ListDialogsRequest{}).Dialogs[0].State.Head
		for seq := head - now + 1; seq <= head; seq++ {
			c.calls, c.read[0] = append(c.calls, seq), seq
		}
	}
}

func (c *crowd) drop(from, through uint64) {
	c.t.Helper()
	c.announce("drop %d %d", from, through)
	for _, seq := range c.calls {
		c.gone[seq] = c.gone[seq] || seq >= from && seq <= through
	}
}

func TestUnreadSaysNoMoreThanFourDigits(t *testing.T) {
	c := newCrowd(t, 2, withObeying()...)
	c.sendMany(conversation.MaxUnread + 1)
	c.compare("at the most and one")
	c.revoke(c.calls[5])
	c.compare("at the most")
	c.markRead(1, c.calls[1])
	c.compare("below the most")
}

func TestOnesOwnMessageIsFoundOrNoted(t *testing.T) {
	for between := conversation.OwnWithin - 3; between < conversation.OwnWithin+3; between++ {
		c := newCrowd(t, 2, withObeying()...)
		c.sendMany(between)
		c.say(1, 0)
		c.say(0, 1)
		c.compare(fmt.Sprintf("one message after %d of another's", between))
	}
}

func TestOnesOwnMessageCountsAlsoOnceItIsGone(t *testing.T) {
	for _, drop := range [][2]uint64{{6, 6}, {5, 7}, {1, 6}, {1, 100}, {4, 4}} {
		c := newCrowd(t, 2, withObeying()...)
		c.sendMany(2) // Seqs 4 and 5.
		c.say(1, 0)
		c.say(0, 1)
		c.compare("before")
		c.drop(drop[0], drop[1])
		c.compare(fmt.Sprintf("after %v", drop))
		c.say(0, 1)
		c.drop(1, 6)
		c.compare("after all of it")
	}
}

func TestWhatIsMarkedInABlockStaysUntilItIsRead(t *testing.T) {
	const block = 1024
	c := newCrowd(t, 2, withObeying()...)
	c.sendMany(3 * block)
	for _, i := range []int{block - 3, block - 2, block - 1, block, block + 1, 2*block - 2, 2*block - 1, 2 * block} {
		c.hide(1, c.calls[i-1])
		c.revoke(c.calls[i+10])
		c.compare("with marks")
	}
	for _, i := range []int{block - 4, block - 2, block - 1, block, block + 3, 2*block - 4, 2*block - 1, 2 * block} {
		c.markRead(1, c.calls[i])
		c.compare(fmt.Sprintf("read up to message %d", i+1))
	}
	c.drop(c.calls[0], c.calls[block+2])
	c.drop(c.calls[2*block+5], c.calls[2*block+20])
	c.compare("with some gone")
	c.drop(c.calls[0], c.calls[2*block+100])
	c.compare("with more gone")
}

// TestAMessageCostsNoRowForWhoReadsOrWritesIt counts rows: a message is one event
// row, and a marker is written once in a while.
func TestAMessageCostsNoRowForWhoReadsOrWritesIt(t *testing.T) {
	s := newServer(t)
	alice, bob := caller(1, "alice"), caller(1, "bob")
	ab := do[*pb.OpenDirectResponse](s, alice, "Directs.Open", &pb.OpenDirectRequest{UserId: "bob"}).ConversationId
	send := s.reg.ByName("Messages.Send")
	written := 0
	const messages = 10 * conversation.OwnWithin
	for i := range messages {
		who := alice
		if i%2 == 1 {
			who = bob
		}
		call, refused := s.reg.NewCall(send, who, &pb.SendRequest{ConversationId: ab, Content: say("hello")})
		if refused != nil {
			t.Fatal(refused)
		}
		out, err := s.Call(call)
		if err != nil || out.Err != nil {
			t.Fatal(err, out.Err)
		}
		written += len(out.Writes) - 1
	}
	// Each of the two moves his marker once in OwnWithin messages.
	if most := 2 * messages / conversation.OwnWithin; written > most {
		t.Errorf("%d messages have written %d rows beside themselves, want %d at most", messages, written, most)
	}
}

func TestARecountFindsWhatDoesNotAddUp(t *testing.T) {
	c := newCrowd(t, 2, feature.All...)
	for range 5 {
		c.say(0, 1)
	}
	c.revoke(c.calls[3])
	if n := c.verify("as it is"); n != 0 {
		t.Fatalf("%d problems where there is none", n)
	}
	const marked = 0x17
	const tableAt = 15 // A key starts with shard, tenant, kind and id.
	var forgotten []entity.Write
	err := c.Rows().Scan(nil, nil, false, func(key, _ []byte) bool {
		if len(key) > tableAt && key[tableAt] == marked && key[6] == byte(pb.Kind_CONVERSATION) {
			forgotten = append(forgotten, entity.Write{Key: append([]byte{}, key...)})
		}
		return true
	})
	if err != nil || len(forgotten) != 2 { // What is gone, and whom messages mention.
		t.Fatalf("marks are in %d rows, want 2 (%v)", len(forgotten), err)
	}
	c.Rows().Commit(forgotten[:1])
	if n := c.verify("without a mark"); n == 0 {
		t.Error("a message that is gone counts, and nothing was found")
	}
}
