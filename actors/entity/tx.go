package entity

import (
	"fmt"
	"slices"

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
	touched []uint32         // tables that this Step wrote
	derived []any            // the Derived that this Step has asked for

	cuts []cut // what this Step deletes whole, before anything that it writes

	events   []*Event
	logged   []loggedRow // event rows to write, in order
	signals  []*Event
	tells    []*Tell
	index    []Write // of timers
	unsigned bool    // the event that is emitted names no author
	leaving  uint64  // the user who hears no more after the event that is emitted; 0: nobody
	dropped  uint64  // the last event that this Step dropped
	wake     int64   // the earliest time of a timer that this Step set, in unix milliseconds; 0: none
	origin   uint64  // of the call, for event headers
	err      *Error  // of the first After hook that refused

	// The beginnings of events, logged and derived: most Steps emit one. 3 allocs fewer.
	firstEvent   [1]*Event
	firstLogged  [1]loggedRow
	firstDerived [2]any
}

// A loggedRow is an event row that a Step wrote, or reads.
type loggedRow struct {
	seq     uint64
	val     []byte
	stamped bool   // its stamp is still to come, and its place is the committer's
	first   []byte // as it was emitted, if it is stamped and has been rewritten
	version uint64 // the Step that wrote it; 0: this one, or it is durable
}

// stamp is the row's stamp; 0: it is still to come.
func (l *loggedRow) stamp() uint64 {
	if l.stamped {
		return 0
	}
	return getStamp(l.val)
}

func (m *Memory) begin(r *Registry, c *Call, turn Turn) *Tx {
	tx := &Tx{memory: m, head: m.head}
	tx.View = View{
		ref: m.ref, caller: c.Caller, now: turn.Now, policy: turn.Policy, reg: r,
		tx: tx, budget: turn.Policy.StepReads, scratch: m.scratch,
	}
	tx.rows = tx
	tx.events, tx.logged, tx.derived = tx.firstEvent[:0], tx.firstLogged[:0], tx.firstDerived[:0]
	tx.origin = originOf(c)
	return tx
}

