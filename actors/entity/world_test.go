package entity_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
	"kith/actors/pb"
)

// The tables of the kernel, by the numbers in kernel.proto.
const (
	logTable       = 0x01
	requestedTable = 0x02
	originTable    = 0x03
	headTable      = 0x04
	heardTable     = 0x05
	outboxTable    = 0x06
	deadTable      = 0x07
	timerTable     = 0x0A
	dueTable       = 0x0B
	floorTable     = 0x0C
	countTable     = 0x7F00
)

// A world is a store and the entities on it, whose Steps are committed one by
// one unless the test holds them back.
type world struct {
	*testing.T
	reg    *entity.Registry
	store  *Store
	live   map[entity.Ref]*entity.Memory
	stamp  uint64
	turn   entity.Turn
	policy entity.Policy
	views  int // opened and not given back

	held    bool // outcomes stay in queue until settle
	queue   []commit
	pending []*entity.Tell
}

type commit struct {
	m   *entity.Memory
	out entity.Outcome
}

func newWorld(t *testing.T, others ...entity.Feature) *world {
	t.Helper()
	reg, err := Registry(others...)
	if err != nil {
		t.Fatal(err)
	}
	policy, _ := entity.Profile("dev")
	w := &world{T: t, reg: reg, store: &Store{}, live: map[entity.Ref]*entity.Memory{}, policy: policy}
	w.turn = entity.Turn{Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Policy: &w.policy}
	t.Cleanup(func() {
		if w.views != 0 {
			t.Errorf("%d views were not given back", w.views)
		}
	})
	return w
}

var (
	one = entity.Conversation(1, 1)
	two = entity.Conversation(1, 2)
	ann = caller("ann")
	bob = caller("bob")
)

func caller(user string) entity.Caller {
	return entity.Caller{Tenant: 1, User: user, Number: entity.UserNumber(1, user), Device: "phone"}
}

// memory is the live entity, or a new one on the store.
func (w *world) memory(ref entity.Ref) *entity.Memory {
	m := w.live[ref]
	if m == nil {
		m = entity.NewMemory(ref, w.open, entity.NoBug)
		w.live[ref] = m
	}
	return m
}

func (w *world) open() (entity.Reader, func()) {
	w.views++
	return w.store.Rows(), func() { w.views-- }
}

// restart forgets what only memory knows.
func (w *world) restart() {
	w.settle()
	w.live = map[entity.Ref]*entity.Memory{}
}

// call addresses a request.
func (w *world) call(by entity.Caller, req entity.Message) *entity.Call {
	w.Helper()
	method := "Counters." + strings.TrimSuffix(string(req.ProtoReflect().Descriptor().Name()), "Request")
	c, err := w.reg.NewCall(w.reg.ByName(method), by, req)
	if err != nil {
		w.Fatalf("%s: %v", method, err)
	}
	return c
}

// step runs a call and commits its outcome.
func (w *world) step(c *entity.Call) entity.Outcome {
	w.Helper()
	m := w.memory(c.To)
	return w.take(m, m.Step(w.reg, c, w.turn))
}

// take commits an outcome, or queues it.
func (w *world) take(m *entity.Memory, out entity.Outcome) entity.Outcome {
	w.Helper()
	if out.Fault != nil {
		w.Fatalf("a fault: %v", out.Fault)
	}
	w.queue = append(w.queue, commit{m, out})
	if !w.held {
		w.settle()
	}
	return out
}

// settle commits what is queued, one by one.
func (w *world) settle() {
	w.Helper()
	for _, c := range w.queue {
		if len(c.out.Writes) > 0 {
			w.stamp++
		}
		for i := range c.out.Writes {
			c.out.Writes[i].Stamp(w.stamp)
		}
		for _, e := range c.out.Events {
			e.Stamp = w.stamp
		}
		if err := w.store.Commit(c.out.Writes); err != nil {
			w.Fatal(err)
		}
		c.m.Durable(c.out.Version)
		w.pending = append(w.pending, c.out.Tells...)
	}
	w.queue = nil
}

// do runs a program of ann's on counter 1.
func (w *world) do(acts ...*Act) entity.Outcome {
	w.Helper()
	return w.step(w.call(ann, &DoRequest{CounterId: 1, Acts: acts}))
}

