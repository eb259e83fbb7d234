package session

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/protocol"
	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// A world is everything around a Hub: logs in memory, a clock that the test
// moves, and work that is done when the test says so.
type world struct {
	t      testing.TB
	hub    *Hub
	now    time.Time
	policy entity.Policy
	logs   map[entity.Ref]*eventLog
	work   []func() // what the backend was asked, in order
	calls  []*entity.Call
	reply  func(c *entity.Call) entity.Result
	full   bool // the backend refuses reads
}

// An eventLog is the log of one entity. reach says what each user may read;
// nobody but members.
type eventLog struct {
	epoch  string
	events []*entity.Event
	reach  map[string][]*pb.Interval
}

var errExpired = entity.Errorf(entity.Unauthorized, "the token has expired")

func newWorld(t testing.TB, configure ...func(*Config)) *world {
	w := &world{t: t, now: time.UnixMilli(1_700_000_000_000), logs: map[entity.Ref]*eventLog{}}
	w.policy, _ = entity.Profile("dev")
	w.reply = func(*entity.Call) entity.Result { return entity.Result{Reply: &pb.SendResponse{Seq: 1}} }
	registry, err := entity.New(feature.All...)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Registry: registry, TokenExpired: errExpired, Version: "test", Now: func() time.Time { return w.now }}
	for _, f := range configure {
		f(&cfg)
	}
	if w.hub, err = NewHub(cfg); err != nil {
		t.Fatal(err)
	}
	w.hub.Serve(w, w)
	return w
}

// Verify takes "tenant user device [seconds]" for a token.
func (w *world) Verify(token string) (entity.Caller, time.Time, *entity.Error) {
	var tenant entity.Tenant
	var user, device string
	life := 3600
	if n, _ := fmt.Sscanf(token, "%d %s %s %d", &tenant, &user, &device, &life); n < 3 {
		return entity.Caller{}, time.Time{}, entity.Errorf(entity.Unauthorized, "the token is rubbish")
	}
	if life <= 0 {
		return entity.Caller{}, time.Time{}, errExpired
	}
	return caller(tenant, user, device), w.now.Add(time.Duration(life) * time.Second), nil
}

func caller(t entity.Tenant, user, device string) entity.Caller {
	return entity.Caller{Tenant: t, User: user, Number: entity.UserNumber(t, user), Device: device}
}

func (w *world) Policy(t entity.Tenant) *entity.Policy {
	if t > 2 {
		return nil
	}
	return &w.policy
}

func (w *world) Submit(c *entity.Call, done func(entity.Result)) {
	w.calls = append(w.calls, c)
	w.work = append(w.work, func() {
		if c.Method.Name == connectMethod {
			if w.logs[c.To] == nil {
				w.emit(c.To, c.Caller.User, &pb.UserCreated{})
			}
			done(entity.Result{Reply: &pb.ConnectDeviceResponse{}})
			return
		}
		done(w.reply(c))
	})
}

func (w *world) Positions(viewer entity.Caller, refs []entity.Ref, done func([]entity.Position)) {
	all := make([]entity.Position, len(refs))
	if w.full {
		for i, ref := range refs {
			all[i] = entity.Position{Ref: ref, Err: entity.Errorf(entity.Overloaded, "too many wait")}
		}
		done(all)
		return
	}
	w.work = append(w.work, func() {
		for i, ref := range refs {
			all[i] = w.position(viewer, ref)
		}
		w.work = append(w.work, func() { done(all) }) // Things happen between reading and telling.
	})
}

func (w *world) position(viewer entity.Caller, ref entity.Ref) entity.Position {
	l := w.logs[ref]
	if l == nil || len(l.reach[viewer.User]) == 0 {
		return entity.Position{Ref: ref, Err: entity.Errorf(entity.NotFound, "there is no such log")}
	}
	last := l.reach[viewer.User][len(l.reach[viewer.User])-1]
	p := entity.Position{Ref: ref, Head: uint64(len(l.events)), Epoch: l.epoch, Ended: last.Through != 0}
	if p.Ended {
		p.Head = last.Through
	}
	return p
}

func (w *world) Replay(viewer entity.Caller, ref entity.Ref, after uint64, limit int, done func(entity.Page)) {
	if w.full {
		done(entity.Page{Err: entity.Errorf(entity.Overloaded, "too many wait")})
		return
	}
	w.work = append(w.work, func() {
		page := w.replay(viewer, ref, after, limit)
		w.work = append(w.work, func() { done(page) })
	})
}

func (w *world) replay(viewer entity.Caller, ref entity.Ref, after uint64, limit int) entity.Page {
	l, p := w.logs[ref], w.position(viewer, ref)
	if p.Err != nil {
		return entity.Page{Err: p.Err}
	}
	page := entity.Page{Through: after}
	for _, e := range l.events[min(after, p.Head):p.Head] {
		if len(page.Events) == limit {
			page.More = true
			break
		}
		page.Through = e.Seq
		reach := entity.Reach{Intervals: l.reach[viewer.User]}
		n := len(page.Events)
		switch {
		case reach.Allows(e.Seq):
			page.Events = append(page.Events, e)
		case n > 0 && page.Events[n-1].Type.Name == "Hole":
			page.Events[n-1] = hole(ref, e.Seq)
		default:
			page.Events = append(page.Events, hole(ref, e.Seq))
		}
	}
	return page
}

