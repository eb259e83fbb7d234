package feature_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/pb"
)

// after lets time pass, and some seconds more, so that what goes on can.
func (s *server) after(d time.Duration) {
	s.t.Helper()
	for range 10 {
		if err := s.Advance(d); err != nil {
			s.t.Fatal(err)
		}
		d = 2 * time.Second
	}
}

// texts is what a reader finds in a conversation.
func (s *server) texts(c entity.Caller, conversation uint64) (all []string) {
	s.t.Helper()
	page := do[*pb.HistoryResponse](s, c, "Messages.History", &pb.HistoryRequest{ConversationId: conversation, Limit: 100})
	for _, e := range page.Events {
		sent := &pb.MessageSent{}
		if err := sent.UnmarshalVT(e.Body); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, sent.Content.GetText().GetText())
	}
	return all
}

// joined makes a group of so many, of whom the first is its owner.
func (s *server) joined(members int) (team uint64, all []entity.Caller) {
	s.t.Helper()
	for i := range members {
		all = append(all, caller(1, fmt.Sprint("member", i)))
		if i == 0 {
			team = s.openGroup(all[0])
		} else {
			do[*pb.JoinResponse](s, all[i], "Groups.Join", &pb.JoinRequest{ConversationId: team})
		}
	}
	return team, all
}

func TestChangesBetweenMessagesDoNotKeepThemFromExpiring(t *testing.T) {
	s := newServer(t)
	team, who := s.joined(1)
	do[*pb.SetAutoDeleteResponse](s, who[0], "Timers.SetAutoDelete", &pb.SetAutoDeleteRequest{ConversationId: team, Seconds: 3600})
	seq := s.send(who[0], team, "first")
	for i := range 1200 {
		req := &pb.ReactRequest{ConversationId: team, Seq: seq}
		if i%2 == 0 {
			req.Emoji = []string{"👍"}
		}
		do[*pb.ReactResponse](s, who[0], "Reactions.React", req)
	}
	s.send(who[0], team, "second")
	s.after(2 * time.Hour)
	if got := s.texts(who[0], team); len(got) != 0 {
		t.Errorf("after their hour there are %q", got)
	}
}

func TestMessagesOfAThousandAuthorsExpire(t *testing.T) {
	s := newServer(t)
	team, who := s.joined(1200)
	s.send(who[0], team, "stays")
	do[*pb.SetAutoDeleteResponse](s, who[0], "Timers.SetAutoDelete", &pb.SetAutoDeleteRequest{ConversationId: team, Seconds: 36000})
	seq := uint64(1)
	for _, c := range who { // Each has read what was before, and so his message stands for his marker.
		do[*pb.MarkReadResponse](s, c, "Receipts.MarkRead", &pb.MarkReadRequest{ConversationId: team, Seq: seq})
		seq = s.send(c, team, "hi")
	}
	s.after(11 * time.Hour)
	if got := s.texts(who[0], team); strings.Join(got, " ") != "stays" {
		t.Errorf("after their time there are %d messages: %q", len(got), got)
	}
}

func TestWhoChangesTheTimeWithoutSendingCanAlwaysChangeIt(t *testing.T) {
	s := newServer(t)
	team, who := s.joined(1)
	for i := range 100 {
		do[*pb.SetAutoDeleteResponse](s, who[0], "Timers.SetAutoDelete", &pb.SetAutoDeleteRequest{ConversationId: team, Seconds: uint32(i%2) * 60})
	}
	for range 50 { // Each time leaves nothing behind when it is over.
		do[*pb.SetAutoDeleteResponse](s, who[0], "Timers.SetAutoDelete", &pb.SetAutoDeleteRequest{ConversationId: team, Seconds: 60})
		s.send(who[0], team, "for a minute")
		do[*pb.SetAutoDeleteResponse](s, who[0], "Timers.SetAutoDelete", &pb.SetAutoDeleteRequest{ConversationId: team})
		s.send(who[0], team, "stays")
		s.after(2 * time.Minute)
	}
	if got := s.texts(who[0], team); len(got) != 50 {
		t.Errorf("%d messages stay, want 50", len(got))
	}
}

func TestAsManyMessagesAsAllowedCanBeForwardedIntoALargeGroup(t *testing.T) {
	s := newServer(t)
	team, who := s.joined(400)
	other := do[*pb.CreateGroupResponse](s, who[0], "Groups.Create", &pb.CreateGroupRequest{Name: "other"}).ConversationId
	var seqs, hidden []uint64
	for i := range 300 {
		seqs = append(seqs, s.send(who[0], other, fmt.Sprint(i)))
	}
	seqs, hidden = seqs[:100], seqs[100:]
	for len(hidden) > 0 {
		do[*pb.DeleteResponse](s, who[0], "Messages.Delete", &pb.DeleteRequest{ConversationId: other, Seqs: hidden[:100]})
		hidden = hidden[100:]
	}
	do[*pb.ForwardResponse](s, who[0], "Messages.Forward", &pb.ForwardRequest{ConversationId: other, Seqs: seqs, ToConversationId: team})
	page := do[*pb.HistoryResponse](s, who[1], "Messages.History", &pb.HistoryRequest{ConversationId: team, Limit: 100})
	if len(page.Events) != 100 {
		t.Errorf("%d messages arrived, want 100", len(page.Events))
	}
}

