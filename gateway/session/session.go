package session

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/gateway/wire"
)

// A state is how far a session has come. It only rises, but for refused.
type state uint8

const (
	opened     state = iota // a connection, and no command yet
	connecting              // connect was sent; the server works on it
	refused                 // connect was refused; there is no second try
	connected
	closed
)

// A Session is one connection of one user. Receive, Flush, Tick and Closed are
// called by the connection's event loop, one at a time; what the backend and the
// hub call may run at any moment beside them.
type Session struct {
	hub      *Hub
	conn     Conn
	protocol wire.Protocol
	due      atomic.Int64 // when Tick has something to do, in Unix milliseconds

	// mu guards what is below. It is held for a copy of a few hundred bytes, and
	// never while anything outside of the session is called but the hub's index.
	mu      sync.Mutex
	state   state
	reading bool  // a read of logs is under way
	behind  bool  // a channel may lag, be fresh, ending or doubted
	page    uint8 // how many events the next read asks for
	dialect wire.Dialect
	id      clientID

	caller entity.Caller // does not change once the state is connecting
	policy *entity.Policy
	out    queue

	own      channel   // the user's own log
	channels []channel // conversations, by number
	last     uint64    // the channel that was read last
	clock    uint32    // counts deliveries, to know which channel is idle

	waiting  []*protocol.Command // came while connecting
	refusals int                 // of requests, that granted ones have not made up for

	// In Unix milliseconds; 0: never.
	authBy, expiresAt, pingAt, pongBy, retryAt int64
}

// Open makes the session of a connection that was accepted just now.
func (h *Hub) Open(conn Conn, p wire.Protocol) *Session { return h.OpenSince(conn, p, h.Now()) }

// OpenSince makes the session of a connection that was accepted a while ago, as
// WebSockets are by the time they are some: time to connect is counted from there.
func (h *Hub) OpenSince(conn Conn, p wire.Protocol, accepted time.Time) *Session {
	s := &Session{hub: h, conn: conn, protocol: p, dialect: wire.Dialect{Protocol: p}, page: maxPage}
	s.out.budget = unauthenticatedBytes
	s.authBy = accepted.Add(h.AuthTimeout).UnixMilli()
	s.due.Store(s.authBy)
	h.metrics.opened.Inc()
	h.metrics.sessions.Inc()
	return s
}

// unlock leaves mu and then does what the change demands: it tells the
// connection that there is something to write, and begins the next read. It is
// the one way out after a change.
func (s *Session) unlock() {
	r, wanted, dirty := s.consequences()
	if dirty {
		s.conn.Dirty()
	}
	if wanted {
		s.read(r)
	}
}

// consequences leaves mu, whatever happens, and says what is to be done now.
func (s *Session) consequences() (r read, wanted, dirty bool) {
	defer s.mu.Unlock()
	r, wanted = s.nextRead() // It may end channels, which queues a push.
	dirty = s.out.buf != nil && !s.out.told
	s.out.told = s.out.told || dirty
	return r, wanted, dirty
}

// Known reports whether a token has said whose session it is.
func (s *Session) Known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.policy != nil
}

// Flush writes what is queued. It reports whether the session is over: then all
// that is left to do is to close the connection.
func (s *Session) Flush() (over bool) {
	s.mu.Lock()
	over = s.state == closed
	b, frames := s.out.take()
	s.mu.Unlock()

	var bytes []byte
	if b != nil {
		bytes = b.b
	}
	unsent := s.conn.Write(bytes)
	if len(bytes) > 0 {
		s.hub.metrics.framesOut.Add(float64(frames))
		s.hub.metrics.bytesOut.Add(float64(len(bytes)))
	}
	b.release()

	s.mu.Lock()
	s.out.unsent = unsent
	s.unlock() // There may be room again for what was missed.
	return over
}

// Fail ends the session because its bytes broke a rule of package wire.
func (s *Session) Fail(err error) { s.failed(err, false) }

