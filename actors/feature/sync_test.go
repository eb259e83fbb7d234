package feature_test

import (
	"fmt"
	"strings"
	"testing"

	"kith/actors/entity"
	"kith/actors/pb"
)

// groups makes groups of which alice is the owner.
func (s *server) groups(alice entity.Caller, n int) []uint64 {
	s.t.Helper()
	var all []uint64
	for range n {
		all = append(all, s.openGroup(alice))
	}
	return all
}

// lists reads a list of dialogs page by page.
func (s *server) lists(who entity.Caller, req *pb.ListDialogsRequest) (all []*pb.DialogItem, pages int) {
	s.t.Helper()
	for {
		resp := do[*pb.ListDialogsResponse](s, who, "Dialogs.List", req)
		all, pages = append(all, resp.Dialogs...), pages+1
		if req.Cursor = resp.Cursor; req.Cursor == "" {
			return all, pages
		}
	}
}

// syncs reads a sync page by page, and returns the token for the next.
func (s *server) syncs(who entity.Caller, token string, req *pb.SyncRequest) (all []*pb.SyncedDialog, next string, pages int) {
	s.t.Helper()
	req.Token = token
	for {
		resp := do[*pb.SyncResponse](s, who, "Dialogs.Sync", req)
		all, pages = append(all, resp.Dialogs...), pages+1
		if req.Token = resp.Token; !resp.More {
			return all, resp.Token, pages
		}
	}
}

func TestAListOfManyDialogsIsWholeAndInOrder(t *testing.T) {
	s := newServer(t)
	alice := caller(1, "alice")
	all := s.groups(alice, 450)
	for i, id := range all {
		if i%3 == 0 {
			s.send(alice, id, "hello")
		}
	}
	check := func(name string, parts int, req *pb.ListDialogsRequest) {
		t.Helper()
		got, _ := s.lists(alice, req)
		seen, turns := map[uint64]bool{}, 0
		for i, item := range got {
			if seen[item.ConversationId] {
				t.Errorf("%s: %d is listed twice", name, item.ConversationId)
			}
			seen[item.ConversationId] = true
			if i > 0 && item.At > got[i-1].At {
				turns++
			}
		}
		if len(got) != len(all) || turns != parts-1 {
			t.Errorf("%s: %d dialogs in %d parts, want %d in %d", name, len(got), turns+1, len(all), parts)
		}
	}
	check("one part", 1, &pb.ListDialogsRequest{Limit: 70})
	policy, _ := entity.Profile("dev")
	policy.QueryAsks = 200 // 130 dialogs can be put in order, and 70 shown.
	s.Policy(policy)
	check("few questions", 4, &pb.ListDialogsRequest{Limit: 70, Totals: true})
	policy.PageItems = 1000
	s.Policy(policy)
	check("pages larger than the questions", 5, &pb.ListDialogsRequest{})
	policy, _ = entity.Profile("dev")
	policy.StepReads = 2000
	s.Policy(policy)
	check("few reads", 1, &pb.ListDialogsRequest{})
}

func TestASyncOfManyDialogsTellsEachOnce(t *testing.T) {
	s := newServer(t)
	alice := caller(1, "alice")
	all := s.groups(alice, 1100)
	policy, _ := entity.Profile("dev")
	policy.QueryAsks, policy.StepReads = 200, 2000
	s.Policy(policy)
	got, token, pages := s.syncs(alice, "", &pb.SyncRequest{})
	if len(got) != len(all) || pages < 11 {
		t.Errorf("the first sync has %d dialogs in %d pages, want %d in 11", len(got), pages, len(all))
	}
	for _, i := range []int{3, 700, 1099} {
		s.send(alice, all[i], "hello")
	}
	got, token, _ = s.syncs(alice, token, &pb.SyncRequest{})
	if len(got) != 3 || len(got[0].Events) != 1 || got[0].Reset_ {
		t.Errorf("after three messages: %v", got)
	}
	if got, _, _ = s.syncs(alice, token, &pb.SyncRequest{}); len(got) != 0 {
		t.Errorf("nothing has changed, and the sync has %v", got)
	}
}

