package entity

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
)

// A Tx also writes one entity. All of it commits, or none.
type Tx struct {
	View
	memory  *Memory
	head    Head
	local   map[string]*slot // rows that this Step wrote
	order   []string         // their keys, in order of first writing
	touched map[uint32]bool  // tables that this Step wrote

	events  []*Event
	logged  []loggedRow // event rows to write, in order
	signals []*Event
	tells   []*Tell
	origin  uint64 // of the call, for event headers
	err     error  // of an After hook
}

// A loggedRow is an event row that this Step wrote.
type loggedRow struct {
	seq     uint64
	val     []byte
	stamped bool // its stamp is still to come
}

func (m *Memory) begin(r *Registry, c *Call, turn Turn) *Tx {
	tx := &Tx{memory: m, head: m.head}
	tx.View = View{
		ref: m.ref, caller: c.Caller, now: turn.Now, policy: turn.Policy, reg: r,
		tx: tx, budget: turn.Policy.StepReads, scratch: m.scratch,
	}
	tx.rows = tx
	tx.origin = originOf(c)
	return tx
}

// get reads through this Step's own writes.
func (tx *Tx) get(key []byte) *slot {
	if s, ok := tx.local[string(key)]; ok {
		return s
	}
	return tx.memory.get(key)
}

// scan reads through this Step's own writes.
func (tx *Tx) scan(lower, upper []byte, reverse bool, yield func([]byte, *slot) bool) {
	over := map[string]*slot{}
	for k, s := range tx.local {
		if inRange(k, lower, upper) {
			over[k] = s
		}
	}
	tx.memory.scanUnder(lower, upper, reverse, over, yield)
}

func (tx *Tx) put(table uint32, key []byte, s *slot) {
	if tx.local == nil {
		tx.local, tx.touched = map[string]*slot{}, map[uint32]bool{}
	}
	if _, ok := tx.local[string(key)]; !ok {
		tx.order = append(tx.order, string(key))
		if len(tx.order) > tx.policy.StepWrites {
			panic(tooMuch{"rows written"})
		}
	}
	tx.local[string(key)], tx.touched[table] = s, true
}

// Emit records a fact in the entity's log and returns its seq. After hooks see
// it at once; the members of this moment hear it once it is durable.
func (tx *Tx) Emit(body Message) uint64 {
	t := tx.reg.events.of(body)
	if t.Class == pb.Class_SIGNAL {
		panic("entity: " + t.Name + " is a signal, not an event")
	}
	prev := tx.head.Message
	seq := tx.head.Seq + 1
	tx.head.Seq, tx.head.At = seq, tx.now.UnixMilli()
	if t.Class == pb.Class_HISTORY {
		tx.head.Ordinal++
		tx.head.Message = seq
	}
	e := tx.newEvent(t, body)
	e.Seq = seq
	e.header = header{class: t.Class, number: t.Number, ordinal: tx.head.Ordinal, prev: prev, at: e.At, by: e.header.by, origin: tx.origin}
	tx.events = append(tx.events, e)
	tx.logged = append(tx.logged, loggedRow{seq, encodeEvent(e), true})
	if len(tx.logged) > tx.policy.StepWrites {
		panic(tooMuch{"events"})
	}
	for _, after := range tx.reg.after[body.ProtoReflect().Descriptor().FullName()] {
		if err := after(tx, body); err != nil && tx.err == nil {
			tx.err = err
		}
	}
	return seq
}

// Signal pushes something that may be lost to the members of this moment. It
// is never stored.
func (tx *Tx) Signal(body Message) {
	t := tx.reg.events.of(body)
	if t.Class != pb.Class_SIGNAL {
		panic("entity: " + t.Name + " is an event, not a signal")
	}
	tx.signals = append(tx.signals, tx.newEvent(t, body))
}

// newEvent signs and addresses an event or a signal.
func (tx *Tx) newEvent(t *EventType, body Message) *Event {
	rules := tx.reg.logs[tx.ref.Kind]
	e := &Event{Ref: tx.ref, At: tx.now.UnixMilli(), Type: t, Body: body, Audience: rules.Audience(tx)}
	if by := rules.Author(tx, tx.caller); by != 0 {
		e.By, e.header.by = tx.caller.User, by
	}
	return e
}

// Rewrite overwrites the body of an event where it stands; its header stays.
// The old body is gone for every reader from the next commit on.
func (tx *Tx) Rewrite(seq uint64, body Message) {
	old := tx.row(seq)
	if old == nil {
		panic(fmt.Sprintf("entity: Rewrite of event %d, which is not there", seq))
	}
	h, stamp, _, err := parseEvent(seq, old)
	if err != nil {
		panic(fault{err})
	}
	if t := tx.reg.events.of(body); t.Number != h.number {
		panic(fmt.Sprintf("entity: Rewrite of event %d by a %s", seq, t.Name))
	}
	val, err := appendEvent(make([]byte, 0, maxHeaderBytes+body.SizeVT()), seq, &h, body)
	if err != nil {
		panic(fault{err})
	}
	PutStamp(val, stamp)
	if tx.memory.planted == RevokedBodyStays {
		return
	}
	tx.logged = append(tx.logged, loggedRow{seq, val, stamp == 0})
}

// row returns the row of an event as this Step sees it, or nil.
func (tx *Tx) row(seq uint64) []byte {
	for i := len(tx.logged) - 1; i >= 0; i-- {
		if tx.logged[i].seq == seq {
			return tx.logged[i].val
		}
	}
	return tx.memory.row(seq)
}

// Event returns an event of the entity's log as this Step sees it, or nil.
func (tx *Tx) Event(seq uint64) *Event {
	tx.charge(1)
	val := tx.row(seq)
	if val == nil {
		return nil
	}
	e, err := tx.reg.decodeEvent(&tx.View, seq, val)
	if err != nil {
		panic(fault{err})
	}
	return e
}

// Head is where the log stands, this Step's events included.
func (tx *Tx) Head() Head { return tx.head }

// encodeEvent makes the row of an event. Joined fields are not stored.
func encodeEvent(e *Event) []byte {
	body := e.Body.(Message)
	if len(e.Type.joined) > 0 {
		stored := proto.Clone(body)
		for _, j := range e.Type.joined {
			stored.ProtoReflect().Clear(j.field)
		}
		body = stored.(Message)
	}
	val, err := appendEvent(make([]byte, 0, maxHeaderBytes+body.SizeVT()), e.Seq, &e.header, body)
	if err != nil {
		panic(fault{err})
	}
	return val
}
