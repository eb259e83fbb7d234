package entity_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// A map is the model of a table: whatever part of it is stored, pending, cached
// or written by this very Step, a command reads what the map says.
func TestACommandReadsThroughEverythingThatIsNotStored(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t)
		w.must(Say("x"))
		model := map[string]int64{}
		for range 60 {
			w.held = r.IntN(3) > 0
			switch r.IntN(8) {
			case 0:
				w.settle()
			case 1:
				w.restart()
			case 2:
				w.memory(one).Forget()
			case 3:
				w.take(w.memory(one), entity.Outcome{Version: w.memory(one).Version()})
			}
			var acts []*Act
			step := maps.Clone(model)
			var wantTexts []string
			var wantNumbers []uint64
			for range 1 + r.IntN(6) {
				key := string(rune('a'+r.IntN(3))) + string(rune('a'+r.IntN(4)))
				switch r.IntN(6) {
				case 0, 1:
					step[key] = r.Int64N(100)
					acts = append(acts, Set(key, step[key]))
				case 2:
					delete(step, key)
					acts = append(acts, Drop(key))
				case 3:
					acts = append(acts, Get(key))
					wantNumbers = append(wantNumbers, uint64(step[key]))
				case 4:
					acts = append(acts, Sum())
					wantNumbers = append(wantNumbers, uint64(total(step)))
				default:
					prefix := key[:r.IntN(2)]
					acts = append(acts, Scan(prefix))
					wantTexts = append(wantTexts, listed(step, prefix))
				}
			}
			out := w.do(acts...)
			reply := out.Reply.(*DoResponse)
			if !slices.Equal(reply.Numbers, wantNumbers) || !slices.Equal(reply.Texts, wantTexts) {
				t.Fatalf("seed %d: %v\ngot  %d %q\nwant %d %q", seed, acts, reply.Numbers, reply.Texts, wantNumbers, wantTexts)
			}
			model = step
		}
		w.settle()
		if got := w.ask(&LookRequest{Acts: []*Act{Scan("")}}).Texts[0]; got != listed(model, "") {
			t.Errorf("seed %d: stored %q, want %q", seed, got, listed(model, ""))
		}
	}
}

func total(model map[string]int64) (sum int64) {
	for _, n := range model {
		sum += n
	}
	return sum
}

func listed(model map[string]int64, prefix string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(model)) {
		if strings.HasPrefix(key, prefix) {
			all = append(all, fmt.Sprintf("%s=%d", key, model[key]))
		}
	}
	return strings.Join(all, " ")
}

// Pages of a table: from a key on, and only as far as somebody looks.
func TestAScanBeginsAfterAKeyAndEndsWhenNobodyLooks(t *testing.T) {
	table := entity.NewTable[Count]()
	var got []string
	list := func(v entity.Viewer, from string, limit int) {
		got = nil
		var key entity.Key
		if from != "" {
			key = entity.Key(nil).Str(from)
		}
		for k := range table.ScanFrom(v, nil, key) {
			s, _ := k.TakeStr()
			if got = append(got, s); len(got) == limit {
				break
			}
		}
	}
	from, limit := "", 99
	w := newWorld(t, hook(entity.Before(func(tx *entity.Tx, r *DoRequest) error {
		if len(r.Acts) == 0 {
			table.Put(tx, entity.Key(nil).Str("bb"), &Count{N: 9})
			table.Delete(tx, entity.Key(nil).Str("c"))
			list(tx, from, limit)
		}
		return nil
	})))
	w.must(Set("a", 1), Set("c", 3), Set("e", 5), Say("x"))
	w.held = true
	w.must(Set("b", 2), Set("d", 4), Drop("e"))
	for _, c := range []struct {
		from  string
		limit int
		want  string
	}{{"", 99, "a b bb d"}, {"a", 99, "b bb d"}, {"b", 99, "bb d"}, {"ba", 99, "bb d"}, {"d", 99, ""}, {"", 1, "a"}, {"", 2, "a b"}, {"", 3, "a b bb"}, {"b", 1, "bb"}, {"bb", 1, "d"}} {
		from, limit = c.from, c.limit
		w.do()
		if strings.Join(got, " ") != c.want {
			t.Errorf("from %q, %d: %q, want %q", c.from, c.limit, got, c.want)
		}
	}
}

