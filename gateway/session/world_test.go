package session

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
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
	work   []func()       // what the backend was asked, in order
	calls  []*entity.Call // but for those about presence
	reply  func(c *entity.Call) entity.Result
	full   bool // the backend refuses reads
}

// An eventLog is the log of one entity. reach says what each user may read;
// nobody but members.
type eventLog struct {
	epoch  string
	floor  uint64
	large  bool // its events go to watchers
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
	if c.Method != w.hub.presence.method {
		w.calls = append(w.calls, c)
	}
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
	reach := entity.Reach{Intervals: l.reach[viewer.User]}
	return entity.Position{
		Ref: ref, Head: reach.Last(uint64(len(l.events))), Floor: l.floor, Epoch: l.epoch,
		Ended: !present(reach.Intervals),
	}
}

// present reports whether somebody who may read these is a member now.
func present(reach []*pb.Interval) bool { return len(reach) > 0 && reach[len(reach)-1].Through == 0 }

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
	if after+1 < l.floor {
		return entity.Page{Err: entity.Errorf(entity.Expired, "it is gone")}
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

// emit appends an event to a log and publishes it to those who may read it, or to
// the watchers of a large one. With marks it says more.
func (w *world) emit(ref entity.Ref, by string, body proto.Message, marks ...func(*entity.Event)) *entity.Event {
	l := w.log(ref)
	if ref.Kind == pb.Kind_USER && len(l.reach) == 0 {
		l.reach[by] = entity.Everything.Intervals
	}
	e := event(ref, uint64(len(l.events)+1), body)
	e.By = by
	e.Audience = &entity.Audience{Watchers: l.large}
	for user, intervals := range l.reach {
		if !l.large && (entity.Reach{Intervals: intervals}).Allows(e.Seq) {
			e.Audience.Users = append(e.Audience.Users, entity.UserNumber(ref.Tenant, user))
		}
	}
	for _, mark := range marks {
		mark(e)
	}
	slices.Sort(e.Audience.Users)
	l.events = append(l.events, e)
	w.hub.Published(e)
	w.hub.Released()
	return e
}

// lastOf marks the last event that a user hears of a log.
func lastOf(user string) func(*entity.Event) {
	return func(e *entity.Event) { e.Leaving = entity.UserNumber(e.Ref.Tenant, user) }
}

// naming marks an event that a user hears although it goes to watchers.
func naming(user string) func(*entity.Event) {
	return func(e *entity.Event) {
		e.Audience.Users = append(e.Audience.Users, entity.UserNumber(e.Ref.Tenant, user))
	}
}

// leave has a user leave a conversation, of which its log speaks. His own log hears
// of it later.
func (w *world) leave(ref entity.Ref, user string) {
	l := w.log(ref)
	reach := slices.Clone(l.reach[user])
	last := len(reach) - 1
	reach[last] = &pb.Interval{From: reach[last].From, Through: uint64(len(l.events) + 1)}
	l.reach[user] = reach
	w.emit(ref, user, &pb.MemberLeft{UserId: user}, lastOf(user))
}

// join has a user join a conversation. In a large one that is no event.
func (w *world) join(ref entity.Ref, user string) {
	l := w.log(ref)
	l.reach[user] = append(slices.Clone(l.reach[user]), &pb.Interval{From: uint64(len(l.events) + 1)})
	if !l.large {
		w.emit(ref, user, &pb.MemberJoined{UserId: user})
	}
}

func event(ref entity.Ref, seq uint64, body proto.Message) *entity.Event {
	name := string(body.ProtoReflect().Descriptor().Name())
	return &entity.Event{Ref: ref, Seq: seq, At: 1, Type: &entity.EventType{Number: 16, Name: name}, Body: body}
}

// signal publishes a signal to the members of a log.
func (w *world) signal(ref entity.Ref) {
	w.signalTo(ref, slices.Collect(maps.Keys(w.log(ref).reach))...)
}

// signalTo publishes a signal to some users alone or, if there are none, to whoever
// watches the log.
func (w *world) signalTo(ref entity.Ref, users ...string) {
	e := event(ref, 0, &pb.MessageRevoked{Seq: 1})
	e.Audience = &entity.Audience{Watchers: len(users) == 0}
	for _, user := range users {
		naming(user)(e)
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
	dirty    atomic.Int32
	commands uint32
	watches  map[uint32]string // the channels of subscribe commands, by their ids
}

func (w *world) open(p wire.Protocol) *line {
	l := &line{w: w, protocol: p, window: -1, watches: map[uint32]string{}}
	l.session = w.hub.Open(l, p)
	return l
}

func (l *line) Dirty() { l.dirty.Add(1) }

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
		req.Subs[name] = l.recover("", at)
	}
	return &protocol.Command{Id: l.next(), Connect: req}
}

