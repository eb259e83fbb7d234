package host

import (
	"math/bits"

	"kith/actors/entity"
)

// An item is one outcome on its way through the commit queue.
type item struct {
	box   *Box // nil: nobody's turn, only writes
	job   *Job
	out   entity.Outcome
	bytes int // of the rows in out

	gone *entity.Tell // this write takes the tell out of the outbox
}

// A Group is the outcomes that become durable together. It is over with
// Release.
type Group struct {
	items  []item
	writes []entity.Write
	bytes  int
}

// maxGroupBytes ends a group: what is committed at once is in memory three
// times.
const maxGroupBytes = 16 << 20

// bytesOf is the size of rows.
func bytesOf(writes []entity.Write) (n int) {
	for i := range writes {
		n += len(writes[i].Key) + len(writes[i].Val) + len(writes[i].End)
	}
	return n
}

// add takes outcomes into the group until it is full, and returns how many.
func (g *Group) add(queue []item) int {
	for i := range queue {
		if g.bytes >= maxGroupBytes {
			return i
		}
		g.items = append(g.items, queue[i])
		g.bytes += queue[i].bytes
	}
	return len(queue)
}

// maxKept is for how many outcomes a shard's queue keeps its room, and
// maxKeptGroup for how many a group does, which is about 8 MB: after a larger
// burst it is given back.
const (
	maxKept      = 1024
	maxKeptGroup = 16 << 10
)

// Take takes what the queues hold, shard by shard in Step order, or nil if they
// are empty. One goroutine takes and syncs.
func (c *Core) Take() *Group {
	dirty := c.dirty.Swap(0)
	if dirty == 0 {
		return nil
	}
	g, ok := c.groups.Get().(*Group)
	if !ok {
		g = &Group{}
	}
	for ; dirty != 0; dirty &= dirty - 1 {
		shardOf := bits.TrailingZeros64(dirty)
		s := &c.shards[shardOf]
		s.mu.Lock()
		taken := g.add(s.queue)
		left := copy(s.queue, s.queue[taken:])
		clear(s.queue[left:])
		if s.queue = s.queue[:left]; left == 0 && cap(s.queue) > maxKept {
			s.queue = nil
		}
		s.mu.Unlock()
		if left > 0 {
			c.dirty.Or(1 << shardOf) // For the next group.
		}
	}
	if len(g.items) == 0 {
		return nil // They were taken before they could be announced.
	}
	return g
}

// Sync stamps a group and makes it durable. A group without a write needs no
// sync: everything before it is durable already.
func (c *Core) Sync(g *Group) error {
	stamp := c.stamp + 1
	for i := range g.items {
		out := &g.items[i].out
		for j := range out.Writes {
			out.Writes[j].Stamp(stamp)
		}
		for _, e := range out.Events {
			e.Stamp = stamp
		}
		g.writes = append(g.writes, out.Writes...)
	}
	if len(g.writes) == 0 {
		return nil
	}
	c.stamp = stamp
	g.writes = append(g.writes, entity.StampRow(stamp, c.Clock.Now()))
	c.metrics.groups.Observe(float64(len(g.items)))
	return c.Storage.Commit(g.writes)
}

// Release lets the world know of a durable group, in Step order: replies, then
// events, then tells. Groups are released in the order in which they were
// taken, by one goroutine.
func (c *Core) Release(g *Group) {
	for i := range g.items {
		it := &g.items[i]
		if it.box != nil {
			it.box.durable.Store(it.out.Version)
		}
		if it.job != nil && it.job.done != nil {
			it.job.done(entity.Result{Reply: it.out.Reply, Err: it.out.Err})
		}
		for _, e := range it.out.Events {
			c.Listener.Published(e)
		}
		for _, e := range it.out.Signals {
			c.Listener.Published(e)
		}
		c.outbox.released(it)
		c.timers.released(it)
		c.bytes.Add(-int64(it.bytes))
		if it.box != nil {
			c.unreleased.Add(-1)
		}
	}
	c.Listener.Released()
	if cap(g.items) <= maxKeptGroup {
		clear(g.items)
		clear(g.writes)
		g.items, g.writes, g.bytes = g.items[:0], g.writes[:0], 0
		c.groups.Put(g)
	}
}
