package httpapi

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kith/gateway/limit"
)

// limits is how many connections a listener lets in.
type limits struct {
	conns int
	perIP int // from one IPv4 address or one IPv6 network of 64 bits
}

const (
	// acceptPause is how long the listener waits when the process has no
	// descriptor left. 50 ms: some connection has ended by then, or will soon.
	acceptPause = 50 * time.Millisecond

	// drainTime and drainBytes bound how long a connection that is to be closed is
	// read on. Without it the kernel answers what still comes in with a reset, and
	// the client loses the problem that it was sent. 1 s and 4 MiB: whoever sends
	// more than that has not looked at the answer.
	drainTime  = time.Second
	drainBytes = 4 << 20
)

// listener counts connections, also by address, and turns away what is too much
// by closing it: an answer could block, and costs more than the attack. fasthttp
// counts neither IPv6 nor survives a lack of descriptors.
type listener struct {
	net.Listener
	limits     limits
	addresses  *limit.Addresses
	open       prometheus.Gauge
	turnedAway prometheus.Counter

	mu    sync.Mutex // guards what is below
	conns map[*conn]struct{}
}

func newListener(ln net.Listener, l limits, open prometheus.Gauge, turnedAway prometheus.Counter) *listener {
	return &listener{
		Listener: ln, limits: l, addresses: limit.NewAddresses(l.perIP), open: open, turnedAway: turnedAway,
		conns: map[*conn]struct{}{},
	}
}

// Accept returns the next connection that is within the limits.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		switch {
		case err == nil:
			if c := l.admit(raw); c != nil {
				return c, nil
			}
			l.turnedAway.Inc()
			_ = raw.Close() // Nothing was written that could be lost.
		case passing(err):
			l.turnedAway.Inc()
			time.Sleep(acceptPause)
		default:
			return nil, err
		}
	}
}

// passing reports whether err may be over soon.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// admit counts a connection, or returns nil if there are too many.
func (l *listener) admit(raw net.Conn) *conn {
	c := &conn{Conn: raw, listener: l, prefix: limit.AddressOf(raw.RemoteAddr())}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.limits.conns || !l.addresses.Take(c.prefix) {
		return nil
	}
	l.conns[c] = struct{}{}
	l.open.Inc()
	return c
}

// release forgets a connection.
func (l *listener) release(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	l.addresses.Release(c.prefix)
	l.open.Dec()
}

// shut closes the listener and cuts what is open. It returns how many connections
// that were.
func (l *listener) shut() int {
	_ = l.Close() // It is closed already, but for the case that shutdown names.
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Conn.Close() // Its worker notices, and releases it.
	}
	return len(l.conns)
}

// conn is a connection that its listener counts until it is closed.
type conn struct {
	net.Conn
	listener *listener
	prefix   netip.Prefix
	unread   atomic.Bool // the peer may be sending what nobody will read
	once     sync.Once
}

// Close closes the connection, and before that lets the peer finish if it may be
// sending.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		if c.unread.Load() {
			c.drain()
		}
		c.listener.release(c) // First, so that a peer who sees the end has his place back.
		err = c.Conn.Close()
	})
	return err
}

// drain says that nothing more will be sent, and reads what comes until then.
func (c *conn) drain() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.Conn, drainBytes) // How it ends makes no difference.
}
