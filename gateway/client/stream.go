package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/centrifugal/protocol"

	"kith/gateway/wire"
)

const (
	// maxFrameBytes bounds what the server may send at once: four times what it does.
	maxFrameBytes = 1 << 20
	// readBytes is the least room for a read.
	readBytes = 4 << 10
	// writeTimeout is how long a server may take nothing that is written to it.
	writeTimeout = 10 * time.Second
	// pingGrace is how late a ping of the server may be. Then the connection is dead.
	pingGrace = 10 * time.Second
)

// A stream is a connection over raw TCP: frames with their length as a varint
// before them, a goroutine that reads, and writers that take turns.
type stream struct {
	conn    net.Conn
	cfg     Config
	silence time.Duration // after which the connection is dead; 0: for ever. The reader's alone

	writing sync.Mutex // held for a frame

	mu      sync.Mutex // guards what is below
	last    uint32     // the id of the last command
	waiting map[uint32]waiter
	known   map[string]Position
	over    error // why there is nothing more to come; nil: there is
}

// A waiter is a command that has no reply yet.
type waiter struct {
	channel  string // that it subscribes to
	answered chan<- *protocol.Reply
}

func dialStream(ctx context.Context, cfg Config, address string) (transport, error) {
	data, err := cfg.describe("kith-go")
	if err != nil {
		return nil, fmt.Errorf("describe the client: %w", err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("reach the server: %w", err)
	}
	s := &stream{conn: conn, cfg: cfg, waiting: map[uint32]waiter{}, known: map[string]Position{}}
	connect := &protocol.ConnectRequest{Token: cfg.Token, Name: cfg.App, Data: data, Subs: map[string]*protocol.SubscribeRequest{}}
	for channel, at := range cfg.Known {
		connect.Subs[channel] = &protocol.SubscribeRequest{Recover: true, Epoch: at.Epoch, Offset: at.Seq}
	}
	go s.read() // It ends with the connection, which Close ends.
	_, err = s.do(ctx, &protocol.Command{Connect: connect})
	if err == nil {
		return s, nil
	}
	s.close()
	var refused *Error
	if errors.As(err, &refused) {
		return nil, refusedBy(refused.Code, refused.Msg)
	}
	return nil, fmt.Errorf("connect: %w", err)
}

// do sends a command and waits for its reply.
func (s *stream) do(ctx context.Context, cmd *protocol.Command) (*protocol.Reply, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // Nothing is sent for nobody.
	}
	answered, err := s.expect(cmd)
	if err != nil {
		return nil, err
	}
	frame, err := protocol.NewProtobufCommandEncoder().Encode(cmd)
	if err != nil {
		return nil, fmt.Errorf("encode a command: %w", err)
	}
	if err := s.write(frame); err != nil {
		return nil, err
	}
	select {
	case r := <-answered:
		switch {
		case r == nil:
			return nil, s.why()
		case r.Error != nil:
			return nil, &Error{r.Error.Code, r.Error.Message, r.Error.Temporary}
		}
		return r, nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting, cmd.Id)
		return nil, ctx.Err()
	}
}

// expect gives a command its id and a place for its reply; nil comes there when
// the connection is over.
func (s *stream) expect(cmd *protocol.Command) (<-chan *protocol.Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return nil, s.over
	}
	s.last++
	cmd.Id = s.last
	answered := make(chan *protocol.Reply, 1) // The reader waits for nobody.
	s.waiting[cmd.Id] = waiter{cmd.Subscribe.GetChannel(), answered}
	return answered, nil
}

// answer hands a reply to who waits for it, and notes what it subscribes to before
// the first event can come.
func (s *stream) answer(r *protocol.Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.waiting[r.Id]
	if !ok {
		return
	}
	if r.Subscribe != nil {
		s.known[w.channel] = Position{r.Subscribe.Epoch, r.Subscribe.Offset}
	}
	delete(s.waiting, r.Id)
	w.answered <- r
}

func (s *stream) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// write writes a frame. A server that does not take it is given up; after any other
// error there is nothing left to write to, but perhaps why is still to be read.
func (s *stream) write(frame []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = s.conn.Write(frame)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.close()
	}
	if err != nil {
		return fmt.Errorf("write to the server: %w", err)
	}
	return nil
}