func hole(ref entity.Ref, through uint64) *entity.Event {
	return &entity.Event{Ref: ref, Seq: through, Type: &entity.EventType{Number: 1, Name: "Hole"}, Body: &pb.Hole{Through: through}}
}

// settle does what the backend was asked, and what that asks in turn.
func (w *world) settle() {
	for len(w.work) > 0 {
		next := w.work[0]
		w.work = w.work[1:]
		next()
	}
}

// do does the first thing that the backend was asked.
func (w *world) do() {
	w.t.Helper()
	if len(w.work) == 0 {
		w.t.Fatal("nobody asked the backend for anything")
	}
	next := w.work[0]
	w.work = w.work[1:]
	next()
}

// emit appends an event to a log and publishes it to those who may read it.
func (w *world) emit(ref entity.Ref, by string, body proto.Message) *entity.Event {
	l := w.log(ref)
	if ref.Kind == pb.Kind_USER && len(l.reach) == 0 {
		l.reach[by] = entity.Everything.Intervals
	}
	e := event(ref, uint64(len(l.events)+1), body)
	e.By = by
	e.Audience = &entity.Audience{}
	for user, intervals := range l.reach {
		if (entity.Reach{Intervals: intervals}).Allows(e.Seq) {
			e.Audience.Users = append(e.Audience.Users, entity.UserNumber(ref.Tenant, user))
		}
	}
	slices.Sort(e.Audience.Users)
	l.events = append(l.events, e)
	w.hub.Published(e)
	w.hub.Released()
	return e
}

func event(ref entity.Ref, seq uint64, body proto.Message) *entity.Event {
	name := string(body.ProtoReflect().Descriptor().Name())
	return &entity.Event{Ref: ref, Seq: seq, At: 1, Type: &entity.EventType{Number: 16, Name: name}, Body: body}
}

// signal publishes a signal to the members of a log.
func (w *world) signal(ref entity.Ref) {
	e := event(ref, 0, &pb.MessageRevoked{Seq: 1})
	e.Audience = &entity.Audience{}
	for user := range w.log(ref).reach {
		e.Audience.Users = append(e.Audience.Users, entity.UserNumber(ref.Tenant, user))
	}
	slices.Sort(e.Audience.Users)
	w.hub.Published(e)
	w.hub.Released()
}

func (w *world) log(ref entity.Ref) *eventLog {
	if w.logs[ref] == nil {
		w.logs[ref] = &eventLog{epoch: "e1", reach: map[string][]*pb.Interval{}}
	}
	return w.logs[ref]
}

// conversation makes a conversation with members and some messages.
func (w *world) conversation(id uint64, messages int, members ...string) entity.Ref {
	ref := entity.Conversation(1, id)
	for _, m := range members {
		w.log(ref).reach[m] = entity.Everything.Intervals
	}
	for range messages {
		w.say(ref, "hi")
	}
	return ref
}

func (w *world) say(ref entity.Ref, text string) {
	w.emit(ref, "bob", &pb.MessageSent{Content: &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: text}}}})
}

// A line is a connection whose other end is the test.
type line struct {
	w        *world
	protocol wire.Protocol
	session  *Session
	in       []byte // what the client got and has not looked at
	unsent   []byte // what the socket did not take
	window   int    // bytes that the socket takes; negative: all
	dirty    int
	commands uint32
}

func (w *world) open(p wire.Protocol) *line {
	l := &line{w: w, protocol: p, window: -1}
	l.session = w.hub.Open(l, p)
	return l
}

func (l *line) Dirty() { l.dirty++ }

func (l *line) Write(b []byte) int {
	l.unsent = append(l.unsent, b...)
	n := len(l.unsent)
	if l.window >= 0 {
		n = min(n, l.window)
		l.window -= n
	}
	l.in = append(l.in, l.unsent[:n]...)
	l.unsent = append([]byte(nil), l.unsent[n:]...)
	return len(l.unsent)
}

// send sends commands in one message.
func (l *line) send(cmds ...*protocol.Command) {
	l.w.t.Helper()
	var message []byte
	for i, c := range cmds {
		var b []byte
		var err error
		if l.protocol == wire.JSON {
			if b, err = protocol.NewJSONCommandEncoder().Encode(c); i > 0 {
				b = append([]byte{'\n'}, b...)
			}
		} else {
			b, err = protocol.NewProtobufCommandEncoder().Encode(c)
		}
		if err != nil {
			l.w.t.Fatal(err)
		}
		message = append(message, b...)
	}
	l.session.Receive(message)
}

func (l *line) next() uint32 {
	l.commands++
	return l.commands
}

