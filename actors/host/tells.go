package host

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"kith/actors/entity"
)

// An outbox delivers tells whose rows are durable: in order and one at a time
// for each pair of entities, so that a receiver needs to remember one number.
type outbox struct {
	core *Core

	replaying atomic.Int64 // tells of a replay that have not left yet

	mu    sync.Mutex // guards pairs
	pairs map[pair]*pairQueue
}

type pair struct{ from, to entity.Ref }

// A pairQueue is what one entity has still to tell another. The first tell is
// on its way, or waits to be tried again.
type pairQueue struct {
	tells   []*entity.Tell // the first of them, and all that were dead letters; never none
	fresh   int            // of these, those that never were dead letters; at most maxQueued
	last    *entity.Tell   // the last fresh one that was queued
	more    bool           // in the store, after last
	panics  int            // of the first
	waits   int            // of the first
	waiting bool           // now
}

const (
	// maxTries is how often a tell that panics is tried before it is parked.
	maxTries = 5
	// retryAfter is the first wait before a tell is tried again; each next wait
	// is twice as long, up to maxRetryAfter.
	retryAfter    = 100 * time.Millisecond
	maxRetryAfter = 10 * time.Second
	// maxTaskRetryAfter is the same for what is done outside: somebody else's server
	// may be away for hours.
	maxTaskRetryAfter = 5 * time.Minute
	// spread is into how many parts retries of different entities are spread.
	spread = 16
)

// maxQueued bounds the tells of a pair that are in memory, but for replayed dead
// letters; what is behind them is in the store. While somebody outside does not
// answer for hours, many wait.
const maxQueued = 32

func pairOf(t *entity.Tell) pair { return pair{t.From, t.Call.To} }

// resume finds the tells that were pending when the node stopped.
func (c *Core) resume(view entity.Reader) error {
	if c.Planted == entity.OutboxNotResumed {
		return nil
	}
	for shard := range uint16(entity.Shards) {
		err := c.Registry.Outbox(view, shard, func(t *entity.Tell) bool {
			if t.Again {
				c.outbox.replaying.Add(1) // Of a replay before the restart.
			}
			c.outbox.add(t)
			return true
		})
		if err != nil {
			return fmt.Errorf("read the outbox of shard %d: %w", shard, err)
		}
	}
	return nil
}

// add queues a tell, and sends it if nothing is before it.
func (o *outbox) add(t *entity.Tell) {
	o.mu.Lock()
	if o.pairs == nil {
		o.pairs = map[pair]*pairQueue{}
	}
	q := o.pairs[pairOf(t)]
	if q == nil {
		q = &pairQueue{}
		o.pairs[pairOf(t)] = q
	}
	queued := q.queue(t)
	first := queued && len(q.tells) == 1
	o.mu.Unlock()
	o.core.metrics.tells.Inc()
	if first {
		o.deliver(t)
	}
}

// queue takes a tell that has just become durable, and reports whether it has; else it
// will be read when those before it have left, or it has been read already: what is
// durable can be read before it is released.
func (q *pairQueue) queue(t *entity.Tell) bool {
	switch {
	case t.Again:
	case q.last != nil && t.Number <= q.last.Number, q.more:
		return false
	case q.fresh == maxQueued:
		q.more = true
		return false
	default:
		q.last = t
		q.fresh++
	}
	q.tells = append(q.tells, t)
	return true
}

// deliver sends a tell to its receiver, or parks what nobody could run.
func (o *outbox) deliver(t *entity.Tell) {
	switch {
	case t.Call.Method == nil:
		o.park(t, "this server does not know the method, or cannot read the request")
	case o.core.policies[t.Call.To.Tenant] == nil:
		o.park(t, "the tenant is not configured")
	case t.Call.To.Outside():
		o.perform(t)
	default:
		o.core.post(t.Call.To, &Job{tell: t}, 0)
	}
}

// perform has a task done outside. One that fails and is too old is given up, with
// the last error; one that is old because the server was down, or because it is
// replayed, has an attempt like any other.
func (o *outbox) perform(t *entity.Tell) {
	c := o.core
	if c.Outside == nil {
		return // It waits for a server that has somebody to do it.
	}
	giveUp := c.policies[t.From.Tenant].TaskGiveUp
	c.Outside.Perform(t, func(err error) {
		switch {
		case err == nil:
			o.leave(t, t.Done())
		case c.Clock.Now().Sub(t.At) > giveUp:
			o.park(t, "it could not be done for "+giveUp.String()+": "+err.Error())
		default:
			o.again(t)
		}
	})
}

// released goes on with the tells of an outcome that is now durable.
func (o *outbox) released(it *item) {
	for _, t := range it.out.Tells {
		o.add(t)
	}
	switch {
	case it.gone != nil:
		o.next(it.gone)
	case it.job == nil || !it.job.IsTell():
	case it.out.Panic != "":
		o.panicked(it.job.tell, it.out.Err.Msg)
	case it.out.Bound != "":
		o.park(it.job.tell, "it is more than one step may do: "+it.out.Bound) // It always will be.
	case it.out.Err != nil && it.out.Err.Code == entity.Overloaded:
		o.again(it.job.tell)
	default:
		o.leave(it.job.tell, it.job.tell.Done())
	}
}

