package sim

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"kith/actors/entity"
	"kith/actors/pb"
)

// A Soak is a small town with a steady life over many days, on the real host core and
// the real storage: people talk, come and go, connect and read. It shows what a store
// keeps and what it lets go.
type Soak struct {
	Seed   uint64
	Policy entity.Policy
	PerDay int    // calls in a day
	Keep   uint32 // for how long every conversation keeps its messages, in seconds; 0: for good

	// Census are the days, rising, after which the node starts again and what it has
	// stored is counted. The last one is the end.
	Census []int
}

// A Census is what a store holds.
type Census struct {
	Day    int
	Tables map[string]Counted // by name; the events of logs by class
	All    Counted
	Disk   int64 // bytes of the store's files
}

// Counted is how many rows there are, and the bytes of their keys and values.
type Counted struct{ Rows, Bytes int }

// Soak runs one. It returns what was counted, and how often each method did what it
// was asked to.
func (s Soak) Run(features ...entity.Feature) ([]Census, map[string]Tally, error) {
	reg, err := entity.New(features...)
	if err != nil {
		return nil, nil, err
	}
	t := &town{
		soak: s, reg: reg, tally: map[string]Tally{},
		world: &world{
			rng: rand.New(rand.NewPCG(s.Seed, 0)), reg: reg, trace: func(string, ...any) {},
			disk: vfs.NewMem(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
			policies: map[string]*entity.Policy{"town": &s.Policy},
		},
	}
	if err := t.world.start(); err != nil {
		return nil, nil, err
	}
	t.settleIn()
	var all []Census
	for day := 1; day <= s.Census[len(s.Census)-1] && t.world.failure == nil; day++ {
		t.day()
		if slices.Contains(s.Census, day) {
			all = append(all, t.census(day))
		}
	}
	return all, t.tally, errors.Join(t.world.failure, t.world.db.Close())
}

// townsfolk are who lives there.
var townsfolk = []string{"ada", "ben", "cleo", "dora", "emil", "fay", "gus", "hal"}

// A town is a Soak under way.
type town struct {
	soak   Soak
	world  *world
	reg    *entity.Registry
	tally  map[string]Tally
	places []*place
	calls  int
}

// A place is a conversation, as people there remember it.
type place struct {
	id      uint64
	in      []string // who is there now; the first never leaves
	fixed   bool     // nobody comes or goes
	channel bool
	said    []remark // the latest messages, while they are there
}

// A remark is a message that people remember.
type remark struct {
	seq uint64
	by  string
	at  time.Time
}

// memorable is how many messages people still talk about, and fresh for how long.
const (
	memorable = 30
	fresh     = 36 * time.Hour
)

// settleIn founds the conversations.
func (t *town) settleIn() {
	for i, user := range townsfolk[:2] {
		made := t.call(user, "Groups.Create", &pb.CreateGroupRequest{Name: "group", JoinRule: pb.JoinRule_OPEN})
		t.found(&place{id: made.(*pb.CreateGroupResponse).ConversationId, in: []string{user}})
		other := townsfolk[(i+1)%len(townsfolk)]
		opened := t.call(user, "Directs.Open", &pb.OpenDirectRequest{UserId: other})
		t.found(&place{id: opened.(*pb.OpenDirectResponse).ConversationId, in: []string{user, other}, fixed: true})
	}
	made := t.call("hal", "Channels.Create", &pb.CreateChannelRequest{Name: "news", Public: true})
	t.found(&place{id: made.(*pb.CreateChannelResponse).ConversationId, in: []string{"hal"}, channel: true})
	for _, p := range t.places {
		for _, user := range townsfolk {
			if !p.fixed && !slices.Contains(p.in, user) {
				t.join(p, user)
			}
		}
	}
}

func (t *town) found(p *place) {
	t.places = append(t.places, p)
	if t.soak.Keep != 0 {
		t.call(p.in[0], "Timers.SetAutoDelete", &pb.SetAutoDeleteRequest{ConversationId: p.id, Seconds: t.soak.Keep})
	}
}

// day is a day in the life of the town. Timers are looked for at least every half
// hour, and after each call.
func (t *town) day() {
	const looks = 48
	steps := looks + t.soak.PerDay
	for i := range steps {
		t.world.pass(24 * time.Hour / time.Duration(steps))
		t.world.core.Sweep()
		t.world.settle()
		if i*t.soak.PerDay/steps != (i+1)*t.soak.PerDay/steps {
			t.live()
		}
	}
}

// call has somebody call a method, and returns its reply; nil: it was refused.
func (t *town) call(user, method string, req proto.Message) (reply proto.Message) {
	t.calls++
	tenant, _ := t.world.core.Tenant("town")
	caller := entity.Caller{Tenant: tenant, User: user, Number: entity.UserNumber(tenant, user), Device: []string{"phone", "laptop"}[t.world.rng.IntN(2)]}
	if fd := req.ProtoReflect().Descriptor().Fields().ByName("request_id"); fd != nil {
		req.ProtoReflect().Set(fd, protoreflect.ValueOfString(fmt.Sprint("r", t.calls)))
	}
	call := &entity.Call{Method: t.reg.ByName(method), To: caller.Ref(), Caller: caller, Req: req}
	if !call.Method.Internal { // Else the doors make it.
		var refused *entity.Error
		if call, refused = t.reg.NewCall(call.Method, caller, req); refused != nil {
			t.world.fail("%s: %s", method, refused.Msg)
			return nil
		}
	}
	t.world.core.Submit(call, func(res entity.Result) {
		if tally := t.tally[method]; res.Err == nil {
			reply = res.Reply
			t.tally[method] = Tally{tally.OK + 1, tally.Refused}
		} else {
			t.tally[method] = Tally{tally.OK, tally.Refused + 1}
		}
	})
	t.world.settle()
	return reply
}

func (t *town) join(p *place, user string) {
	if t.call(user, "Groups.Join", &pb.JoinRequest{ConversationId: p.id}) != nil {
		p.in = append(p.in, user)
	}
}

// comeOrGo has anybody leave a conversation, or come back to it.
func (t *town) comeOrGo(p *place) {
	user := townsfolk[t.world.rng.IntN(len(townsfolk))]
	i := slices.Index(p.in, user)
	switch {
	case p.fixed || i == 0:
	case i < 0:
		t.join(p, user)
	case t.call(user, "Groups.Leave", &pb.LeaveRequest{ConversationId: p.id}) != nil:
		p.in = slices.Delete(p.in, i, i+1)
	}
}

// send says something, and people remember it for a while.
func (t *town) send(p *place, user string) {
	if p.channel {
		user = p.in[0]
	}
	reply, ok := t.call(user, "Messages.Send", &pb.SendRequest{ConversationId: p.id, Content: t.words()}).(*pb.SendResponse)
	if ok {
		p.said = append(p.said, remark{reply.Seq, user, t.world.now})
		p.said = p.said[max(0, len(p.said)-memorable):]
	}
}

func (t *town) words() *pb.Content {
	return &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: fmt.Sprintf("what is said in call %d", t.calls)}}}
}

