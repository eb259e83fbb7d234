package host

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// dueTable finds the timers of a shard; by its number in kernel.proto.
const dueTable = 0x0B

// in is a time from now, in unix milliseconds.
func (n *node) in(d time.Duration) int64 { return n.wall.Add(d).UnixMilli() }

// tick lets a second pass, and the node look what is due.
func (n *node) tick() {
	n.t.Helper()
	n.pass(time.Second)
	n.Sweep()
	n.settle()
}

// timed runs a program and forgets what was heard of it.
func (n *node) timed(counter uint64, acts ...*Act) {
	n.t.Helper()
	n.numbers(counter, acts...)
	n.heard = nil
}

// said is what was released since the last look, without the flushes.
func (n *node) said() []string {
	n.t.Helper()
	all := slices.DeleteFunc(n.heard, func(h string) bool { return h == "flush" })
	n.heard = nil
	return all
}

// wantPointers checks that the index of timers leads to rows, one for each timer
// that was set by a feature, and that there are so many.
func (n *node) wantPointers(what string, want int) {
	n.t.Helper()
	got := 0
	rows := n.store.Rows()
	for shard := range uint16(entity.Shards) {
		_, err := entity.DueTimers(rows, shard, n.wall.Add(1000*time.Hour), func(d entity.Due) bool {
			if d.Method() != "" { // The kernel's own sweep.
				got++
			}
			return true
		})
		if err != nil {
			n.t.Fatal(err)
		}
	}
	set := 0
	err := rows.Scan(nil, nil, false, func(key, _ []byte) bool {
		// shard(2) tenant(4) kind(1) id(8) table: 0x0A is a timer, its method first.
		if len(key) > 16 && key[6] != 0 && key[15] == 0x0A && key[16] != 0 {
			set++
		}
		return true
	})
	if err != nil {
		n.t.Fatal(err)
	}
	if got != want || set != want {
		n.t.Errorf("%s: the index has %d timers and there are %d; want %d", what, got, set, want)
	}
}

func TestATimerFiresOnceWithinTwoSecondsOfItsTime(t *testing.T) {
	n := newNode(t)
	n.timed(1, Later("a", n.in(90*time.Second), Say("now")))
	n.pass(89 * time.Second)
	n.tick()
	n.want("at its time", "Said 1 of 1", "flush")
	for range 5 {
		n.tick()
	}
	n.want("later")
	n.wantPointers("when it has fired", 0)
}

func TestATimerOfATimePastFiresAtTheNextLook(t *testing.T) {
	n := newNode(t)
	n.timed(1, Later("a", n.in(-time.Hour), Say("late")))
	n.tick()
	n.want("a second later", "Said 1 of 1", "flush")
}

func TestANodeDoesNotLookAtTheStoreWhileNoTimerIsDue(t *testing.T) {
	n := newNode(t)
	n.timed(1, Later("a", n.in(time.Hour), Say("x")))
	n.tick()
	looked := 0
	storage := n.Storage
	n.Storage = counted{storage, &looked}
	for range 60 {
		n.tick()
	}
	if looked != 0 {
		t.Errorf("it looked %d times in a minute", looked)
	}
}

// counted counts how often its store is looked at.
type counted struct {
	Storage
	snapshots *int
}

func (c counted) Snapshot() entity.Snapshot {
	*c.snapshots++
	return c.Storage.Snapshot()
}

func TestTimersFireAfterARestartOnce(t *testing.T) {
	// Crash after each number of commits on the way.
	for crash := range 4 {
		n := newNode(t)
		n.timed(1, Later("down", n.in(time.Minute), Say("down")), Later("later", n.in(time.Hour), Say("later")))
		n.pass(time.Minute)
		n.Sweep()
		for range crash {
			n.run()
			n.commit()
		}
		n.run() // Steps whose outcomes are lost with the node.
		n.start()
		n.tick()
		if got := n.texts(1); !slices.Equal(got, []string{"down"}) {
			t.Errorf("a crash after %d commits: said %q", crash, got)
		}
		n.pass(time.Hour)
		n.tick()
		if got := n.texts(1); !slices.Equal(got, []string{"down", "later"}) {
			t.Errorf("a crash after %d commits, an hour later: said %q", crash, got)
		}
		n.wantPointers("when both have fired", 0)
	}
}

