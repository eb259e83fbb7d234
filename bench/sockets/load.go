package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"kith/bench"
	"kith/gateway/wire"
)

// A load is the clients.
type load struct {
	server  *server
	dialect wire.Dialect
	pairs   []*bench.Pair
	conns   []*conn

	over    atomic.Bool // nothing more is sent
	through atomic.Uint64
	flying  atomic.Int64 // sent and not through
	failed  chan error
}

// A conn is one client's connection. One goroutine reads it until it is closed.
type conn struct {
	net.Conn
	load   *load
	person *bench.Person
	other  *conn
	step   chan struct{} // a reply to one of the first two commands has come

	mu  sync.Mutex // held while frames are made and written, so that they leave in order
	out []byte
}

// connect makes the connections and opens the directs.
func connect(s *server, d wire.Dialect, pairs int) (*load, error) {
	l := &load{server: s, dialect: d, failed: make(chan error, 1)}
	var err error
	if l.pairs, err = newPairs(d, pairs); err != nil {
		return nil, err
	}
	for _, p := range l.pairs {
		a, err := l.dial(&p.People[0])
		if err != nil {
			return nil, err
		}
		b, err := l.dial(&p.People[1])
		if err != nil {
			return nil, err
		}
		a.other, b.other = b, a
		l.conns = append(l.conns, a, b)
	}
	for _, c := range l.conns {
		go c.read()
	}
	if err := l.ask(func(c *conn) ([]byte, error) {
		token, err := s.token(c.person.Name())
		if err != nil {
			return nil, err
		}
		return c.person.Connect(token)
	}); err != nil {
		return nil, err
	}
	return l, l.ask(func(c *conn) ([]byte, error) { return c.person.Open() })
}

// dialTimeout bounds the making of one connection.
const dialTimeout = 10 * time.Second

// dial makes a WebSocket.
func (l *load) dial(p *bench.Person) (*conn, error) {
	at, err := url.Parse(l.server.address)
	if err != nil {
		return nil, fmt.Errorf("the server's address: %w", err)
	}
	socket, err := net.DialTimeout("tcp", at.Host, dialTimeout)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	_, err = fmt.Fprintf(socket, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: centrifuge-%s\r\n\r\n",
		at.Path, at.Host, l.dialect.Protocol)
	if err != nil {
		return nil, fmt.Errorf("ask for a WebSocket: %w", err)
	}
	// The server says nothing more until it is told something.
	answer := make([]byte, 1024)
	n, err := socket.Read(answer)
	if err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 101 ")) || !bytes.HasSuffix(answer[:n], []byte("\r\n\r\n")) {
		return nil, fmt.Errorf("ask for a WebSocket: %w: %q", err, answer[:n])
	}
	return &conn{Conn: socket, load: l, person: p, step: make(chan struct{}, 1)}, nil
}

// ask has everybody send a command and waits for the replies.
func (l *load) ask(frame func(*conn) ([]byte, error)) error {
	for _, c := range l.conns {
		b, err := frame(c)
		if err != nil {
			return err
		}
		if err := c.write(b); err != nil {
			return err
		}
	}
	for _, c := range l.conns {
		select {
		case <-c.step:
		case err := <-l.failed:
			return err
		case <-time.After(settle):
			return fmt.Errorf("%s got no answer", c.person.Name())
		}
	}
	return nil
}

// begin gives each client its slots.
func (l *load) begin(inFlight int) {
	for _, c := range l.conns {
		c.send(inFlight)
	}
}

// end sends nothing more, waits for what is under way and checks that nothing
// was lost.
func (l *load) end(within time.Duration) error {
	l.over.Store(true)
	for deadline := time.Now().Add(within); l.flying.Load() > 0; time.Sleep(time.Millisecond) {
		select {
		case err := <-l.failed:
			return err
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d messages were not acknowledged and delivered", l.flying.Load())
		}
	}
	for _, p := range l.pairs {
		if err := p.Verify(); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) fail(err error) {
	select {
	case l.failed <- err:
	default: // The first one is enough.
	}
}

// send uses free slots. What is sent at once leaves in one write.
func (c *conn) send(n int) {
	if n == 0 || c.load.over.Load() {
		return
	}
	c.load.flying.Add(int64(n))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = c.out[:0]
	for range n {
		c.out = append(c.out, c.person.Send()...)
	}
	if _, err := c.Write(c.out); err != nil {
		c.load.fail(fmt.Errorf("%s: send: %w", c.person.Name(), err))
	}
}

func (c *conn) write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.Write(b); err != nil {
		return fmt.Errorf("%s: send: %w", c.person.Name(), err)
	}
	return nil
}

// read reads until the connection is closed.
func (c *conn) read() {
	buf, kept := make([]byte, 64<<10), 0
	for asked := 0; ; {
		n, err := c.Conn.Read(buf[kept:])
		if err != nil {
			if !c.load.over.Load() && !errors.Is(err, net.ErrClosed) {
				c.load.fail(fmt.Errorf("%s: read: %w", c.person.Name(), err))
			}
			return
		}
		kept += n
		news, err := c.person.Read(buf[:kept])
		if err != nil {
			c.load.fail(err)
			return
		}
		kept = copy(buf, buf[news.Read:kept])
		if asked < 2 && c.person.Answered() > asked {
			asked++
			c.step <- struct{}{}
		}
		if err := c.heed(news); err != nil {
			c.load.fail(err)
			return
		}
	}
}

// heed answers pings and uses the slots that have become free.
func (c *conn) heed(news bench.News) error {
	if news.Ping {
		pong, err := c.person.Pong()
		if err != nil {
			return err
		}
		if err := c.write(pong); err != nil {
			return err
		}
	}
	if n := news.Mine + news.Theirs; n > 0 {
		c.load.through.Add(uint64(n))
		c.load.flying.Add(int64(-n))
		c.send(news.Mine)
		c.other.send(news.Theirs)
	}
	return nil
}