// An act is something that people do, and how often of a hundred times.
type act struct {
	of int
	do func(t *town, p *place, user string, seq uint64) // seq is of a message of late
	by bool                                             // its author does it
}

var acts = []act{
	{34, func(t *town, p *place, user string, _ uint64) { t.send(p, user) }, false},
	{12, func(t *town, p *place, user string, seq uint64) {
		t.call(user, "Receipts.MarkRead", &pb.MarkReadRequest{ConversationId: p.id, Seq: seq})
	}, false},
	{3, func(t *town, p *place, user string, seq uint64) {
		t.call(user, "Receipts.MarkDelivered", &pb.MarkDeliveredRequest{ConversationId: p.id, Seq: seq})
	}, false},
	{10, func(t *town, p *place, user string, seq uint64) {
		emoji := [][]string{nil, {"👍"}, {"❤"}, {"👍", "🎉"}}[t.world.rng.IntN(4)]
		t.call(user, "Reactions.React", &pb.ReactRequest{ConversationId: p.id, Seq: seq, Emoji: emoji})
	}, false},
	{6, func(t *town, p *place, user string, seq uint64) {
		t.call(user, "Messages.Edit", &pb.EditRequest{ConversationId: p.id, Seq: seq, Content: t.words()})
	}, true},
	{3, func(t *town, p *place, user string, seq uint64) {
		t.call(user, "Messages.Revoke", &pb.RevokeRequest{ConversationId: p.id, Seq: seq})
	}, true},
	{3, func(t *town, p *place, user string, seq uint64) {
		t.call(user, "Messages.Delete", &pb.DeleteRequest{ConversationId: p.id, Seqs: []uint64{seq}})
	}, false},
	{2, func(t *town, p *place, user string, seq uint64) {
		to := t.places[t.world.rng.IntN(len(t.places))]
		t.call(user, "Messages.Forward", &pb.ForwardRequest{ConversationId: p.id, Seqs: []uint64{seq}, ToConversationId: to.id})
	}, false},
	{5, func(t *town, p *place, _ string, _ uint64) { t.comeOrGo(p) }, false},
	{5, func(t *town, _ *place, user string, _ uint64) {
		t.call(user, "Devices.Connect", &pb.ConnectDeviceRequest{Os: "linux"})
	}, false},
	{5, func(t *town, p *place, user string, _ uint64) {
		t.call(user, "Typing.Type", &pb.TypeRequest{ConversationId: p.id})
	}, false},
	{2, func(t *town, p *place, user string, seq uint64) {
		t.call(p.in[0], "Pins.Pin", &pb.PinRequest{ConversationId: p.id, Seq: seq})
	}, false},
	{2, func(t *town, p *place, user string, _ uint64) {
		t.call(p.in[0], "Pins.Unpin", &pb.UnpinRequest{ConversationId: p.id})
	}, false},
	{12, func(t *town, p *place, user string, seq uint64) {
		if p.channel {
			t.call(user, "Channels.View", &pb.ViewRequest{ConversationId: p.id, Seq: seq})
		}
	}, false},
	{1, func(t *town, p *place, _ string, _ uint64) {
		at := t.world.now.Add(3 * time.Hour).UnixMilli()
		t.call(p.in[0], "Timers.Schedule", &pb.ScheduleRequest{ConversationId: p.id, Content: t.words(), At: at})
	}, false},
	{2, func(t *town, p *place, user string, _ uint64) {
		text := []string{"", "what I meant to say"}[t.world.rng.IntN(2)]
		t.call(user, "Dialogs.SetDraft", &pb.SetDraftRequest{ConversationId: p.id, Text: text})
	}, false},
	{1, func(t *town, p *place, user string, _ uint64) {
		t.call(user, "Dialogs.SetMuted", &pb.SetMutedRequest{ConversationId: p.id})
	}, false},
	{1, func(t *town, _ *place, user string, _ uint64) {
		t.call(user, "Presence.SetStatus", &pb.SetStatusRequest{Status: fmt.Sprint("call ", t.calls)})
	}, false},
	{2, func(t *town, p *place, user string, _ uint64) {
		t.call(user, "Presence.Subscribe", &pb.SubscribePresenceRequest{ConversationId: p.id, UserIds: p.in[:1], Seconds: 600})
	}, false},
	{1, func(t *town, _ *place, user string, _ uint64) {
		t.call(user, "Profiles.Change", &pb.ChangeProfileRequest{FirstName: proto.String(user), Bio: proto.String(fmt.Sprint("call ", t.calls))})
	}, false},
}

