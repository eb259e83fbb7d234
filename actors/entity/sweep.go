package entity

import (
	"time"

	"kith/actors/pb"
)

// Sweeping drops what is past its window: the changes of the log, and the
// request ids. The kernel's own timer, of which an entity has one while there is
// something to sweep, sees to those to whom nothing happens any more.

// maxSwept is how many events one Step of a sweep looks at.
const maxSwept = 1000

// sweepRound is how exactly a sweep is timed: what happens in an hour goes
// together.
const sweepRound = time.Hour

// sweepName is the key of the kernel's timer: that of no method.
var sweepName = timerName("", nil)

// scheduleSweep sets the kernel's timer if what this Step leaves behind will
// have to be swept and no sweep is due before.
func (m *Memory) scheduleSweep(tx *Tx, request bool) {
	var due time.Time
	if last := m.head; len(tx.events) > 0 && last.Seq > last.Message { // A change that stayed because it was the last event.
		due = time.UnixMilli(max(last.At, tx.now.Add(-tx.policy.RecoveryWindow).UnixMilli())).Add(tx.policy.RecoveryWindow)
	}
	for _, e := range tx.events {
		if e.header.class == pb.Class_CHANGE {
			due = earlier(due, tx.now.Add(tx.policy.RecoveryWindow))
		}
	}
	if request {
		due = earlier(due, tx.now.Add(tx.policy.RequestWindow+bucketHours*time.Hour))
	}
	if due.IsZero() {
		return
	}
	at := m.sweepTime(due)
	if m.sweepAt != 0 && m.sweepAt <= at {
		tx.charge(1) // What it costs a Step with a cold memory.
		return
	}
	if row, ok := timers.Get(tx, sweepName); ok && row.At <= at {
		m.sweepAt = row.At
		return
	}
	tx.setTimer(sweepName, &pb.Timer{At: at})
	m.sweepAt = at
}

// sweepTime is when an entity sweeps what is over at a time: within the hour, each
// at a second of its own, so that not all entities sweep at once.
func (m *Memory) sweepTime(t time.Time) int64 {
	own := time.Duration(mix(m.ref.ID) % uint64(sweepRound))
	return t.Add(sweepRound - own).Truncate(sweepRound).Add(own).UnixMilli()
}

// sweep drops the changes and request ids that are past their window, and sets
// the timer anew if there are others.
func (m *Memory) sweep(r *Registry, d *Due, turn Turn) Outcome {
	turn.Now = m.now(turn.Now)
	tx := m.begin(r, &Call{To: d.Ref}, turn)
	tx.dropTimer(d.name)
	next := m.sweepChanges(tx)
	extra := m.requests.sweep(m, nil, bucketOf(turn.Now.Add(-turn.Policy.RequestWindow)))
	if oldest, ok := m.requests.oldest(m); ok {
		end := time.Unix(int64(oldest+1)*bucketHours*3600, 0).Add(turn.Policy.RequestWindow)
		next = earlier(next, end)
	}
	m.sweepAt = 0
	if !next.IsZero() {
		at := tx.now.UnixMilli() // There is more.
		if next.After(tx.now) {
			at = m.sweepTime(next)
		}
		tx.setTimer(sweepName, &pb.Timer{At: at})
		m.sweepAt = at
	}
	return Outcome{Wake: tx.wake, Writes: m.keep(tx, extra)}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// sweepChanges drops changes that are past the recovery window, and the floor
// rises. It returns when the next ones are; zero: there are none.
func (m *Memory) sweepChanges(tx *Tx) (next time.Time) {
	floor := floors.Edit(tx, nil)
	from, until := max(1, floor.Changes), tx.now.Add(-tx.policy.RecoveryWindow).UnixMilli()
	run, looked, at := uint64(0), 0, from
	tx.walk(from, tx.head.Seq-1, func(seq uint64, h *header) bool {
		if looked++; looked > maxSwept {
			next = tx.now
			return false
		}
		change := h.class == pb.Class_CHANGE
		if change && h.at > until {
			next = time.UnixMilli(h.at).Add(tx.policy.RecoveryWindow)
			return false
		}
		switch {
		case change && run == 0:
			run = seq
		case !change && run != 0:
			tx.Drop(run, seq-1)
			run = 0
		}
		at = seq + 1
		return true
	})
	if run != 0 {
		tx.Drop(run, at-1)
	}
	if next.IsZero() {
		at = max(at, tx.head.Seq) // Nothing is left below the last event.
	}
	if at > from {
		floor = floors.Edit(tx, nil)
		floor.Changes = at
		floors.Put(tx, nil, floor)
	}
	return next
}
