package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// An office does tasks when the test says so.
type office struct {
	asked []string // errands, in the order in which they came
	open  []task
}

type task struct {
	errand string
	done   func(error)
}

func (o *office) Perform(t *entity.Tell, done func(error)) {
	errand := t.Call.Req.(*RunRequest).Errand
	o.asked = append(o.asked, fmt.Sprint(t.From.ID, " ", errand))
	o.open = append(o.open, task{errand, done})
}

// finish ends the task that is open longest.
func (o *office) finish(err error) {
	t := o.open[0]
	o.open = o.open[1:]
	t.done(err)
}

// newOffice is a node whose tasks an office does.
func newOffice(t *testing.T) (*node, *office) {
	t.Helper()
	o := &office{}
	return newNode(t, func(c *Config) { c.Outside = o }), o
}

func (o *office) want(t *testing.T, what string, want ...string) {
	t.Helper()
	if !slices.Equal(o.asked, want) {
		t.Errorf("%s: asked for %q, want %q", what, o.asked, want)
	}
	o.asked = nil
}

var errBusy = errors.New("nobody is in")

func TestTasksOfAnEntityAreDoneInOrderOneAtATime(t *testing.T) {
	n, o := newOffice(t)
	n.submit("a", 1, Say("x"), Errand("milk"), Errand("bread"))
	n.submit("b", 2, Errand("tea"))
	n.run()
	o.want(t, "before the commit")
	n.settle()
	o.want(t, "when they are durable", "1 milk", "2 tea")
	n.submit("c", 1, Errand("salt"))
	n.settle()
	o.want(t, "while one is being done")
	o.finish(nil)
	n.settle()
	o.want(t, "after milk", "1 bread")
	o.finish(nil)
	n.settle()
	o.want(t, "after tea")
	o.finish(nil)
	n.settle()
	o.want(t, "after bread", "1 salt")
	o.finish(nil)
	n.settle()
	o.want(t, "in the end")
	n.wantRows("in the end", 0, 0, 0)
}

func TestATaskThatFailsIsTriedAgainWithBackoffBeforeTheNext(t *testing.T) {
	n, o := newOffice(t)
	n.submit("a", 1, Say("x"), Errand("milk"), Errand("bread"))
	n.settle()
	for i := range 16 {
		o.want(t, "again", "1 milk")
		failed := o.open[0].done
		o.finish(errBusy)
		failed(errBusy) // Who says it twice is heard once.
		if len(n.timers) != 1 {
			t.Fatalf("%d waits, want one", len(n.timers))
		}
		wait := n.timers[0].at - n.elapsed
		if want := min(retryAfter<<i, maxTaskRetryAfter); wait < want || wait >= 2*want {
			t.Errorf("wait %d = %v, want %v or somewhat more", i, wait, want)
		}
		n.pass(wait)
		n.settle()
	}
	o.want(t, "at last", "1 milk")
	o.finish(nil)
	n.settle()
	o.want(t, "then", "1 bread")
	o.finish(nil)
	n.settle()
	n.wantRows("in the end", 0, 0, 0)
}

func TestATaskIsGivenUpWhenItIsTooOldAndCanBeReplayed(t *testing.T) {
	n, o := newOffice(t)
	giveUp := n.config.Tenants["acme"].TaskGiveUp
	n.submit("a", 1, Say("x"), Errand("milk"), Errand("bread"))
	n.settle()
	n.pass(giveUp)
	o.finish(errBusy)
	n.settle()
	n.wantRows("at the last moment", 2, 0, 0)
	n.pass(maxTaskRetryAfter)
	o.finish(errBusy)
	n.settle()
	n.wantRows("when it is given up", 1, 1, 0)
	dead, all, err := n.DeadLetters(10)
	if err != nil || all != 1 || !strings.Contains(dead[0].Reason, errBusy.Error()) || !strings.Contains(dead[0].Reason, giveUp.String()) {
		t.Errorf("dead letters: %+v, %v", dead, err)
	}
	o.want(t, "then", "1 milk", "1 milk", "1 bread")
	if count, err := n.ReplayDeadLetters(); count != 1 || err != nil {
		t.Fatalf("%d replayed, %v", count, err)
	}
	n.settle()
	o.finish(nil)
	n.settle()
	o.want(t, "when it is replayed, old as it is", "1 milk")
	o.finish(nil)
	n.settle()
	n.wantRows("in the end", 0, 0, 0)
}

func TestTasksGoOnAfterARestart(t *testing.T) {
	n, o := newOffice(t)
	n.submit("a", 1, Say("x"), Errand("milk"), Errand("bread"))
	n.settle()
	o.finish(nil) // Done, and the power goes before anybody knows.
	n.start()
	n.settle()
	o.want(t, "after the restart", "1 milk", "1 milk")
	o.finish(nil)
	n.settle()
	o.want(t, "then", "1 bread")
}

func TestTasksWaitForSomebodyToDoThem(t *testing.T) {
	n := newNode(t)
	n.submit("a", 1, Say("x"), Errand("milk"))
	n.settle()
	n.pass(n.config.Tenants["acme"].TaskGiveUp + time.Hour)
	n.settle()
	n.wantRows("with nobody", 1, 0, 0)
	o := &office{}
	n.config.Outside = o
	n.start()
	o.want(t, "when there is somebody, old as it is", "1 milk")
	o.finish(nil)
	n.settle()
	n.wantRows("in the end", 0, 0, 0)
}

