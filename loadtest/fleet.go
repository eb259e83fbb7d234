package loadtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2"

	"kith/loadtest/echo"
	"kith/loadtest/talk"
)

const (
	// MaxConnections is how many connections one process makes at most. 19,000:
	// machines commonly grant 20,000 descriptors, and there are 28,000 ports to come
	// from.
	MaxConnections = 19_000
	// spareFiles is how many descriptors we need beside connections: one more while
	// each is being made, pipes, the event loop, pages of the server.
	spareFiles = 100
	// maxJoining is how many people connect at a time. 128: a server that verifies a
	// token in 0.1 ms is busy all the time, and none waits for long.
	maxJoining = 128
	// dialTimeout bounds the making of one connection.
	dialTimeout = 10 * time.Second
	// joinTimeout bounds the script of one person.
	joinTimeout = 30 * time.Second
)

// A fleet is people with a connection each, all on one event loop.
type fleet struct {
	gnet.BuiltinEventEngine
	client *gnet.Client
	leave  bool          // who is ready hangs up
	joined chan struct{} // has one for each who is ready
	failed chan error    // has the first thing that went wrong
	epoch  time.Time
	loop   gnet.EventLoop // known once somebody is connected
}

// A link is one person's connection.
type link struct {
	person *talk.Person
	conn   gnet.Conn
	joined bool
}

// Write is of talk.Link.
func (l *link) Write(b []byte) error {
	_, err := l.conn.Write(b)
	return err
}

// newFleet starts a loop without anybody.
func newFleet() (*fleet, error) {
	f := &fleet{joined: make(chan struct{}, MaxConnections), failed: make(chan error, 1), epoch: time.Now()}
	var err error
	f.client, err = echo.Loop(f)
	return f, err
}

// Fits says why this process cannot make so many connections, if so.
func Fits(connections int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	switch {
	case connections > MaxConnections:
		return fmt.Errorf("%d connections are more than one process makes, which is %d: it runs out of descriptors and of ports of one address; "+
			"run several processes against one server with --addr", connections, MaxConnections)
	case uint64(connections)+spareFiles > limit.Cur:
		return fmt.Errorf("%d connections and %d other files are more than this process may open, which is %d: raise the limit (ulimit -n)",
			connections, spareFiles, limit.Cur)
	}
	return nil
}

// join connects people and returns when the scripts of all are done.
func (f *fleet) join(ctx context.Context, address string, people []*talk.Person, shown func(done int)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dialer := net.Dialer{Timeout: dialTimeout}
	joining, done := 0, 0
	await := func() error {
		timeout := time.NewTimer(joinTimeout)
		defer timeout.Stop()
		select {
		case <-f.joined:
			joining, done = joining-1, done+1
			shown(done)
			return nil
		case err := <-f.failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timeout.C:
			return fmt.Errorf("the server let nobody in for %v; %d of %d people are", joinTimeout, done, len(people))
		}
	}
	for _, p := range people {
		if joining == maxJoining {
			if err := await(); err != nil {
				return err
			}
		}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("connect %s: %w", p.Name, err)
		}
		joining++
		if _, err := f.client.EnrollContext(conn, &link{person: p}); err != nil {
			return fmt.Errorf("connect %s: %w", p.Name, err)
		}
	}
	for joining > 0 {
		if err := await(); err != nil {
			return err
		}
	}
	return nil
}

// do runs a function on the loop and waits for it. If it returns an error the
// function has not run, or is over.
func (f *fleet) do(ctx context.Context, what func()) error {
	done := make(chan struct{})
	var begun atomic.Bool // or given up
	if f.loop == nil {
		return errors.New("nobody is connected")
	}
	err := f.loop.Execute(ctx, gnet.RunnableFunc(func(context.Context) error {
		if begun.CompareAndSwap(false, true) {
			what()
		}
		close(done)
		return nil
	}))
	if err != nil {
		return fmt.Errorf("reach the event loop: %w", err)
	}
	select {
	case <-done:
		return nil
	case err = <-f.failed:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if !begun.CompareAndSwap(false, true) {
		<-done
	}
	return err
}

// close ends all connections.
func (f *fleet) close() error { return f.client.Stop() }

func (f *fleet) now() int64 { return int64(time.Since(f.epoch)) }

// fail ends the load. The first reason is the one that counts.
func (f *fleet) fail(err error) gnet.Action {
	select {
	case f.failed <- err:
	default:
	}
	return gnet.Close
}

// OnOpen is of gnet.EventHandler.
func (f *fleet) OnOpen(c gnet.Conn) (out []byte, action gnet.Action) {
	l := c.Context().(*link)
	l.conn, l.person.Link = c, l
	f.loop = c.EventLoop()
	if err := l.person.Begin(); err != nil {
		return nil, f.fail(fmt.Errorf("%s: %w", l.person.Name, err))
	}
	return l.person.Take(), gnet.None
}

// OnTraffic is of gnet.EventHandler.
func (f *fleet) OnTraffic(c gnet.Conn) gnet.Action {
	l := c.Context().(*link)
	b, err := c.Peek(-1)
	if err != nil {
		return f.fail(fmt.Errorf("%s: read: %w", l.person.Name, err))
	}
	n, err := l.person.Read(b)
	if err != nil {
		return f.fail(err)
	}
	if _, err := c.Discard(n); err != nil {
		return f.fail(fmt.Errorf("%s: read: %w", l.person.Name, err))
	}
	if out := l.person.Take(); len(out) > 0 {
		if err := l.Write(out); err != nil {
			return f.fail(fmt.Errorf("%s: write: %w", l.person.Name, err))
		}
	}
	if !l.joined && l.person.Ready() {
		l.joined = true
		f.joined <- struct{}{} // It has room for everybody.
		if f.leave {
			return gnet.Close
		}
	}
	if err := l.person.Conversation().Send(); err != nil {
		return f.fail(err)
	}
	return gnet.None
}

// OnClose is of gnet.EventHandler.
func (f *fleet) OnClose(c gnet.Conn, err error) gnet.Action {
	l := c.Context().(*link)
	if f.leave && l.joined {
		return gnet.None
	}
	if err == nil {
		err = net.ErrClosed
	}
	return f.fail(fmt.Errorf("the connection of %s ended: %w", l.person.Name, err))
}
