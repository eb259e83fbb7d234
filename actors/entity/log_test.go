package entity_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
	"kith/actors/pb"
)

// allow grants ann the part of the log between pairs of seqs; 0: open.
func (w *world) allow(hidden []uint64, spans ...uint64) {
	w.Helper()
	g := &Grant{UserId: "ann", Hidden: hidden}
	for i := 0; i < len(spans); i += 2 {
		g.Readable = append(g.Readable, &Span{From: spans[i], Through: spans[i+1]})
	}
	w.must(Allow(g))
}

func TestAPageHasAHoleWhereTheViewerMayNotRead(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		w.must(Say("x"))
	}
	for _, c := range []struct {
		name   string
		hidden []uint64
		spans  []uint64
		after  uint64
		limit  int
		want   []int // seqs, a hole as the negative of its beginning and its end
		end    uint64
		more   bool
	}{
		{"everything", nil, []uint64{1, 0}, 17, 9, []int{18, 19, 20}, 20, false},
		{"nothing new", nil, []uint64{1, 0}, 20, 9, nil, 20, false},
		{"beyond the head", nil, []uint64{1, 0}, 30, 9, nil, 30, false},
		{"a page", nil, []uint64{1, 0}, 4, 3, []int{5, 6, 7}, 7, true},
		{"the last page", nil, []uint64{1, 0}, 17, 3, []int{18, 19, 20}, 20, false},
		{"no limit", nil, []uint64{1, 0}, 17, 0, []int{18}, 18, true},
		{"before he came", nil, []uint64{18, 0}, 2, 9, []int{-3, 17, 18, 19, 20}, 20, false},
		{"after he left", nil, []uint64{1, 3}, 1, 9, []int{2, 3}, 3, false},
		{"long after", nil, []uint64{1, 3}, 9, 9, nil, 9, false},
		{"he left and returned", nil, []uint64{1, 3, 18, 19}, 1, 9, []int{2, 3, -4, 17, 18, 19}, 19, false},
		{"a hole takes room", nil, []uint64{1, 3, 18, 0}, 1, 3, []int{2, 3, -4, 17}, 17, true},
		{"room for a hole alone", nil, []uint64{18, 0}, 0, 1, []int{-1, 17}, 17, true},
		{"he came after the head", nil, []uint64{1, 2, 30, 0}, 0, 9, []int{1, 2}, 2, false},
		{"hidden", []uint64{18}, []uint64{1, 0}, 16, 9, []int{17, -18, 18, 19, 20}, 20, false},
		{"hidden in a row", []uint64{17, 18, 19}, []uint64{1, 0}, 15, 9, []int{16, -17, 19, 20}, 20, false},
		{"hidden at the end", []uint64{19, 20}, []uint64{1, 0}, 17, 9, []int{18, -19, 20}, 20, false},
		{"a hole of both sorts", []uint64{4, 10}, []uint64{1, 4, 10, 0}, 2, 9, []int{3, -4, 10, 11, 12, 13, 14, 15, 16, 17}, 17, true},
		{"hidden ends the page", []uint64{18, 19}, []uint64{1, 0}, 16, 2, []int{17, -18, 19}, 19, true},
		{"nobody", nil, nil, 0, 9, nil, 0, false},
	} {
		w.allow(c.hidden, c.spans...)
		page := w.replay(ann, c.after, c.limit)
		if got := seqs(page); !slices.Equal(got, c.want) || page.Through != c.end || page.More != c.more || page.Err != nil {
			t.Errorf("%s: %d through %d more %v %v, want %d through %d more %v",
				c.name, got, page.Through, page.More, page.Err, c.want, c.end, c.more)
		}
		if len(page.Events) > max(1, c.limit) {
			t.Errorf("%s: %d events, the limit was %d", c.name, len(page.Events), c.limit)
		}
	}
}

func TestAReachIsItsIntervalsWithoutWhatIsHidden(t *testing.T) {
	spans := []*pb.Interval{{From: 2, Through: 3}, {From: 7, Through: 7}, {From: 9}}
	r := entity.Reach{Intervals: spans, Hidden: func(seq uint64) bool { return seq == 3 || seq == 11 }}
	for seq, want := range map[uint64]bool{0: false, 1: false, 2: true, 3: false, 4: false, 6: false, 7: true, 8: false, 9: true, 10: true, 11: false, 1 << 40: true} {
		if got := r.Allows(seq); got != want {
			t.Errorf("allows %d: %v, want %v", seq, got, want)
		}
	}
	for head, want := range map[uint64]uint64{0: 0, 1: 0, 2: 2, 5: 3, 7: 7, 8: 7, 9: 9, 99: 99} {
		if got := r.Last(head); got != want {
			t.Errorf("the last of %d = %d, want %d", head, got, want)
		}
	}
	if (entity.Reach{}).Allows(1) || (entity.Reach{}).Last(9) != 0 || !entity.Everything.Allows(1) || entity.Everything.Last(9) != 9 {
		t.Error("nothing is something, or everything is not")
	}
}

