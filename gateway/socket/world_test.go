package socket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/pb"
	"kith/gateway/session"
	"kith/gateway/wire"
)

// A world is a server on loopback and a backend in memory.
type world struct {
	t       testing.TB
	hub     *session.Hub
	server  *Server
	metrics *prometheus.Registry
	policy  entity.Policy
	shift   atomic.Int64 // of the clock, in nanoseconds
	ended   chan error   // what Run returned

	turns chan func() // what the backend does, one after another

	mu   sync.Mutex // guards what is below
	logs map[entity.Ref]*eventLog
}

type eventLog struct {
	events  []*entity.Event
	members []uint64
}

var errExpired = entity.Errorf(entity.Unauthorized, "the token has expired")

func newWorld(t testing.TB, configure ...func(*Config)) *world {
	w := &world{
		t: t, metrics: prometheus.NewRegistry(), turns: make(chan func(), 1<<16),
		logs: map[entity.Ref]*eventLog{}, ended: make(chan error, 1),
	}
	w.policy, _ = entity.Profile("dev")
	registry, err := entity.New(feature.All...)
	if err != nil {
		t.Fatal(err)
	}
	w.hub, err = session.NewHub(session.Config{
		Registry: registry, TokenExpired: errExpired, Version: "test", Now: w.now, Metrics: w.metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.hub.Serve(w, w)
	cfg := Config{Hub: w.hub, Listen: []string{"127.0.0.1:0"}, Now: w.now, Metrics: w.metrics, Log: slog.New(slog.DiscardHandler)}
	for _, f := range configure {
		f(&cfg)
	}
	if w.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case turn := <-w.turns:
				turn()
			case <-done:
				return
			}
		}
	}()
	go func() { w.ended <- w.server.Run() }()
	select {
	case <-w.server.Started():
	case err := <-w.ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.server.Stop()
		if err := <-w.ended; err != nil && !t.Failed() {
			t.Error(err)
		}
		close(done)
	})
	return w
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.shift.Load())) }

func (w *world) addr() string { return w.server.Addrs()[0].String() }

func (w *world) url() string { return "ws://" + w.addr() + defaultPath }

// Verify takes the name of a user for his token.
func (w *world) Verify(token string) (entity.Caller, time.Time, *entity.Error) {
	if token == "" {
		return entity.Caller{}, time.Time{}, entity.Errorf(entity.Unauthorized, "there is no token")
	}
	c := entity.Caller{Tenant: 1, User: token, Number: entity.UserNumber(1, token), Device: "phone"}
	return c, w.now().Add(time.Hour), nil
}

func (w *world) Policy(entity.Tenant) *entity.Policy { return &w.policy }

func (w *world) Submit(c *entity.Call, done func(entity.Result)) {
	w.turns <- func() {
		switch req := c.Req.(type) {
		case *pb.ConnectDeviceRequest:
			if w.log(c.To, c.Caller.User) {
				done(entity.Result{Reply: &pb.ConnectDeviceResponse{UserCreated: true}})
				w.emit(c.To, "", &pb.UserCreated{})
				return
			}
			done(entity.Result{Reply: &pb.ConnectDeviceResponse{}})
		case *pb.SendRequest:
			e := w.append(c.To, c.Caller.User, &pb.MessageSent{Content: req.Content})
			done(entity.Result{Reply: &pb.SendResponse{Seq: e.Seq, At: e.At}})
			w.hub.Published(e)
		default:
			done(entity.Result{Err: entity.Errorf(entity.Denied, "you may not")})
		}
		w.hub.Released()
	}
}

func (w *world) Positions(_ entity.Caller, refs []entity.Ref, done func([]entity.Position)) {
	w.turns <- func() {
		w.mu.Lock()
		all := make([]entity.Position, len(refs))
		for i, ref := range refs {
			if l := w.logs[ref]; l != nil {
				all[i] = entity.Position{Ref: ref, Head: uint64(len(l.events)), Epoch: "e1"}
			} else {
				all[i] = entity.Position{Ref: ref, Err: entity.Errorf(entity.NotFound, "there is no such log")}
			}
		}
		w.mu.Unlock()
		done(all)
	}
}

func (w *world) Replay(_ entity.Caller, ref entity.Ref, after uint64, limit int, done func(entity.Page)) {
	w.turns <- func() {
		w.mu.Lock()
		rest := w.logs[ref].events[after:]
		w.mu.Unlock()
		page := entity.Page{Events: rest[:min(limit, len(rest))], Through: after, More: len(rest) > limit}
		if n := len(page.Events); n > 0 {
			page.Through = page.Events[n-1].Seq
		}
		done(page)
	}
}

// log makes a log if it is not there yet, and reports whether it did.
func (w *world) log(ref entity.Ref, members ...string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.logs[ref] != nil {
		return false
	}
	l := &eventLog{}
	for _, m := range members {
		l.members = append(l.members, entity.UserNumber(1, m))
	}
	slices.Sort(l.members)
	w.logs[ref] = l
	return true
}

