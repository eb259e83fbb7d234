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
	pairs   []*Pair
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
	direct := func(a, b string) uint64 { return entity.DirectNumber(w.number, a, b) }
	for i := range pairs {
		p, err := NewPair(w.dialect, i, direct)
		if err != nil {
			w.b.Fatal(err)
		}
		w.pairs = append(w.pairs, p)
		l := w.loops[i%loops] // Both on one: who writes back does it where he heard.
		a, b := &conn{loop: l, person: &p.People[0]}, &conn{loop: l, person: &p.People[1]}
		a.other, b.other = b, a
		for _, c := range []*conn{a, b} {
			c.session = w.hub.Open(c, w.dialect.Protocol)
			l.conns = append(l.conns, c)
		}
	}
	for _, l := range w.loops {
		l.running.Go(l.run)
	}
	w.ask(func(p *Person) ([]byte, error) { return p.Connect(p.Name()) }, 1)
	w.ask((*Person).Open, 2)
	w.send(2*pairs, 1)
}

// ask has everybody send his n-th command and waits for the replies.
func (w *world) ask(frame func(*Person) ([]byte, error), n int) {
	for _, l := range w.loops {
		l.do(func() {
			for _, c := range l.conns {
				b, err := frame(c.person)
				if err != nil {
					w.fail(err)
				}
				c.receive(b)
			}
		})
	}
	for deadline := time.Now().Add(time.Minute); ; {
		missing := 0
		for _, l := range w.loops {
			l.do(func() {
				for _, c := range l.conns {
					if c.person.Answered() < n {
						missing++
					}
				}
			})
		}
		if missing == 0 {
			return
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
				c.slots += inFlight
			}
			l.sendAll()
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
				c.slots = 0
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
	for _, p := range w.pairs {
		if err := p.Verify(); err != nil {
			w.b.Error(err)
		}
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
	ready []*conn // whose clients have free slots
	spare []*conn
	in    []byte
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
		l.sendReady()
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

func (l *loop) sendAll() {
	for _, c := range l.conns {
		c.fill()
	}
}

func (l *loop) sendReady() {
	for _, c := range l.ready {
		c.isReady = false
		c.fill()
	}
	l.ready = l.ready[:0]
}

// A conn is a connection without a socket: a pair's client at one end, a session
// at the other.
type conn struct {
	loop    *loop
	session *session.Session
	person  *Person
	other   *conn
	frames  wire.Decoder
	slots   int // that are free
	isReady bool
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
	news, err := c.person.Read(b)
	if err == nil && news.Read != len(b) {
		err = fmt.Errorf("%d bytes were no whole frame", len(b)-news.Read)
	}
	if err != nil {
		c.loop.world.fail(err)
	}
	c.freed(news.Mine)
	c.other.freed(news.Theirs)
	return 0
}

// freed takes slots back.
func (c *conn) freed(n int) {
	if n == 0 {
		return
	}
	c.slots += n
	if !c.isReady {
		c.isReady = true
		c.loop.ready = append(c.loop.ready, c)
	}
	if w := c.loop.world; w.pending.Add(int64(-n)) == 0 {
		close(w.done)
	}
}

// fill uses the free slots. What a client sends at once arrives at once.
func (c *conn) fill() {
	w, in := c.loop.world, c.loop.in[:0]
	for ; c.slots > 0; c.slots-- {
		if w.left.Add(-1) < 0 {
			break
		}
		in = append(in, c.person.Send()...)
	}
	c.loop.in = in
	if len(in) > 0 {
		c.receive(in)
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
