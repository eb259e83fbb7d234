package loadtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
	"kith/loadtest/talk"
)

// A fake is a server of pairs that can be told to break its promises. It writes
// what a real one writes, by the same package.
type fake struct {
	codec talk.Centrifuge
	// tamper makes of the n-th publication to somebody what is written to him.
	tamper func(user string, n int, frame []byte) [][]byte
	refuse bool // messages

	mu    sync.Mutex // guards what is below, and the seats
	seats map[string]*fakeSeat
	seqs  map[uint64]uint64
}

// A fakeSeat is a connection.
type fakeSeat struct {
	server   *fake
	user     string
	upgraded bool
	in       []byte
	frames   wire.Decoder
	heard    int
	write    func([]byte)
}

func newFake(c talk.Centrifuge) *fake {
	return &fake{codec: c, seats: map[string]*fakeSeat{}, seqs: map[uint64]uint64{},
		tamper: func(_ string, _ int, frame []byte) [][]byte { return [][]byte{frame} }}
}

// open gives a connection a seat.
func (s *fake) open(write func([]byte)) *fakeSeat {
	return &fakeSeat{server: s, write: write, upgraded: s.codec.Raw}
}

// receive takes bytes of a client.
func (c *fakeSeat) receive(b []byte) error {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.in = append(c.in, b...)
	if !c.upgraded {
		end := bytes.Index(c.in, []byte("\r\n\r\n"))
		if end < 0 {
			return nil
		}
		c.in, c.upgraded = c.in[end+4:], true
		c.write([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
	}
	for {
		message, n, err := c.message()
		if err != nil || n == 0 {
			return err
		}
		for cmd, err := range c.server.codec.Dialect.Protocol.Commands(message) {
			if err == nil {
				err = c.command(cmd)
			}
			if err != nil {
				return err
			}
		}
		c.in = c.in[n:]
	}
}

// message splits the next one off what has come.
func (c *fakeSeat) message() (m []byte, n int, err error) {
	if !c.server.codec.Raw {
		m, n, err := c.frames.Next(c.in, 1<<16)
		return m.Data, n, err
	}
	size, head := binary.Uvarint(c.in)
	if head <= 0 || int(size) > len(c.in)-head {
		return nil, 0, nil
	}
	return c.in[:head+int(size)], head + int(size), nil
}

// frame writes what a message of the server holds.
func (c *fakeSeat) frame(message []byte) []byte {
	if c.server.codec.Raw {
		return message
	}
	return wire.AppendFrame(nil, c.server.codec.Dialect.Protocol.Opcode(), message)
}

func (c *fakeSeat) command(cmd *protocol.Command) error {
	s := c.server
	d := s.codec.Dialect
	switch {
	case wire.IsPong(cmd):
		return nil
	case cmd.Connect != nil:
		c.user = cmd.Connect.Token // What the tests mint.
		s.seats[c.user] = c
		reply, err := d.Protocol.AppendReply(nil, &protocol.Reply{Id: cmd.Id, Connect: &protocol.ConnectResult{Client: "x"}})
		c.write(c.frame(reply))
		c.write(c.frame(d.Protocol.AppendPing(nil)))
		return err
	case cmd.Rpc.GetMethod() == "Directs.Open":
		req := &pb.OpenDirectRequest{}
		if err := d.Payload.Unmarshal(cmd.Rpc.Data, req); err != nil {
			return err
		}
		reply, err := d.AppendResult(nil, cmd.Id, &pb.OpenDirectResponse{ConversationId: entity.DirectNumber(1, c.user, req.UserId)})
		c.write(c.frame(reply))
		return err
	case cmd.Rpc.GetMethod() == "Messages.Send":
		return c.send(cmd)
	}
	return errors.New("the fake knows no such command")
}

// send numbers a message, acknowledges it and publishes it to both.
func (c *fakeSeat) send(cmd *protocol.Command) error {
	s := c.server
	d := s.codec.Dialect
	if s.refuse {
		c.write(c.frame(d.Protocol.AppendError(nil, cmd.Id, 103, false, "not you")))
		return nil
	}
	req := &pb.SendRequest{}
	if err := d.Payload.Unmarshal(cmd.Rpc.Data, req); err != nil {
		return err
	}
	s.seqs[req.ConversationId]++
	seq := s.seqs[req.ConversationId]
	reply, err := d.AppendResult(nil, cmd.Id, &pb.SendResponse{Seq: seq, At: 1765432100123})
	if err != nil {
		return err
	}
	c.write(c.frame(reply))
	data, ok := wire.AppendEvent(nil, d.Payload, &entity.Event{
		Seq: seq, At: 1765432100123, By: c.user,
		Type: &entity.EventType{Number: 0x10, Name: "MessageSent", Class: pb.Class_HISTORY},
		Body: &pb.MessageSent{Content: req.Content},
	}, "")
	if !ok {
		return errors.New("a message cannot be encoded")
	}
	channel := talk.ChannelOf(req.ConversationId)
	for user, seat := range s.seats {
		if entity.DirectNumber(1, user, c.user) != req.ConversationId && user != c.user {
			continue
		}
		// Somebody's own log says something, too.
		seat.write(seat.frame(d.Protocol.AppendPublication(nil, "u:"+user, seq, data)))
		for _, f := range s.tamper(user, seat.heard, seat.frame(d.Protocol.AppendPublication(nil, channel, seq, data))) {
			seat.write(f)
		}
		seat.heard++
	}
	return nil
}

// listen serves a fake on loopback until the test is over, and returns it as a
// server to be measured.
func (s *fake) listen(t *testing.T) *Server {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { // Until the listener is closed.
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { serveFake(s, conn) }) // Until the client hangs up.
		}
	})
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	return &Server{Address: ln.Addr().String(), Token: func(user string) (string, error) { return user, nil }}
}

func serveFake(s *fake, conn net.Conn) {
	defer func() { _ = conn.Close() }() // The client has seen enough, or hung up.
	seat := s.open(func(b []byte) { _, _ = conn.Write(b) })
	for buf := make([]byte, 4096); ; {
		n, err := conn.Read(buf)
		if err != nil || seat.receive(buf[:n]) != nil {
			return
		}
	}
}
