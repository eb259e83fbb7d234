package host

import (
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// held reports whether the last Step was told to hold retention.
func (n *node) held(what string, want bool) {
	n.t.Helper()
	hold := !want
	n.Observe = func(_ *Box, _ *Job, turn entity.Turn, _ *entity.Outcome) { hold = turn.Hold }
	n.numbers(1, Say("x"))
	n.Observe = nil
	if hold != want {
		n.t.Errorf("%s: retention is held: %v, want %v", what, hold, want)
	}
}

func TestAClockThatJumpsHoldsRetentionAndSendsGoOn(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 2 * time.Hour, "back": -2 * time.Hour, "far": 20000 * time.Hour} {
		n := newNode(t)
		n.held("at first", false)
		n.pass(30 * 24 * time.Hour)
		n.Sweep()
		n.held("after a month", false)
		n.wall = n.wall.Add(30 * time.Minute)
		n.Sweep()
		n.held("after a small correction", false)
		n.wall = n.wall.Add(jump)
		n.held(name+", before anybody looked", true)
		n.Sweep()
		n.held(name+", noticed", true)
		n.pass(time.Hour)
		n.Sweep()
		n.held(name+", an hour later", true)
		n.wall = n.wall.Add(-jump)
		n.Sweep()
		n.held(name+", set right without an operator", true)
	}
}

func TestAnOperatorAgreesToAClock(t *testing.T) {
	n := newNode(t)
	n.numbers(1, Say("x"))
	n.wall = n.wall.Add(-3 * time.Hour)
	n.start()
	n.held("after a start before the last commit", true)
	n.config.AcceptClock = true
	n.start()
	n.held("when the operator agrees", false)
	n.wall = n.wall.Add(9 * time.Hour)
	n.held("to any clock", false)
	n.Sweep()
	n.held("to any clock, noticed", false)
	n.config.AcceptClock = false
	n.start()
	n.held("after a late start", false)
}

func TestAnEventIsNeverEarlierThanTheOneBefore(t *testing.T) {
	n := newNode(t)
	n.numbers(1, Say("x"))
	start := n.wall
	n.wall = n.wall.Add(-5 * time.Hour)
	n.Sweep()
	n.numbers(1, Say("y"))
	n.Replay(n.caller("acme", "ann"), entity.Conversation(n.tenant("acme"), 1), 1, 9, func(p entity.Page) {
		if p.Events[0].At != start.UnixMilli() {
			t.Errorf("event 2 is of %d, want %d", p.Events[0].At, start.UnixMilli())
		}
	})
	n.answer()
}
