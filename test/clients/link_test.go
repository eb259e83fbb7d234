package clients

import (
	"errors"
	"net"
	"sync"
	"testing"
)

// A link is a TCP proxy before a server, and what is bad about networks.
//
// Bytes that were read and not yet written are lost with the connection, as they
// are in a network. A connection that is still open when the test ends is not.
type link struct {
	server   *server
	listener net.Listener

	changing // guards what is below
	pairs    map[*pair]bool
	paused   [2]bool      // by direction: bytes wait
	refusing bool         // who connects is sent away
	thin     bool         // connections to come hold little that is not read
	always   func() fault // of each connection to come; nil: none
	over     bool
}

// A direction is where bytes go.
type direction int

const (
	up   direction = iota // from the client to the server
	down                  // from the server to the client
)

// A manner is how a connection ends.
type manner string

const (
	rst manner = "rst" // with a reset: what is in flight is lost
	fin manner = "fin" // with an end in good order, in the middle of whatever there was
)

// A fault ends one connection after so many bytes in a direction, most likely in
// the middle of a frame. The zero value is none.
type fault struct {
	in    direction
	after int64 // 0: never
	how   manner
}

// thinBuffer is the receive buffer, in bytes, on the server's side of a thin link:
// the server's socket is full soon after the link is paused.
const thinBuffer = 16 << 10

// linkTo opens a link to a server.
func linkTo(t testing.TB, s *server) *link {
	t.Helper()
	l, err := openLink(s)
	must(t, err)
	t.Cleanup(func() { must(t, l.close()) })
	return l
}

func openLink(s *server) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{server: s, listener: listener, pairs: map[*pair]bool{}}
	go l.accept()
	return l, nil
}

// webSocket is the address of the server by way of the link.
func (l *link) webSocket() string { return l.server.webSocket(l.listener.Addr().String()) }

// close ends the link and everything that goes over it.
func (l *link) close() error {
	l.change(func() { l.over = true })
	err := l.listener.Close()
	l.cut(rst)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// cut ends every connection there is.
func (l *link) cut(how manner) {
	var all []*pair
	l.change(func() {
		for p := range l.pairs {
			all = append(all, p)
		}
	})
	for _, p := range all {
		p.end(how)
	}
}

// breakEvery gives every connection a fault; nil: none any more.
func (l *link) breakEvery(make func() fault) { l.change(func() { l.always = make }) }

// refuse sends away who connects from now on, or no longer.
func (l *link) refuse(yes bool) { l.change(func() { l.refusing = yes }) }

// pause lets the bytes of a direction wait, or go on.
func (l *link) pause(d direction, yes bool) { l.change(func() { l.paused[d] = yes }) }

// swallow pauses both directions, or neither: connections can be made and nothing
// comes of them.
func (l *link) swallow(yes bool) {
	l.pause(up, yes)
	l.pause(down, yes)
}

func (l *link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return // The link was closed.
		}
		var refused bool
		l.read(func() { refused = l.refusing || l.over })
		if refused {
			hangUp(client, rst)
			continue
		}
		go l.connect(client)
	}
}

func (l *link) connect(client net.Conn) {
	address, _, _ := l.server.address()
	upstream, err := net.Dial("tcp", address)
	if err != nil {
		hangUp(client, rst) // The server is down; so would the client have heard.
		return
	}
	p := &pair{link: l, client: client, upstream: upstream}
	var over, thin bool
	l.change(func() {
		if l.always != nil {
			p.fault = l.always()
		}
		over, thin = l.over, l.thin
		l.pairs[p] = true
	})
	if thin {
		_ = upstream.(*net.TCPConn).SetReadBuffer(thinBuffer) // Without it, it only takes longer until it is full.
	}
	if over {
		p.end(rst)
		return
	}
	go p.pump(up, upstream, client)
	p.pump(down, client, upstream)
}

// A pair is one connection: its two halves.
type pair struct {
	link             *link
	client, upstream net.Conn
	fault            fault
	once             sync.Once
}

func (p *pair) end(how manner) {
	p.once.Do(func() {
		hangUp(p.client, how)
		hangUp(p.upstream, how)
		p.link.change(func() { delete(p.link.pairs, p) })
	})
}

// hangUp closes a connection. It was of no use any more, so an error says nothing.
func hangUp(c net.Conn, how manner) {
	if how == rst {
		_ = c.(*net.TCPConn).SetLinger(0)
	}
	_ = c.Close()
}

// pump carries bytes in a direction until one of the two ends.
func (p *pair) pump(d direction, to, from net.Conn) {
	// Small, so that a pause is felt at once.
	buffer := make([]byte, 8<<10)
	for {
		if !p.gate(d) {
			return
		}
		n, err := from.Read(buffer)
		if n > 0 && !p.carry(d, to, buffer[:n]) {
			return
		}
		if err != nil {
			p.end(fin)
			return
		}
	}
}

// gate waits while a direction is paused. It returns false if the connection ends
// before.
func (p *pair) gate(d direction) bool {
	going := true
	ended := p.link.await(func() bool {
		going = p.link.pairs[p]
		return !p.link.paused[d] || !going
	})
	if !ended {
		p.end(rst)
	}
	return ended && going
}

// carry writes bytes, as many as the fault lets through.
func (p *pair) carry(d direction, to net.Conn, b []byte) bool {
	if !p.gate(d) {
		return false
	}
	broken := false
	if f := &p.fault; f.in == d && f.after > 0 {
		if broken = int64(len(b)) >= f.after; broken {
			b = b[:f.after]
		}
		f.after -= int64(len(b))
	}
	if _, err := to.Write(b); err != nil {
		p.end(fin)
		return false
	}
	if broken {
		p.end(p.fault.how)
	}
	return !broken
}
