package host

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// The tables of the shards, by their numbers in kernel.proto.
const (
	outboxTable = 0x06
	deadTable   = 0x07
)

// wantRows checks the outbox, the dead letters, and what receivers remember.
func (n *node) wantRows(what string, outbox, dead, heard int) {
	n.t.Helper()
	remembered := 0
	err := n.store.Rows().Scan(nil, nil, false, func(key, _ []byte) bool {
		// shard(2) tenant(4) kind(1) id(8) table: 0x05 is what was heard.
		if len(key) > 15 && key[6] != 0 && key[15] == 0x05 {
			remembered++
		}
		return true
	})
	if err != nil {
		n.t.Fatal(err)
	}
	if o, d := n.rows(outboxTable), n.rows(deadTable); o != outbox || d != dead || remembered != heard {
		n.t.Errorf("%s: %d tells in the outbox, %d dead, %d heard; want %d, %d, %d", what, o, d, remembered, outbox, dead, heard)
	}
}

func TestATellIsDeliveredAfterItsCommitAndForgotten(t *testing.T) {
	n := newNode(t)
	n.submit("teller", 1, Say("x"), To(2, Add("a"), Say("told")))
	n.run()
	if n.PendingTells() != 0 || len(n.turns) > 0 {
		t.Error("a tell was delivered before its commit")
	}
	n.wantRows("before the commit", 0, 0, 0)
	n.commit()
	n.wantRows("when it is durable", 1, 0, 0)
	if n.PendingTells() != 1 || len(n.turns) != 1 {
		t.Errorf("%d tells pending, %d turns; want 1 each", n.PendingTells(), len(n.turns))
	}
	n.run()
	n.commit()
	n.wantRows("when it was heard", 1, 0, 1)
	n.commit()
	n.wantRows("when its row is gone", 0, 0, 1)
	n.settle()
	n.wantRows("when it is forgotten", 0, 0, 0)
	n.want("in order", "teller", "Said 1 of 1", "flush", "Said 1 of 2", "flush", "flush", "flush")
	if n.PendingTells() != 0 {
		t.Errorf("%d tells are pending", n.PendingTells())
	}
	n.wantNumbers("a", n.numbers(2, Get("a")), 1)
}

// order is a program that counts in keys what came when: place k has tell i.
func order(i int) []*Act { return []*Act{Say(fmt.Sprint(i))} }

// texts are what a counter has said.
func (n *node) texts(counter uint64) (all []string) {
	n.t.Helper()
	for after, more := uint64(0), true; more; {
		n.Replay(n.caller("acme", "ann"), entity.Conversation(n.tenant("acme"), counter), after, 1000, func(p entity.Page) {
			if p.Err != nil {
				n.t.Fatal(p.Err)
			}
			for _, e := range p.Events {
				all = append(all, e.Body.(*Said).Text)
			}
			after, more = p.Through, p.More
		})
		n.answer()
	}
	return all
}

func TestTellsOfAPairComeInOrderOneAtATime(t *testing.T) {
	n := newNode(t)
	var want []string
	for i := range 20 {
		n.submit("teller", 1, Say("x"), To(2, order(i)...), To(3, order(i)...))
		want = append(want, fmt.Sprint(i))
		if i%3 == 0 {
			n.run()
		}
		if i%7 == 0 {
			n.commit()
		}
		if len(n.turns) > 3 {
			n.run()
		}
	}
	n.settle()
	for _, counter := range []uint64{2, 3} {
		if got := n.texts(counter); !slices.Equal(got, want) {
			t.Errorf("counter %d heard %q", counter, got)
		}
	}
	n.wantRows("when all is settled", 0, 0, 0)
}

func TestTellsGoOnAfterARestart(t *testing.T) {
	// Crash after each number of commits: nothing is lost, nothing runs twice.
	for crash := range 12 {
		n := newNode(t)
		var want []string
		for i := range 3 {
			n.submit("teller", 1, Say("x"), To(2, order(i)...))
			want = append(want, fmt.Sprint(i))
		}
		n.run()
		n.commit()
		for range crash {
			n.run()
			if !n.commit() {
				break
			}
		}
		n.run() // Steps whose outcomes are lost with the node.
		n.start()
		n.settle()
		if got := n.texts(2); !slices.Equal(got, want) {
			t.Errorf("a crash after %d commits: heard %q", crash, got)
		}
		if got := n.rows(outboxTable); got != 0 || n.PendingTells() != 0 {
			t.Errorf("a crash after %d commits: %d tells are left", crash, got)
		}
	}
}