func TestWhatIsDurableIsNoLongerPending(t *testing.T) {
	w := newWorld(t)
	m := w.memory(one)
	if m.Pending() || !m.Empty() {
		t.Error("a new memory has something")
	}
	w.held = true
	for i := range 3 {
		out := w.do(Say("x"), Set("a", int64(i)), Revise(1, fmt.Sprint(i)))
		if out.Version != uint64(i+1) {
			t.Errorf("version = %d, want %d", out.Version, i+1)
		}
	}
	if out := w.do(Get("a")); out.Version != 3 || len(out.Writes) > 0 {
		t.Errorf("a Step that writes nothing has version %d", out.Version)
	}
	check := func(version uint64, pending, events int, waits bool) {
		t.Helper()
		m.Durable(version)
		if _, p, e, _ := m.Held(); p != pending || e != events || m.Pending() != waits || m.Empty() {
			t.Errorf("durable to %d: %d rows and %d events pending, %v; want %d, %d, %v", version, p, e, m.Pending(), pending, events, waits)
		}
	}
	check(0, 3, 3, true)
	check(1, 2, 3, true) // Event 1 was rewritten by the last.
	check(2, 1, 2, true)
	check(1, 1, 2, true)
	check(3, 0, 0, false)
}

func TestForgetKeepsWhatIsPending(t *testing.T) {
	w := newWorld(t)
	w.must(Set("old", 1), Say("x"))
	w.held = true
	w.must(Set("new", 2), Say("y"))
	m := w.memory(one)
	m.Forget()
	if rows, pending, events, _ := m.Held(); rows != 1 || pending != 1 || events != 1 {
		t.Errorf("it holds %d rows, %d pending, %d events; want 1 each", rows, pending, events)
	}
	wantNumbers(t, "old, new, seq", w.must(Get("old"), Get("new"), Say("z")), 1, 2, 3)
}

// Reading alone fills no memory, not even by asking for what is not there.
func TestTheMemoryOfRowsIsBounded(t *testing.T) {
	w := newWorld(t)
	w.must(Set("a", 1), Say("x"))
	most := 0
	for i := range 3 * entity.MaxMemoryBytes / 128 / 5 {
		w.must(Get(fmt.Sprint(i)), Get(fmt.Sprint("b", i)), Get(fmt.Sprint("c", i)), Get(fmt.Sprint("d", i)), Get(fmt.Sprint("e", i)))
		bytes, _ := w.memory(one).Bytes()
		most = max(most, bytes)
	}
	if most > entity.MaxMemoryBytes+2048 {
		t.Errorf("it held %d bytes, the bound is %d", most, entity.MaxMemoryBytes)
	}
	w.held = true
	w.must(Write(3000))
	w.must(Get("a"))
	if _, pending, _, _ := w.memory(one).Held(); pending != 3000 {
		t.Errorf("%d rows are pending, want 3000", pending)
	}
	w.settle()
	w.must(Get("a"))
	w.must(Get("a"))
	if bytes, _ := w.memory(one).Bytes(); bytes > entity.MaxMemoryBytes+2048 {
		t.Errorf("it holds %d bytes when nothing is pending", bytes)
	}
}

func TestADerivedValueIsMadeAnewWhenItsTableChanges(t *testing.T) {
	made := 0
	counts := entity.NewTable[Count]()
	size := entity.NewDerived(counts, func(v entity.Viewer) int {
		made++
		n := 0
		for range counts.Scan(v, nil) {
			n++
		}
		return n
	})
	var seen []int
	w := newWorld(t, hook(entity.After(func(tx *entity.Tx, _ *Said) error {
		seen = append(seen, size.Of(tx))
		return nil
	})))
	for _, c := range []struct {
		name   string
		acts   []*Act
		seen   []int
		before int // how often it may be made
	}{
		{"first", []*Act{Say("x")}, []int{0}, 1},
		{"known", []*Act{Say("x"), Say("x")}, []int{0, 0}, 0},
		{"in the Step that changes it", []*Act{Say("x"), Set("a", 1), Say("x"), Set("b", 1), Say("x")}, []int{0, 1, 2}, 2},
		{"after that Step", []*Act{Say("x"), Say("x")}, []int{2, 2}, 1},
		{"another table", []*Act{Allow(&Grant{UserId: "bob"}), Say("x")}, []int{2}, 0},
		{"a refused change", []*Act{Drop("a"), Say("x"), Refuse(uint32(entity.Denied))}, []int{1}, 1},
		{"after it", []*Act{Say("x")}, []int{2}, 0},
		{"a deletion", []*Act{Drop("a")}, nil, 0},
		{"after it", []*Act{Say("x")}, []int{1}, 1},
	} {
		seen, made = nil, 0
		w.do(c.acts...)
		if !slices.Equal(seen, c.seen) || made != c.before {
			t.Errorf("%s: %d, made %d times; want %d, made %d times", c.name, seen, made, c.seen, c.before)
		}
	}
	// Who is added hears the event of the same Step, who is taken out does not.
	out := w.do(Allow(&Grant{UserId: "ann"}), Say("x"))
	if got := len(out.Events[0].Audience.Users); got != 2 {
		t.Errorf("%d hear it, want ann and bob", got)
	}
}

