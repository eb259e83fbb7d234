package socket

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"kith/gateway/session"
)

// A loop is one of gnet's event loops and its connections.
type loop struct {
	server *Server
	gnet   gnet.EventLoop

	count    atomic.Int32 // connections
	hasDirty atomic.Bool
	woken    atomic.Bool // Run is on its way
	ticked   atomic.Bool // a tick has passed since the last Run

	mu    sync.Mutex // guards what is below
	dirty []*conn

	// What is below belongs to the event loop alone.
	conns   []*conn // in no order; each knows its index
	next    int     // of conns, whose deadlines are looked at next
	stalled []*conn // whose sockets did not take all
	spare   []*conn // the last list of dirty connections, emptied
}

// wake has the loop run soon, once.
func (l *loop) wake() {
	if !l.woken.CompareAndSwap(false, true) {
		return
	}
	if err := l.gnet.Execute(context.Background(), l); err != nil {
		// The engine is going down, and every connection with it.
		l.woken.Store(false)
	}
}

// markDirty puts a connection on the list of those that have something to write.
// Its session calls it once until the next flush.
func (l *loop) markDirty(c *conn) {
	l.mu.Lock()
	l.dirty = append(l.dirty, c)
	l.mu.Unlock()
	l.hasDirty.Store(true)
}

func (l *loop) add(c *conn) {
	c.index = len(l.conns)
	l.conns = append(l.conns, c)
	l.count.Add(1)
}

func (l *loop) remove(c *conn) {
	last := l.conns[len(l.conns)-1]
	l.conns[c.index], last.index = last, c.index
	l.conns[len(l.conns)-1] = nil
	l.conns = l.conns[:len(l.conns)-1]
	l.count.Add(-1)
}

// Run does what has come up: it is gnet.Runnable, on the loop.
func (l *loop) Run(context.Context) error {
	l.woken.Store(false) // What comes from here on wakes the loop again.
	if l.ticked.Swap(false) {
		l.retry()
		now := l.server.cfg.Now()
		l.sweep(now)
		if l.server.draining.Load() {
			l.drain(now)
		}
	}
	l.flushDirty()
	return nil
}

// flushDirty writes the queue of each dirty connection.
func (l *loop) flushDirty() {
	l.hasDirty.Store(false)
	l.mu.Lock()
	list := l.dirty
	l.dirty = l.spare[:0]
	l.mu.Unlock()
	for i, c := range list {
		c.flush()
		list[i] = nil
	}
	l.spare = list
}

// retry asks the sockets that were full.
func (l *loop) retry() {
	list := l.stalled
	l.stalled = nil
	for _, c := range list {
		c.stalled = false
		c.flush() // It comes back to the list if it has not drained.
	}
}

// sweep looks at the deadlines of a part of the connections, so that each is
// looked at once a second.
func (l *loop) sweep(now time.Time) {
	for range (len(l.conns) + sweepTicks - 1) / sweepTicks {
		if l.next >= len(l.conns) {
			l.next = 0
		}
		if len(l.conns) == 0 {
			return
		}
		c := l.conns[l.next]
		l.next++ // If c closes, the last takes its place and waits for its next turn.
		c.tick(now)
	}
}

// drain tells a part of the connections to go: as many as leave the rest for the
// time that remains, more or less.
func (l *loop) drain(now time.Time) {
	ticks := max(1, time.UnixMilli(l.server.drainBy.Load()).Sub(now)/tickEvery)
	staying := l.staying()
	share := float64(len(staying)) / float64(ticks) * 2 * rand.Float64()
	n := min(len(staying), int(share)+1)
	for _, c := range staying[:n] {
		c.leave(session.Shutdown)
	}
}

// staying are the connections that have not been told to go.
func (l *loop) staying() []*conn {
	var all []*conn
	for _, c := range l.conns {
		if c.phase == handshaking || c.phase == talking {
			all = append(all, c)
		}
	}
	return all
}