func TestATellThatComesTwiceIsHeardOnce(t *testing.T) {
	n := newNode(t)
	n.submit("teller", 1, Say("x"), To(2, Add("a")), To(2, Add("a"), Refuse(overloaded)), To(2, Panic("a bug")), To(2, Add("b")))
	for more := true; more; {
		for len(n.turns) > 0 {
			next := n.turns[0]
			n.turns = n.turns[1:]
			if next.job.IsTell() {
				next.box.queued++
				n.unreleased.Add(1)
				next.box.Run(next.job)
			}
			next.box.Run(next.job)
		}
		if more = n.commit() || len(n.turns) > 0; !more && len(n.timers) > 0 && n.elapsed < time.Hour {
			n.pass(maxRetryAfter)
			more = true
		}
	}
	if n.PendingTells() != 3 {
		t.Errorf("%d tells are pending, want the overloaded one and two behind it", n.PendingTells())
	}
	if n.fatal != nil || len(n.timers) != 1 {
		t.Errorf("%v, %d timers, want the one of the overloaded tell", n.fatal, len(n.timers))
	}
}

func TestAnOverloadedTellIsTriedAgainWithBackoff(t *testing.T) {
	n := newNode(t)
	n.submit("teller", 1, Say("x"), To(2, Add("a"), Refuse(overloaded)), To(2, Add("b")), To(3, Add("c")))
	n.settle()
	var waits []time.Duration
	for range 12 {
		if len(n.timers) != 1 {
			t.Fatalf("%d timers", len(n.timers))
		}
		wait := n.timers[0].at - n.elapsed
		waits = append(waits, wait)
		n.pass(wait)
		n.settle()
	}
	for i, w := range waits {
		want := min(retryAfter<<i, maxRetryAfter)
		if w != want {
			t.Errorf("wait %d = %v, want %v", i, w, want)
		}
	}
	n.wantRows("while it is overloaded", 2, 0, 0)
	n.wantNumbers("c", n.numbers(3, Get("c")), 1) // Another pair goes on.
	n.wantNumbers("a, b", n.numbers(2, Get("a"), Get("b")), 0, 0)
}

func TestATellThatPanicsIsParkedAfterFiveTriesAndCanBeReplayed(t *testing.T) {
	n := newNode(t)
	tries := 0
	n.config.Observe = func(_ *Box, j *Job, _ entity.Turn, out *entity.Outcome) {
		if j != nil && j.IsTell() && out.Panic != "" {
			tries++
		}
	}
	n.start()
	n.submit("teller", 1, Say("x"), To(2, Add("a")), To(2, Panic("a bug")), To(2, Add("b")))
	n.settle()
	var waited []time.Duration
	for len(n.timers) > 0 {
		wait := n.timers[0].at - n.elapsed
		waited = append(waited, wait)
		n.pass(wait)
		n.settle()
	}
	want := []time.Duration{retryAfter, 2 * retryAfter, 4 * retryAfter, 8 * retryAfter}
	if tries != maxTries || !slices.Equal(waited, want) {
		t.Errorf("%d tries with waits %v, want %d and %v", tries, waited, maxTries, want)
	}
	n.wantRows("when it is parked", 0, 1, 0)
	n.wantNumbers("a, b", n.numbers(2, Get("a"), Get("b")), 1, 1)

	// It comes back after later ones, panics again, and is parked again.
	count, err := n.ReplayDeadLetters()
	if err != nil || count != 1 {
		t.Fatalf("%d replayed, %v", count, err)
	}
	n.commit()
	n.wantRows("when it is replayed", 1, 0, 0)
	n.submit("teller", 1, To(2, Add("c")))
	for n.settle(); len(n.timers) > 0; n.settle() {
		n.pass(n.timers[0].at - n.elapsed)
	}
	n.wantRows("when it is parked again", 0, 1, 0)
	n.wantNumbers("c", n.numbers(2, Get("c")), 1)
}

