package socket

import (
	"net"
	"net/netip"

	"kith/gateway/limit"
	"kith/gateway/session"
)

// A connection is a stranger until a token says whose it is. Strangers are capped
// by address, by number and by the bytes that they have us keep, so that they
// cannot take the door from those who are known. Loopback has no cap by address:
// a proxy on this machine has it for everybody behind it, and so has a test.

// crowdedBytes bounds the first message of a stranger while strangers hold as much
// as they may. 4 KiB: a token and the channels of an ordinary user fit.
const crowdedBytes = 4 << 10

// addressOf is what the connections of a peer are counted by; the zero Prefix: not
// at all.
func addressOf(peer net.Addr) netip.Prefix {
	if tcp, ok := peer.(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		return netip.Prefix{}
	}
	return limit.AddressOf(peer)
}

// refusalFor counts a new connection, or says why there is no room for it.
func (s *Server) refusalFor(address netip.Prefix) (reason string) {
	switch {
	case s.draining.Load():
		return "draining"
	case s.open.Load() >= int64(s.cfg.MaxConnections):
		return "all"
	case s.strangers.Load() >= int64(s.cfg.MaxStrangers):
		return "strangers"
	case !s.addresses.Take(address):
		return "address"
	}
	// Two loops may each take the last place: there are as many too many as loops at
	// most, which the reserve of files covers.
	s.open.Add(1)
	s.strangers.Add(1)
	return ""
}

// keep notes how many bytes of unfinished messages a connection has left with us.
func (c *conn) keep(left int) {
	c.left = int32(left)
	if c.stranger {
		held := c.left + int32(c.frames.Held())
		c.loop.server.strangerBytes.Add(int64(held - c.held))
		c.held = held
	}
}

// meet has a connection that is a stranger no more, or is none at all, counted as
// such.
func (c *conn) meet() {
	if !c.stranger {
		return
	}
	c.stranger = false
	c.loop.server.strangers.Add(-1)
	c.loop.server.strangerBytes.Add(-int64(c.held))
	c.held = 0
}

// maxMessage is how long a message may be now.
func (c *conn) maxMessage() int {
	s := c.loop.server
	if c.stranger && s.strangerBytes.Load() > int64(s.cfg.MaxStrangerBytes) {
		return crowdedBytes
	}
	return maxMessageBytes
}

// spurn ends the session of a client whose bytes broke a rule. most is how long
// its message could have been.
func (c *conn) spurn(err error, most int) {
	if most < maxMessageBytes && session.IsTooLarge(err) {
		c.session.Disconnect(session.Crowded)
		return
	}
	c.session.Fail(err)
}
