package entity

import (
	"fmt"
	"runtime/debug"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Turn is what the host gives a Step beside the rows and the call.
type Turn struct {
	Now    time.Time // the clock; the Step sees it no earlier than the last event
	Policy *Policy   // the tenant's

	// Incarnation is what the history of rows that is read has for itself: a store
	// that was restored has another. Queries ask for it.
	Incarnation uint64

	// Online says whether a user is connected now: for queries, which may differ
	// from one time to the next; a Step is a function of rows. nil: nobody is.
	Online func(Ref) bool

	// Hold says that the clock has jumped and no operator has agreed to it:
	// retention waits, so that a wrong clock erases nothing.
	Hold bool
}

// An Outcome is everything a Step did. Nothing in it has happened yet: make
// Writes durable, then release the rest, in Step order.
type Outcome struct {
	Reply proto.Message
	Err   *Error

	Writes  []Write
	Version uint64 // of the entity's Memory, for Memory.Durable
	Events  []*Event
	Signals []*Event
	Tells   []*Tell
	Wake    int64 // the earliest time of a timer that the Step set, in unix milliseconds; 0: none

	Repeat bool   // the first result of a retried request, again
	Heard  bool   // a tell that had been heard before, or a timer that is not there or has to wait: nothing was run
	Fault  error  // storage failed: the process must not go on
	Panic  string // a bug in a feature, with its stack, for the log
	Bound  string // what the Step had too much of, for the log
}

// Step runs a command against an entity. The same rows and the same call give
// the same outcome. A refused Step leaves no trace.
func (m *Memory) Step(r *Registry, c *Call, turn Turn) Outcome {
	return m.guard(func() Outcome { return m.step(r, c, turn, nil) })
}

// guard turns the panics of a Step into outcomes: one entity's bug stays
// there.
func (m *Memory) guard(step func() Outcome) (out Outcome) {
	defer func() {
		m.closeView()
		switch p := recover().(type) {
		case nil:
		case fault:
			out = Outcome{Err: Public(p.error), Fault: p.error}
		case tooMuch:
			out = Outcome{Err: Errorf(TooLarge, "that is more than one request may do"), Bound: p.what}
		default:
			out = Outcome{Err: Public(fmt.Errorf("%v", p)), Panic: fmt.Sprintf("%v\n%s", p, debug.Stack())}
			m.Forget()
		}
		out.Version = m.version
	}()
	m.trim()
	if err := m.load(); err != nil {
		panic(fault{err})
	}
	return step()
}

// step looks the request up, then runs hooks and handler. first, if any, writes
// before them, in the same transaction.
func (m *Memory) step(r *Registry, c *Call, turn Turn, first func(*Tx)) Outcome {
	turn.Now = m.now(turn.Now)
	req, known := m.requests.find(m, c, turn)
	if known != nil {
		return known.outcome(c, &req)
	}
	tx := m.begin(r, c, turn)
	defer func() { m.scratch = tx.scratch }()
	if first != nil {
		first(tx)
	}
	reply, err := r.run(tx, c)
	if err != nil {
		return Outcome{Err: err}
	}
	if tx.dropped > 0 && tx.dropped == tx.head.Seq {
		panic("entity: a command dropped the last event of its log")
	}
	m.scheduleSweep(tx, req.key.hash != 0)
	extra := appendOutbox(m.extra[:0], tx.tells)
	extra = m.requests.remember(m, extra, req, reply, turn)
	out := Outcome{Reply: reply, Events: tx.events, Signals: tx.signals, Tells: tx.tells, Wake: tx.wake}
	out.Writes = m.keep(tx, extra)
	if clear(extra); cap(extra) <= maxExtra {
		m.extra = extra
	}
	return out
}

// run returns what the handler replied, or why something refused. A nil *Error
// in an error is no refusal, so each is asked by Public.
func (r *Registry) run(tx *Tx, c *Call) (proto.Message, *Error) {
	for _, before := range c.Method.before {
		if err := Public(before(tx, c.Req)); err != nil {
			return nil, err
		}
	}
	reply, err := c.Method.command(tx, c.Req)
	if err := Public(err); err != nil {
		return nil, err
	}
	return reply, tx.err
}

// Query runs a query on the durable view.
func (r *Registry) Query(rows Reader, c *Call, turn Turn) (out Outcome) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case fault:
			out = Outcome{Err: Public(p.error), Fault: p.error}
		case tooMuch:
			out = Outcome{Err: Errorf(TooLarge, "that is more than one request may read"), Bound: p.what}
		default:
			out = Outcome{Err: Public(fmt.Errorf("%v", p)), Panic: fmt.Sprintf("%v\n%s", p, debug.Stack())}
		}
	}()
	v := r.query(rows, c.To, c.Caller, turn.Policy)
	v.now, v.online, v.incarnation = turn.Now, turn.Online, turn.Incarnation
	reply, err := c.Method.query(v, c.Req)
	if err := Public(err); err != nil {
		return Outcome{Err: err}
	}
	return Outcome{Reply: reply}
}

// query is a View of the durable view, for one query.
func (r *Registry) query(reader Reader, ref Ref, caller Caller, policy *Policy) *View {
	asks := policy.QueryAsks
	return &View{ref: ref, caller: caller, policy: policy, reg: r, rows: durable{reader}, budget: policy.StepReads, asks: &asks}
}

func protoValue(m proto.Message) protoreflect.Value {
	return protoreflect.ValueOfMessage(m.ProtoReflect())
}
