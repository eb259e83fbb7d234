package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"kith/gateway/limit"
	"kith/gateway/session"
	"kith/gateway/wire"
)

// A Server carries sessions over WebSockets and raw TCP.
type Server struct {
	gnet.BuiltinEventEngine
	cfg     Config
	metrics *metrics
	open    atomic.Int64 // connections

	addresses     *limit.Addresses
	strangers     atomic.Int64 // connections whose user is not known yet
	strangerBytes atomic.Int64 // that are kept for them

	started  chan struct{} // closed once it listens
	starting sync.Once
	stopping atomic.Bool // Run is to end
	draining atomic.Bool // no new connections

	streams map[netip.AddrPort]bool // where raw TCP is spoken; complete before anybody connects

	loops   atomic.Pointer[[]*loop] // a slice never changes
	drainBy atomic.Int64            // when the last connection is told to go, in Unix milliseconds

	mu     sync.Mutex // guards what is below, and changes of loops
	engine gnet.Engine
	addrs  []net.Addr // those for WebSockets first
	places []place
}

// New returns a Server that Run starts.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, metrics: newMetrics(cfg.Metrics), addresses: limit.NewAddresses(cfg.MaxPerAddress),
		started: make(chan struct{}), streams: map[netip.AddrPort]bool{},
	}
	s.loops.Store(&[]*loop{})
	cfg.Hub.FlushBy(s)
	return s, nil
}

// Run listens until Stop or Drain. It returns an error if it cannot, and also if
// the engine ends without having been asked: gnet itself says nothing when it runs
// out of file descriptors. Whoever gets an error must end the process.
func (s *Server) Run() error {
	addrs, err := s.reserve()
	if err == nil {
		err = gnet.Rotate(s, addrs,
			gnet.WithNumEventLoop(s.cfg.Loops),
			// Each loop accepts its own connections, so that it takes or refuses one in the
			// same turn; the kernel deals them out evenly.
			gnet.WithReusePort(true),
			gnet.WithTicker(true),
			gnet.WithTCPNoDelay(gnet.TCPNoDelay),
			gnet.WithReuseAddr(true),
			gnet.WithSocketSendBuffer(s.cfg.SendBufferBytes),
			gnet.WithLogger(logger{s.cfg.Log}),
		)
	}
	s.mu.Lock()
	s.giveUp()
	s.mu.Unlock()
	switch {
	case err != nil:
		return fmt.Errorf("listen on %v: %w", slices.Concat(s.cfg.Listen, s.cfg.ListenTCP), err)
	case !s.stopping.Load():
		return errors.New("the socket engine stopped without being asked; the log says why, and often it is too many open files")
	}
	return nil
}

// Started is closed once the server listens.
func (s *Server) Started() <-chan struct{} { return s.started }

// Addrs are the addresses that the server listens on for WebSockets, with the
// ports that the system chose. It waits for Started.
func (s *Server) Addrs() []net.Addr {
	<-s.started
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addrs[:len(s.cfg.Listen)]
}

// TCPAddrs are those for raw TCP.
func (s *Server) TCPAddrs() []net.Addr {
	<-s.started
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addrs[len(s.cfg.Listen):]
}

// Connections is how many there are.
func (s *Server) Connections() int { return int(s.open.Load()) }

// Stop ends Run at once. Clients see their connections end and connect again.
func (s *Server) Stop() {
	s.stopping.Store(true)
	select {
	case <-s.started:
	default:
		return // The first tick will find it.
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Its own way of waiting sleeps for half a second. Run returns when all is
	// over.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.engine.Stop(ctx) // It says that ctx is over, which it is.
}

// DrainPace is how long Drain takes to tell everybody: 10,000 connections then
// come back at a pace of 1,000 per second, and not all in the same moment.
const DrainPace = 10 * time.Second

// Drain takes no new connections, tells everybody to connect elsewhere, a few at
// a time and not evenly, and ends Run when all have gone or ctx is over.
func (s *Server) Drain(ctx context.Context) error {
	by := s.cfg.Now().Add(DrainPace)
	if deadline, ok := ctx.Deadline(); ok && deadline.Add(-closeGrace).Before(by) {
		by = deadline.Add(-closeGrace) // The last need a moment to go.
	}
	s.drainBy.Store(by.UnixMilli())
	s.draining.Store(true)
	defer s.Stop()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for s.open.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d connections were still open: %w", s.open.Load(), ctx.Err())
		}
	}
	return nil
}

