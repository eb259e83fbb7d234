package socket

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2"

	"kith/gateway/session"
	"kith/gateway/wire"
)

const (
	// maxMessageBytes bounds a message of a client.
	maxMessageBytes = 64 << 10
	// closeGrace is how long a client has to answer a close frame, or on raw TCP to
	// hang up. Whoever closes with unread bytes resets the connection, and the client
	// may then never see why it ended.
	closeGrace = time.Second
)

// A phase is how far a connection has come.
type phase uint8

const (
	handshaking phase = iota
	talking
	closing // our last frame is written; the client has closeGrace for its own, or to go
	cut     // what it sends makes no sense any more; it has closeGrace to read why
	dead
)

// A conn is one connection. Everything but Dirty happens on its loop.
type conn struct {
	gnet     gnet.Conn
	loop     *loop
	session  *session.Session // nil: it is to become a WebSocket
	frames   wire.Decoder
	address  netip.Prefix // that it is counted by
	accepted int64        // when, in Unix milliseconds
	closeBy  int64        // in Unix milliseconds; 0: never
	pinged   int64        // when its pings will be forgotten, in Unix milliseconds
	index    int          // in loop.conns
	left     int32        // bytes that were left of an unfinished message
	held     int32        // what of it counts as a stranger's
	protocol wire.Protocol
	phase    phase
	stalled  bool   // in loop.stalled
	stranger bool   // no token has said yet whose it is
	finished bool   // there is an end to what it is sent
	pong     []byte // the answer to the last ping of what is being read
}

// traffic takes what has come. Bytes that make no whole message yet stay with
// gnet.
func (c *conn) traffic() gnet.Action {
	b, err := c.gnet.Peek(-1)
	if err != nil || len(b) == 0 {
		return gnet.None
	}
	c.loop.server.metrics.bytesIn.Add(float64(len(b) - int(c.left)))
	n, open := 0, true
	if c.phase == handshaking {
		n, open = c.upgrade(b)
	}
	for open && c.phase != handshaking && c.phase != dead {
		var size int
		size, open = c.receive(b[n:])
		if n += size; size == 0 {
			break
		}
	}
	if !open || c.phase == dead {
		return gnet.Close
	}
	c.keep(len(b) - n)
	if n > 0 { // gnet takes 0 for all.
		_, _ = c.gnet.Discard(n) // It cannot fail: n bytes were there.
	}
	if len(c.pong) > 0 && c.phase == talking && c.gnet.OutboundBuffered() == 0 { // Who does not read gets no more to read.
		_, _ = c.gnet.Write(c.pong) // After an error the connection is dead.
	}
	c.pong = nil
	if c.phase == dead {
		return gnet.Close
	}
	c.flush() // The answers to all that came at once leave in one write.
	return gnet.None
}

// upgrade takes the request that makes the connection a WebSocket, if all of it
// is there. It returns how many bytes it had.
func (c *conn) upgrade(b []byte) (n int, open bool) {
	u, n, err := wire.ParseUpgrade(b)
	if err == nil && n == 0 {
		return 0, true
	}
	if err == nil {
		err = c.loop.server.cfg.admit(&u)
	}
	if err != nil {
		return len(b), c.refuse(err)
	}
	c.talk(u.Protocol)
	_, err = c.gnet.Write(u.AppendResponse(nil))
	return n, err == nil
}

// talk begins the session.
func (c *conn) talk(p wire.Protocol) {
	c.phase, c.closeBy, c.protocol = talking, 0, p
	c.session = c.loop.server.cfg.Hub.OpenSince(c, p, time.UnixMilli(c.accepted))
}

// refuse answers a request that is not one for our WebSocket.
func (c *conn) refuse(err error) (open bool) {
	refusal, ok := err.(*wire.UpgradeError)
	if !ok {
		return false
	}
	c.loop.server.metrics.refused.WithLabelValues(strconv.Itoa(refusal.Status)).Inc()
	c.cut()
	_, err = c.gnet.Write(wire.AppendRefusal(nil, refusal.Status, refusal.Msg))
	return err == nil
}

// admit says whether a request may become a WebSocket here.
func (c *Config) admit(u *wire.Upgrade) error {
	if u.Path != c.Path {
		return &wire.UpgradeError{Status: wire.StatusNotFound, Msg: "WebSockets are at " + c.Path}
	}
	if u.Origin == "" || slices.Contains(c.Origins, u.Origin) || slices.Contains(c.Origins, "*") {
		return nil
	}
	if origin, err := url.Parse(u.Origin); err == nil && origin.Host == u.Host {
		return nil
	}
	return &wire.UpgradeError{Status: wire.StatusForbidden, Msg: "pages of this origin may not connect here; the operator can add it to origins"}
}