// What a viewer gets page by page is what his reach allows, and each seq once.
func TestPagesTogetherAreTheWholeReach(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	w := newWorld(t)
	for range 60 {
		w.must(Say("x"))
	}
	for round := range 200 {
		g, at := &Grant{UserId: "ann"}, uint64(1)
		for at < 60 {
			from := at + r.Uint64N(9)
			at = from + r.Uint64N(20)
			g.Readable = append(g.Readable, &Span{From: from, Through: at})
			at += 2
		}
		for range r.IntN(20) {
			g.Hidden = append(g.Hidden, 1+r.Uint64N(60))
		}
		w.must(Allow(g))
		allowed := func(seq uint64) bool {
			return !slices.Contains(g.Hidden, seq) &&
				slices.ContainsFunc(g.Readable, func(s *Span) bool { return seq >= s.From && seq <= s.Through })
		}
		through, next := uint64(0), uint64(1)
		for more := true; more; {
			page := w.replay(ann, through, 1+r.IntN(7))
			for _, e := range page.Events {
				from := e.Seq
				if hole, ok := e.Body.(*pb.Hole); ok {
					from = hole.From
				} else if !allowed(e.Seq) {
					t.Fatalf("round %d: %v sees %d", round, g, e.Seq)
				}
				for seq := from; seq <= e.Seq && from < e.Seq; seq++ {
					if allowed(seq) {
						t.Fatalf("round %d: %v has a hole at %d", round, g, seq)
					}
				}
				if from != next {
					t.Fatalf("round %d: %d follows %d", round, from, next-1)
				}
				next = e.Seq + 1
			}
			more, through = page.More, page.Through
		}
	}
}

// Who was away for long steps over what he may not see; he does not read it.
func TestALongHoleCostsNothing(t *testing.T) {
	w := newWorld(t)
	w.policy.StepReads = 40
	for range 100 {
		w.must(Say("x"))
	}
	w.allow(nil, 1, 2, 99, 0)
	if got := seqs(w.replay(ann, 1, 9)); !slices.Equal(got, []int{2, -3, 98, 99, 100}) {
		t.Errorf("seqs = %d", got)
	}
	// And what is more than a request may read comes in pages.
	w.allow(nil, 1, 0)
	for through, more := uint64(0), true; more; {
		page := w.replay(ann, through, 1000)
		if page.Err != nil || page.Through <= through {
			t.Fatalf("after %d: through %d, %v", through, page.Through, page.Err)
		}
		through, more = page.Through, page.More
		if !more && through != 100 {
			t.Errorf("the pages end at %d", through)
		}
	}
}

func TestABugInTheRulesOfALogStaysThere(t *testing.T) {
	w := newWorld(t)
	w.must(Say("x"), Allow(&Grant{UserId: "panic", Readable: []*Span{{From: 1}}}))
	page := w.replay(caller("panic"), 0, 9)
	wantCode(t, page.Err, entity.Internal)
	p := w.reg.Position(w.store.Rows(), one, caller("panic"), &w.policy, 1)
	wantCode(t, p.Err, entity.Internal)
	for _, fault := range []error{page.Fault, p.Fault} {
		if fault == nil || !strings.Contains(fault.Error(), "this rule has a bug") {
			t.Errorf("fault = %v", fault)
		}
	}
}

func TestHistoryStepsOverLongRunsOfChanges(t *testing.T) {
	w := newWorld(t)
	var messages []uint64
	for run := range 12 {
		messages = append(messages, w.must(Say("x"))...)
		for range []int{0, 1, 15, 16, 17, 33, 3, 64, 16, 1, 100, 2}[run] {
			w.must(Note(1))
		}
	}
	down := slices.Clone(messages)
	slices.Reverse(down)
	wantNumbers(t, "all, newest first", w.ask(&LookRequest{Before: 10_000, Limit: 99}).Seqs, down...)
	wantNumbers(t, "all, oldest first", w.ask(&LookRequest{After: 0, Limit: 99, Before: 0}).Seqs)
	for i, seq := range messages {
		wantNumbers(t, fmt.Sprint("before ", seq), w.ask(&LookRequest{Before: seq, Limit: 99}).Seqs, down[len(down)-i:]...)
		wantNumbers(t, fmt.Sprint("after ", seq), w.ask(&LookRequest{After: seq, Limit: 99}).Seqs, messages[i+1:]...)
		wantNumbers(t, "two", w.ask(&LookRequest{Before: seq + 1, Limit: 2}).Seqs, down[len(down)-1-i:min(len(down)-i+1, len(down))]...)
	}
	// A run costs what History reads before it jumps, however long it is.
	w.policy.StepReads = 12*18 + 5
	wantNumbers(t, "within a bound", w.ask(&LookRequest{Before: 10_000, Limit: 99}).Seqs, down...)
}

