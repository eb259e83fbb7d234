package bench

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/host"
	"kith/gateway/session"
	"kith/gateway/wire"
	"kith/loadtest/talk"
	"kith/storage"
)

const (
	pairs  = 200
	tenant = "bench"
	// maxMessage is the socket door's bound of a message.
	maxMessage = 64 << 10
)

// A world is a server without sockets: a store on the disk, a host, a hub, and
// loops that stand for the event loops of the sockets.
type world struct {
	b       testing.TB
	dialect wire.Dialect
	store   *counting
	host    *host.Host
	hub     *session.Hub
	loops   []*loop
	pairs   []*talk.Conversation
	number  entity.Tenant

	left    atomic.Int64 // messages that may still be sent
	pending atomic.Int64 // messages sent and not yet through
	done    chan struct{}
	failed  atomic.Pointer[error]
}

// counting counts the commits of a store.
type counting struct {
	*storage.DB
	commits atomic.Int64
}

func (c *counting) Commit(group []entity.Write) error {
	c.commits.Add(1)
	return c.DB.Commit(group)
}

func registry(b testing.TB) *entity.Registry {
	r, err := entity.New(feature.All...)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

func openStore(b testing.TB) *storage.DB {
	db, err := storage.Open(storage.Config{Dir: b.TempDir(), Fatal: func(err error) { panic(err) }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

// newWorld starts a server with everybody connected, and one message in each
// direction through: what is measured is the steady state.
func newWorld(b testing.TB, d wire.Dialect, loops int) *world {
	w := &world{b: b, dialect: d, store: &counting{DB: openStore(b)}}
	r, policy := registry(b), benchPolicy(b)
	hub, err := session.NewHub(session.Config{Registry: r, Version: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	w.hub = hub
	hub.FlushBy(w)
	w.host, err = host.Start(host.Config{
		Registry: r, Storage: w.store, Listener: hub, Log: slog.New(slog.DiscardHandler),
		Tenants: map[string]*entity.Policy{tenant: policy}, Fatal: func(err error) { panic(err) },
	})
	if err != nil {
		b.Fatal(err)
	}
	w.number, _ = w.host.Tenant(tenant)
	hub.Serve(w.host, verifier(w.number))
	w.connect(loops)
	b.Cleanup(w.close)
	return w
}

func benchPolicy(b testing.TB) *entity.Policy {
	policy, ok := entity.Profile("bench")
	if !ok {
		b.Fatal("there is no profile to measure with")
	}
	return &policy
}

// connect opens the sessions, and waits until every pair has said something.
func (w *world) connect(loops int) {
	for range loops {
		w.loops = append(w.loops, &loop{world: w, wake: make(chan struct{}, 1), stop: make(chan struct{})})
	}
	rules := newRules(w.dialect)
	rules.May = func() bool { return w.left.Add(-1) >= 0 }
	rules.Through = func() {
		if w.pending.Add(-1) == 0 {
			close(w.done)
		}
	}
	for i := range pairs {
		p := newPair(rules, i)
		w.pairs = append(w.pairs, p)
		l := w.loops[i%loops] // Both on one: who writes back does it where he heard.
		l.pairs = append(l.pairs, p)
		for _, person := range p.People {
			c := &conn{loop: l, person: person}
			c.session = w.hub.Open(c, w.dialect.Protocol)
			person.Link = client{c}
			l.conns = append(l.conns, c)
		}
	}
	for _, l := range w.loops {
		l.running.Go(l.run)
	}
	w.greet()
	w.send(2*pairs, 1)
}

// greet lets everybody do what comes before messages, and waits for it.
func (w *world) greet() {
	for _, l := range w.loops {
		l.do(func() {
			for _, c := range l.conns {
				if err := c.person.Greeted(); err != nil {
					w.fail(err)
				}
				c.mark()
			}
			l.use()
		})
	}
	for deadline := time.Now().Add(time.Minute); ; {
		missing := 0
		for _, l := range w.loops {
			l.do(func() {
				for _, c := range l.conns {
					if !c.person.Ready() {
						missing++
					}
				}
			})
		}
		if missing == 0 {
			return
		}
		if err := w.failed.Load(); err != nil {
			w.b.Fatal(*err)
		}
		if time.Now().After(deadline) {
			w.b.Fatalf("%d people have no answer", missing)
		}
	}
}

// send has n messages sent, with so many of each person under way, and returns
// when all are through.
func (w *world) send(n, inFlight int) {
	w.left.Store(int64(n))
	w.pending.Store(int64(n))
	w.done = make(chan struct{})
	for _, l := range w.loops {
		l.do(func() {
			for _, c := range l.conns {
				c.person.Give(inFlight)
				c.mark()
			}
			l.use()
		})
	}
	select {
	case <-w.done:
	case <-time.After(5 * time.Minute):
		w.b.Fatalf("%d messages are missing", w.pending.Load())
	}
	for _, l := range w.loops {
		l.do(func() {
			for _, c := range l.conns {
				c.person.Rest()
			}
		})
	}
	if err := w.failed.Load(); err != nil {
		w.b.Fatal(*err)
	}
}

func (w *world) fail(err error) { w.failed.CompareAndSwap(nil, &err) }

// verify checks that nothing was lost.
func (w *world) verify() {
	for _, l := range w.loops {
		l.do(func() {
			for _, p := range l.pairs {
				if err := through(p); err != nil {
					w.fail(err)
				}
			}
		})
	}
	if err := w.failed.Load(); err != nil {
		w.b.Fatal(*err)
	}
}

func (w *world) close() {
	for _, l := range w.loops {
		close(l.stop)
		l.running.Wait()
	}
	if err := w.host.Stop(context.Background()); err != nil {
		w.b.Error(err)
	}
}

// Flush wakes each loop once. It is of session.Flusher.
func (w *world) Flush() {
	for _, l := range w.loops {
		if l.hasDirty.Load() {
			l.signal()
		}
	}
}

// verifier takes a user's id for his token: tokens are verified once for each
// connection, and are no part of a message.
type verifier entity.Tenant

func (v verifier) Verify(token string) (entity.Caller, time.Time, *entity.Error) {
	t := entity.Tenant(v)
	return entity.Caller{Tenant: t, User: token, Number: entity.UserNumber(t, token), Device: "phone"}, time.Now().Add(time.Hour), nil
}

// A loop is what an event loop of the sockets is: it alone touches its
// connections. It also runs their clients.
type loop struct {
	world   *world
	wake    chan struct{}
	stop    chan struct{}
	running sync.WaitGroup

	hasDirty atomic.Bool
	mu       sync.Mutex // guards what is below
	dirty    []*conn
	work     []func()

	// What is below belongs to the loop alone.
	conns []*conn
	pairs []*talk.Conversation
	ready []*conn // whose clients have something to write
	spare []*conn
}

func (l *loop) run() {
	for {
		select {
		case <-l.stop:
			return
		case <-l.wake:
		}
		l.hasDirty.Store(false)
		l.mu.Lock()
		list, work := l.dirty, l.work
		l.dirty, l.work = l.spare[:0], nil
		l.mu.Unlock()
		for _, f := range work {
			f()
		}
		for _, c := range list {
			c.session.Flush()
		}
		l.spare = list
		l.use()
	}
}

func (l *loop) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// do runs f on the loop and waits for it.
func (l *loop) do(f func()) {
	over := make(chan struct{})
	l.mu.Lock()
	l.work = append(l.work, func() { f(); close(over) })
	l.mu.Unlock()
	l.signal()
	<-over
}

// use lets the clients write that have something to write: what they were told to,
// and messages for which there are free slots.
func (l *loop) use() {
	for len(l.ready) > 0 {
		c := l.ready[len(l.ready)-1]
		l.ready = l.ready[:len(l.ready)-1]
		c.isReady = false
		if out := c.person.Take(); len(out) > 0 {
			c.receive(append([]byte{}, out...)) // What answers may make him write again.
		}
		if err := c.person.Conversation().Send(); err != nil {
			l.world.fail(err)
		}
	}
}

// A conn is a connection without a socket: a pair's client at one end, a session
// at the other.
type conn struct {
	loop    *loop
	session *session.Session
	person  *talk.Person
	frames  wire.Decoder
	isReady bool
}

// A client is the client's end of it.
type client struct{ *conn }

// Write is of talk.Link.
func (c client) Write(b []byte) error {
	c.receive(b)
	return nil
}

// Dirty is of session.Conn.
func (c *conn) Dirty() {
	c.loop.mu.Lock()
	c.loop.dirty = append(c.loop.dirty, c)
	c.loop.mu.Unlock()
	c.loop.hasDirty.Store(true)
}

// Write is the client's reading. It is of session.Conn.
func (c *conn) Write(b []byte) (unsent int) {
	if len(b) == 0 {
		return 0
	}
	n, err := c.person.Read(b)
	if err == nil && n != len(b) {
		err = fmt.Errorf("%d bytes were no whole frame", len(b)-n)
	}
	if err != nil {
		c.loop.world.fail(err)
	}
	c.mark()
	return 0
}

// mark has the client write when the loop gets there.
func (c *conn) mark() {
	if !c.isReady {
		c.isReady = true
		c.loop.ready = append(c.loop.ready, c)
	}
}

// receive does what the socket door does with bytes that came.
func (c *conn) receive(b []byte) {
	for len(b) > 0 {
		m, n, err := c.frames.Next(b, maxMessage)
		if err != nil || n == 0 {
			c.loop.world.fail(fmt.Errorf("a client's frame was refused: %w", err))
			return
		}
		c.session.Receive(m.Data)
		b = b[n:]
	}
	c.session.Flush()
}

// cpuOf is what has been used, user and system: by this process
// (RUSAGE_SELF), which includes flushes, compactions and the collection of
// garbage, or by this thread.
func cpuOf(b testing.TB, who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const rusageThread = 1 // RUSAGE_THREAD, which package syscall does not name.

// The collector works as it does under `kith serve`.
func init() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}