// A parked tell whose bug is gone runs, also beside later tells of its pair.
func TestAReplayedDeadLetterRuns(t *testing.T) {
	n := newNode(t)
	n.submit("teller", 1, Say("x"), To(2, Add("a")))
	n.run()
	n.commit()
	nothing, err := entity.NewIn("kith.nothing")
	if err != nil {
		t.Fatal(err)
	}
	known := n.config.Registry
	n.config.Registry = nothing
	n.start()
	n.settle()
	n.wantRows("of a method that nobody knows", 0, 1, 0)
	n.config.Registry = known
	n.start()
	n.submit("teller", 1, To(2, Add("b")), To(2, Add("b")))
	n.run()
	n.commit() // The later ones are on their way.
	if count, err := n.ReplayDeadLetters(); count != 1 || err != nil {
		t.Fatalf("%d replayed, %v", count, err)
	}
	n.submit("teller", 1, To(2, Add("b")))
	n.run()
	n.settle()
	n.wantNumbers("a, b", n.numbers(2, Get("a"), Get("b")), 1, 3)
	n.wantRows("when all is settled", 0, 0, 0)
	if count, err := n.ReplayDeadLetters(); count != 0 || err != nil {
		t.Errorf("%d replayed when there are none, %v", count, err)
	}
}

func TestARefusedTellIsDone(t *testing.T) {
	n := newNode(t)
	n.submit("teller", 1, Say("x"), To(2, Add("a"), Refuse(denied)), To(2, Add("a")))
	n.settle()
	n.wantRows("after refusals", 0, 0, 0)
	n.wantNumbers("a", n.numbers(2, Get("a")), 1)
	if len(n.timers) > 0 {
		t.Error("a refused tell is tried again")
	}
}

func TestATellThatIsMoreThanAStepMayDoIsParked(t *testing.T) {
	n := newNode(t)
	n.submit("teller", 1, Say("x"), To(2, Write(1<<20)), To(2, Add("a")))
	n.settle()
	n.wantRows("when it is parked", 0, 1, 0)
	n.wantNumbers("a, told after it", n.numbers(2, Get("a")), 1)
}

func TestASecondReplayWaitsForTheFirst(t *testing.T) {
	n := newNode(t)
	n.submit("teller", 1, Say("x"), To(2, Write(1<<20)))
	n.settle()
	if count, err := n.ReplayDeadLetters(); count != 1 || err != nil {
		t.Fatalf("%d replayed, %v", count, err)
	}
	if _, err := n.ReplayDeadLetters(); err == nil {
		t.Error("a second replay began while the first was under way")
	}
	n.settle() // It is parked again.
	if count, err := n.ReplayDeadLetters(); count != 1 || err != nil {
		t.Errorf("%d replayed when the first was through, %v", count, err)
	}
}

func TestATellOfATenantThatIsGoneIsParked(t *testing.T) {
	n := newNode(t)
	n.submit("teller", 1, Say("x"), To(2, Add("a")))
	n.run()
	n.commit()
	all := n.config.Tenants
	n.config.Tenants = map[string]*entity.Policy{"zeta": all["zeta"]}
	n.start()
	n.settle()
	n.wantRows("without its tenant", 0, 1, 0)
	n.config.Tenants = all
	n.start()
	if count, err := n.ReplayDeadLetters(); count != 1 || err != nil {
		t.Errorf("%d replayed, %v", count, err)
	}
	n.settle()
	n.wantNumbers("a", n.numbers(2, Get("a")), 1)
}

// A tell may tell: all the way round and to the end.
func TestATellMayTell(t *testing.T) {
	n := newNode(t)
	n.submit("teller", 1, Say("x"), To(2, Add("a"), To(3, Add("a"), To(1, Add("a")), To(2, Add("a")))))
	n.settle()
	n.wantRows("when all is settled", 0, 0, 0)
	for counter, want := range map[uint64]uint64{1: 1, 2: 2, 3: 1} {
		n.wantNumbers(fmt.Sprint("a of ", counter), n.numbers(counter, Get("a")), want)
	}
}