// recover is a request for what comes after "2", an offset, or after "2/e0", one in
// another epoch than e1.
func (l *line) recover(channel, at string) *protocol.SubscribeRequest {
	l.w.t.Helper()
	at, epoch, other := strings.Cut(at, "/")
	if !other {
		epoch = "e1"
	}
	sub := &protocol.SubscribeRequest{Channel: channel, Recover: true, Epoch: epoch}
	if _, err := fmt.Sscan(at, &sub.Offset); err != nil {
		l.w.t.Fatal(err)
	}
	return sub
}

func (l *line) rpc(method, data string) {
	l.w.t.Helper()
	l.send(&protocol.Command{Id: l.next(), Rpc: &protocol.RPCRequest{Method: method, Data: []byte(data)}})
}

// watch subscribes to a channel; "c:5@2" recovers from an offset.
func (l *line) watch(channel string) []string {
	l.w.t.Helper()
	l.send(l.watchCommand(channel))
	l.w.settle()
	return l.got()
}

func (l *line) watchCommand(channel string) *protocol.Command {
	l.w.t.Helper()
	name, at, known := strings.Cut(channel, "@")
	req := &protocol.SubscribeRequest{Channel: name}
	if known {
		req = l.recover(name, at)
	}
	id := l.next()
	l.watches[id] = name
	return &protocol.Command{Id: id, Subscribe: req}
}

func (l *line) unwatch(channel string) []string {
	l.w.t.Helper()
	l.send(l.unwatchCommand(channel))
	return l.got()
}

func (l *line) unwatchCommand(channel string) *protocol.Command {
	return &protocol.Command{Id: l.next(), Unsubscribe: &protocol.UnsubscribeRequest{Channel: channel}}
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
	for {
		switch reply, code, ok := l.frame(); {
		case !ok:
			return all
		case reply == nil:
			all = append(all, fmt.Sprintf("close %d", code))
		default:
			all = append(all, l.describe(reply))
		}
	}
}

// frame takes the next frame out of what came: a reply, or the code of a close.
func (l *line) frame() (reply *protocol.Reply, code uint16, ok bool) {
	l.w.t.Helper()
	op, payload, size := serverFrame(l.in)
	if size == 0 {
		return nil, 0, false
	}
	l.in = l.in[size:]
	if op == wire.Close {
		code, _ = (wire.Message{Data: payload}).Closing()
		return nil, code, true
	}
	var decoder protocol.ReplyDecoder = protocol.NewJSONReplyDecoder(payload)
	if op == wire.Binary {
		decoder = protocol.NewProtobufReplyDecoder(payload)
	}
	reply, err := decoder.Decode()
	if reply == nil {
		l.w.t.Fatalf("a frame is no reply: %v: %q", err, payload)
	}
	return reply, 0, true
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
	case r.Error != nil && l.watches[r.Id] != "":
		return fmt.Sprintf("refused %s %d", l.watches[r.Id], r.Error.Code)
	case r.Error != nil:
		return fmt.Sprintf("error %d", r.Error.Code)
	case r.Connect != nil:
		return "connected " + describeSubs(r.Connect.Subs)
	case r.Rpc != nil:
		return "result " + string(r.Rpc.Data)
	case r.Refresh != nil:
		return fmt.Sprintf("refreshed %d", r.Refresh.Ttl)
	case r.Subscribe != nil:
		if !r.Subscribe.Recoverable || !r.Subscribe.Positioned || r.Subscribe.Epoch == "" {
			l.w.t.Errorf("a subscription that cannot be recovered: %v", r.Subscribe)
		}
		return "watching " + describeSub(l.watches[r.Id], r.Subscribe)
	case r.Unsubscribe != nil:
		return "unsubscribed"
	case r.Ping != nil:
		return "pinged"
	case r.Push == nil:
		return "ping"
	case r.Push.Pub != nil:
		return fmt.Sprintf("%s #%d %s", r.Push.Channel, r.Push.Pub.Offset, l.eventName(r.Push.Pub.Data))
	case r.Push.Message != nil:
		return strings.TrimSpace("signal " + l.eventName(r.Push.Message.Data) + " " + l.eventChannel(r.Push.Message.Data))
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

// eventChannel is where a signal says that it is from.
func (l *line) eventChannel(data []byte) string {
	var e pb.Event
	if err := l.session.dialect.Payload.Unmarshal(data, &e); err != nil {
		l.w.t.Fatal(err)
	}
	return e.Channel
}

func describeSubs(subs map[string]*protocol.SubscribeResult) string {
	var all []string
	for name, s := range subs {
		all = append(all, describeSub(name, s))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func describeSub(name string, s *protocol.SubscribeResult) string {
	text := fmt.Sprintf("%s@%d", name, s.Offset)
	if s.Recovered {
		text += "+"
	}
	return text
}

// expect compares what came with what should have.
func expect(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
