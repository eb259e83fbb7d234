package entity_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// due is what the store says is due now, in the order of its times.
func (w *world) due() (all []entity.Due) {
	w.Helper()
	for shard := range uint16(entity.Shards) {
		_, err := entity.DueTimers(w.store.Rows(), shard, w.turn.Now, func(d entity.Due) bool {
			if d.Method() != "" { // The kernel's own is another test's.
				all = append(all, d)
			}
			return true
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	slices.SortFunc(all, func(a, b entity.Due) int { return int(a.At - b.At) })
	return all
}

// fire fires a timer.
func (w *world) fire(d entity.Due) entity.Outcome {
	w.Helper()
	m := w.memory(d.Ref)
	return w.take(m, m.Fire(w.reg, &d, w.turn))
}

// in is a time from now, in unix milliseconds.
func (w *world) in(d time.Duration) int64 { return w.turn.Now.Add(d).UnixMilli() }

func TestATimerFiresOnceAtItsTime(t *testing.T) {
	w := newWorld(t)
	w.must(Later("a", w.in(time.Minute), Add("fired")))
	if got := w.due(); len(got) != 0 {
		t.Fatalf("due before its time: %v", got)
	}
	w.restart()
	w.turn.Now = w.turn.Now.Add(time.Minute)
	due := w.due()
	if len(due) != 1 || due[0].Ref != one || due[0].Method() != "Counters.Told" {
		t.Fatalf("due = %v, want one of counter 1", due)
	}
	if out := w.fire(due[0]); out.Err != nil || out.Heard {
		t.Fatalf("it did not fire: %s", spell(out))
	}
	if out := w.fire(due[0]); !out.Heard { // Late, or twice.
		t.Errorf("it fired again: %s", spell(out))
	}
	wantNumbers(t, "fired", w.must(Get("fired")), 1)
	if got := w.due(); len(got) != 0 {
		t.Errorf("it is still due: %v", got)
	}
}

func TestATimerOfTheSameKeyIsReplacedAndOneCanBeCancelled(t *testing.T) {
	w := newWorld(t)
	w.must(Later("a", w.in(time.Minute), Add("first")), Later("b", w.in(time.Minute), Add("cancelled")))
	w.must(Later("a", w.in(2*time.Minute), Add("second")), Cancel("b"), Cancel("never set"))
	w.turn.Now = w.turn.Now.Add(time.Minute)
	if got := w.due(); len(got) != 0 {
		t.Errorf("due = %v, want none: one was put off, one cancelled", got)
	}
	w.must(Later("a", w.in(time.Minute), Add("third"))) // The same time again.
	w.turn.Now = w.turn.Now.Add(time.Minute)
	for _, d := range w.due() {
		w.fire(d)
	}
	wantNumbers(t, "fired", w.must(Get("first"), Get("second"), Get("cancelled"), Get("third")), 0, 0, 0, 1)
}

func TestATimerMaySetItselfAgain(t *testing.T) {
	w := newWorld(t)
	again := w.in(2 * time.Minute)
	w.must(Later("a", w.in(time.Minute), Add("fired"), Later("a", again, Add("again"))))
	w.turn.Now = w.turn.Now.Add(time.Minute)
	w.fire(w.due()[0])
	w.turn.Now = w.turn.Now.Add(time.Minute)
	due := w.due()
	if len(due) != 1 {
		t.Fatalf("due = %v, want the one that it set", due)
	}
	w.fire(due[0])
	wantNumbers(t, "fired", w.must(Get("fired"), Get("again")), 1, 1)
}

func TestARefusedTimerIsOverAndOneThatPanicsOrIsOverloadedIsNot(t *testing.T) {
	w := newWorld(t)
	w.must(Later("refused", w.in(1), Add("undone"), Refuse(uint32(entity.Denied))),
		Later("overloaded", w.in(2), Refuse(uint32(entity.Overloaded))), Later("panics", w.in(3), Panic("a bug")))
	w.turn.Now = w.turn.Now.Add(time.Second)
	for _, d := range w.due() {
		w.fire(d)
	}
	left := w.due()
	if len(left) != 2 {
		t.Fatalf("left = %v, want the overloaded one and the one that panics", left)
	}
	wantNumbers(t, "undone", w.must(Get("undone")), 0)

	m := w.memory(one)
	w.take(m, m.ParkTimer(w.reg, &left[1], "it panicked", w.turn))
	w.take(m, m.ParkTimer(w.reg, &left[1], "it panicked", w.turn)) // Late, or twice.
	if got := w.due(); len(got) != 1 {
		t.Errorf("due = %v after one was parked, want the other", got)
	}
	dead := w.outbox(true)
	if len(dead) != 1 || dead[0].From != one || dead[0].Call.To != one || dead[0].Call.Method.Name != "Counters.Told" {
		t.Fatalf("dead letters = %v, want the timer as a tell to itself", dead)
	}
}

func TestWhatIsToldToItselfGoesOnInAnotherStep(t *testing.T) {
	w := newWorld(t)
	w.must(Add("a"), GoOn(Add("a"), GoOn(Add("a"))))
	for len(w.pending) > 0 {
		tell := w.pending[0]
		w.pending = w.pending[1:]
		w.hear(tell)
		if again := w.hear(tell); !again.Heard {
			t.Errorf("it was heard twice: %s", spell(again))
		}
		w.done(tell)
	}
	wantNumbers(t, "a", w.must(Get("a")), 3)
	if out := w.do(To(1, Add("a"))); out.Panic == "" {
		t.Error("a Tell to itself is not refused: that is a Continue")
	}
}

func TestATaskIsATellThatNoEntityHears(t *testing.T) {
	w := newWorld(t)
	w.must(Errand("milk"), Errand("bread"))
	all := w.outbox(false)
	if len(all) != 2 || !all[0].Call.To.Outside() || all[0].Call.Req.(*RunRequest).Errand != "milk" {
		t.Fatalf("outbox = %v, want two errands in order", all)
	}
	var rest []string
	err := w.reg.OutboxAfter(w.store.Rows(), all[0], func(next *entity.Tell) bool {
		rest = append(rest, next.Call.Req.(*RunRequest).Errand)
		return true
	})
	if err != nil || !slices.Equal(rest, []string{"bread"}) {
		t.Errorf("after milk comes %v (%v), want bread", rest, err)
	}
}

func TestAStampedRowSaysWhichCommitWroteItToQueriesOnly(t *testing.T) {
	w := newWorld(t)
	w.must(MarkRow("a"))
	first := w.stamp
	w.must(MarkRow("b"))
	look := w.ask(&LookRequest{Acts: []*Act{Recall("a"), Recall("b")}})
	wantNumbers(t, "stamps", look.Numbers, first, w.stamp)
	for _, cold := range []bool{false, true} {
		if cold {
			w.restart()
		}
		wantNumbers(t, "what a command sees", w.must(Recall("a"), MarkRow("a"), Recall("a")), 0, 0)
	}
	wantNumbers(t, "the stamp after another write", w.ask(&LookRequest{Acts: []*Act{Recall("a")}}).Numbers, w.stamp)
}

func TestAQueryAsksOthersForItsViewerWithinTheirBound(t *testing.T) {
	w := newWorld(t)
	w.step(w.call(ann, &DoRequest{CounterId: 2, Acts: []*Act{Set("a", 4), Set("b", 3)}}))
	wantNumbers(t, "the other's sum", w.ask(&LookRequest{Acts: []*Act{Ask(2), Ask(1)}}).Numbers, 7, 0)

	eve := w.reg.Query(w.store.Rows(), w.call(caller("eve"), &LookRequest{CounterId: 1, Acts: []*Act{Ask(2)}}), w.turn)
	wantCode(t, eve.Err, entity.Denied)

	w.policy.QueryAsks = 2
	tooMany := w.call(ann, &LookRequest{CounterId: 1, Acts: []*Act{Ask(2), Ask(2), Ask(2)}})
	if out := w.reg.Query(w.store.Rows(), tooMany, w.turn); out.Bound == "" {
		t.Errorf("three were asked where two may be: %s", spell(out))
	}
}

func TestTheLastEventAndASignalNameWhomTheyAreFor(t *testing.T) {
	w := newWorld(t)
	out := w.do(Last("goodbye"), Say("he is gone"), Whisper("psst"))
	if out.Events[0].Leaving != ann.Number || out.Events[1].Leaving != 0 {
		t.Errorf("leaving = %d and %d, want ann and nobody", out.Events[0].Leaving, out.Events[1].Leaving)
	}
	if to := out.Signals[0].Audience; to.Watchers || !slices.Equal(to.Users, []uint64{ann.Number}) {
		t.Errorf("the signal is for %v, want ann, once", to)
	}
}

// TestRangesAndRowsAgreeWithAMap runs random programs of writes and range
// deletes, some of them not durable when the next one runs, and compares what
// they see with a map.
func TestRangesAndRowsAgreeWithAMap(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t)
		w.held = true
		want := map[string]int64{}
		for range 40 {
			var acts []*Act
			for range 1 + rng.IntN(4) {
				key := fmt.Sprintf("%c%d", 'a'+rng.IntN(3), rng.IntN(4))
				switch rng.IntN(5) {
				case 0:
					acts = append(acts, Cut(key[:1]))
					for k := range want {
						if k[:1] == key[:1] {
							delete(want, k)
						}
					}
				case 1:
					acts = append(acts, Drop(key))
					delete(want, key)
				default:
					acts = append(acts, Add(key))
					want[key]++
				}
			}
			sum := int64(0)
			for _, n := range want {
				sum += n
			}
			out := w.do(append(acts, Sum())...)
			numbers := out.Reply.(*DoResponse).Numbers
			if got := int64(numbers[len(numbers)-1]); got != sum {
				t.Fatalf("seed %d: the sum is %d, want %d", seed, got, sum)
			}
			switch rng.IntN(6) {
			case 0:
				w.settle()
			case 1:
				w.restart()
			}
		}
		w.settle()
	}
}

func TestDroppedEventsAreGoneAndTheFloorRises(t *testing.T) {
	w := newWorld(t)
	for range 6 {
		w.must(Say("x"))
	}
	w.held = true
	wantNumbers(t, "the log in the Step", w.must(DropEvents(2, 4), Say("gone: 2 to 4"), Log()), 7, 1, 5, 6, 7)
	wantNumbers(t, "the log in the next", w.must(Log()), 1, 5, 6, 7)
	if out := w.do(Quote(3)); out.Panic == "" {
		t.Error("an event that was dropped can be read")
	}
	w.settle()
	w.restart()
	wantNumbers(t, "the log, cold", w.must(Log()), 1, 5, 6, 7)
	if p := w.reg.Position(w.store.Rows(), one, ann, &w.policy, 1); p.Floor != 5 || p.Head != 7 {
		t.Errorf("floor %d, head %d; want 5 and 7", p.Floor, p.Head)
	}
	wantCode(t, w.replay(ann, 3, 9).Err, entity.Expired)
	if got := seqs(w.replay(ann, 4, 9)); !slices.Equal(got, []int{5, 6, 7}) {
		t.Errorf("who has heard 4 gets %v, want 5 6 7", got)
	}
	if out := w.do(DropEvents(5, 7)); out.Panic == "" {
		t.Error("the last event of a log can be dropped")
	}
}

func TestChangesAndRequestIDsGoAfterTheirWindows(t *testing.T) {
	w := newWorld(t)
	asked := w.call(ann, &DoRequest{CounterId: 1, RequestId: "r1", Acts: []*Act{Say("stays")}})
	w.step(asked)
	w.must(Note(1), Note(1), Say("stays, too"), Note(1), Say("the last"))
	if w.rows(one, requestedTable) != 1 {
		t.Fatal("the request is not remembered")
	}
	w.sweepFor(w.policy.RequestWindow + 10*time.Hour)
	if n := w.rows(one, requestedTable); n != 0 {
		t.Errorf("%d request ids are left after their window", n)
	}
	wantNumbers(t, "the log within the recovery window", w.must(Log()), 1, 2, 3, 4, 5, 6)
	w.sweepFor(w.policy.RecoveryWindow)
	wantNumbers(t, "the log after it", w.must(Log()), 1, 4, 6)
	if p := w.reg.Position(w.store.Rows(), one, ann, &w.policy, 1); p.Floor != 6 {
		t.Errorf("floor %d, want 6", p.Floor)
	}
	wantNumbers(t, "messages", w.ask(&LookRequest{Before: 99, Limit: 9}).Seqs, 6, 4, 1)
	if n := w.system(dueTable); n != 0 {
		t.Errorf("%d timers are left, and nothing to sweep", n)
	}
}

// A log whose last messages were dropped has nothing to be swept below its head.
func TestALogWithNothingLeftToSweepIsNotSweptAgain(t *testing.T) {
	w := newWorld(t)
	w.must(Say("x"))
	w.must(DropEvents(1, 1), Note(1))
	if n := w.sweepFor(w.policy.RecoveryWindow + 30*24*time.Hour); n != 1 {
		t.Errorf("it was swept %d times, want once", n)
	}
	w.must(Say("x"), Note(1), Say("y"))
	w.sweepFor(w.policy.RecoveryWindow + 2*time.Hour)
	wantNumbers(t, "the log", w.must(Log()), 3, 5)
}

// Whose request ids come after a change that will be swept later still has them
// dropped in time.
func TestRequestIDsAreDroppedInTimeAlsoAfterAChange(t *testing.T) {
	w := newWorld(t)
	w.must(Note(1), Say("x"))
	for _, cold := range []bool{false, true} {
		if cold {
			w.restart()
		}
		w.step(w.call(ann, &DoRequest{CounterId: 1, RequestId: "r1", Acts: []*Act{Add("a")}}))
		w.sweepFor(w.policy.RequestWindow + 10*time.Hour)
		if n := w.rows(one, requestedTable); n != 0 {
			t.Errorf("%d request ids are left after their window", n)
		}
	}
}

// A sweep that has too much to look at for one Step goes on at once.
func TestALongLogIsSweptInBoundedStepsWithoutWaiting(t *testing.T) {
	w := newWorld(t)
	w.policy.StepReads, w.policy.StepWrites = 2000, 1000 // The least that a policy may say.
	for range 60 {
		var acts []*Act
		for range 50 {
			acts = append(acts, Say("x"), Note(1))
		}
		w.must(acts...)
	}
	w.sweepFor(w.policy.RecoveryWindow - time.Hour)
	if n := w.sweepFor(3 * time.Hour); n < 6 || n > 8 {
		t.Errorf("it was swept in %d Steps, want one for each thousand of 6,000 events", n)
	}
	if n := w.rows(one, logTable); n != 3001 { // And the last change: nothing came after it.
		t.Errorf("%d events are left, want the messages and the last change", n)
	}
}

// TestNotAllEntitiesSweepAtOnce looks at when a thousand of them do that did the
// same at the same time.
func TestNotAllEntitiesSweepAtOnce(t *testing.T) {
	w := newWorld(t)
	for i := range uint64(1000) {
		w.step(w.call(ann, &DoRequest{CounterId: i + 1, RequestId: "r", Acts: []*Act{Say("x")}}))
	}
	perMinute, most := map[int64]int{}, 0
	end := w.turn.Now.Add(w.policy.RecoveryWindow)
	for shard := range uint16(entity.Shards) {
		_, err := entity.DueTimers(w.store.Rows(), shard, end, func(d entity.Due) bool {
			minute := d.At / time.Minute.Milliseconds()
			perMinute[minute]++
			most = max(most, perMinute[minute])
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(perMinute) < 55 || most > 60 {
		t.Errorf("a thousand entities sweep in %d minutes, at most %d in one", len(perMinute), most)
	}
}

// sweepFor lets time pass, hour by hour, and the kernel's timers fire. It returns
// how many did.
func (w *world) sweepFor(d time.Duration) (fired int) {
	w.Helper()
	for end := w.turn.Now.Add(d); w.turn.Now.Before(end); {
		w.turn.Now = w.turn.Now.Add(time.Hour)
		for shard := range uint16(entity.Shards) {
			var due []entity.Due
			_, err := entity.DueTimers(w.store.Rows(), shard, w.turn.Now, func(d entity.Due) bool {
				due = append(due, d)
				return true
			})
			if err != nil {
				w.Fatal(err)
			}
			for len(due) > 0 {
				fired++
				w.fire(due[0])
				due = w.dueAgain(due[0], due[1:])
			}
		}
	}
	return fired
}

// dueAgain adds a timer that has fired to those that are due, if it is.
func (w *world) dueAgain(fired entity.Due, rest []entity.Due) []entity.Due {
	w.Helper()
	_, err := entity.DueTimers(w.store.Rows(), fired.Ref.Shard(), w.turn.Now, func(d entity.Due) bool {
		if d.Ref == fired.Ref && d.Name() == fired.Name() {
			rest = append(rest, d)
		}
		return true
	})
	if err != nil {
		w.Fatal(err)
	}
	return rest
}

// A change that is the last event stays; it goes when others have come after it.
func TestAChangeThatWasTheLastEventIsSweptOnceItIsNot(t *testing.T) {
	w := newWorld(t)
	w.must(Say("x"), Note(1))
	w.sweepFor(w.policy.RecoveryWindow + 3*time.Hour)
	wantNumbers(t, "the log while it is the last event", w.must(Log()), 1, 2)
	w.must(Say("y")) // Without a request id.
	w.sweepFor(3 * time.Hour)
	wantNumbers(t, "the log after it", w.must(Log()), 1, 3)
	if n := w.system(dueTable); n != 0 {
		t.Errorf("%d timers are left, and nothing to sweep", n)
	}
}

// A Step that reads as much as it may does so whatever its memory knows.
func TestASweepThatIsKnownToBeDueCostsAsMuchAsOneThatIsNot(t *testing.T) {
	w := newWorld(t)
	w.must(Say("x"), Note(1))
	for reads := range 30 {
		warm := entity.NewMemory(one, w.open, entity.NoBug)
		w.policy.StepReads = 1000
		if out := warm.Step(w.reg, w.call(ann, &DoRequest{CounterId: 1, Acts: []*Act{Note(1)}}), w.turn); out.Err != nil {
			t.Fatal(out.Err)
		}
		w.policy.StepReads = reads
		again := w.call(ann, &DoRequest{CounterId: 1, Acts: []*Act{Note(1)}})
		out := warm.Step(w.reg, again, w.turn)
		cold := entity.NewMemory(one, w.open, entity.NoBug).Step(w.reg, again, w.turn)
		if (out.Err == nil) != (cold.Err == nil) {
			t.Errorf("with %d reads a warm memory says %v, a cold one %v", reads, out.Err, cold.Err)
		}
	}
}