// live has somebody do something somewhere, mostly about what was said of late.
func (t *town) live() {
	rng := t.world.rng
	p := t.places[rng.IntN(len(t.places))]
	user, about := p.in[rng.IntN(len(p.in))], t.remember(p)
	if about.by == "" {
		t.send(p, user)
		return
	}
	n := 0
	for _, a := range acts {
		n += a.of
	}
	n = rng.IntN(n)
	for _, a := range acts {
		if n -= a.of; n >= 0 {
			continue
		}
		if a.by {
			user = about.by
		}
		a.do(t, p, user, about.seq)
		return
	}
}

// remember is a message that was sent of late in a conversation, and is still there;
// zero: there is none.
func (t *town) remember(p *place) remark {
	memory := fresh
	if t.soak.Keep != 0 {
		memory = min(memory, time.Duration(t.soak.Keep)*time.Second)
	}
	p.said = slices.DeleteFunc(p.said, func(r remark) bool { return t.world.now.Sub(r.at) >= memory })
	if len(p.said) == 0 {
		return remark{}
	}
	return p.said[t.world.rng.IntN(len(p.said))]
}

// census starts the node again, and counts and checks what is stored.
func (t *town) census(day int) Census {
	w := t.world
	c := Census{Day: day, Tables: map[string]Counted{}}
	if err := w.db.Close(); err != nil {
		w.fail("close the store: %w", err)
		return c
	}
	if err := w.start(); err != nil {
		w.fail("start again: %w", err)
		return c
	}
	names := tableNames()
	view := w.db.Snapshot()
	err := view.Scan(nil, nil, false, func(key, val []byte) bool {
		name, bytes := rowName(names, key, val), len(key)+len(val)
		n := c.Tables[name]
		c.Tables[name] = Counted{n.Rows + 1, n.Bytes + bytes}
		c.All = Counted{c.All.Rows + 1, c.All.Bytes + bytes}
		return true
	})
	_, wrong := t.reg.Verify(view, func(p entity.Problem) { w.fail("day %d: %s", day, p) }, nil)
	if err = errors.Join(err, wrong, view.Close()); err != nil {
		w.fail("read the store: %w", err)
	}
	files, err := w.disk.List("db")
	for _, name := range files {
		info, statErr := w.disk.Stat(path.Join("db", name))
		if err = cmp.Or(err, statErr); err == nil {
			c.Disk += info.Size()
		}
	}
	if err != nil {
		w.fail("look at the disk: %w", err)
	}
	return c
}

