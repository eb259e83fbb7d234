package host

import (
	"sync/atomic"
	"time"

	"kith/actors/entity"
)

// A Box is one live entity: its memory and its place in the queue.
type Box struct {
	core   *Core
	memory *entity.Memory // belongs to whoever has the turn

	// Handle is the scheduler's own: a PID, a queue.
	Handle any

	durable atomic.Uint64 // the version up to which writes are durable

	// Guarded by the shard's mu.
	queued int           // jobs sent and not yet run
	calls  int           // of those, calls of clients
	used   time.Duration // when it last ran, by Clock.Elapsed
}

// Ref names the entity.
func (b *Box) Ref() entity.Ref { return b.memory.Ref() }

// CheckFrozen reports a row in the entity's memory that somebody has changed.
// It is for Observe, which is called in the entity's turn.
func (b *Box) CheckFrozen() error { return b.memory.CheckFrozen() }

// A Job is one turn of an entity: a call, a tell to hear or to forget, or a
// timer to fire or to park.
type Job struct {
	call   *entity.Call
	done   func(entity.Result)
	tell   *entity.Tell
	forget bool
	due    *entity.Due
	park   string // why the timer is parked; empty: it is fired
	copied bool   // another of the same is on its way, or was
}

// IsTell reports whether the job delivers a tell.
func (j *Job) IsTell() bool { return j.tell != nil && !j.forget }

// Repeats reports whether a scheduler may deliver the job late, or twice: that of a
// tell, or of a timer. The entity hears it once. A copy is not copied: it could come
// when the receiver has forgotten that it has heard the tell.
func (j *Job) Repeats() bool { return !j.copied && (j.IsTell() || j.due != nil) }

// Call is the call that the job runs, or nil.
func (j *Job) Call() *entity.Call { return j.call }

// Tell is the tell that the job delivers or forgets, or nil.
func (j *Job) Tell() *entity.Tell { return j.tell }

// Due is the timer that the job fires or parks, or nil.
func (j *Job) Due() *entity.Due { return j.due }

// Parks is why the job parks its timer; empty: it fires it.
func (j *Job) Parks() string { return j.park }

// Again delivers a job that Repeats once more, as a network might.
func (c *Core) Again(j *Job) {
	twin := &Job{tell: j.tell, due: j.due, park: j.park, copied: true}
	if j.due != nil {
		c.post(j.due.Ref, twin, 0)
	} else {
		c.post(j.tell.Call.To, twin, 0)
	}
}

// Run gives the entity its turn. The scheduler calls it, once for each job.
func (b *Box) Run(j *Job) {
	c := b.core
	b.memory.Durable(b.durable.Load())
	ref := b.Ref()
	now := read(c.Clock)
	turn := entity.Turn{Now: now.wall, Policy: c.policies[ref.Tenant], Hold: c.watch.holds(now)}
	var out entity.Outcome
	switch {
	case j.park != "":
		out = b.memory.ParkTimer(c.Registry, j.due, j.park, turn)
	case j.due != nil:
		out = b.memory.Fire(c.Registry, j.due, turn)
	case j.forget:
		out = b.memory.ForgetHeard(c.Registry, j.tell, turn)
	case j.tell != nil:
		out = b.memory.Hear(c.Registry, j.tell, turn)
	default:
		out = b.memory.Step(c.Registry, j.call, turn)
	}
	c.note(j, &out)
	if c.Observe != nil {
		seen := out // Without it every out would be on the heap.
		c.Observe(b, j, turn, &seen)
	}
	if out.Fault != nil {
		c.Fatal(out.Fault)
		return
	}
	c.enqueue(b, item{box: b, job: j, out: out})
}

// enqueue puts an outcome into its shard's queue, and the entity away if there
// is none.
func (c *Core) enqueue(b *Box, it item) {
	it.bytes = bytesOf(it.out.Writes)
	c.bytes.Add(int64(it.bytes))
	if c.early(&it) {
		it.job.done(entity.Result{Reply: it.out.Reply, Err: it.out.Err})
		it.job.done = nil
	}
	shardOf := b.Ref().Shard()
	s := &c.shards[shardOf]
	s.mu.Lock()
	s.queue = append(s.queue, it)
	b.queued--
	if it.job.call != nil {
		b.calls--
	}
	b.used = c.Clock.Elapsed()
	if b.queued == 0 && b.memory.Empty() {
		c.putAway(s, b)
	}
	s.mu.Unlock()
	c.wake(shardOf)
}

// wake says that a shard's queue is not empty.
func (c *Core) wake(shard uint16) {
	if c.dirty.Or(1<<shard)&(1<<shard) == 0 {
		c.Scheduler.Wake()
	}
}

// early is where three bugs can be planted: an answer that does not wait for
// the fsync.
func (c *Core) early(it *item) bool {
	switch {
	case c.Planted == entity.NoBug || it.job == nil || it.job.done == nil:
		return false
	case it.out.Err != nil:
		return c.Planted == entity.RefusalBeforeSync
	case it.out.Repeat:
		return c.Planted == entity.RepeatBeforeSync
	default:
		return c.Planted == entity.ReplyBeforeSync
	}
}

// putAway forgets an entity that has nothing queued and nothing pending. s.mu
// is held.
func (c *Core) putAway(s *shard, b *Box) {
	delete(s.boxes, b.Ref())
	c.Scheduler.Stop(b)
	c.metrics.entities.Dec()
}

// Sweep puts away the entities that have been idle, looks at the clock, and
// fires the timers that are due. The scheduler calls it every second or so.
func (c *Core) Sweep() {
	defer c.timers.tick()
	if jump := c.watch.look(c.Clock); jump != 0 {
		c.Log.Error("the clock has jumped; retention waits until the server is restarted with the clock accepted", "jump", jump)
	}
	now := c.Clock.Elapsed()
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, b := range s.boxes {
			if b.queued > 0 || now-b.used < c.stay(b.Ref()) {
				continue
			}
			// With no job queued nobody has the turn.
			if b.memory.Durable(b.durable.Load()); b.memory.Pending() && c.Planted != entity.PassivatePending {
				continue
			}
			c.putAway(s, b)
		}
		s.mu.Unlock()
	}
}

// stay is how long an entity stays in memory without a call.
func (c *Core) stay(ref entity.Ref) time.Duration {
	if c.Brief != nil && c.Brief(ref) {
		return c.BriefAfter
	}
	return c.IdleAfter
}

// note logs and counts what a Step should not have done.
func (c *Core) note(j *Job, out *entity.Outcome) {
	if out.Panic == "" && out.Bound == "" && out.Fault == nil {
		return
	}
	method := "a tell that was forgotten"
	switch {
	case j.call != nil:
		method = j.call.Method.Name
	case j.tell != nil && j.tell.Call.Method != nil:
		method = j.tell.Call.Method.Name
	case j.due != nil:
		method = j.due.Method()
	}
	switch {
	case out.Panic != "":
		c.metrics.panics.Inc()
		c.Log.Error("a method panicked", "method", method, "panic", out.Panic)
	case out.Bound != "":
		c.metrics.bounds.Inc()
		c.Log.Error("a step was too large", "method", method, "of", out.Bound)
	}
}