// connect connects as a user, with what he knows: "c:5@2" is a channel and the
// offset, "c:5@2/e0" one with another epoch than e1.
func (l *line) connect(user string, known ...string) []string {
	l.w.t.Helper()
	l.send(l.connectCommand(user, known...))
	l.w.settle()
	return l.got()
}

func (l *line) connectCommand(user string, known ...string) *protocol.Command {
	req := &protocol.ConnectRequest{Token: "1 " + user + " phone", Subs: map[string]*protocol.SubscribeRequest{}}
	for _, k := range known {
		name, at, _ := strings.Cut(k, "@")
		at, epoch, other := strings.Cut(at, "/")
		if !other {
			epoch = "e1"
		}
		sub := &protocol.SubscribeRequest{Recover: true, Epoch: epoch}
		if _, err := fmt.Sscan(at, &sub.Offset); err != nil {
			l.w.t.Fatal(err)
		}
		req.Subs[name] = sub
	}
	return &protocol.Command{Id: l.next(), Connect: req}
}

func (l *line) rpc(method, data string) {
	l.w.t.Helper()
	l.send(&protocol.Command{Id: l.next(), Rpc: &protocol.RPCRequest{Method: method, Data: []byte(data)}})
}

// got flushes the connection and tells what came, a line for each reply or push.
func (l *line) got() []string {
	l.w.t.Helper()
	l.session.Flush()
	return l.read()
}

// read tells what came, without flushing.
func (l *line) read() (all []string) {
	l.w.t.Helper()
	for len(l.in) > 0 {
		op, payload, size := serverFrame(l.in)
		if size == 0 {
			break
		}
		l.in = l.in[size:]
		if op == wire.Close {
			code, _ := (wire.Message{Data: payload}).Closing()
			all = append(all, fmt.Sprintf("close %d", code))
			continue
		}
		var decoder protocol.ReplyDecoder = protocol.NewJSONReplyDecoder(payload)
		if op == wire.Binary {
			decoder = protocol.NewProtobufReplyDecoder(payload)
		}
		reply, err := decoder.Decode()
		if reply == nil {
			l.w.t.Fatalf("a frame is no reply: %v: %q", err, payload)
		}
		all = append(all, l.describe(reply))
	}
	return all
}

// serverFrame splits a frame that a server sent.
func serverFrame(b []byte) (op wire.Opcode, payload []byte, size int) {
	if len(b) < 2 {
		return 0, nil, 0
	}
	n, head := int(b[1]), 2
	switch {
	case n == 126 && len(b) >= 4:
		n, head = int(b[2])<<8|int(b[3]), 4
	case n == 127 && len(b) >= 10:
		n, head = int(b[6])<<24|int(b[7])<<16|int(b[8])<<8|int(b[9]), 10
	case n >= 126:
		return 0, nil, 0
	}
	if len(b) < head+n {
		return 0, nil, 0
	}
	return wire.Opcode(b[0] & 0xf), b[head : head+n], head + n
}

func (l *line) describe(r *protocol.Reply) string {
	switch {
	case r.Error != nil:
		return fmt.Sprintf("error %d", r.Error.Code)
	case r.Connect != nil:
		return "connected " + describeSubs(r.Connect.Subs)
	case r.Rpc != nil:
		return "result " + string(r.Rpc.Data)
	case r.Refresh != nil:
		return fmt.Sprintf("refreshed %d", r.Refresh.Ttl)
	case r.Unsubscribe != nil:
		return "unsubscribed"
	case r.Ping != nil:
		return "pinged"
	case r.Push == nil:
		return "ping"
	case r.Push.Pub != nil:
		return fmt.Sprintf("%s #%d %s", r.Push.Channel, r.Push.Pub.Offset, l.eventName(r.Push.Pub.Data))
	case r.Push.Message != nil:
		return "signal " + l.eventName(r.Push.Message.Data)
	case r.Push.Subscribe != nil:
		return fmt.Sprintf("+%s @%d", r.Push.Channel, r.Push.Subscribe.Offset)
	case r.Push.Unsubscribe != nil:
		return fmt.Sprintf("-%s %d", r.Push.Channel, r.Push.Unsubscribe.Code)
	}
	return r.String()
}

func (l *line) eventName(data []byte) string {
	if l.session.dialect.Payload == wire.ProtoPayload {
		var e pb.Event
		if err := proto.Unmarshal(data, &e); err != nil {
			l.w.t.Fatal(err)
		}
		return fmt.Sprint("type ", e.Type)
	}
	var e struct{ Type string }
	if err := json.Unmarshal(data, &e); err != nil {
		l.w.t.Fatal(err)
	}
	return e.Type
}

func describeSubs(subs map[string]*protocol.SubscribeResult) string {
	var all []string
	for name, s := range subs {
		text := fmt.Sprintf("%s@%d", name, s.Offset)
		if s.Recovered {
			text += "+"
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// expect compares what came with what should have.
func expect(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