// tickEvery is how often sockets that were full are asked whether they have
// drained. sweepTicks ticks make a second, in which each connection's deadlines
// are looked at once.
const (
	tickEvery  = 25 * time.Millisecond
	sweepTicks = 40
)

// OnTick runs on a goroutine of its own, so it only wakes the loops that have
// something to do, and the hub for what belongs to no session. The first tick
// comes when the engine is complete; the engine that OnBoot gets is not.
func (s *Server) OnTick() (time.Duration, gnet.Action) {
	s.starting.Do(s.start)
	if s.stopping.Load() {
		return tickEvery, gnet.Shutdown
	}
	s.cfg.Hub.Tick(s.cfg.Now())
	for _, l := range *s.loops.Load() {
		if l.count.Load() > 0 {
			l.ticked.Store(true)
			l.wake()
		}
	}
	return tickEvery, gnet.None
}

// OnBoot keeps the engine, and touches it no further.
func (s *Server) OnBoot(e gnet.Engine) gnet.Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.engine = e
	return gnet.None
}

// start says that every loop listens.
func (s *Server) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveUp()
	close(s.started)
}

// Flush wakes each loop that has something to write, once. It is the hub's
// session.Flusher.
func (s *Server) Flush() {
	for _, l := range *s.loops.Load() {
		if l.hasDirty.Load() {
			l.wake()
		}
	}
}

// loopOf returns the loop of a connection, which it makes with its first
// connection.
func (s *Server) loopOf(of gnet.EventLoop) *loop {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := *s.loops.Load()
	for _, l := range all {
		if l.gnet == of {
			return l
		}
	}
	l := &loop{server: s, gnet: of}
	all = append(slices.Clone(all), l)
	s.loops.Store(&all)
	return l
}

// OnOpen takes a connection, if there is room.
func (s *Server) OnOpen(g gnet.Conn) ([]byte, gnet.Action) {
	address := s.cfg.addressOf(g.RemoteAddr())
	if reason := s.refusalFor(address); reason != "" {
		s.metrics.overCap.WithLabelValues(reason).Inc()
		return nil, gnet.Close
	}
	l := s.loopOf(g.EventLoop())
	now := s.cfg.Now()
	c := &conn{
		gnet: g, loop: l, address: address, stranger: true,
		accepted: now.UnixMilli(), closeBy: now.Add(s.cfg.HandshakeTimeout).UnixMilli(),
	}
	if s.streams[spotOf(g.LocalAddr())] {
		c.talk(wire.Stream) // There is nothing to agree on.
	}
	g.SetContext(c)
	l.add(c)
	s.metrics.accepted.Inc()
	s.metrics.connections.Inc()
	return nil, gnet.None
}

// OnClose forgets a connection.
func (s *Server) OnClose(g gnet.Conn, _ error) gnet.Action {
	c, ok := g.Context().(*conn)
	if !ok {
		return gnet.None // It was never taken.
	}
	c.phase = dead
	if c.session != nil {
		c.session.Closed()
	}
	c.loop.remove(c)
	c.meet()
	s.addresses.Release(c.address)
	s.open.Add(-1)
	s.metrics.connections.Dec()
	return gnet.None
}

// OnTraffic takes bytes.
func (s *Server) OnTraffic(g gnet.Conn) gnet.Action {
	c, ok := g.Context().(*conn)
	if !ok {
		return gnet.Close
	}
	return c.traffic()
}

var _ session.Flusher = (*Server)(nil)