func TestRewriteKeepsTheHeaderAndLeavesNoOldBody(t *testing.T) {
	w := newWorld(t)
	w.must(Allow(&Grant{UserId: "ann", Number: 3, Readable: []*Span{{From: 1}}}))
	w.must(Say("secret"))
	before := w.event(1)
	w.turn.Now = w.turn.Now.AddDate(0, 0, 1)
	w.must(Note(1))
	w.restart()
	w.must(Revise(1, "clean"), Quote(1))
	after := w.event(1)
	if text(after) != "clean" || after.By != "ann" || after.At != before.At || after.Stamp != before.Stamp ||
		entity.HeaderOf(after) != entity.HeaderOf(before) || after.Stamp == 0 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if strings.Contains(w.dump(), fmt.Sprintf("%x", "secret")) {
		t.Error("the old body is still in the store")
	}
	if h := entity.HeaderOf(w.event(2)); h.Ordinal != 1 || w.memory(one).Pending() {
		t.Errorf("the event after it: %+v", h)
	}
	for name, a := range map[string]*Act{"of another type": ReviseAsNote(1), "of nothing": Revise(9, "x")} {
		if out := w.do(a); out.Panic == "" {
			t.Errorf("a rewrite %s: %s", name, spell(out))
		}
	}
}

// The stamp of an event that is not durable is the committer's to write: its
// entity may rewrite the event meanwhile, and reads nothing there.
func TestAnEventIsRewrittenWhileItIsPending(t *testing.T) {
	w := newWorld(t)
	w.must(Say("a"))
	stamp := w.event(1).Stamp
	w.held = true
	w.must(Say("b"), Revise(2, "b2"))
	w.must(Revise(2, "b3"), Revise(1, "a2"))
	w.must(Revise(1, "a3"), Revise(2, "b4"), Say("c"))
	if got := w.do(Quote(1), Quote(2)).Reply.(*DoResponse).Texts; !slices.Equal(got, []string{"a3", "b4"}) {
		t.Errorf("a command reads %q", got)
	}
	w.settle()
	if _, _, events, _ := w.memory(one).Held(); events != 0 || w.memory(one).Pending() {
		t.Errorf("%d events are pending", events)
	}
	if e := w.event(1); text(e) != "a3" || e.Stamp != stamp {
		t.Errorf("event 1: %q of stamp %d, want a3 of %d", text(e), e.Stamp, stamp)
	}
	// The log is rewritten in later commits, and stays that of the first: whoever has
	// seen event 2 as of that commit has not missed it as of the third.
	if e, c := w.event(2), w.event(3); text(e) != "b4" || e.Stamp != c.Stamp-2 {
		t.Errorf("event 2: %q of stamp %d, want b4 of %d", text(e), e.Stamp, c.Stamp-2)
	}
}

func TestAJoinedFieldIsNeverStoredAndShownToWhoMayRead(t *testing.T) {
	w := newWorld(t)
	w.must(Say("the body"))
	out := w.do(Note(1), Note(7), Note(2))
	if live := out.Events[0].Body.(*Noted); live.Said.GetText() != "as it was heard live" {
		t.Errorf("live: %v", live)
	}
	if strings.Contains(w.dump(), fmt.Sprintf("%x", "as it was heard live")) {
		t.Error("a joined field was stored")
	}
	joined := func(after uint64, limit int) (texts []string) {
		for _, e := range w.replay(ann, after, limit).Events {
			if n, ok := e.Body.(*Noted); ok {
				texts = append(texts, n.Said.GetText())
			}
		}
		return texts
	}
	if got := joined(0, 9); !slices.Equal(got, []string{"the body", "", ""}) {
		t.Errorf("joined: %q, want the body of event 1, none of 7 and 2", got)
	}
	w.must(Revise(1, "rewritten"))
	if got := joined(0, 9)[0]; got != "rewritten" {
		t.Errorf("joined after a rewrite: %q", got)
	}
	for name, g := range map[string]*Grant{
		"hidden":        {UserId: "ann", Readable: []*Span{{From: 1}}, Hidden: []uint64{1}},
		"before he was": {UserId: "ann", Readable: []*Span{{From: 2}}},
	} {
		w.must(Allow(g))
		if got := joined(1, 1); !slices.Equal(got, []string{""}) {
			t.Errorf("%s: joined %q", name, got)
		}
	}
}