// TestAPageOfASyncFitsAFrame has every dialog bring as much as it can.
func TestAPageOfASyncFitsAFrame(t *testing.T) {
	s := newServer(t)
	alice := caller(1, "alice")
	all := s.groups(alice, 4)
	_, token, _ := s.syncs(alice, "", &pb.SyncRequest{})
	text := strings.Repeat("x", 4000)
	for _, id := range all {
		for range 30 {
			s.send(alice, id, text)
		}
		do[*pb.SetDraftResponse](s, alice, "Dialogs.SetDraft", &pb.SetDraftRequest{ConversationId: id, Text: text})
	}
	req, seen := &pb.SyncRequest{Token: token, Events: 100}, 0
	for more := true; more; {
		resp := do[*pb.SyncResponse](s, alice, "Dialogs.Sync", req)
		if size := resp.SizeVT(); size > 100<<10 {
			t.Errorf("a page has %d bytes", size)
		}
		for _, item := range resp.Dialogs {
			if seen++; !item.More || len(item.Events) < 5 || item.Through != item.Events[len(item.Events)-1].Seq {
				t.Errorf("a dialog with %d events up to %d, more: %v", len(item.Events), item.Through, item.More)
			}
		}
		req.Token, more = resp.Token, resp.More
	}
	if seen != len(all) {
		t.Errorf("%d dialogs, want %d", seen, len(all))
	}
}

// TestADeviceHearsWhatWasDeletedElsewhere deletes more often than is remembered.
func TestADeviceHearsWhatWasDeletedElsewhere(t *testing.T) {
	s := newServer(t)
	alice := caller(1, "alice")
	id := s.openGroup(alice)
	var seqs []uint64
	for i := range 100 {
		seqs = append(seqs, s.send(alice, id, fmt.Sprint(i)))
	}
	hide := func(n int) {
		for _, seq := range seqs[:n] {
			do[*pb.DeleteResponse](s, alice, "Messages.Delete", &pb.DeleteRequest{ConversationId: id, Seqs: []uint64{seq}})
		}
		seqs = seqs[n:]
	}
	_, token, _ := s.syncs(alice, "", &pb.SyncRequest{})
	hide(5)
	got, next, _ := s.syncs(alice, token, &pb.SyncRequest{})
	if len(got) != 1 || len(got[0].Hidden) != 5 || got[0].Reset_ {
		t.Fatalf("after five: %v", got)
	}
	hide(63)
	if got, _, _ = s.syncs(alice, next, &pb.SyncRequest{}); len(got) != 1 || len(got[0].Hidden) != 63 || got[0].Reset_ {
		t.Errorf("after 63 more: %v", got)
	}
	if got, _, _ = s.syncs(alice, token, &pb.SyncRequest{}); len(got) != 1 || !got[0].Reset_ {
		t.Errorf("from before all of them, of which some are forgotten: %v", got)
	}
}

// TestSharingReachesEveryConversation sets it for more than one Step may tell, and
// again while that goes on.
func TestSharingReachesEveryConversation(t *testing.T) {
	s := newServer(t)
	alice := caller(1, "alice")
	all := s.groups(alice, 450)
	off := func() (n int) {
		for _, id := range all {
			_, refused := s.try(alice, "Receipts.Readers", &pb.ReadersRequest{ConversationId: id, Seq: s.send(alice, id, "who reads this?")})
			if refused != nil {
				n++
			}
		}
		return n
	}
	do[*pb.SetSharingResponse](s, alice, "Receipts.SetSharing", &pb.SetSharingRequest{})
	if n := off(); n != len(all) {
		t.Errorf("%d conversations know that she does not share, want %d", n, len(all))
	}
	do[*pb.SetSharingResponse](s, alice, "Receipts.SetSharing", &pb.SetSharingRequest{On: true})
	if n := off(); n != 0 {
		t.Errorf("%d conversations do not know that she shares again", n)
	}
}