func (w *world) append(ref entity.Ref, by string, body proto.Message) *entity.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.logs[ref]
	e := &entity.Event{
		Ref: ref, Seq: uint64(len(l.events) + 1), At: 1, By: by, Body: body,
		Type:     &entity.EventType{Number: 16, Name: string(body.ProtoReflect().Descriptor().Name())},
		Audience: &entity.Audience{Users: l.members},
	}
	l.events = append(l.events, e)
	return e
}

func (w *world) emit(ref entity.Ref, by string, body proto.Message) {
	w.hub.Published(w.append(ref, by, body))
	w.hub.Released()
}

// say has somebody say something, from the backend's goroutine.
func (w *world) say(ref entity.Ref, text string) {
	w.turns <- func() { w.emit(ref, "bob", textMessage(text)) }
}

func textMessage(text string) *pb.MessageSent {
	return &pb.MessageSent{Content: &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: text}}}}
}

// count reads a counter or gauge, all labels together.
func (w *world) count(name string) (sum float64) {
	w.t.Helper()
	all, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != "kith_gateway_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// A raw is a client that can do everything wrong.
type raw struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

// patience is how long a test waits for what must happen; it never does in a
// test that passes.
const patience = 20 * time.Second

func (w *world) dial() *raw {
	w.t.Helper()
	return w.dialAt(w.server.Addrs()[0])
}

func (w *world) dialAt(addr net.Addr) *raw {
	w.t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() }) // It may be closed by now.
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	return &raw{w.t, c, bufio.NewReader(c)}
}

const request = "GET " + defaultPath + " HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// upgrade makes a connection a WebSocket.
func (w *world) upgrade() *raw {
	w.t.Helper()
	r := w.dial()
	r.write([]byte(request + "\r\n"))
	if status := r.response(); status != 101 {
		w.t.Fatalf("the handshake's status is %d", status)
	}
	return r
}

// welcome connects as a user.
func (w *world) welcome(user, data string) *raw {
	w.t.Helper()
	r := w.upgrade()
	r.write(frame(wire.Text, fmt.Sprintf(`{"id":1,"connect":{"token":%q%s}}`, user, data)))
	if op, payload := r.frame(); op != wire.Text || !bytes.Contains(payload, []byte(`"connect":{`)) {
		w.t.Fatalf("connecting was answered with %d %q", op, payload)
	}
	return r
}

func (r *raw) write(b []byte) {
	r.t.Helper()
	if _, err := r.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// response reads an HTTP response and returns its status.
func (r *raw) response() (status int) {
	r.t.Helper()
	line, err := r.in.ReadString('\n')
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &status); err != nil {
		r.t.Fatalf("%q is no status line", line)
	}
	for line != "\r\n" {
		if line, err = r.in.ReadString('\n'); err != nil {
			r.t.Fatal(err)
		}
	}
	return status
}

// frame reads a frame of the server.
func (r *raw) frame() (wire.Opcode, []byte) {
	r.t.Helper()
	op, payload, err := r.tryFrame()
	if err != nil {
		r.t.Fatal(err)
	}
	return op, payload
}

func (r *raw) tryFrame() (wire.Opcode, []byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r.in, head[:2]); err != nil {
		return 0, nil, err
	}
	op, n := wire.Opcode(head[0]&0xf), uint64(head[1])
	switch n {
	case 126:
		if _, err := io.ReadFull(r.in, head[:2]); err != nil {
			return 0, nil, err
		}
		n = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		if _, err := io.ReadFull(r.in, head[:]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(head[:])
	}
	payload := make([]byte, n)
	_, err := io.ReadFull(r.in, payload)
	return op, payload, err
}

// closing reads frames until the close frame and returns its code; 0: the
// connection ended without one.
func (r *raw) closing() uint16 {
	r.t.Helper()
	for {
		op, payload, err := r.tryFrame()
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			r.t.Fatal("the server does not close the connection")
		case err != nil:
			return 0
		case op == wire.Close:
			code, _ := (wire.Message{Data: payload}).Closing()
			return code
		}
	}
}

// ends waits for the end of the connection.
func (r *raw) ends() {
	r.t.Helper()
	_, err := io.Copy(io.Discard, r.in)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		r.t.Error("the server does not end the connection")
	}
}

// frame makes a frame as a client does.
func frame(op wire.Opcode, payload string) []byte {
	b := wire.AppendFrame(nil, op, []byte(payload))
	head := len(b) - len(payload)
	key := [4]byte{1, 2, 3, 4}
	b[1] |= 0x80
	b = slices.Insert(b, head, key[:]...)
	for i := range payload {
		b[head+4+i] ^= key[i%4]
	}
	return b
}

func drainContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
