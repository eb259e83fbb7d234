package entity_test

import (
	"slices"
	"testing"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
	"kith/actors/pb"
)

// hear delivers a tell.
func (w *world) hear(t *entity.Tell) entity.Outcome {
	w.Helper()
	m := w.memory(t.Call.To)
	return w.take(m, m.Hear(w.reg, t, w.turn))
}

// done takes a tell out of the outbox, and has the receiver forget it.
func (w *world) done(t *entity.Tell) {
	w.Helper()
	if err := w.store.Commit(t.Done()); err != nil {
		w.Fatal(err)
	}
	m := w.memory(t.Call.To)
	w.take(m, m.ForgetHeard(w.reg, t, w.turn))
}

// outbox reads the tells that lie in the store, in the order of delivery.
func (w *world) outbox(dead bool) (all []*entity.Tell) {
	w.Helper()
	read := w.reg.Outbox
	if dead {
		read = w.reg.DeadLetters
	}
	for shard := range uint16(entity.Shards) {
		err := read(w.store.Rows(), shard, func(t *entity.Tell) bool {
			all = append(all, t)
			return true
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	return all
}

func (w *world) count(ref entity.Ref, key string) uint64 {
	w.Helper()
	out := w.step(w.call(ann, &DoRequest{CounterId: ref.ID, Acts: []*Act{Get(key)}}))
	return out.Reply.(*DoResponse).Numbers[0]
}

func TestTellsAreNumberedInOrderAcrossReceiversAndReloads(t *testing.T) {
	w := newWorld(t)
	w.must(To(2, Add("a")), To(3, Add("a")), To(2, Add("b")))
	w.restart()
	w.must(To(2, Add("c")))
	var numbers []uint64
	for _, tell := range w.pending {
		numbers = append(numbers, tell.Number)
		if tell.From != one || tell.Call.Caller != ann {
			t.Errorf("tell %d is from %v, for %v", tell.Number, tell.From, tell.Call.Caller)
		}
	}
	wantNumbers(t, "numbers", numbers, 1, 2, 3, 4)
	// The outbox has them in the order of each pair.
	numbers = nil
	for _, tell := range w.outbox(false) {
		if tell.Call.To == two {
			numbers = append(numbers, tell.Number)
			if tell.Call.Method.Name != "Counters.Told" || tell.Call.Caller != ann || tell.From != one || tell.At.UnixMilli() != w.turn.Now.UnixMilli() {
				t.Errorf("tell %d was read as %+v", tell.Number, tell)
			}
		}
	}
	wantNumbers(t, "numbers for 2", numbers, 1, 3, 4)
}

func TestATellIsHeardOnceHoweverOftenItArrives(t *testing.T) {
	w := newWorld(t)
	w.must(Say("x"), To(2, Add("a"), Say("heard")), To(2, Add("b")))
	first, second := w.pending[0], w.pending[1]
	for i, want := range []bool{false, true, true} {
		if out := w.hear(first); out.Heard != want || out.Err != nil || want && len(out.Writes) > 0 {
			t.Errorf("arrival %d: %s", i, spell(out))
		}
		if i == 1 {
			w.restart()
		}
	}
	w.hear(second)
	if out := w.hear(first); !out.Heard {
		t.Errorf("the first after the second: %s", spell(out))
	}
	if a, b := w.count(two, "a"), w.count(two, "b"); a != 1 || b != 1 {
		t.Errorf("a = %d, b = %d, want 1 each", a, b)
	}
	if n := w.rows(two, heardTable); n != 1 {
		t.Errorf("%d rows remember one sender", n)
	}
	for _, tell := range w.outbox(false) {
		w.done(tell)
	}
	if heard, out := w.rows(two, heardTable), w.system(outboxTable); heard+out != 0 {
		t.Errorf("after settling there are %d rows of the heard and %d of the outbox", heard, out)
	}
}

func TestARefusedTellIsHeard(t *testing.T) {
	w := newWorld(t)
	w.must(Say("x"), To(2, Add("a"), Refuse(uint32(entity.Denied))), To(2, Write(uint32(w.policy.StepWrites+1))), To(2, Add("a")))
	refused, over, fine := w.pending[0], w.pending[1], w.pending[2]
	out := w.hear(refused)
	wantCode(t, out.Err, entity.Denied)
	if out := w.hear(refused); !out.Heard {
		t.Errorf("again: %s", spell(out))
	}
	wantCode(t, w.hear(over).Err, entity.TooLarge)
	w.done(refused)
	w.done(over)
	if n := w.rows(two, heardTable); n != 0 {
		t.Errorf("%d rows are left after refusals", n)
	}
	if out := w.hear(fine); out.Err != nil || out.Heard {
		t.Errorf("the next one: %s", spell(out))
	}
	if a := w.count(two, "a"); a != 1 {
		t.Errorf("a = %d, want 1", a)
	}
}

func TestAnOverloadedOrPanickingTellIsNotHeard(t *testing.T) {
	for name, act := range map[string]*Act{"overloaded": Refuse(uint32(entity.Overloaded)), "a panic": Panic("a bug")} {
		w := newWorld(t)
		w.must(Say("x"), To(2, Add("a"), act))
		for range 3 {
			out := w.hear(w.pending[0])
			if out.Heard || out.Err == nil || len(out.Writes) > 0 {
				t.Errorf("%s: %s", name, spell(out))
			}
		}
		if n := w.rows(two, heardTable); n != 0 {
			t.Errorf("%s: it is remembered", name)
		}
	}
}

// The memory of a tell goes when the sender's row is gone, but not that of a
// later one, and what is gone before a parked tell goes with it.
func TestForgettingATellKeepsLaterOnes(t *testing.T) {
	w := newWorld(t)
	w.must(Say("x"), To(2, Add("a")), To(2, Add("a")), To(2, Panic("a bug")))
	first, second, parked := w.pending[0], w.pending[1], w.pending[2]
	w.hear(first)
	w.hear(second)
	w.done(first)
	if out := w.hear(second); !out.Heard {
		t.Errorf("the second is forgotten with the first: %s", spell(out))
	}
	w.done(parked)
	if n := w.rows(two, heardTable); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestATellOfAnUnknownMethodIsReadAndCanBeParked(t *testing.T) {
	w := newWorld(t)
	w.must(Say("x"), To(2, Add("a")))
	other, err := entity.NewIn("kith.nothing")
	if err != nil {
		t.Fatal(err)
	}
	known := w.reg
	w.reg = other
	lost := w.outbox(false)
	if len(lost) != 1 || lost[0].Call.Method != nil || lost[0].Call.To != two || lost[0].Number != 1 {
		t.Fatalf("the outbox of a server that does not know the method: %+v", lost)
	}
	if err := w.store.Commit(lost[0].Park("nobody knows it", w.turn.Now)); err != nil {
		t.Fatal(err)
	}
	if out, dead := w.system(outboxTable), w.system(deadTable); out != 0 || dead != 1 {
		t.Errorf("%d rows in the outbox, %d dead letters, want 0 and 1", out, dead)
	}
	w.reg = known
	found := w.outbox(true)
	if len(found) != 1 || found[0].Call.Method == nil || found[0].Call.Caller != ann {
		t.Fatalf("the dead letters: %+v", found)
	}
	if err := w.store.Commit(found[0].Replay()); err != nil {
		t.Fatal(err)
	}
	if out, dead := w.system(outboxTable), w.system(deadTable); out != 1 || dead != 0 {
		t.Errorf("%d rows in the outbox, %d dead letters, want 1 and 0", out, dead)
	}
}

func TestATellWhoseRequestCannotBeReadIsOfNoMethod(t *testing.T) {
	w := newWorld(t)
	w.must(Say("x"), To(2, Add("a")))
	lower, upper := entity.System(one.Shard(), outboxTable)
	var key []byte
	if err := w.store.Rows().Scan(lower, upper, false, func(k, _ []byte) bool {
		key = slices.Clone(k)
		return false
	}); err != nil {
		t.Fatal(err)
	}
	row := &pb.Outbox{Method: "Counters.Told", Request: []byte{0xff}, At: 1}
	if err := w.store.Commit([]entity.Write{{Key: key, Val: encode(row)}}); err != nil {
		t.Fatal(err)
	}
	if all := w.outbox(false); len(all) != 1 || all[0].Call.Method != nil || all[0].Call.To != two {
		t.Errorf("the outbox: %+v", all)
	}
}

// A dead letter comes back after later tells of its sender, and is still heard,
// once.
func TestAReplayedTellIsHeardAfterLaterOnes(t *testing.T) {
	w := newWorld(t)
	w.must(Say("x"), To(2, Add("a")), To(2, Add("b")))
	parked, later := w.pending[0], w.pending[1]
	if err := w.store.Commit(parked.Park("a bug", w.turn.Now)); err != nil {
		t.Fatal(err)
	}
	w.hear(later)
	found := w.outbox(true)[0]
	if err := w.store.Commit(found.Replay()); err != nil {
		t.Fatal(err)
	}
	w.restart()
	var back *entity.Tell
	for _, tell := range w.outbox(false) {
		if tell.Number == 1 {
			back = tell
		}
	}
	for i, want := range []bool{false, true} {
		if out := w.hear(back); out.Heard != want || out.Err != nil {
			t.Errorf("arrival %d: %s", i, spell(out))
		}
		w.restart()
	}
	if out := w.hear(later); !out.Heard {
		t.Errorf("the later one again: %s", spell(out))
	}
	if a, b := w.count(two, "a"), w.count(two, "b"); a != 1 || b != 1 {
		t.Errorf("a = %d, b = %d, want 1 each", a, b)
	}
	w.done(back)
	w.done(later)
	if n := w.rows(two, heardTable) + w.system(outboxTable) + w.system(deadTable); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestATellThatNobodyCanRunPanics(t *testing.T) {
	for name, tell := range map[string]*Tell{
		"another tenant": {CounterId: 2, Tenant: 2},
		"another kind":   {CounterId: 2, ToUser: true},
		"itself":         {CounterId: 1},
	} {
		w := newWorld(t)
		out := w.do(Say("x"), &Act{What: &Act_Tell{Tell: tell}})
		if out.Panic == "" || len(out.Writes) > 0 {
			t.Errorf("%s: %s", name, spell(out))
		}
	}
	for name, req := range map[string]entity.Message{"a query": &LookRequest{}, "no request": &Said{}} {
		w := newWorld(t, hook(entity.Before(func(tx *entity.Tx, _ *DoRequest) error {
			tx.Tell(two, req)
			return nil
		})))
		if out := w.do(Say("x")); out.Panic == "" {
			t.Errorf("%s: %s", name, spell(out))
		}
	}
}

func TestADamagedOutboxIsSaid(t *testing.T) {
	w := newWorld(t)
	w.must(Say("x"), To(2, Add("a")), To(2, Add("b")))
	lower, upper := entity.System(one.Shard(), outboxTable)
	var first []byte
	if err := w.store.Rows().Scan(lower, upper, false, func(key, _ []byte) bool {
		first = slices.Clone(key)
		return false
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Commit([]entity.Write{{Key: first, Val: []byte{0xff}}}); err != nil {
		t.Fatal(err)
	}
	err := w.reg.Outbox(w.store.Rows(), one.Shard(), func(*entity.Tell) bool { return true })
	if err == nil {
		t.Error("a damaged row of the outbox was passed over")
	}
}
