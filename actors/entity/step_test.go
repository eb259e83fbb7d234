package entity_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// anything is a random act that no program may not do.
func anything(r *rand.Rand, head uint64) *Act {
	key := string(rune('a' + r.IntN(6)))
	switch r.IntN(14) {
	case 0:
		return Set(key, r.Int64N(100))
	case 1:
		return Drop(key)
	case 2:
		return Add(key)
	case 3:
		return Get(key)
	case 4:
		return Scan("")
	case 5:
		return Sum()
	case 6:
		return Note(1)
	case 7:
		return Pulse(key)
	case 8:
		return To(2+r.Uint64N(3), Add(key))
	case 9:
		return Now()
	case 10:
		if r.IntN(4) == 0 {
			return Refuse(uint32(entity.Denied))
		}
		return Read(3)
	case 11:
		return Allow(&Grant{UserId: key, Number: uint32(1 + r.IntN(9)), Readable: []*Span{{From: 1}}})
	case 12:
		return Revise(1+r.Uint64N(head), "revised "+key)
	default:
		return Say("said " + key)
	}
}

// Rule 1: the same rows and the same call give the same outcome, whatever the
// memory of the entity holds and whatever is pending.
func TestTheSameRowsAndCallGiveTheSameOutcome(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		warm, cold := newWorld(t), newWorld(t)
		warm.must(Say("first"), Allow(&Grant{UserId: "ann", Number: 7, Readable: []*Span{{From: 1}}}))
		cold.must(Say("first"), Allow(&Grant{UserId: "ann", Number: 7, Readable: []*Span{{From: 1}}}))
		for step := range 40 {
			req := &DoRequest{CounterId: 1}
			for range 1 + r.IntN(5) {
				// Only what both have said for sure can be rewritten: the first event is a Said.
				req.Acts = append(req.Acts, anything(r, 1))
			}
			if r.IntN(3) == 0 {
				req.RequestId = fmt.Sprint(r.IntN(10))
			}
			now := warm.turn.Now.Add(time.Duration(r.IntN(3)-1) * time.Hour)
			warm.turn.Now, cold.turn.Now = now, now
			warm.held = r.IntN(2) == 0
			if !warm.held {
				warm.settle()
			}
			cold.restart()
			a, b := spell(warm.step(warm.call(ann, req))), spell(cold.step(cold.call(ann, req)))
			if a != b {
				t.Fatalf("seed %d step %d, %v:\nwarm %s\ncold %s", seed, step, req.Acts, a, b)
			}
		}
		warm.settle()
		if seed%2 == 0 && rowsOf(warm) != rowsOf(cold) {
			t.Errorf("seed %d: the stores differ", seed)
		}
	}
}

