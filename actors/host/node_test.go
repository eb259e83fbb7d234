package host

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// A node is a Core that the test drives by hand: one thread, queues in order.
// It is the core's scheduler, clock and listener.
type node struct {
	t *testing.T
	*Core
	store   *Store
	config  Config
	commits int

	turns   []turn
	queries []func()
	timers  []timer
	wakes   int
	full    bool // the query pool takes nothing
	fatal   error

	wall    time.Time
	elapsed time.Duration

	heard []string // what was released, in order
}

type turn struct {
	box *Box
	job *Job
}

type timer struct {
	at time.Duration
	f  func()
}

func newNode(t *testing.T, change ...func(*Config)) *node {
	t.Helper()
	n := &node{t: t, store: &Store{}, wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	reg, err := Registry()
	if err != nil {
		t.Fatal(err)
	}
	dev, _ := entity.Profile("dev")
	bench, _ := entity.Profile("bench")
	n.config = Config{
		Registry: reg, Storage: watched{n.store, n}, Clock: n, Scheduler: n, Listener: n,
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		Tenants: map[string]*entity.Policy{"acme": &dev, "zeta": &bench},
		Fatal:   func(err error) { n.fatal = errors.Join(n.fatal, err) },
	}
	for _, c := range change {
		c(&n.config)
	}
	n.start()
	return n
}

// start opens the store, as after a crash if the node ran before: what was not
// committed is gone.
func (n *node) start() {
	n.t.Helper()
	n.turns, n.queries, n.timers = nil, nil, nil
	core, err := NewCore(n.config)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Core = core
}

// watched is the store of a node, whose commits it counts.
type watched struct {
	*Store
	n *node
}

func (w watched) Commit(group []entity.Write) error {
	w.n.commits++
	return w.Store.Commit(group)
}

// The scheduler.

func (n *node) Spawn(b *Box) { b.Handle = n }

func (n *node) Send(b *Box, j *Job) {
	if b.Handle == nil {
		n.t.Errorf("a job for %v, which has been put away", b.Ref())
	}
	n.turns = append(n.turns, turn{b, j})
}

func (n *node) Stop(b *Box) {
	b.Handle = nil
	if slices.ContainsFunc(n.turns, func(t turn) bool { return t.box == b }) {
		n.t.Errorf("%v is put away with jobs queued", b.Ref())
	}
}

func (n *node) Wake() { n.wakes++ }

func (n *node) Query(f func()) bool {
	if n.full {
		return false
	}
	n.queries = append(n.queries, f)
	return true
}

func (n *node) After(d time.Duration, f func()) { n.timers = append(n.timers, timer{n.elapsed + d, f}) }

// The clock.

func (n *node) Now() time.Time         { return n.wall }
func (n *node) Elapsed() time.Duration { return n.elapsed }

// pass lets time pass by both clocks, and what was due happens.
func (n *node) pass(d time.Duration) {
	n.wall, n.elapsed = n.wall.Add(d), n.elapsed+d
	due := n.timers
	n.timers = nil
	for _, t := range due {
		if t.at <= n.elapsed {
			t.f()
		} else {
			n.timers = append(n.timers, t)
		}
	}
}

// The listener.

func (n *node) Published(e *entity.Event) {
	n.heard = append(n.heard, fmt.Sprintf("%s %d of %d", e.Type.Name, e.Seq, e.Ref.ID))
	if e.Seq != 0 && e.Stamp == 0 {
		n.t.Errorf("event %d was published without a stamp", e.Seq)
	}
}

func (n *node) Released() { n.heard = append(n.heard, "flush") }

// run gives every queued job its turn, and those that come meanwhile.
func (n *node) run() {
	for len(n.turns) > 0 {
		t := n.turns[0]
		n.turns = n.turns[1:]
		t.box.Run(t.job)
	}
}

// commit makes one group durable and releases it. False: there was none.
func (n *node) commit() bool {
	n.t.Helper()
	g := n.Take()
	if g == nil {
		return false
	}
	if err := n.Sync(g); err != nil {
		n.t.Fatal(err)
	}
	n.Release(g)
	return true
}

// answer runs the queries that wait.
func (n *node) answer() {
	for len(n.queries) > 0 {
		f := n.queries[0]
		n.queries = n.queries[1:]
		f()
	}
}

// settle runs everything until nothing is left but timers.
func (n *node) settle() {
	n.t.Helper()
	for more := true; more; {
		n.run()
		n.answer()
		more = n.commit() || len(n.turns)+len(n.queries) > 0
	}
	if n.fatal != nil {
		n.t.Fatalf("fatal: %v", n.fatal)
	}
	if !n.Idle() {
		n.t.Error("everything has run, and the core is not idle")
	}
}

func (n *node) tenant(name string) entity.Tenant {
	t, _ := n.Tenant(name)
	return t
}

func (n *node) caller(tenant, user string) entity.Caller {
	t := n.tenant(tenant)
	return entity.Caller{Tenant: t, User: user, Number: entity.UserNumber(t, user), Device: "phone"}
}

// call addresses a request of ann's.
func (n *node) call(req entity.Message) *entity.Call {
	n.t.Helper()
	return n.callBy(n.caller("acme", "ann"), req)
}

func (n *node) callBy(by entity.Caller, req entity.Message) *entity.Call {
	n.t.Helper()
	name := "Counters." + strings.TrimSuffix(string(req.ProtoReflect().Descriptor().Name()), "Request")
	c, err := n.Registry.NewCall(n.Registry.ByName(name), by, req)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// submit runs a program on a counter; its name appears in heard once it is
// released, with the code of a refusal.
func (n *node) submit(name string, counter uint64, acts ...*Act) {
	n.t.Helper()
	n.submitAs(name, "", counter, acts...)
}

func (n *node) submitAs(name, requestID string, counter uint64, acts ...*Act) {
	n.t.Helper()
	n.Submit(n.call(&DoRequest{CounterId: counter, RequestId: requestID, Acts: acts}), func(r entity.Result) {
		if r.Err != nil {
			name += " " + r.Err.Code.String()
		}
		n.heard = append(n.heard, name)
	})
}

// numbers runs a program on a counter and returns what it replies.
func (n *node) numbers(counter uint64, acts ...*Act) []uint64 {
	n.t.Helper()
	var result entity.Result
	n.Submit(n.call(&DoRequest{CounterId: counter, Acts: acts}), func(r entity.Result) { result = r })
	n.settle()
	if result.Err != nil {
		n.t.Fatalf("refused: %v", result.Err)
	}
	return result.Reply.(*DoResponse).Numbers
}

// look runs a query on a counter and returns what it replies.
func (n *node) look(counter uint64, acts ...*Act) (got entity.Result) {
	n.t.Helper()
	n.Submit(n.call(&LookRequest{CounterId: counter, Acts: acts}), func(r entity.Result) { got = r })
	n.answer()
	return got
}

// boxes counts the entities in memory.
func (n *node) boxes() (count int) {
	for i := range n.shards {
		count += len(n.shards[i].boxes)
	}
	return count
}

// want checks what was released since the last look.
func (n *node) want(what string, want ...string) {
	n.t.Helper()
	if !slices.Equal(n.heard, want) {
		n.t.Errorf("%s: released\n %q, want\n %q", what, n.heard, want)
	}
	n.heard = nil
}

func (n *node) wantNumbers(what string, got []uint64, want ...uint64) {
	n.t.Helper()
	if !slices.Equal(got, want) {
		n.t.Errorf("%s = %d, want %d", what, got, want)
	}
}

// sharing returns two counters of one shard, and a third of another.
func (n *node) sharing() (a, b, c uint64) {
	shard := func(id uint64) uint16 { return entity.Conversation(n.tenant("acme"), id).Shard() }
	a, b, c = 1, 2, 2
	for shard(b) != shard(a) {
		b++
	}
	for shard(c) == shard(a) {
		c++
	}
	return a, b, c
}

// rows counts the rows of a kernel table of the shards: the outbox, the dead.
func (n *node) rows(table byte) (count int) {
	err := n.store.Rows().Scan(nil, nil, false, func(key, _ []byte) bool {
		// shard(2) tenant(4) kind(1) table: those of a shard have tenant and kind 0.
		if len(key) > 7 && string(key[2:7]) == "\x00\x00\x00\x00\x00" && key[7] == table {
			count++
		}
		return true
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return count
}