// must is do, and refuses to be refused. It returns the numbers of the reply.
func (w *world) must(acts ...*Act) []uint64 {
	w.Helper()
	out := w.do(acts...)
	if out.Err != nil {
		w.Fatalf("refused: %v %s", out.Err, out.Panic)
	}
	return out.Reply.(*DoResponse).Numbers
}

// ask runs a query of ann's on the durable view of counter 1.
func (w *world) ask(req *LookRequest) *LookResponse {
	w.Helper()
	req.CounterId = 1
	out := w.reg.Query(w.store.Rows(), w.call(ann, req), w.turn)
	if out.Err != nil {
		w.Fatalf("the query was refused: %v %v %s", out.Err, out.Fault, out.Panic)
	}
	return out.Reply.(*LookResponse)
}

// replay reads a log for a viewer.
func (w *world) replay(viewer entity.Caller, after uint64, limit int) entity.Page {
	return w.reg.Replay(w.store.Rows(), one, viewer, &w.policy, after, limit)
}

// event reads one event as stored.
func (w *world) event(seq uint64) *entity.Event {
	w.Helper()
	page := w.replay(ann, seq-1, 1)
	if page.Err != nil || len(page.Events) != 1 {
		w.Fatalf("event %d: %d events, %v", seq, len(page.Events), page.Err)
	}
	return page.Events[0]
}

// rows counts the rows of a table of an entity.
func (w *world) rows(ref entity.Ref, table uint32) int {
	return w.store.Rows().Count(entity.Range(ref, table))
}

// system counts the rows of a table that belongs to the shards.
func (w *world) system(table uint32) (n int) {
	for shard := range uint16(entity.Shards) {
		n += w.store.Rows().Count(entity.System(shard, table))
	}
	return n
}

// dump is everything in the store.
func (w *world) dump() string {
	var b strings.Builder
	err := w.store.Rows().Scan(nil, nil, false, func(key, val []byte) bool {
		fmt.Fprintf(&b, "%s=%s\n", hex.EncodeToString(key), hex.EncodeToString(val))
		return true
	})
	if err != nil {
		w.Fatal(err)
	}
	return b.String()
}

// spell is all of an outcome, bytes included.
func spell(out entity.Outcome) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "err %v repeat %v heard %v panic %v bound %q\n", out.Err, out.Repeat, out.Heard, out.Panic != "", out.Bound)
	if out.Reply != nil {
		fmt.Fprintf(&b, "reply %x\n", encode(out.Reply))
	}
	for _, row := range out.Writes {
		if row.Stamped { // What the committer fills in is not the Step's.
			row.Val = bytes.Clone(row.Val)
			entity.PutStamp(row.Val, 0)
		}
		fmt.Fprintf(&b, "write %x %x %x %v\n", row.Key, row.Val, row.End, row.Stamped)
	}
	for _, e := range slices.Concat(out.Events, out.Signals) {
		fmt.Fprintf(&b, "event %v %d %d %s %s %v %x %+v\n", e.Ref, e.Seq, e.At, e.By, e.Type.Name, e.Audience.Users, encode(e.Body), entity.HeaderOf(e))
	}
	for _, t := range out.Tells {
		fmt.Fprintf(&b, "tell %v %v %d %s %x\n", t.From, t.Call.To, t.Number, t.Call.Method.Name, encode(t.Call.Req))
	}
	return b.String()
}

func encode(m proto.Message) []byte {
	b, err := m.(entity.Message).MarshalVT()
	if err != nil {
		panic(err)
	}
	return b
}

func wantCode(t *testing.T, err *entity.Error, code entity.Code) {
	t.Helper()
	if err == nil || err.Code != code {
		t.Errorf("refused by %v, want code %v", err, code)
	}
}

func wantNumbers(t *testing.T, what string, got []uint64, want ...uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s = %d, want %d", what, got, want)
	}
}

// seqs are those of a page, a hole as its negative beginning.
func seqs(page entity.Page) (all []int) {
	for _, e := range page.Events {
		if hole, ok := e.Body.(*pb.Hole); ok {
			all = append(all, -int(hole.From))
		}
		all = append(all, int(e.Seq))
	}
	return all
}

func text(e *entity.Event) string {
	said, _ := e.Body.(*Said)
	return said.GetText()
}