// failed ends the session because of bytes that broke a rule. inConnect says that
// they came with the connect command itself.
func (s *Session) failed(err error, inConnect bool) {
	s.mu.Lock()
	defer s.unlock()
	d := disconnectFor(err, !inConnect && (s.state == connecting || s.state == connected))
	s.hub.metrics.badFrames.WithLabelValues(d.Name).Inc()
	s.end(d, err.Error())
}

// Disconnect ends the session by the server's will.
func (s *Session) Disconnect(d *Disconnect) {
	s.mu.Lock()
	defer s.unlock()
	s.end(d, "")
}

// Closed ends a session whose connection is gone.
func (s *Session) Closed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(gone, "")
	s.out.drop()
}

// end ends the session. The last frame says why; an empty reason is d's own. The
// caller holds mu.
func (s *Session) end(d *Disconnect, reason string) {
	if s.state == closed {
		return
	}
	if s.state == connecting || s.state == connected {
		s.hub.unregister(s)
	}
	s.state = closed
	s.behind, s.waiting = false, nil
	s.forgetAll()
	s.due.Store(math.MaxInt64)
	s.hub.metrics.sessions.Dec()
	s.hub.metrics.closed.WithLabelValues(d.Name).Inc()
	if d == Slow || d == gone {
		s.out.drop() // Nobody takes it.
	}
	if d == gone {
		return
	}
	if reason == "" {
		reason = d.Reason
	}
	b := s.out.open()
	b.b = s.protocol.AppendEnd(b.b, d.Code, reason)
}

// push queues a push. The caller holds mu.
func (s *Session) push(p *protocol.Push) { s.reply(&protocol.Reply{Push: p}) }

// reply queues a reply that is not an rpc's. The caller holds mu.
func (s *Session) reply(r *protocol.Reply) {
	if s.state == closed {
		return
	}
	b := s.out.open()
	b.b = appendReply(b.b, s.protocol, r)
	s.out.frames++
}

// fail queues the refusal of a command. The caller holds mu.
func (s *Session) fail(id, code uint32, temporary bool, sentence string) {
	if s.state == closed {
		return
	}
	b := s.out.open()
	b.b = appendFramed(b.b, s.protocol, func(dst []byte) []byte {
		return s.protocol.AppendError(dst, id, code, temporary, sentence)
	})
	s.out.frames++
}

// Tick does what has become due. It is cheap if nothing has.
func (s *Session) Tick(now time.Time) {
	ms := now.UnixMilli()
	if ms < s.due.Load() {
		return
	}
	s.mu.Lock()
	defer s.unlock()
	passed := func(at int64) bool { return at != 0 && ms >= at }
	switch {
	case s.state == closed:
		return
	case passed(s.authBy):
		s.end(Stale, "")
	case passed(s.expiresAt):
		s.end(Expired, "")
	case passed(s.pongBy):
		s.end(NoPong, "")
	case passed(s.pingAt):
		s.ping(now)
	}
	if passed(s.retryAt) {
		s.retryAt = 0
	}
	s.schedule()
}

// ping asks whether anybody is there. The caller holds mu.
func (s *Session) ping(now time.Time) {
	b := s.out.open()
	b.b = appendFramed(b.b, s.protocol, s.protocol.AppendPing)
	s.out.frames++
	s.pongBy = now.Add(s.policy.PongTimeout).UnixMilli()
	s.pingAt = now.Add(s.policy.PingEvery).UnixMilli()
}

// schedule finds out when Tick has something to do next. The caller holds mu.
func (s *Session) schedule() {
	if s.state == closed {
		return
	}
	due := int64(math.MaxInt64)
	for _, at := range [...]int64{s.authBy, s.expiresAt, s.pingAt, s.pongBy, s.retryAt} {
		if at != 0 {
			due = min(due, at)
		}
	}
	s.due.Store(due)
}
