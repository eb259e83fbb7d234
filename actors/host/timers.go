package host

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"kith/actors/entity"
)

// timers gives entities the commands of their timers when these are due. What is
// to come stays in the store: the node knows only when the next one of each
// shard is due, and which are on their way.
type timers struct {
	core *Core
	next [entity.Shards]atomic.Int64 // no timer of the shard is due before, in unix milliseconds

	mu     sync.Mutex // guards firing
	firing map[timerKey]*firing
}

// A timerKey names a timer at one time.
type timerKey struct {
	ref  entity.Ref
	name string
}

// A firing is a timer on its way.
type firing struct {
	panics int
	waits  int
	until  time.Duration // not tried again before, by Clock.Elapsed
	posted bool
}

const (
	// maxFiring bounds the timers that are on their way at once; the others wait
	// in the store. With 20 µs for each, 1,024 are done in a fiftieth of a second.
	maxFiring = 1024
	// maxFiringShard bounds those of one shard, so that no shard waits for another.
	maxFiringShard = maxFiring / 16
)

// noTimer is the time of the next timer where there is none.
const noTimer = math.MaxInt64

// tick fires what is due. While the clock is not to be trusted nothing is.
func (t *timers) tick() {
	c := t.core
	now := read(c.Clock)
	if c.watch.holds(now) {
		return
	}
	for shard := range uint16(entity.Shards) {
		if t.next[shard].Load() > now.wall.UnixMilli() || t.full() {
			continue
		}
		if err := t.fire(shard, now); err != nil {
			c.Fatal(err)
			return
		}
	}
}

func (t *timers) full() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.firing) >= maxFiring
}

// fire posts the timers of a shard that are due.
func (t *timers) fire(shard uint16, now moment) error {
	c := t.core
	t.next[shard].Store(noTimer) // What is set from here on lowers it again.
	view := c.Storage.Snapshot()
	defer c.giveBack(view)
	seen := 0
	next, err := entity.DueTimers(view, shard, now.wall, func(d entity.Due) bool {
		if seen == maxFiringShard {
			return false
		}
		seen++
		if t.begin(&d, now.elapsed) {
			c.post(d.Ref, &Job{due: &d}, 0)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read the timers of shard %d: %w", shard, err)
	}
	if seen > 0 {
		next = now.wall.UnixMilli() // They are there until they are done.
	}
	if next != 0 {
		t.lower(shard, next)
	}
	return nil
}

// lower notes a time at which a timer of a shard is due.
func (t *timers) lower(shard uint16, at int64) {
	for {
		old := t.next[shard].Load()
		if old <= at || t.next[shard].CompareAndSwap(old, at) {
			return
		}
	}
}

// begin reports whether a timer that is due is to be posted now.
func (t *timers) begin(d *entity.Due, now time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.firing == nil {
		t.firing = map[timerKey]*firing{}
	}
	k := keyOf(d)
	f := t.firing[k]
	if f == nil {
		f = &firing{}
		t.firing[k] = f
	}
	if f.posted || now < f.until {
		return false
	}
	f.posted = true
	return true
}

func keyOf(d *entity.Due) timerKey { return timerKey{d.Ref, d.Name()} }

// released goes on with what an outcome, now durable, says about timers.
func (t *timers) released(it *item) {
	if it.out.Wake != 0 && t.core.Planted != entity.TimerDropped {
		t.lower(it.box.Ref().Shard(), it.out.Wake)
	}
	if it.job == nil || it.job.due == nil {
		return
	}
	d := it.job.due
	switch {
	case it.out.Panic != "":
		t.again(d, it.out.Err.Msg, true)
	case it.out.Bound != "":
		t.park(d, "it is more than one step may do: "+it.out.Bound)
	case it.out.Err != nil && it.out.Err.Code == entity.Unsupported && len(it.out.Writes) == 0:
		t.park(d, it.out.Err.Msg)
	case it.out.Err != nil && it.out.Err.Code == entity.Overloaded:
		t.again(d, it.out.Err.Msg, false)
	default:
		t.mu.Lock()
		delete(t.firing, keyOf(d))
		t.mu.Unlock()
	}
}

// again has a timer tried once more, after a while. One that panics too often is
// parked.
func (t *timers) again(d *entity.Due, reason string, panicked bool) {
	t.mu.Lock()
	f := t.firing[keyOf(d)]
	if f == nil {
		t.mu.Unlock()
		return // A copy that came late.
	}
	if panicked {
		f.panics++
	}
	f.posted = false
	f.until = t.core.Clock.Elapsed() + min(retryAfter<<min(f.waits, 30), maxRetryAfter)
	f.waits++
	tries := f.panics
	t.mu.Unlock()
	if tries >= maxTries {
		t.park(d, reason)
	}
}

// park has a timer that cannot be run moved to the dead letters. Its row is the
// entity's, so that needs a turn.
func (t *timers) park(d *entity.Due, reason string) {
	t.mu.Lock()
	if f := t.firing[keyOf(d)]; f != nil {
		f.posted = true
	}
	t.mu.Unlock()
	t.core.metrics.parked.Inc()
	t.core.Log.Error("a timer was parked among the dead letters", "method", d.Method(), "reason", reason)
	t.core.post(d.Ref, &Job{due: d, park: reason}, 0)
}