func TestThousandsOfTasksAreNotInMemoryAndAllDoneInOrder(t *testing.T) {
	n, o := newOffice(t)
	var want []string
	for i := range 30 {
		var acts []*Act
		for j := range 100 {
			errand := fmt.Sprint(i*100 + j)
			acts, want = append(acts, Errand(errand)), append(want, "1 "+errand)
		}
		n.submit("a", 1, append(acts, Say("x"))...)
	}
	n.settle()
	most := 0
	for len(o.open) > 0 {
		most = max(most, n.inMemory())
		if o.finish(nil); len(o.asked)%7 == 0 && len(o.asked) < 2000 { // More come meanwhile.
			errand := fmt.Sprint("more ", len(want))
			want = append(want, "1 "+errand)
			n.submit("a", 1, Errand(errand))
		}
		n.settle()
	}
	o.want(t, "in the end", want...)
	if most > maxQueued {
		t.Errorf("%d were in memory, want at most %d", most, maxQueued)
	}
	n.wantRows("in the end", 0, 0, 0)
}

// inMemory is the most tells of a pair that are in memory.
func (n *node) inMemory() (most int) {
	for _, q := range n.outbox.pairs {
		most = max(most, len(q.tells))
	}
	return most
}

func TestThousandsOfTellsAreNotInMemoryAndAllHeardInOrder(t *testing.T) {
	const all, crashAt = 3000, 1000
	n := newNode(t)
	var want []string
	for i := range all / 100 {
		var acts []*Act
		for j := range 100 {
			acts = append(acts, To(2, order(i*100+j)...))
			want = append(want, fmt.Sprint(i*100+j))
		}
		n.submit("a", 1, append(acts, Say("x"))...)
	}
	most := 0
	for i := 0; ; i++ {
		n.run()
		if !n.commit() {
			break
		}
		most = max(most, n.inMemory())
		if i == crashAt {
			n.run()
			n.start()
		}
	}
	if most > maxQueued {
		t.Errorf("%d were in memory, want at most %d", most, maxQueued)
	}
	got := n.texts(2)
	for i := range got {
		if i < len(want) && got[i] != want[i] {
			t.Fatalf("tell %s came where %s was due", got[i], want[i])
		}
	}
	if len(got) != all {
		t.Errorf("%d were heard, want %d", len(got), all)
	}
	n.wantRows("in the end", 0, 0, 0)
}

// TestDeadLettersAmongThousandsOfTellsAreHeardOnce replays some while more tells of
// their pair wait than are in memory.
func TestDeadLettersAmongThousandsOfTellsAreHeardOnce(t *testing.T) {
	n := newNode(t)
	known := n.config.Registry
	nothing, err := entity.NewIn("kith.nothing")
	if err != nil {
		t.Fatal(err)
	}
	const dead, all = 5, 300
	tell := func(from, through int) {
		var acts []*Act
		for i := from; i < through; i++ {
			acts = append(acts, To(2, order(i)...))
		}
		n.submit("a", 1, append(acts, Say("x"))...)
		n.run()
		n.commit()
	}
	tell(0, dead)
	n.config.Registry = nothing
	n.start()
	n.settle()
	n.wantRows("of a method that nobody knows", 0, dead, 0)
	n.config.Registry = known
	n.start()
	tell(dead, all)
	if count, err := n.ReplayDeadLetters(); count != dead || err != nil {
		t.Fatalf("%d replayed, %v", count, err)
	}
	n.commit()
	n.run()
	n.start() // The replay is cut short.
	n.settle()
	var before, later []string
	for _, text := range n.texts(2) {
		if len(text) == 1 && text < fmt.Sprint(dead) {
			before = append(before, text)
		} else {
			later = append(later, text)
		}
	}
	for i, text := range later {
		if text != fmt.Sprint(dead+i) {
			t.Fatalf("tell %s came where %d was due", text, dead+i)
		}
	}
	if len(later) != all-dead || !slices.Equal(before, []string{"0", "1", "2", "3", "4"}) {
		t.Errorf("%d later ones were heard, want %d; of the dead %q", len(later), all-dead, before)
	}
	n.wantRows("in the end", 0, 0, 0)
	if count, err := n.ReplayDeadLetters(); count != 0 || err != nil {
		t.Errorf("%d replayed when there are none, %v", count, err)
	}
}

// A parked timer becomes a tell of the entity to itself, with a later number than
// tells that still wait.
func TestAReplayedTimerSkipsNoTellThatWaits(t *testing.T) {
	n := newNode(t)
	const all = 3 * maxQueued
	acts := []*Act{Say("x"), Later("a", n.in(time.Second), Write(1<<20))}
	for range all {
		acts = append(acts, GoOn(Add("a")))
	}
	n.submit("a", 1, acts...)
	n.run()
	n.commit()
	first := n.turns // The first of the tells to itself.
	n.turns = nil
	n.pass(time.Second)
	n.Sweep()
	for n.run(); n.commit(); n.run() {
	}
	n.wantRows("when the timer is parked", all, 1, 0)
	if count, err := n.ReplayDeadLetters(); count != 1 || err != nil {
		t.Fatalf("%d replayed, %v", count, err)
	}
	n.commit()
	n.turns = append(n.turns, first...)
	n.settle()
	n.wantRows("in the end", 0, 1, 0)
	n.wantNumbers("a", n.numbers(1, Get("a")), all)
}