func TestAPositionIsTheViewersAndItsEpochIsTheLogsBirth(t *testing.T) {
	w := newWorld(t)
	w.stamp = 40
	w.must(Say("a"))
	w.must(Say("b"), Say("c"))
	at := func(viewer entity.Caller, incarnation uint64) entity.Position {
		return w.reg.Position(w.store.Rows(), one, viewer, &w.policy, incarnation)
	}
	if p := at(ann, 7); p.Head != 3 || p.Epoch != "7.15" || p.Ended || p.Err != nil { // 41 is 15 to the base 36.
		t.Errorf("position = %+v", p)
	}
	if p := at(ann, 8); p.Epoch != "8.15" {
		t.Errorf("epoch after a restore = %s", p.Epoch)
	}
	for _, c := range []struct {
		spans []uint64
		head  uint64
		ended bool
	}{{[]uint64{1, 2}, 2, true}, {[]uint64{1, 1, 3, 0}, 3, false}, {[]uint64{1, 9}, 3, true}, {[]uint64{1, 2, 9, 0}, 2, false}, {[]uint64{9, 0}, 0, false}} {
		w.allow(nil, c.spans...)
		if p := at(ann, 7); p.Head != c.head || p.Ended != c.ended || p.Err != nil {
			t.Errorf("reach %d: %+v, want %d", c.spans, p, c.head)
		}
	}
	w.allow(nil)
	wantCode(t, at(ann, 7).Err, entity.NotFound)
	stranger := ann
	stranger.Tenant = 2
	wantCode(t, at(stranger, 7).Err, entity.NotFound)
	wantCode(t, w.reg.Position(w.store.Rows(), entity.Ref{Tenant: 1, Kind: 99, ID: 1}, ann, &w.policy, 7).Err, entity.NotFound)
}

// Who has left has missed nothing that was said after his time, also when it is gone.
func TestTheFloorOfWhoHasLeftIsNotBeyondHisTime(t *testing.T) {
	w := newWorld(t)
	w.must(Allow(&Grant{UserId: "ann", Readable: []*Span{{From: 1, Through: 2}}}))
	w.must(Say("1"), Say("2"), Say("3"), Say("4"), Say("5"))
	w.must(DropEvents(3, 4), Say("6"))
	if p := w.reg.Position(w.store.Rows(), one, ann, &w.policy, 1); p.Head != 2 || p.Floor != 3 {
		t.Errorf("head %d, floor %d; want 2 and 3", p.Head, p.Floor)
	}
	w.must(DropEvents(1, 2), Say("7"))
	if p := w.reg.Position(w.store.Rows(), one, ann, &w.policy, 1); p.Head != 2 || p.Floor != 3 {
		t.Errorf("when his time is gone, too: head %d, floor %d; want 2 and 3", p.Head, p.Floor)
	}
	wantCode(t, w.replay(ann, 1, 9).Err, entity.Expired)
}

func TestAnEventIsOnTheWireAsItWasSaid(t *testing.T) {
	w := newWorld(t)
	w.must(Allow(&Grant{UserId: "ann", Number: 3, Readable: []*Span{{From: 1}}}))
	w.must(Say("hello"))
	wire := w.event(1).Wire()
	if wire.Type != 0x7000 || wire.Seq != 1 || wire.At != w.turn.Now.UnixMilli() || wire.By != "ann" || string(wire.Body) != "\n\x05hello" {
		t.Errorf("wire = %v", wire)
	}
}

func TestACommandWalksItsLogAsItStands(t *testing.T) {
	var seen []uint64
	w := newWorld(t, hook(entity.After(func(tx *entity.Tx, _ *Said) error {
		seen = nil
		tx.Events(1, 9, false, func(e *entity.Event) bool {
			seen = append(seen, e.Seq)
			return true
		})
		return nil
	})))
	w.must(Say("durable"))
	w.held = true
	w.must(Say("pending"))
	w.must(Say("its own"))
	if !slices.Equal(seen, []uint64{1, 2, 3}) {
		t.Errorf("it saw %v, want 1 2 3", seen)
	}
	w.settle()
}
