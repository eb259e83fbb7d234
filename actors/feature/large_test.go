package feature_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/host"
	"kith/actors/pb"
	"kith/storage"
)

var members = flag.Int("members", 3000, "how many people the large group of a test has")

// A multitude is a real host on a real store in memory, and many people.
type multitude struct {
	*testing.T
	ctx    context.Context
	reg    *entity.Registry
	db     *storage.DB
	host   *host.Host
	tenant entity.Tenant
	policy *entity.Policy

	mu           sync.Mutex     // guards what is below
	joined, left map[uint64]int // dialogs that have heard of it, by conversation
	news         chan struct{}  // something of that has changed; 1: more news is no more news
}

// patience is how long a test waits for what must happen.
const patience = 5 * time.Minute

func newMultitude(t *testing.T) *multitude {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	policy, _ := entity.Profile("dev")
	c := &multitude{
		T: t, ctx: ctx, policy: &policy,
		joined: map[uint64]int{}, left: map[uint64]int{}, news: make(chan struct{}, 1),
	}
	var err error
	if c.reg, err = entity.New(feature.All...); err != nil {
		t.Fatal(err)
	}
	fatal := func(err error) { panic(err) }
	if c.db, err = storage.Open(storage.Config{FS: vfs.NewMem(), Dir: "db", Fatal: fatal, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	c.host, err = host.Start(host.Config{
		Registry: c.reg, Storage: c.db, Listener: c, Log: slog.New(slog.DiscardHandler),
		Tenants: map[string]*entity.Policy{"acme": &policy}, Fatal: fatal, IdleAfter: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.host.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := c.db.Close(); err != nil {
			t.Error(err)
		}
	})
	c.tenant, _ = c.host.Tenant("acme")
	return c
}

// Published counts whose dialogs have heard what.
func (c *multitude) Published(e *entity.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch body := e.Body.(type) {
	case *pb.DialogJoined:
		c.joined[body.ConversationId]++
	case *pb.DialogLeft:
		c.left[body.ConversationId]++
	default:
		return
	}
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// Released is the end of a group.
func (c *multitude) Released() {}

// await waits until many dialogs have heard of something.
func (c *multitude) await(dialogs map[uint64]int, conversation uint64, many int) {
	c.Helper()
	for {
		c.mu.Lock()
		got := dialogs[conversation]
		c.mu.Unlock()
		if got >= many {
			return
		}
		select {
		case <-c.news:
		case <-c.ctx.Done():
			c.Fatalf("%d dialogs have heard of it, want %d", got, many)
		}
	}
}

func (c *multitude) person(i int) entity.Caller { return caller(c.tenant, fmt.Sprint("person", i)) }

// call makes a call; done hears what came of it.
func (c *multitude) call(who entity.Caller, method string, req proto.Message) *entity.Call {
	c.Helper()
	call, refused := c.reg.NewCall(c.reg.ByName(method), who, req)
	if refused != nil {
		c.Fatalf("%s: %v", method, refused)
	}
	return call
}

// ask makes a call and waits for what came of it.
func (c *multitude) ask(who entity.Caller, method string, req proto.Message) entity.Result {
	c.Helper()
	answer := make(chan entity.Result, 1)
	c.host.Submit(c.call(who, method, req), func(res entity.Result) { answer <- res })
	select {
	case res := <-answer:
		return res
	case <-c.ctx.Done():
		c.Fatalf("%s was not answered", method)
		return entity.Result{}
	}
}

// must is ask for what is not refused.
func must[Resp proto.Message](c *multitude, who entity.Caller, method string, req proto.Message) Resp {
	c.Helper()
	res := c.ask(who, method, req)
	if res.Err != nil {
		c.Fatalf("%s: %v", method, res.Err)
	}
	return res.Reply.(Resp)
}

// fill lets people join a group, some at a time.
func (c *multitude) fill(group uint64, people int) {
	c.Helper()
	room := make(chan struct{}, 512) // Fewer than may wait for one entity.
	for i := 1; i < people; i++ {
		room <- struct{}{}
		c.host.Submit(c.call(c.person(i), "Groups.Join", &pb.JoinRequest{ConversationId: group}), func(res entity.Result) {
			if <-room; res.Err != nil {
				c.Errorf("Groups.Join: %v", res.Err)
			}
		})
	}
	c.await(c.joined, group, people)
}

func (c *multitude) open(name string, n int) uint64 {
	c.Helper()
	req := &pb.CreateGroupRequest{RequestId: name, Name: name, JoinRule: pb.JoinRule_OPEN}
	id := must[*pb.CreateGroupResponse](c, c.person(0), "Groups.Create", req).ConversationId
	c.fill(id, n)
	return id
}

// TestAGroupOfManyThousands invites everybody of one group into another, has
// somebody say something there, and dissolves it.
func TestAGroupOfManyThousands(t *testing.T) {
	c := newMultitude(t)
	many, owner := *members, c.person(0)
	start := time.Now()
	lap := func(what string) { t.Logf("%6.1fs %s", time.Since(start).Seconds(), what) }
	trio, club := c.open("trio", 3), c.open("club", many)
	lap("everybody has joined")

	team := c.open("team", 1)
	must[*pb.InviteAllResponse](c, owner, "Groups.InviteAll", &pb.InviteAllRequest{ConversationId: team, Via: club})
	c.await(c.joined, team, many/10)
	half := must[*pb.GetGroupResponse](c, owner, "Groups.Get", &pb.GetGroupRequest{ConversationId: team})
	if int(half.Members+half.Inviting) < many/2 || half.Inviting == 0 {
		t.Errorf("%d are in and %d to come, want all of %d or so, and some to come", half.Members, half.Inviting, many)
	}
	c.await(c.joined, team, many)
	lap("everybody was invited")
	all := must[*pb.GetGroupResponse](c, owner, "Groups.Get", &pb.GetGroupRequest{ConversationId: team})
	if int(all.Members) != many || all.Inviting != 0 || !all.Large {
		t.Errorf("%d are in and %d to come, and it is large: %v; want %d, 0, true", all.Members, all.Inviting, all.Large, many)
	}

	small, large := c.measure(trio), c.measure(team)
	if large.reads > small.reads || large.writes != small.writes || large.allocs > small.allocs {
		t.Errorf("a message in a group of %d costs %+v, and in one of 3 %+v", many, large, small)
	}
	lap(fmt.Sprintf("a message costs %+v, and in a group of three %+v", large, small))

	must[*pb.DissolveResponse](c, owner, "Groups.Dissolve", &pb.DissolveRequest{ConversationId: team})
	late := c.ask(c.person(many-1), "Messages.Send", &pb.SendRequest{ConversationId: team, Content: say("too late")})
	if late.Err == nil || late.Err.Code != entity.NotFound {
		t.Errorf("a message after the dissolution: %v, %v; want not found", late.Reply, late.Err)
	}
	c.await(c.left, team, many)
	lap("everybody has heard that it was dissolved")
	c.recount()
	lap("everything was recounted")
}

// recount looks at every row.
func (c *multitude) recount() {
	view := c.db.Snapshot()
	defer func() {
		if err := view.Close(); err != nil {
			c.Error(err)
		}
	}()
	if _, err := c.reg.Verify(view, func(p entity.Problem) { c.Error(p) }, nil); err != nil {
		c.Fatal(err)
	}
}

// A cost is what a message takes: rows read when none is in memory, rows written,
// and allocations when all are.
type cost struct {
	reads, writes int
	allocs        float64
}

// measure runs Messages.Send on the rows of a group, apart from the host.
func (c *multitude) measure(group uint64) (cost cost) {
	c.Helper()
	view := c.db.Snapshot()
	defer func() {
		if err := view.Close(); err != nil {
			c.Error(err)
		}
	}()
	rows := &counted{Reader: view}
	m := entity.NewMemory(entity.Conversation(c.tenant, group), func() (entity.Reader, func()) { return rows, func() {} }, entity.NoBug)
	call := c.call(c.person(1), "Messages.Send", &pb.SendRequest{ConversationId: group, Content: say("hello")})
	send := func() {
		out := m.Step(c.reg, call, entity.Turn{Now: time.Now(), Policy: c.policy})
		if out.Err != nil {
			c.Fatalf("Messages.Send: %v", out.Err)
		}
		cost.writes = len(out.Writes)
		m.Durable(out.Version)
	}
	send()
	cost.reads = rows.n
	cost.allocs = testing.AllocsPerRun(100, send)
	return cost
}

// counted counts the rows that are read.
type counted struct {
	entity.Reader
	n int
}

func (r *counted) Get(key []byte) ([]byte, bool, error) {
	r.n++
	return r.Reader.Get(key)
}

func (r *counted) Scan(lower, upper []byte, reverse bool, yield func(key, val []byte) bool) error {
	return r.Reader.Scan(lower, upper, reverse, func(key, val []byte) bool {
		r.n++
		return yield(key, val)
	})
}