// However often a Step asks for it, it costs what it took to make it, and that once.
func TestADerivedValueIsChargedOnceInAStep(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		w.must(Allow(&Grant{UserId: fmt.Sprint("user", i), Readable: []*Span{{From: 1}}}))
	}
	var says []*Act
	for range 20 { // Each asks who hears it.
		says = append(says, Say("x"))
	}
	w.policy.StepReads = 200
	for _, memory := range []string{"warm", "cold"} {
		if out := w.do(says...); out.Err != nil {
			t.Errorf("%s: %v %s", memory, out.Err, out.Bound)
		}
		w.restart()
	}
	w.policy.StepReads = 40
	for _, memory := range []string{"cold", "warm"} {
		if out := w.do(Say("x")); out.Bound == "" {
			t.Errorf("%s: it cost less than it took to make it", memory)
		}
	}
}

func TestARowThatIsStoredEmptyIsThere(t *testing.T) {
	w := newWorld(t)
	w.must(Set("zero", 0), Say("x"))
	for range 2 {
		if got := w.do(Scan("")).Reply.(*DoResponse).Texts[0]; got != "zero=0" {
			t.Errorf("the table has %q", got)
		}
		w.restart()
	}
}

func TestAViewIsOpenedOnlyByAStepThatNeedsOne(t *testing.T) {
	w := newWorld(t)
	w.must(Set("a", 1), Say("x"))
	opened := 0
	m := entity.NewMemory(one, func() (entity.Reader, func()) {
		opened++
		return w.store.Rows(), func() {}
	}, entity.NoBug)
	c := w.call(ann, &DoRequest{CounterId: 1, RequestId: "r", Acts: []*Act{Get("a"), Say("y")}})
	for i, want := range []int{1, 1, 1} {
		c.RequestID = fmt.Sprint(i)
		if out := m.Step(w.reg, c, w.turn); out.Err != nil || opened != want {
			t.Errorf("step %d: %v, %d views, want %d", i, out.Err, opened, want)
		}
	}
}

// Rows written by a Store of strings and one that a Step never wrote.
func TestBothDirectionsOfAnOverlayAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 200 {
		w := newWorld(t)
		w.must(Say("1"))
		for range r.IntN(4) {
			w.must(Say("x"))
		}
		w.held = true
		for range r.IntN(4) {
			w.must(Say("y"))
		}
		m := w.memory(one)
		view := m.Undurable(w.store.Snapshot())
		lower, upper := entity.Range(one, logTable)
		var up, down []string
		for _, reverse := range []bool{false, true} {
			into := &up
			if reverse {
				into = &down
			}
			if err := view.Scan(lower, upper, reverse, func(key, _ []byte) bool {
				*into = append(*into, string(key))
				return true
			}); err != nil {
				t.Fatal(err)
			}
		}
		slices.Reverse(down)
		head := w.must(Say("z"))[0]
		if !slices.Equal(up, down) || len(up) != int(head)-1 || !slices.IsSorted(up) {
			t.Fatalf("%d up, %d down, head %d", len(up), len(down), head)
		}
		for n := range up {
			var first []string
			if err := view.Scan(lower, upper, true, func(key, _ []byte) bool {
				first = append(first, string(key))
				return len(first) <= n
			}); err != nil {
				t.Fatal(err)
			}
			if len(first) != n+1 {
				t.Fatalf("stopped after %d, want %d", len(first), n+1)
			}
		}
	}
}