// rowsOf is the store without the log, whose stamps depend on when it was
// committed.
func rowsOf(w *world) string {
	var kept []string
	lower, _ := entity.Range(one, logTable)
	for line := range strings.Lines(w.dump()) {
		if !strings.HasPrefix(line, fmt.Sprintf("%x", lower)) && !strings.HasPrefix(line, fmt.Sprintf("%x", entity.RowKey(one, originTable, nil))) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func TestARefusedStepLeavesNoTrace(t *testing.T) {
	w := newWorld(t)
	w.must(Say("first"), Set("a", 1), Set("b", 2))
	all := []*Act{Set("a", 9), Drop("b"), Add("c"), Say("no"), Note(1), Revise(1, "no"), Pulse("no"), To(2, Add("x"))}
	before := w.dump()
	for name, last := range map[string]*Act{
		"a refusal": Refuse(uint32(entity.Denied)), "a panic": Panic("a bug"), "too many writes": Write(uint32(w.policy.StepWrites)),
	} {
		m := w.memory(one)
		version := m.Version()
		req := &DoRequest{CounterId: 1, RequestId: name, Acts: append(append([]*Act(nil), all...), last)}
		out := w.step(w.call(ann, req))
		if out.Err == nil || len(out.Writes)+len(out.Events)+len(out.Signals)+len(out.Tells) > 0 || out.Reply != nil {
			t.Errorf("after %s: %s", name, spell(out))
		}
		if w.dump() != before || m.Version() != version || m.Pending() {
			t.Errorf("%s left something in the store or pending", name)
		}
	}
	// Neither does memory know anything of it: warm and cold agree.
	look := []*Act{Get("a"), Get("b"), Get("c"), Sum(), Quote(1), Say("second")}
	wantNumbers(t, "a, b, c, sum, seq", w.must(look...), 1, 2, 0, 3, 2)
}

func TestARefusedRequestIsNotRemembered(t *testing.T) {
	w := newWorld(t)
	w.must(Say("first"))
	out := w.step(w.call(ann, &DoRequest{CounterId: 1, RequestId: "r", Acts: []*Act{Refuse(uint32(entity.Exhausted))}}))
	wantCode(t, out.Err, entity.Exhausted)
	out = w.step(w.call(ann, &DoRequest{CounterId: 1, RequestId: "r", Acts: []*Act{Say("now it works")}}))
	if out.Err != nil || out.Repeat {
		t.Errorf("the request after a refusal: %s", spell(out))
	}
}

// hook is a feature of one part.
func hook(p entity.Part) entity.Feature { return entity.Feature{Name: "hook", Parts: []entity.Part{p}} }

func TestBeforeHooksRunInOrderAndMayRefuse(t *testing.T) {
	var order []string
	before := func(name string) entity.Feature {
		return hook(entity.Before(func(tx *entity.Tx, r *DoRequest) error {
			order = append(order, name)
			if r.RequestId == name {
				return entity.Errorf(entity.Denied, "%s refuses", name)
			}
			return nil
		}))
	}
	w := newWorld(t, before("1"), before("2"), before("3"))
	w.must(Say("x"))
	if got := strings.Join(order, ""); got != "123" {
		t.Errorf("order = %s, want 123", got)
	}
	order = nil
	out := w.step(w.call(ann, &DoRequest{CounterId: 1, RequestId: "2", Acts: []*Act{Say("never")}}))
	wantCode(t, out.Err, entity.Denied)
	if got := strings.Join(order, ""); got != "12" || len(out.Events) > 0 {
		t.Errorf("order = %s with %d events, want 12 and no handler", got, len(out.Events))
	}
}

func TestAnAfterHookRunsInTheTransactionAndRefusesTheWholeOfIt(t *testing.T) {
	var seen []uint64
	count := hook(entity.After(func(tx *entity.Tx, e *Said) error {
		seen = append(seen, tx.Head().Seq)
		if e.Text == "echo" {
			tx.Emit(&Said{Text: "echoed"})
		}
		return nil
	}))
	refuse := hook(entity.After(func(_ *entity.Tx, e *Said) error {
		if e.Text == "echoed twice" {
			return entity.Errorf(entity.Denied, "enough")
		}
		return nil
	}))
	w := newWorld(t, count, refuse)
	w.must(Say("echo"))
	wantNumbers(t, "what the hook saw", seen, 1, 2)
	if got := w.event(2); text(got) != "echoed" {
		t.Errorf("event 2 says %q", text(got))
	}
	before := w.dump()
	wantCode(t, w.do(Say("fine"), Say("echoed twice"), Say("fine")).Err, entity.Denied)
	if w.dump() != before || w.memory(one).Pending() {
		t.Error("what an After hook refused left a trace")
	}
}

// A function that returns *Error makes an error that is not nil of its nil.
func TestANilErrorOfOurTypeIsNoRefusal(t *testing.T) {
	var none *entity.Error
	w := newWorld(t,
		hook(entity.Before(func(*entity.Tx, *DoRequest) error { return none })),
		hook(entity.After(func(*entity.Tx, *Said) error { return none })))
	wantNumbers(t, "seq", w.must(Say("x")), 1)
}

func TestSeqsAreDenseFromOneAndGoOnAfterAReload(t *testing.T) {
	w := newWorld(t)
	wantNumbers(t, "seqs", w.must(Say("a"), Note(1), Say("b")), 1, 2, 3)
	w.do(Say("lost"), Refuse(uint32(entity.Denied)))
	wantNumbers(t, "seqs after a refusal", w.must(Say("c")), 4)
	w.restart()
	wantNumbers(t, "seqs after a restart", w.must(Note(1), Say("d")), 5, 6)
	w.held = true
	wantNumbers(t, "seqs while pending", w.must(Say("e")), 7)
	wantNumbers(t, "seqs while pending", w.must(Say("f")), 8)
	w.restart()
	for seq := uint64(1); seq <= 8; seq++ {
		if got := w.event(seq).Seq; got != seq {
			t.Errorf("event %d has seq %d", seq, got)
		}
	}
}

func TestOrdinalsCountMessagesAndPrevFindsTheLastOne(t *testing.T) {
	w := newWorld(t)
	w.must(Note(0), Say("a"), Note(2))
	w.restart()
	w.must(Note(2), Say("b"))
	w.must(Say("c"), Note(6))
	for seq, want := range []struct{ ordinal, prev uint64 }{{0, 0}, {1, 0}, {1, 2}, {1, 2}, {2, 2}, {3, 5}, {3, 6}} {
		h := entity.HeaderOf(w.event(uint64(seq + 1)))
		if h.Ordinal != want.ordinal || h.Prev != want.prev {
			t.Errorf("event %d: ordinal %d prev %d, want %d %d", seq+1, h.Ordinal, h.Prev, want.ordinal, want.prev)
		}
	}
}

func TestASignalIsNeverStored(t *testing.T) {
	w := newWorld(t)
	w.must(Allow(&Grant{UserId: "bob", Number: 2}))
	before := w.dump()
	out := w.do(Pulse("hello"))
	if len(out.Signals) != 1 || out.Signals[0].Seq != 0 || len(out.Writes) > 0 || w.dump() != before {
		t.Fatalf("a signal: %s", spell(out))
	}
	wantNumbers(t, "audience", out.Signals[0].Audience.Users, bob.Number)
}

func TestTimeNeverRunsBackInALog(t *testing.T) {
	w := newWorld(t)
	start := uint64(w.turn.Now.UnixMilli())
	wantNumbers(t, "now", w.must(Say("a"), Now()), 1, start)
	w.turn.Now = w.turn.Now.Add(-3 * time.Hour)
	wantNumbers(t, "now by an earlier clock", w.must(Now()), start)
	w.restart()
	wantNumbers(t, "and after a restart", w.must(Now(), Say("b")), start, 2)
	if at := w.event(2).At; at != int64(start) {
		t.Errorf("event 2 is of %d, want %d", at, start)
	}
	w.turn.Now = w.turn.Now.Add(5 * time.Hour)
	wantNumbers(t, "now by a later clock", w.must(Now()), uint64(w.turn.Now.UnixMilli()))
}

// Rule 12: one entity's bug stays there, and drops what its memory had decoded.
func TestAPanicRefusesTheCallAndDropsTheCache(t *testing.T) {
	w := newWorld(t)
	w.must(Set("a", 5), Say("x"))
	w.held = true
	w.must(Set("b", 6), Say("y"))
	out := w.do(Mutate("a"), Mutate("b"), Panic("secret detail"))
	wantCode(t, out.Err, entity.Internal)
	if !strings.Contains(out.Panic, "secret detail") || strings.Contains(out.Err.Msg, "secret") {
		t.Errorf("panic %q, told %q", out.Panic, out.Err.Msg)
	}
	wantNumbers(t, "a, b, seq", w.must(Get("a"), Get("b"), Say("z")), 5, 6, 3)
}

func TestAStepIsBounded(t *testing.T) {
	w := newWorld(t)
	w.policy.StepReads, w.policy.StepWrites, w.policy.StepTells = 50, 40, 3
	tell, say := To(2, Add("x")), Say("x")
	for name, c := range map[string]struct {
		fits, over []*Act
	}{
		"reads":  {[]*Act{Read(50)}, []*Act{Read(51)}},
		"scans":  {[]*Act{Scan("w"), Read(8)}, []*Act{Scan("w"), Scan("w")}},
		"writes": {[]*Act{Write(40)}, []*Act{Write(40), Set("a", 1)}},
		"again":  {[]*Act{Write(40), Write(40)}, []*Act{Write(41)}},
		"tells":  {[]*Act{tell, tell, tell}, []*Act{tell, tell, tell, tell}},
		"events": {repeat(say, 40), repeat(say, 41)},
	} {
		w.must(Write(40))
		if out := w.do(c.fits...); out.Err != nil {
			t.Errorf("%s within the bound: %v", name, out.Err)
		}
		before := w.dump()
		out := w.do(c.over...)
		wantCode(t, out.Err, entity.TooLarge)
		if out.Bound == "" || w.dump() != before {
			t.Errorf("%s: bound %q, or a trace", name, out.Bound)
		}
	}
	out := w.reg.Query(w.store.Rows(), w.call(ann, &LookRequest{CounterId: 1, Acts: []*Act{Read(51)}}), w.turn)
	wantCode(t, out.Err, entity.TooLarge)
	if out.Bound == "" {
		t.Error("the bound of a query is not said")
	}
}

func repeat(a *Act, n int) (all []*Act) {
	for range n {
		all = append(all, a)
	}
	return all
}

func TestEditGivesACopyOfAFrozenRow(t *testing.T) {
	var frozen, edited *Count
	table := entity.NewTable[Count]()
	peek := hook(entity.Before(func(tx *entity.Tx, _ *DoRequest) error {
		key := entity.Key(nil).Str("a")
		edited = table.Edit(tx, key)
		edited.N = 77
		frozen, _ = table.Get(tx, key)
		return nil
	}))
	w := newWorld(t, peek)
	w.must(Set("a", 1))
	wantNumbers(t, "a", w.must(Get("a")), 1)
	if frozen == edited || frozen.N != 1 {
		t.Errorf("the row is %v after a change of its copy", frozen)
	}
}

func TestAQueryRunsOnTheDurableViewAndIsGuarded(t *testing.T) {
	w := newWorld(t)
	w.must(Set("a", 1), Say("x"))
	w.held = true
	w.must(Set("a", 2), Say("y"))
	got := w.ask(&LookRequest{Acts: []*Act{Get("a"), Sum(), Scan("")}, Before: 10, Limit: 9})
	wantNumbers(t, "a, sum", got.Numbers, 1, 1)
	wantNumbers(t, "messages", got.Seqs, 1)
	if got.Head != 1 || got.Texts[0] != "a=1" {
		t.Errorf("head %d, scan %q", got.Head, got.Texts)
	}
	out := w.reg.Query(w.store.Rows(), w.call(ann, &LookRequest{CounterId: 1, Acts: []*Act{Panic("a bug")}}), w.turn)
	wantCode(t, out.Err, entity.Internal)
	if !strings.Contains(out.Panic, "a bug") {
		t.Errorf("panic = %q", out.Panic)
	}
	out = w.reg.Query(w.store.Rows(), w.call(ann, &LookRequest{CounterId: 1, Acts: []*Act{Refuse(uint32(entity.Denied))}}), w.turn)
	wantCode(t, out.Err, entity.Denied)
}

func TestAKindOfEventIsEmittedOrSignalled(t *testing.T) {
	var body entity.Message
	w := newWorld(t, hook(entity.Before(func(tx *entity.Tx, r *DoRequest) error {
		if r.RequestId == "emit" {
			tx.Emit(body)
		}
		tx.Signal(body)
		return nil
	})))
	for id, b := range map[string]entity.Message{"emit": &Pulsed{}, "signal": &Said{}, "neither": &Count{}} {
		body = b
		if out := w.step(w.call(ann, &DoRequest{CounterId: 1, RequestId: id})); out.Panic == "" {
			t.Errorf("%s: %s", id, spell(out))
		}
	}
}
