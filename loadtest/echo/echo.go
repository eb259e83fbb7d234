// Package echo is the least that a message can cost at this machine's sockets: a
// server that hands what one person of a pair sends to the other, and a
// confirmation back, and does nothing else. What a real server takes longer is
// its own.
//
// A frame is its length (2 bytes, big endian, of what follows), its kind (1) and
// the rest. All numbers are big endian.
package echo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/panjf2000/gnet/v2"
)

// The kinds of frames.
const (
	Hello   = 'h' // pair(4) side(1), from a client; answered by a Hello without more
	Message = 'm' // number(8) text, from a client
	Told    = 't' // seq(8) text, to the other of the pair; seqs are a direction's
	Done    = 'd' // number(8) seq(8), to who sent it
)

const (
	lengthBytes = 2
	// HeadBytes is the size of a frame before what its kind has.
	HeadBytes = lengthBytes + 1
	// NumberBytes is the size of a number.
	NumberBytes = 8

	helloBytes = 4 + 1
)

// Begin appends a frame's head; size is what follows it.
func Begin(dst []byte, kind byte, size int) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(1+size)), kind)
}

// Next splits the first frame off b; size is 0 if there is no whole one.
func Next(b []byte) (kind byte, rest []byte, size int) {
	if len(b) < HeadBytes {
		return 0, nil, 0
	}
	size = lengthBytes + int(binary.BigEndian.Uint16(b))
	if size < HeadBytes || len(b) < size {
		return 0, nil, 0
	}
	return b[lengthBytes], b[HeadBytes:size], size
}

// AppendHello appends what a connection begins with.
func AppendHello(dst []byte, pair uint32, side byte) []byte {
	return append(binary.BigEndian.AppendUint32(Begin(dst, Hello, helloBytes), pair), side)
}

// A server is the pairs and the loop that serves them: one, so that nothing
// needs a lock.
type server struct {
	gnet.BuiltinEventEngine
	pairs map[uint32]*pair
}

// A pair is two people's connections, as far as they have come.
type pair struct{ seats [2]*seat }

// A seat is one of them.
type seat struct {
	conn gnet.Conn
	pair *pair
	side byte
	seq  uint64 // of the last message that came from here

	done, told []byte // what is to be written after a read
}

// Serve serves an address of loopback that the system picks, which it tells
// ready. It ends when until does: so it never outlives who started it.
func Serve(ready func(address string) error, until io.Reader) (err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	loop, err := Loop(&server{pairs: map[uint32]*pair{}})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer func() { err = errors.Join(err, loop.Stop()) }()
	over := make(chan error, 2)
	go func() { // Until the listener is closed.
		for {
			c, err := ln.Accept()
			if err == nil {
				_, err = loop.EnrollContext(c, nil)
			}
			if err != nil {
				over <- fmt.Errorf("accept: %w", err)
				return
			}
		}
	}()
	if err := ready(ln.Addr().String()); err != nil {
		return errors.Join(err, ln.Close())
	}
	go func() { // Until who started us is gone.
		_, err := io.Copy(io.Discard, until)
		over <- err
	}()
	return errors.Join(<-over, ln.Close())
}

// OnTraffic does what a message costs at least: one read, and a write to each of
// the two.
func (s *server) OnTraffic(c gnet.Conn) gnet.Action {
	b, err := c.Peek(-1)
	if err != nil {
		return gnet.Close
	}
	me, _ := c.Context().(*seat)
	taken := 0
	for {
		kind, rest, size := Next(b[taken:])
		if size == 0 {
			break
		}
		taken += size
		switch {
		case kind == Hello && me == nil && len(rest) == helloBytes && rest[4] < 2:
			me = s.sit(c, rest)
		case kind == Message && me != nil && len(rest) >= NumberBytes:
			me.take(rest)
		default:
			return gnet.Close
		}
	}
	if _, err := c.Discard(taken); err != nil {
		return gnet.Close
	}
	if me == nil || me.flush() != nil {
		return gnet.Close
	}
	return gnet.None
}

// sit gives a connection its place.
func (s *server) sit(c gnet.Conn, hello []byte) *seat {
	number, side := binary.BigEndian.Uint32(hello), hello[4]
	p := s.pairs[number]
	if p == nil {
		p = &pair{}
		s.pairs[number] = p
	}
	me := &seat{conn: c, pair: p, side: side, done: Begin(nil, Hello, 0)}
	p.seats[side] = me
	c.SetContext(me)
	return me
}

// take passes a message on.
func (me *seat) take(m []byte) {
	me.seq++
	me.done = append(Begin(me.done, Done, 2*NumberBytes), m[:NumberBytes]...)
	me.done = binary.BigEndian.AppendUint64(me.done, me.seq)
	me.told = binary.BigEndian.AppendUint64(Begin(me.told, Told, len(m)), me.seq)
	me.told = append(me.told, m[NumberBytes:]...)
}

// flush writes what a read has brought: to the other first, for that is what a
// message is about.
func (me *seat) flush() (err error) {
	if other := me.pair.seats[1-me.side]; other != nil && len(me.told) > 0 {
		_, err = other.conn.Write(me.told)
	}
	if err == nil && len(me.done) > 0 {
		_, err = me.conn.Write(me.done)
	}
	me.done, me.told = me.done[:0], me.told[:0]
	return err
}