// tableNames are the names of all tables, by number.
func tableNames() map[uint32]string {
	names := map[uint32]string{}
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		if opts := m.Descriptor().Options(); proto.HasExtension(opts, pb.E_Table) {
			names[proto.GetExtension(opts, pb.E_Table).(*pb.Table).Number] = string(m.Descriptor().Name())
		}
		return true
	})
	return names
}

// classAt is where an event's class is in its row: behind format and stamp.
const classAt = 1 + 8

// rowName is the name of a row's table. Of events it says also the class.
func rowName(names map[uint32]string, key, val []byte) string {
	rest := key[tableAt-8:] // Of a shard's own row, behind which is no id.
	if key[kindAt] != 0 {
		rest = key[tableAt:]
	}
	number := uint32(rest[0])
	if number >= 0x80 {
		number = (number&0x7F)<<8 | uint32(rest[1])
	}
	name := names[number]
	if number == logTable {
		name += " " + pb.Class(val[classAt]).String()
	}
	return name
}

var logTable = proto.GetExtension((&pb.Log{}).ProtoReflect().Descriptor().Options(), pb.E_Table).(*pb.Table).Number

// Tables are the names of all tables that were counted, in order.
func Tables(all []Census) []string {
	names := map[string]bool{}
	for _, c := range all {
		for name := range c.Tables {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