func TestATimerThatCameDueWhileTheNodeWasDownFires(t *testing.T) {
	n := newNode(t)
	n.timed(1, Later("a", n.in(time.Minute), Say("x")))
	n.wall = n.wall.Add(48 * time.Hour) // The clock that nobody sets begins anew with the node.
	n.start()
	n.tick()
	n.want("after the start", "Said 1 of 1", "flush")
}

func TestTimersOfAnEntityFireInTheOrderOfTheirTimes(t *testing.T) {
	n := newNode(t)
	var want []string
	var acts []*Act
	for i := range 40 {
		want = append(want, fmt.Sprint(i))
		place := i * 7 % 40 // Set in another order, by keys in a third.
		acts = append(acts, Later(fmt.Sprint("k", place*3%40), n.in(time.Duration(place)*time.Minute), Say(fmt.Sprint(place))))
	}
	n.timed(1, acts...)
	n.pass(time.Hour)
	n.tick()
	if got := n.texts(1); !slices.Equal(got, want) {
		t.Errorf("they fired as %q", got)
	}
}

func TestNoTimerFiresWhileTheClockIsHeld(t *testing.T) {
	n := newNode(t)
	n.timed(1, Later("a", n.in(time.Minute), Say("x")))
	n.wall = n.wall.Add(90 * time.Minute)
	for range 3 {
		n.tick()
	}
	n.want("after a jump")
	n.pass(2 * time.Hour)
	n.tick()
	n.want("when it would be time by any clock")
	n.config.AcceptClock = true
	n.start()
	n.tick()
	n.want("when the operator agrees", "Said 1 of 1", "flush")
}

func TestATimerThatIsOnItsWayWhenTheClockJumpsWaits(t *testing.T) {
	n := newNode(t)
	n.timed(1, Note(0), Note(0), Say("x"), Later("a", n.in(time.Minute), Say("y")))
	n.pass(time.Minute)
	n.Sweep() // It is posted, and has not had its turn.
	n.wall = n.wall.Add(90 * 24 * time.Hour)
	for range 20 {
		n.tick()
	}
	if got := n.said(); len(got) > 0 {
		t.Errorf("after the jump %q", got)
	}
	n.wantPointers("after the jump", 1)
	n.wall = n.wall.Add(-90 * 24 * time.Hour)
	n.start()
	n.tick()
	n.want("with the right clock", "Said 4 of 1", "flush")
	n.wantPointers("when it has fired", 0)
}

// counters returns the numbers of counters of one shard.
func (n *node) counters(shard uint16, count int) (all []uint64) {
	for id := uint64(1); len(all) < count; id++ {
		if entity.Conversation(n.tenant("acme"), id).Shard() == shard {
			all = append(all, id)
		}
	}
	return all
}

func TestMoreTimersThanMayBeOnTheirWayAllFire(t *testing.T) {
	n := newNode(t)
	const each = 3 * maxFiring / entity.Shards
	at := n.in(time.Minute)
	for shard := range uint16(entity.Shards) {
		for _, counter := range n.counters(shard, each) {
			n.submit("set", counter, Later("a", at, Say("x")))
		}
	}
	n.settle()
	n.pass(time.Minute)
	n.heard = nil
	most := 0
	n.Sweep()
	for more := true; more; {
		most = max(most, len(n.turns))
		n.run()
		more = n.commit()
		n.answer()
		more = more || len(n.turns) > 0
	}
	fired := 0
	for _, h := range n.heard {
		if strings.HasPrefix(h, "Said 1 of ") {
			fired++
		}
	}
	if fired != each*entity.Shards || n.rows(dueTable) != 0 {
		t.Errorf("%d fired after one look and %d are left; want %d and none", fired, n.rows(dueTable), each*entity.Shards)
	}
	if most > maxFiring {
		t.Errorf("%d were on their way at once, want at most %d", most, maxFiring)
	}
}