// get reads through this Step's own writes.
func (tx *Tx) get(key []byte) *slot {
	if s, ok := tx.local[string(key)]; ok {
		return s
	}
	if inCuts(tx.cuts, key) {
		return &slot{}
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
	tx.memory.scanUnder(lower, upper, reverse, over, tx.cuts, yield)
}

func (tx *Tx) put(table uint32, key []byte, s *slot) {
	if tx.local == nil {
		tx.local = map[string]*slot{}
	}
	tx.touch(table)
	if _, ok := tx.local[string(key)]; ok {
		tx.local[string(key)] = s
		return
	}
	tx.chargeWrite()
	k := string(key)
	tx.order = append(tx.order, k)
	tx.local[k] = s
}

// touch notes that this Step changes a table.
func (tx *Tx) touch(table uint32) {
	if !slices.Contains(tx.touched, table) {
		tx.touched = append(tx.touched, table)
	}
}

// chargeWrite counts one more write against the policy.
func (tx *Tx) chargeWrite() {
	if len(tx.order)+len(tx.cuts)+len(tx.index) >= tx.policy.StepWrites {
		panic(tooMuch{"rows written"})
	}
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
	e.Seq, e.Leaving = seq, tx.leaving
	e.header = header{class: t.Class, number: t.Number, ordinal: tx.head.Ordinal, prev: prev, at: e.At, by: e.header.by, origin: tx.origin}
	tx.events = append(tx.events, e)
	tx.logged = append(tx.logged, loggedRow{seq: seq, val: encodeEvent(seq, &e.header, t, body), stamped: true})
	if len(tx.logged) > tx.policy.StepWrites {
		panic(tooMuch{"events"})
	}
	for _, after := range tx.reg.after[body.ProtoReflect().Descriptor().FullName()] {
		if err := Public(after(tx, body)); err != nil && tx.err == nil {
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

// SignalTo is Signal to the sessions of some users only, whether they hear this
// log or not.
func (tx *Tx) SignalTo(users []uint64, body Message) {
	tx.Signal(body)
	to := slices.Clone(users)
	slices.Sort(to)
	tx.signals[len(tx.signals)-1].Audience = &Audience{Users: slices.Compact(to)}
}

// EmitUnsigned is Emit of an event that does not say who caused it.
func (tx *Tx) EmitUnsigned(body Message) uint64 {
	tx.unsigned = true
	seq := tx.Emit(body)
	tx.unsigned = false
	return seq
}

// EmitLast is Emit of the last event of the log that a user, or Everybody, hears.
func (tx *Tx) EmitLast(body Message, user uint64) uint64 {
	tx.leaving = user
	seq := tx.Emit(body)
	tx.leaving = 0
	return seq
}

// newEvent signs and addresses an event or a signal.
func (tx *Tx) newEvent(t *EventType, body Message) *Event {
	rules := tx.reg.logs[tx.ref.Kind]
	e := &Event{Ref: tx.ref, At: tx.now.UnixMilli(), Type: t, Body: body, Audience: rules.Audience(tx)}
	if by := rules.Author(tx, tx.caller); by != 0 && !tx.unsigned {
		e.By, e.header.by = tx.caller.User, by
	}
	return e
}

// Rewrite overwrites the body of an event where it stands; its header stays.
// The old body is gone for every reader from the next commit on. Its stamp is
// that of the commit which it was emitted in: stamps rise with seqs.
func (tx *Tx) Rewrite(seq uint64, body Message) {
	old := tx.row(seq)
	if old.val == nil {
		panic(fmt.Sprintf("entity: Rewrite of event %d, which is not there", seq))
	}
	h, _, err := parseEvent(seq, old.val)
	if err != nil {
		panic(fault{fmt.Errorf("event %d of %s: %w", seq, tx.ref, err)})
	}
	t := tx.reg.events.of(body)
	if t.Number != h.number {
		panic(fmt.Sprintf("entity: Rewrite of event %d by a %s", seq, t.Name))
	}
	val := encodeEvent(seq, &h, t, body)
	PutStamp(val, old.stamp())
	if tx.memory.planted == RevokedBodyStays {
		return
	}
	row := loggedRow{seq: seq, val: val, stamped: old.stamped}
	if row.first = old.first; row.stamped && row.first == nil {
		row.first = old.val
	}
	tx.logged = append(tx.logged, row)
	if len(tx.logged) > tx.policy.StepWrites {
		panic(tooMuch{"events"})
	}
}

// row returns the row of an event as this Step sees it; val nil: there is none.
func (tx *Tx) row(seq uint64) loggedRow {
	for i := len(tx.logged) - 1; i >= 0; i-- {
		if tx.logged[i].seq == seq {
			return tx.logged[i]
		}
	}
	if len(tx.cuts) > 0 && inCuts(tx.cuts, logKey(nil, tx.ref, seq)) {
		return loggedRow{seq: seq}
	}
	return tx.memory.row(seq)
}

// Event returns an event of the entity's log as this Step sees it, or nil.
func (tx *Tx) Event(seq uint64) *Event {
	tx.charge(1)
	row := tx.row(seq)
	if row.val == nil {
		return nil
	}
	e, err := tx.reg.decodeEvent(&tx.View, &row)
	if err != nil {
		panic(fault{err})
	}
	return e
}

// Head is where the log stands, this Step's events included.
func (tx *Tx) Head() Head { return tx.head }

// encodeEvent makes the row of an event. Joined fields are not stored.
func encodeEvent(seq uint64, h *header, t *EventType, body Message) []byte {
	if t.hasJoined(body) {
		stored := proto.Clone(body)
		for _, j := range t.joined {
			stored.ProtoReflect().Clear(j.field)
		}
		body = stored.(Message)
	}
	val, err := appendEvent(make([]byte, 0, maxHeaderBytes+body.SizeVT()), seq, h, body)
	if err != nil {
		panic(fault{err})
	}
	return val
}