// A farewell is why the server ended the connection.
type farewell struct {
	code   uint32
	reason string
}

func (f *farewell) Error() string { return fmt.Sprintf("%s (code %d)", f.reason, f.code) }

// read reads until the connection is over, and says so to everybody.
func (s *stream) read() {
	err := s.readFrames()
	if errors.Is(err, net.ErrClosed) {
		err = errors.New("the client has closed it")
	}
	s.close()
	s.mu.Lock()
	s.over = fmt.Errorf("the connection is over: %w", err)
	for _, w := range s.waiting {
		close(w.answered)
	}
	s.waiting = nil
	s.mu.Unlock()
	if s.cfg.Disconnected == nil {
		return
	}
	f := &farewell{reason: err.Error()}
	errors.As(err, &f)
	s.cfg.Disconnected(f.code, f.reason)
}

func (s *stream) readFrames() error {
	var room, in []byte // in is what of room has not been looked at
	for {
		frame, n, err := wire.NextDelimited(in, maxFrameBytes)
		switch {
		case err != nil:
			return fmt.Errorf("the server breaks the protocol: %w", err)
		case n > 0:
			if err := s.take(frame); err != nil {
				return err
			}
			in = in[n:]
			continue
		}
		room = slices.Grow(append(room[:0], in...), readBytes)
		if s.silence > 0 {
			if err := s.conn.SetReadDeadline(time.Now().Add(s.silence)); err != nil {
				return err
			}
		}
		n, err = s.conn.Read(room[len(room):cap(room)])
		if err != nil && n == 0 {
			return err
		}
		in = room[:len(room)+n]
	}
}

// pong answers a ping: an empty frame, as the ping is.
var pong = []byte{0}

// take does what a frame says.
func (s *stream) take(frame []byte) error {
	_, head := binary.Uvarint(frame)
	if len(frame) == head {
		return s.write(pong)
	}
	var r protocol.Reply
	if err := r.UnmarshalVT(frame[head:]); err != nil {
		return fmt.Errorf("the server breaks the protocol: %w", err)
	}
	switch {
	case r.Push != nil:
		return s.push(r.Push)
	case r.Connect != nil:
		s.silence = time.Duration(r.Connect.Ping)*time.Second + pingGrace
		for channel, at := range r.Connect.Subs {
			s.subscribed(channel, at)
		}
	}
	s.answer(&r)
	return nil
}

// push takes what nobody asked for.
func (s *stream) push(p *protocol.Push) error {
	switch {
	case p.Pub != nil:
		s.cfg.hear(p.Channel, p.Pub.Data)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.known[p.Channel] = Position{s.known[p.Channel].Epoch, p.Pub.Offset} // It has been heard.
	case p.Message != nil:
		s.cfg.hearSignal(p.Message.Data)
	case p.Subscribe != nil:
		s.place(p.Channel, Position{p.Subscribe.Epoch, p.Subscribe.Offset})
	case p.Unsubscribe != nil:
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.known, p.Channel)
	case p.Disconnect != nil:
		return &farewell{p.Disconnect.Code, p.Disconnect.Reason}
	}
	return nil
}

// subscribed notes a channel that a reply named.
func (s *stream) subscribed(channel string, at *protocol.SubscribeResult) {
	s.place(channel, Position{at.Epoch, at.Offset})
	if at.WasRecovering && !at.Recovered {
		s.cfg.hearGap(channel)
	}
}

func (s *stream) place(channel string, at Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[channel] = at
}

func (s *stream) rpc(ctx context.Context, method string, data []byte) ([]byte, error) {
	r, err := s.do(ctx, &protocol.Command{Rpc: &protocol.RPCRequest{Method: method, Data: data}})
	if err != nil {
		return nil, err
	}
	return r.GetRpc().GetData(), nil
}

func (s *stream) subscribe(ctx context.Context, channel string) error {
	req := &protocol.SubscribeRequest{Channel: channel, Positioned: true, Recoverable: true}
	_, err := s.do(ctx, &protocol.Command{Subscribe: req})
	return err
}

func (s *stream) positions() map[string]Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.known)
}

func (s *stream) close() { _ = s.conn.Close() } // It may be closed by now; nothing that matters was left in it.