func TestHoweverLargeMessagesAreTheirPinsCanBeListed(t *testing.T) {
	s := newServer(t)
	team, who := s.joined(1)
	for range 20 {
		content := &pb.Content{Type: &pb.Content_Custom{Custom: &pb.Custom{Type: "x", Data: strings.Repeat("x", 20<<10)}}}
		seq := do[*pb.SendResponse](s, who[0], "Messages.Send", &pb.SendRequest{ConversationId: team, Content: content}).Seq
		do[*pb.PinResponse](s, who[0], "Pins.Pin", &pb.PinRequest{ConversationId: team, Seq: seq})
	}
	pins := 0
	for before, more := uint64(0), true; more; {
		page := do[*pb.ListPinsResponse](s, who[0], "Pins.List", &pb.ListPinsRequest{ConversationId: team, Before: before})
		if page.SizeVT() > 128<<10 {
			t.Fatalf("a page has %d bytes", page.SizeVT())
		}
		pins, more = pins+len(page.Pins), page.More
		before = page.Pins[len(page.Pins)-1].Message.Seq
	}
	if pins != 20 {
		t.Errorf("the pages have %d pins, want 20", pins)
	}
}

func TestWhatWaitsToBeSentCanBeListedPageByPage(t *testing.T) {
	s := newServer(t)
	team, who := s.joined(1)
	at := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	for range 20 {
		content := &pb.Content{Type: &pb.Content_Custom{Custom: &pb.Custom{Type: "x", Data: strings.Repeat("x", 20<<10)}}}
		do[*pb.ScheduleResponse](s, who[0], "Timers.Schedule", &pb.ScheduleRequest{ConversationId: team, Content: content, At: at})
	}
	found := 0
	for last, more := uint64(0), true; more; {
		page := do[*pb.ScheduledResponse](s, who[0], "Timers.Scheduled", &pb.ScheduledRequest{ConversationId: team, After: last})
		if page.SizeVT() > 128<<10 {
			t.Fatalf("a page has %d bytes", page.SizeVT())
		}
		found, more = found+len(page.Messages), page.More
		last = page.Messages[len(page.Messages)-1].Id
	}
	if found != 20 {
		t.Errorf("the pages have %d messages, want 20", found)
	}
}

// watched has everybody else in a group ask to be told of its first member, for a
// minute. A Step may write 300 rows.
func (s *server) watched(members int) (team uint64, who []entity.Caller) {
	s.t.Helper()
	policy, _ := entity.Profile("dev")
	policy.StepWrites = 300
	s.Policy(policy)
	team, who = s.joined(members)
	for _, c := range who[1:] {
		do[*pb.SubscribePresenceResponse](s, c, "Presence.Subscribe", &pb.SubscribePresenceRequest{
			ConversationId: team, UserIds: []string{who[0].User}, Seconds: 3600,
		})
	}
	return team, who
}

// seen is who of some people is told of another.
func (s *server) seen(of entity.Caller, by []entity.Caller) (n int) {
	s.t.Helper()
	for _, c := range by {
		n += len(do[*pb.GetPresenceResponse](s, c, "Presence.Get", &pb.GetPresenceRequest{UserIds: []string{of.User}}).People)
	}
	return n
}

func TestWhoIsWatchedByMoreThanAStepMayForgetIsStillSeen(t *testing.T) {
	s := newServer(t)
	_, who := s.watched(350)
	if n := s.seen(who[0], who[1:]); n != 349 {
		t.Fatalf("%d are told, want 349", n)
	}
	s.after(2 * time.Hour)
	do[*pb.SetStatusResponse](s, who[0], "Presence.SetStatus", &pb.SetStatusRequest{Status: "here"})
}

func TestWhoLeavesAndIsWatchedByMoreThanAStepMayForgetIsSeenByNobody(t *testing.T) {
	s := newServer(t)
	team, who := s.watched(350)
	do[*pb.SetRoleResponse](s, who[0], "Groups.SetRole", &pb.SetRoleRequest{ConversationId: team, UserId: who[1].User, Role: pb.Role_OWNER})
	do[*pb.LeaveResponse](s, who[0], "Groups.Leave", &pb.LeaveRequest{ConversationId: team})
	if n := s.seen(who[0], who[1:]); n != 0 {
		t.Errorf("%d are told, want none", n)
	}
	if list := do[*pb.ListDialogsResponse](s, who[0], "Dialogs.List", &pb.ListDialogsRequest{}); len(list.Dialogs) != 0 {
		t.Error("the group is still among his dialogs")
	}
}