// panicked tries a tell some more, then parks it.
func (o *outbox) panicked(t *entity.Tell, reason string) {
	o.mu.Lock()
	q := o.pairs[pairOf(t)]
	if q == nil || q.tells[0].Number != t.Number || q.waiting {
		o.mu.Unlock()
		return // A copy that came late.
	}
	q.panics++
	tries := q.panics
	o.mu.Unlock()
	switch {
	case tries < maxTries:
		o.again(t)
	case tries == maxTries: // Else it is being parked.
		o.park(t, reason)
	}
}

// again delivers a tell once more, after a while. However many copies of it
// fail, one is tried again, and none once the tell has left.
func (o *outbox) again(t *entity.Tell) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := o.pairs[pairOf(t)]
	if q == nil || q.tells[0].Number != t.Number || q.waiting {
		return
	}
	wait := min(retryAfter<<min(q.waits, 30), maxRetryAfter)
	if t.Call.To.Outside() {
		wait = min(retryAfter<<min(q.waits, 30), maxTaskRetryAfter)
		wait += wait * time.Duration(t.From.ID%spread) / spread // So that not all come back at once.
	}
	q.waiting = true
	q.waits++
	o.core.Scheduler.After(wait, func() {
		o.mu.Lock()
		first := o.pairs[pairOf(t)] == q && q.tells[0].Number == t.Number
		if first {
			q.waiting = false
		}
		o.mu.Unlock()
		if first {
			o.deliver(t)
		}
	})
}

func (o *outbox) park(t *entity.Tell, reason string) {
	o.core.metrics.parked.Inc()
	o.core.Log.Error("a tell was parked among the dead letters", "reason", reason)
	o.leave(t, t.Park(reason, o.core.Clock.Now()))
}

// leave takes a tell out of the outbox. Nobody's Step reads its row, so the
// write needs no turn.
func (o *outbox) leave(t *entity.Tell, writes []entity.Write) {
	o.mu.Lock()
	q := o.pairs[pairOf(t)]
	current := q != nil && q.tells[0].Number == t.Number
	o.mu.Unlock()
	if !current {
		return // A copy that came late: the tell has left already.
	}
	o.core.enqueueWrites(t.From.Shard(), item{gone: t, out: entity.Outcome{Writes: writes}})
}

// enqueueWrites queues writes that need nobody's turn.
func (c *Core) enqueueWrites(shardOf uint16, it item) {
	if c.Observe != nil {
		c.Observe(nil, nil, entity.Turn{}, &it.out)
	}
	s := &c.shards[shardOf]
	s.mu.Lock()
	s.queue = append(s.queue, it)
	s.mu.Unlock()
	c.wake(shardOf)
}

// next goes on after a tell has durably left: the receiver may forget it,
// unless the next one will overwrite that memory anyway.
func (o *outbox) next(gone *entity.Tell) {
	o.mu.Lock()
	q := o.pairs[pairOf(gone)]
	if q == nil || q.tells[0].Number != gone.Number {
		o.mu.Unlock()
		return
	}
	q.tells, q.panics, q.waits, q.waiting = q.tells[1:], 0, 0, false
	if !gone.Again {
		q.fresh--
	}
	if q.more && q.fresh == 0 {
		o.refill(q)
	}
	var following *entity.Tell
	if len(q.tells) > 0 {
		following = q.tells[0]
	} else {
		delete(o.pairs, pairOf(gone))
	}
	o.mu.Unlock()
	o.core.metrics.tells.Dec()
	if gone.Again {
		o.replaying.Add(-1)
	}
	if following != nil {
		o.deliver(following)
		if !following.Again && !gone.Again {
			return
		}
	}
	if o.core.policies[gone.Call.To.Tenant] != nil && !gone.Call.To.Outside() {
		o.core.post(gone.Call.To, &Job{tell: gone, forget: true}, 0)
	}
}

// refill reads what follows the fresh tells of a pair when the last of them has left.
// What was a dead letter is queued already, or will be when it is released. o.mu is
// held.
func (o *outbox) refill(q *pairQueue) {
	view := o.core.Storage.Snapshot()
	defer o.core.giveBack(view)
	q.more = false
	err := o.core.Registry.OutboxAfter(view, q.last, func(t *entity.Tell) bool {
		return t.Again || q.queue(t)
	})
	if err != nil {
		o.core.Fatal(fmt.Errorf("read the outbox: %w", err))
	}
}

// PendingTells counts the tells that are not known to have been heard, but for
// those of a pair that has too many to be in memory.
func (c *Core) PendingTells() int {
	c.outbox.mu.Lock()
	defer c.outbox.mu.Unlock()
	n := 0
	for _, q := range c.outbox.pairs {
		n += len(q.tells)
	}
	return n
}

// ReplayDeadLetters takes every parked tell back into the outbox and delivers
// it again, in the order in which it was sent. It returns how many there were.
// While a replay is under way another is refused: it could still see the rows
// of tells that the first has delivered.
func (c *Core) ReplayDeadLetters() (int, error) {
	if !c.outbox.replaying.CompareAndSwap(0, 1) {
		return 0, errors.New("a replay of dead letters is under way")
	}
	defer c.outbox.replaying.Add(-1)
	view := c.Storage.Snapshot()
	defer c.giveBack(view)
	n := 0
	for shard := range uint16(entity.Shards) {
		err := c.Registry.DeadLetters(view, shard, func(t *entity.Tell) bool {
			n++
			c.outbox.replaying.Add(1)
			c.enqueueWrites(shard, item{out: entity.Outcome{Writes: t.Replay(), Tells: []*entity.Tell{t}}})
			return true
		})
		if err != nil {
			return n, fmt.Errorf("read the dead letters of shard %d: %w", shard, err)
		}
	}
	return n, nil
}
