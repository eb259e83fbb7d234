package entity_test

import (
	"fmt"
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// request runs a program of a caller's with a request id.
func (w *world) request(by entity.Caller, id string, acts ...*Act) entity.Outcome {
	w.Helper()
	return w.step(w.call(by, &DoRequest{CounterId: 1, RequestId: id, Acts: acts}))
}

// wantRepeat checks that an outcome is the first result of a request, again.
func wantRepeat(t *testing.T, what string, out entity.Outcome, want ...uint64) {
	t.Helper()
	if out.Err != nil || !out.Repeat || len(out.Writes)+len(out.Events)+len(out.Tells)+len(out.Signals) > 0 {
		t.Errorf("%s: %s", what, spell(out))
		return
	}
	wantNumbers(t, what, out.Reply.(*DoResponse).Numbers, want...)
}

// wantNew checks that an outcome is that of a request nobody has sent before.
func wantNew(t *testing.T, what string, out entity.Outcome) {
	t.Helper()
	if out.Err != nil || out.Repeat {
		t.Errorf("%s: %s", what, spell(out))
	}
}

func TestARetriedRequestGetsItsFirstResult(t *testing.T) {
	for name, between := range map[string]func(*world){
		"at once":             func(*world) {},
		"after a reload":      (*world).restart,
		"after a forget":      func(w *world) { w.memory(one).Forget() },
		"after a panic":       func(w *world) { w.do(Panic("a bug")) },
		"with others between": func(w *world) { w.must(Say("y")) },
	} {
		w := newWorld(t)
		say := []*Act{Say("x"), Add("a"), To(2, Add("b"))}
		wantNew(t, name, w.request(ann, "r", say...))
		between(w)
		wantRepeat(t, name, w.request(ann, "r", say...), 1, 1)
		between(w)
		wantCode(t, w.request(ann, "r", Say("another body")).Err, entity.Conflict)
		// By another method the same fields are another request.
		c := w.call(ann, &RedoRequest{CounterId: 1, RequestId: "r", Acts: say})
		wantCode(t, w.step(c).Err, entity.Conflict)
		if got := w.must(Get("a")); got[0] != 1 {
			t.Errorf("%s: it ran %d times", name, got[0])
		}
	}
}

func TestARequestIDIsTheUsersAndHisDevices(t *testing.T) {
	w := newWorld(t)
	laptop := ann
	laptop.Device = "laptop"
	wantNew(t, "ann's phone", w.request(ann, "r", Say("1")))
	wantNew(t, "ann's laptop", w.request(laptop, "r", Say("2")))
	wantNew(t, "bob's phone", w.request(bob, "r", Say("3")))
	wantNew(t, "another id", w.request(ann, "r2", Say("4")))
	// The seam between device and id is seen.
	odd := ann
	odd.Device = "phoner"
	wantNew(t, "another device", w.request(odd, "2", Say("5")))
	w.restart()
	wantRepeat(t, "ann's phone", w.request(ann, "r", Say("1")), 1)
	wantRepeat(t, "ann's laptop", w.request(laptop, "r", Say("2")), 2)
	wantRepeat(t, "bob's phone", w.request(bob, "r", Say("3")), 3)
	wantNew(t, "no id", w.do(Say("6")))
	wantNew(t, "no id again", w.do(Say("6")))
}

func TestARepeatIsKnownWhileTheFirstIsPending(t *testing.T) {
	w := newWorld(t)
	w.held = true
	for _, forget := range []bool{false, true} {
		id := fmt.Sprint(forget)
		wantNew(t, "first", w.request(ann, id, Say("x")))
		if forget {
			w.memory(one).Forget()
		}
		out := w.request(ann, id, Say("x"))
		if !out.Repeat || out.Err != nil {
			t.Errorf("the repeat: %s", spell(out))
		}
		wantCode(t, w.request(ann, id, Say("y")).Err, entity.Conflict)
	}
	w.settle()
	if got := w.ask(&LookRequest{}).Head; got != 2 {
		t.Errorf("head = %d, want 2", got)
	}
}

// What was pending when the memory was read anew is known once it is durable.
func TestARepeatIsKnownAlthoughTheMemoryWasReadWhileItWasPending(t *testing.T) {
	w := newWorld(t)
	wantNew(t, "before", w.request(ann, "before", Say("x")))
	w.held = true
	wantNew(t, "the first", w.request(ann, "r", Add("a")))
	w.memory(one).Forget()
	wantNew(t, "another", w.request(ann, "other", Say("x")))
	wantRepeat(t, "while it is pending", w.request(ann, "r", Add("a")), 1)
	w.settle()
	wantRepeat(t, "once it is durable", w.request(ann, "r", Add("a")), 1)
}

// An entity may answer requests without having a log: a list of devices has
// no events.
func TestARequestIsRememberedWithoutALog(t *testing.T) {
	w := newWorld(t)
	wantNew(t, "first", w.request(ann, "r", Add("a")))
	w.restart()
	wantRepeat(t, "second", w.request(ann, "r", Add("a")), 1)
}

func TestARequestIsForgottenAfterTheWindow(t *testing.T) {
	for _, reload := range []bool{false, true} {
		w := newWorld(t)
		start := w.turn.Now
		wantNew(t, "first", w.request(ann, "r", Add("a"), Say("x")))
		for _, after := range []time.Duration{time.Minute, 8 * time.Hour, 24 * time.Hour} {
			w.turn.Now = start.Add(after)
			if reload {
				w.restart()
			}
			wantRepeat(t, after.String(), w.request(ann, "r", Add("a"), Say("x")), 1, 1)
		}
		w.turn.Now = start.Add(24*time.Hour + 8*time.Hour)
		if reload {
			w.restart()
		}
		wantNew(t, "after the window", w.request(ann, "r", Add("a"), Say("x")))
		wantRepeat(t, "and again", w.request(ann, "r", Add("a"), Say("x")), 2, 2)
		if n := w.rows(one, requestedTable); n != 1 {
			t.Errorf("%d rows are left, want the last", n)
		}
	}
}

// Rule 9: old ids go in ranges, and the store stops growing.
func TestTheStoreStopsGrowing(t *testing.T) {
	w := newWorld(t)
	start, most, ranges := w.turn.Now, 0, 0
	for hour := range 24 * 7 * 3 {
		w.turn.Now = start.Add(time.Duration(hour) * time.Hour)
		if hour%50 == 0 {
			w.restart()
		}
		for _, by := range []entity.Caller{ann, bob} {
			out := w.request(by, fmt.Sprint(hour), Add("a"))
			wantNew(t, "a request", out)
			for _, row := range out.Writes {
				if row.End != nil {
					ranges++
				} else if row.Val == nil {
					t.Error("a row was deleted by itself")
				}
			}
		}
		if hour == 48 {
			most = w.rows(one, requestedTable)
		}
		if n := w.rows(one, requestedTable); hour > 48 && n > most+16 {
			t.Fatalf("after %d hours there are %d rows, after 48 there were %d", hour, n, most)
		}
	}
	if _, _, _, known := w.memory(one).Held(); known > most+16 {
		t.Errorf("memory knows %d requests, want at most %d", known, most+16)
	}
	// One range for each bucket that has ended, and none without rows in it.
	if ranges < 50 || ranges > 24*7*3/8 {
		t.Errorf("%d ranges were dropped, want one for each of about 60 buckets", ranges)
	}
}

func TestAnEntityThatNobodyRepeatsWritesNoRange(t *testing.T) {
	w := newWorld(t)
	for name, between := range map[string]func(){"new": func() {}, "live": func() {}, "reloaded": w.restart} {
		between()
		for _, row := range w.request(ann, name, Say("x")).Writes {
			if row.End != nil {
				t.Errorf("%s: a range is deleted, and nothing is in it", name)
			}
		}
	}
}

// A clock that has jumped erases nothing, and makes nothing run twice.
func TestAHeldClockForgetsNoRequest(t *testing.T) {
	w := newWorld(t)
	start := w.turn.Now
	for i := range 5 {
		wantNew(t, "before", w.request(ann, fmt.Sprint(i), Add("a"), Say("x")))
	}
	for name, now := range map[string]time.Time{"forward": start.AddDate(1, 0, 0), "back": start.AddDate(0, 0, -9)} {
		w.turn.Now, w.turn.Hold = now, true
		for _, reload := range []bool{true, false} {
			if reload {
				w.restart()
			}
			rows := w.rows(one, requestedTable)
			id := fmt.Sprint(name, reload)
			wantNew(t, name, w.request(ann, id, Add("a")))
			if got := w.rows(one, requestedTable); got != rows+1 {
				t.Errorf("%s: %d rows, there were %d", name, got, rows)
			}
			wantRepeat(t, name, w.request(ann, "3", Add("a"), Say("x")), 4, 4)
		}
	}
	// The clock is right again: what a wrong one named is still known.
	w.turn.Now, w.turn.Hold = start.Add(time.Hour), false
	w.restart()
	out := w.request(ann, "forwardtrue", Add("a"))
	if !out.Repeat {
		t.Errorf("a request of the wrong clock: %s", spell(out))
	}
}

// A jump is noticed when a Step has already believed the clock.
func TestAClockThatIsHeldLaterForgetsNoRequestEither(t *testing.T) {
	w := newWorld(t)
	wantNew(t, "before", w.request(ann, "r", Add("a"), Say("x")))
	w.restart()
	w.turn.Now = w.turn.Now.AddDate(0, 0, 3)
	wantCode(t, w.request(ann, "other", Refuse(uint32(entity.Denied))).Err, entity.Denied)
	w.turn.Hold = true
	wantRepeat(t, "when it is held", w.request(ann, "r", Add("a"), Say("x")), 1, 1)
}

func TestAPendingRequestIsForgottenAfterTheWindowToo(t *testing.T) {
	w := newWorld(t)
	w.held = true
	wantNew(t, "first", w.request(ann, "r", Add("a")))
	w.turn.Now = w.turn.Now.AddDate(0, 0, 3)
	wantNew(t, "after the window", w.request(ann, "r", Add("a")))
	wantRepeat(t, "again", w.request(ann, "r", Add("a")), 2)
	w.settle()
	wantRepeat(t, "once it is durable", w.request(ann, "r", Add("a")), 2)
}

// Who sends very much in a window is looked up instead of loaded: memory and
// the first Step after a reload stay bounded.
func TestWhoSendsVeryMuchIsStillKnown(t *testing.T) {
	w := newWorld(t)
	n := entity.MaxLoaded + 500
	for i := range n {
		w.request(ann, fmt.Sprint(i), Add("a"))
		if i%(n/3) == 0 {
			w.turn.Now = w.turn.Now.Add(8 * time.Hour)
		}
	}
	wantNew(t, "bob", w.request(bob, "1", Say("x")))
	w.restart()
	wantRepeat(t, "the first", w.request(ann, "0", Add("a")), 1)
	wantRepeat(t, "the last", w.request(ann, fmt.Sprint(n-1), Add("a")), uint64(n))
	wantRepeat(t, "bob's", w.request(bob, "1", Say("x")), 1)
	if _, _, _, known := w.memory(one).Held(); known > 10 {
		t.Errorf("%d requests are in memory", known)
	}
	w.held = true
	wantNew(t, "a new one", w.request(ann, "new", Add("a")))
	if out := w.request(ann, "new", Add("a")); !out.Repeat {
		t.Errorf("its repeat while it is pending: %s", spell(out))
	}
	w.settle()
	if out := w.request(ann, "new", Add("a")); !out.Repeat {
		t.Errorf("its repeat: %s", spell(out))
	}
}

func TestTheMemoryOfRequestsIsBounded(t *testing.T) {
	w := newWorld(t)
	wantNew(t, "first", w.request(ann, "first", Add("a")))
	most, m := 0, w.memory(one)
	for i := range 2 * entity.MaxRequestBytes / entity.RequestBytes {
		// They reach no store, which would take most of the time.
		c := w.call(ann, &DoRequest{CounterId: 1, RequestId: fmt.Sprint(i), Acts: []*Act{Now()}})
		m.Durable(m.Step(w.reg, c, w.turn).Version)
		_, bytes := m.Bytes()
		most = max(most, bytes)
	}
	if most > entity.MaxRequestBytes+2048 {
		t.Errorf("it held %d bytes, the bound is %d", most, entity.MaxRequestBytes)
	}
	wantRepeat(t, "the first", w.request(ann, "first", Add("a")), 1)
}