func TestTimersThatWaitToBeTriedAgainKeepNoOthersBack(t *testing.T) {
	n := newNode(t)
	counter := n.counters(9, 2)
	var acts []*Act
	for i := range 2 * maxFiringShard {
		acts = append(acts, Later(fmt.Sprint(i), n.in(time.Second), Refuse(overloaded)))
	}
	n.timed(counter[0], acts...)
	n.timed(counter[1], Later("a", n.in(2*time.Second), Say("x")))
	for range 5 {
		n.tick()
	}
	if got := n.texts(counter[1]); !slices.Equal(got, []string{"x"}) {
		t.Errorf("another timer of their shard has said %q", got)
	}
}

func TestARefusedTimerIsOver(t *testing.T) {
	n := newNode(t)
	n.timed(1, Later("a", n.in(time.Second), Add("undone"), Refuse(denied)))
	n.tick()
	n.wantPointers("when it was refused", 0)
	n.wantNumbers("undone", n.numbers(1, Get("undone")), 0)
	if len(n.timers) > 0 || n.rows(deadTable) > 0 {
		t.Error("a refused timer is tried again, or is dead")
	}
}

func TestAnOverloadedTimerIsTriedAgainWithBackoff(t *testing.T) {
	n := newNode(t)
	n.config.Observe = nil
	var tries []time.Duration
	n.Observe = func(_ *Box, j *Job, _ entity.Turn, _ *entity.Outcome) {
		if j != nil && j.due != nil {
			tries = append(tries, n.elapsed)
		}
	}
	n.timed(1, Later("a", n.in(time.Second), Refuse(overloaded)))
	for range 600 {
		n.pass(100 * time.Millisecond)
		n.Sweep()
		n.settle()
	}
	for i := range tries[1:] {
		if got, want := tries[i+1]-tries[i], min(retryAfter<<i, maxRetryAfter); got != want {
			t.Errorf("wait %d = %v, want %v", i, got, want)
		}
	}
	if len(tries) < 10 {
		t.Errorf("it was tried %d times in a minute", len(tries))
	}
	n.wantPointers("while it is overloaded", 1)
	n.timed(1, Cancel("a"))
	n.pass(time.Minute)
	n.tick()
	if len(n.Core.timers.firing) != 0 {
		t.Error("what was cancelled while it waited to be tried again is still on its way")
	}
}

func TestATimerThatPanicsIsParkedAfterFiveTriesAndCanBeReplayed(t *testing.T) {
	n := newNode(t)
	tries := 0
	n.config.Observe = func(_ *Box, j *Job, _ entity.Turn, out *entity.Outcome) {
		if j != nil && j.due != nil && j.park == "" && out.Panic != "" {
			tries++
		}
	}
	n.start()
	n.timed(1, Later("a", n.in(time.Second), Panic("a bug")), Later("b", n.in(time.Second), Write(1<<20)), Later("c", n.in(time.Second), Add("c")))
	for range 60 {
		n.tick()
	}
	if tries != maxTries {
		t.Errorf("it was tried %d times, want %d", tries, maxTries)
	}
	n.wantPointers("when they are parked", 0)
	n.wantRows("when they are parked", 0, 2, 0)
	n.wantNumbers("c, which is no bug", n.numbers(1, Get("c")), 1)
	count, err := n.ReplayDeadLetters()
	if err != nil || count != 2 {
		t.Fatalf("%d replayed, %v", count, err)
	}
	for range 60 {
		n.tick()
	}
	n.wantRows("when they are parked again", 0, 2, 0)
}

