package host

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"kith/actors/entity"
)

// timers gives entities the commands of their timers when these are due. What is
// to come stays in the store: the node knows only when the next one of each
// shard is due, and which are on their way.
type timers struct {
	core *Core
	next [entity.Shards]atomic.Int64 // no timer of the shard is due before, in unix milliseconds

	ticking sync.Mutex // held by tick; guards first
	first   uint16     // the shard that is looked at first: who had to wait comes first

	mu     sync.Mutex // guards what is below
	firing map[timerKey]*firing
	waits  int  // of firing, those that wait
	behind bool // more are due than are on their way
}

// A timerKey names a timer.
type timerKey struct {
	ref  entity.Ref
	name string
}

// A firing is a timer on its way, or one that waits to be tried again.
type firing struct {
	panics  int
	tries   int
	waiting bool
}

const (
	// maxFiring bounds the timers that are on their way at once; the others wait
	// in the store. With 20 µs for each, 1,024 are done in a fiftieth of a second,
	// and then come the next.
	maxFiring = 1024
	// maxFiringShard bounds those of one shard in one look, so that no shard waits
	// for another.
	maxFiringShard = maxFiring / 16
)

// noTimer is the time of the next timer where there is none.
const noTimer = math.MaxInt64

// tick fires what is due. While the clock is not to be trusted nothing is.
func (t *timers) tick() {
	t.ticking.Lock()
	defer t.ticking.Unlock()
	c := t.core
	now := read(c.Clock)
	if c.watch.holds(now) {
		return
	}
	first := t.first
	for i := range uint16(entity.Shards) {
		shard := (first + i) % entity.Shards
		if t.next[shard].Load() > now.wall.UnixMilli() {
			continue
		}
		room := t.room()
		if room == 0 {
			t.first = shard
			return
		}
		if err := t.fire(shard, now, min(room, maxFiringShard)); err != nil {
			c.Fatal(err)
			return
		}
	}
}

// room is how many more may be on their way. None: it will be looked again when
// those that are have gone.
func (t *timers) room() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	room := max(0, maxFiring-len(t.firing))
	t.behind = t.behind || room == 0
	return room
}

// fire posts timers of a shard that are due, at most so many. A tenant that is not
// configured has none.
func (t *timers) fire(shard uint16, now moment, most int) error {
	c := t.core
	t.next[shard].Store(noTimer) // What is set from here on lowers it again.
	view := c.Storage.Snapshot()
	defer c.giveBack(view)
	posted, left := 0, false
	next, err := entity.DueTimers(view, shard, now.wall, func(d entity.Due) bool {
		if c.policies[d.Ref.Tenant] == nil {
			return true
		}
		left = true // It is there until it is done.
		if posted == most {
			t.late()
			return false
		}
		if t.begin(&d) {
			posted++
			c.post(d.Ref, &Job{due: &d}, 0)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read the timers of shard %d: %w", shard, err)
	}
	if left {
		next = now.wall.UnixMilli()
	}
	if next != 0 {
		t.lower(shard, next)
	}
	return nil
}

// late notes that more are due than are on their way.
func (t *timers) late() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.behind = true
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

// begin reports whether a timer that is due is to be posted now: else it is on its
// way.
func (t *timers) begin(d *entity.Due) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.firing == nil {
		t.firing = map[timerKey]*firing{}
	}
	k := keyOf(d)
	if t.firing[k] != nil {
		return false
	}
	t.firing[k] = &firing{}
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
		t.done(d)
	}
}

// done forgets a timer that is over. When the last one on its way is, the node looks
// again at once if there are more.
func (t *timers) done(d *entity.Due) {
	t.mu.Lock()
	k := keyOf(d)
	if f := t.firing[k]; f != nil && f.waiting {
		t.waits--
	}
	delete(t.firing, k)
	goOn := t.behind && len(t.firing) == t.waits
	if goOn {
		t.behind = false
	}
	t.mu.Unlock()
	if goOn {
		t.core.Scheduler.Query(t.tick) // If too many wait, the next Sweep looks.
	}
}

// again has a timer tried once more, after a while. One that panics too often is
// parked. However many copies of it fail, one is tried again.
func (t *timers) again(d *entity.Due, reason string, panicked bool) {
	t.mu.Lock()
	f := t.firing[keyOf(d)]
	if f == nil || f.waiting {
		t.mu.Unlock()
		return // A copy that came late.
	}
	if panicked {
		f.panics++
	}
	if f.panics >= maxTries {
		first := f.panics == maxTries && panicked
		t.mu.Unlock()
		if first { // Else it is being parked.
			t.park(d, reason)
		}
		return
	}
	wait := min(retryAfter<<min(f.tries, 30), maxRetryAfter)
	f.tries++
	f.waiting = true
	t.waits++
	t.mu.Unlock()
	t.core.Scheduler.After(wait, func() {
		t.mu.Lock()
		still := t.firing[keyOf(d)] == f
		if still {
			f.waiting = false
			t.waits--
		}
		t.mu.Unlock()
		if still {
			t.core.post(d.Ref, &Job{due: d}, 0)
		}
	})
}

// park has a timer that cannot be run moved to the dead letters. Its row is the
// entity's, so that needs a turn.
func (t *timers) park(d *entity.Due, reason string) {
	t.core.metrics.parked.Inc()
	t.core.Log.Error("a timer was parked among the dead letters", "method", d.Method(), "reason", reason)
	t.core.post(d.Ref, &Job{due: d, park: reason}, 0)
}