// receive takes one message from the front of b. It returns how many bytes that
// took; 0: there is no whole message.
func (c *conn) receive(b []byte) (n int, open bool) {
	if c.phase == cut {
		return len(b), true
	}
	most := c.maxMessage()
	m, n, err := c.next(b, most)
	switch {
	case err != nil:
		c.spurn(err, most)
		c.cut()
		return len(b), true
	case m.Op == wire.Continuation:
		return n, true
	}
	return n, c.message(m)
}

// next finds the next message at the front of b. The zero Message: none is whole.
func (c *conn) next(b []byte, most int) (m wire.Message, n int, err error) {
	if c.protocol != wire.Stream {
		return c.frames.Next(b, most)
	}
	if m.Data, n, err = wire.NextDelimited(b, most); n > 0 {
		m.Op = c.protocol.Opcode()
	}
	return m, n, err
}

// message takes a whole message. It returns false if the connection is over.
func (c *conn) message(m wire.Message) bool {
	switch {
	case m.Op == wire.Close:
		if c.phase == talking {
			code, _ := m.Closing()
			_, _ = c.gnet.Write(wire.AppendClose(nil, code, "")) // It ends anyway.
		}
		return false
	case c.phase != talking || m.Op == wire.Pong:
	case m.Op == wire.Ping:
		c.ping(m.Data)
	case m.Op != c.protocol.Opcode():
		c.session.Fail(&wire.Error{Code: wire.CloseUnsupported, Msg: session.BadKind.Reason})
	default:
		c.session.Receive(m.Data)
		if c.stranger && c.session.Known() {
			c.meet()
		}
	}
	return true
}

// A client may ping ten times a second in the long run, and for a while as often
// as it likes: SDKs do so once in 25 seconds.
const (
	pingEvery    = 100 * time.Millisecond
	pingPatience = 10 * time.Second // 100 pings at once
)

// ping notes what a ping is to be answered with: the last of those that came at
// once is enough (RFC 6455 §5.5.3). Who goes on and on is sent away.
func (c *conn) ping(data []byte) {
	now := c.loop.server.cfg.Now().UnixMilli()
	c.pinged = max(c.pinged, now) + pingEvery.Milliseconds()
	if c.pinged > now+pingPatience.Milliseconds() {
		c.session.Disconnect(session.Pinging)
		return
	}
	c.pong = wire.AppendFrame(c.pong[:0], wire.Pong, data)
}

// cut stops listening to what makes no sense, and leaves the client time to read
// why.
func (c *conn) cut() {
	c.phase = cut
	c.closeBy = c.loop.server.cfg.Now().Add(closeGrace).UnixMilli()
}

// Dirty puts the connection on its loop's list. It is of session.Conn.
func (c *conn) Dirty() { c.loop.markDirty(c) }

// Write gives bytes to the socket. gnet copies what that does not take. It is of
// session.Conn.
func (c *conn) Write(b []byte) (unsent int) {
	m := c.loop.server.metrics
	if len(b) > 0 && c.phase != dead {
		m.writes.Inc()
		_, _ = c.gnet.Write(b) // After an error the connection is dead.
	}
	if c.phase == dead {
		return 0
	}
	unsent = c.gnet.OutboundBuffered()
	if len(b) > 0 && unsent > 0 {
		m.stalled.Inc()
	}
	return unsent
}

// flush writes what the session has queued, and ends the connection if the
// session is over.
func (c *conn) flush() {
	if c.session == nil || c.phase == dead {
		return
	}
	over := c.session.Flush()
	if c.phase == dead {
		return
	}
	full := c.gnet.OutboundBuffered() > 0
	switch {
	case over && full:
		c.close() // It is not reading; it will not read this either.
	case over:
		c.finish()
	case full && !c.stalled:
		c.stalled = true
		c.loop.stalled = append(c.loop.stalled, c)
	}
}

// finish gives the client, which has been sent the last frame, time to read it.
func (c *conn) finish() {
	if c.phase == talking {
		c.phase = closing
		c.closeBy = c.loop.server.cfg.Now().Add(closeGrace).UnixMilli()
	}
	if c.protocol == wire.Stream && !c.finished {
		c.finished = true
		_ = syscall.Shutdown(c.gnet.Fd(), syscall.SHUT_WR) // After an error the connection is dead.
	}
}

// leave ends the connection by the server's will.
func (c *conn) leave(d *session.Disconnect) {
	if c.session == nil {
		c.close()
		return
	}
	c.session.Disconnect(d)
}

// tick looks at the deadlines.
func (c *conn) tick(now time.Time) {
	switch {
	case c.closeBy != 0 && now.UnixMilli() >= c.closeBy:
		if c.phase == handshaking {
			c.loop.server.metrics.timedOut.Inc()
		}
		c.close()
	case c.phase == talking:
		c.session.Tick(now)
	}
}

// close closes the connection at once. gnet calls OnClose before it returns.
func (c *conn) close() {
	if err := c.loop.gnet.Close(c.gnet); err != nil {
		c.loop.server.cfg.Log.Warn("a connection was not closed cleanly", "error", err)
	}
}