func TestATimerOfAMethodThatNobodyKnowsIsParkedAndRunsWhenItIsKnown(t *testing.T) {
	n := newNode(t)
	n.timed(1, Later("a", n.in(time.Second), Add("a")))
	nothing, err := entity.NewIn("kith.nothing")
	if err != nil {
		t.Fatal(err)
	}
	known := n.config.Registry
	n.config.Registry = nothing
	n.start()
	n.tick()
	n.wantRows("of a method that nobody knows", 0, 1, 0)
	n.wantPointers("when it is parked", 0)
	n.config.Registry = known
	n.start()
	if count, err := n.ReplayDeadLetters(); count != 1 || err != nil {
		t.Fatalf("%d replayed, %v", count, err)
	}
	n.settle()
	n.wantNumbers("a", n.numbers(1, Get("a")), 1)
	n.wantRows("when it has run", 0, 0, 0)
}

func TestATimerOfATenantThatIsGoneWaitsForIt(t *testing.T) {
	n := newNode(t)
	n.timed(1, Say("x"), Later("a", n.in(time.Second), Say("y")))
	all := n.config.Tenants
	n.config.Tenants = map[string]*entity.Policy{"zeta": all["zeta"]}
	n.start()
	for range 60 {
		n.tick()
	}
	n.want("without its tenant")
	n.wantPointers("without its tenant", 1)
	n.config.Tenants = all
	n.start()
	n.tick()
	n.want("when it is back", "Said 2 of 1", "flush")
}

func TestATimerThatComesLateOrTwiceFiresOnce(t *testing.T) {
	n := newNode(t)
	again := n.in(time.Hour)
	n.timed(1, Later("a", n.in(time.Second), Add("fired"), Later("a", again, Add("again"))))
	n.pass(time.Second)
	n.Sweep()
	for range 3 {
		n.Again(n.turns[0].job)
	}
	late := n.turns[0].job
	n.settle()
	n.wantNumbers("fired, again", n.numbers(1, Get("fired"), Get("again")), 1, 0)
	n.wantPointers("when it has set itself again", 1)
	n.Again(late)
	n.settle()
	n.wantPointers("when a late copy came", 1)
	n.pass(time.Hour)
	n.tick()
	n.wantNumbers("fired, again", n.numbers(1, Get("fired"), Get("again")), 1, 1)
	n.wantPointers("when all is over", 0)
}

// TestTheIndexHasEachTimerOnceWhateverIsSetAndCancelled sets, replaces and cancels
// timers, in one Step and in many, some of them on their way.
func TestTheIndexHasEachTimerOnceWhateverIsSetAndCancelled(t *testing.T) {
	n := newNode(t)
	at := n.in(time.Minute)
	n.submit("set", 1, Later("a", at, Add("1")), Later("a", at+1, Add("2")), Later("a", at, Add("a")), Later("b", at, Add("b")))
	n.submit("cancel", 1, Cancel("b"), Later("c", at, Add("c")), Cancel("c"), Later("d", at, Add("no")), Later("d", at, Add("d")))
	n.settle()
	n.wantPointers("when two are left", 2)
	n.pass(time.Minute)
	n.Sweep()
	n.submit("put off", 1, Later("d", at+int64(time.Hour/time.Millisecond), Add("late")))
	turns := n.turns // The call gets its turn before the timers.
	n.turns = append([]turn{turns[len(turns)-1]}, turns[:len(turns)-1]...)
	n.settle()
	n.wantPointers("when one was put off at the last moment", 1)
	n.wantNumbers("a, b, c, d", n.numbers(1, Get("a"), Get("b"), Get("c"), Get("d")), 1, 0, 0, 0)
	n.pass(time.Hour)
	n.tick()
	n.wantPointers("when all is over", 0)
	n.wantNumbers("1, 2, late", n.numbers(1, Get("1"), Get("2"), Get("late")), 0, 0, 1)
}
