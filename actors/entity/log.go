package entity

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
)

// A Head is where an entity's log stands.
type Head struct {
	Seq     uint64 // of the last event; 0: the entity does not exist
	Ordinal uint64 // how many history events there were
	Message uint64 // seq of the last history event; 0: none
	At      int64  // unix milliseconds of the last event
}

// LogRules say how the logs of one kind of entity are read, signed and
// addressed. They must be pure.
type LogRules struct {
	// Reach says which part of the log the viewer may read.
	Reach func(v *View, viewer Caller) Reach
	// Author is the number by which c signs here; 0: he does not.
	Author func(v Viewer, c Caller) uint32
	// Name is the user id of an author's number; empty: nobody's.
	Name func(v Viewer, number uint32) string
	// Audience is who hears an event that is emitted now.
	Audience func(v Viewer) *Audience
}

// A Reach is the part of a log that one viewer may read. The zero Reach is
// nothing.
type Reach struct {
	Intervals []*pb.Interval // rising, closed; only the last may be open (through 0)
	Hidden    func(seq uint64) bool
}

// Everything is the reach of who may read a whole log.
var Everything = Reach{Intervals: []*pb.Interval{{From: 1}}}

// Allows reports whether the viewer may read the event at seq.
func (r Reach) Allows(seq uint64) bool {
	for _, in := range r.Intervals {
		if seq >= in.From && (in.Through == 0 || seq <= in.Through) {
			return r.Hidden == nil || !r.Hidden(seq)
		}
	}
	return false
}

// Last is the last seq ≤ head that the viewer may ever be shown; 0: none.
func (r Reach) Last(head uint64) uint64 {
	for _, in := range slices.Backward(r.Intervals) {
		switch {
		case in.From > head:
			continue
		case in.Through != 0:
			return min(in.Through, head)
		default:
			return head
		}
	}
	return 0
}

var logTable = tableOf((&pb.Log{}).ProtoReflect().Descriptor()).Number

// logKey is the key of an event row.
func logKey(b []byte, ref Ref, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(tableKey(refKey(b, ref), logTable), seq)
}

// Head reads where the log stands, in the view that v has.
func (v *View) Head() Head {
	if v.tx != nil {
		return v.tx.head
	}
	h, err := readHead(v.reader(), v.ref)
	if err != nil {
		panic(fault{err})
	}
	return h
}

// readHead finds the last event of a log.
func readHead(r Reader, ref Ref) (h Head, err error) {
	prefix := tableKey(refKey(nil, ref), logTable)
	scanErr := r.Scan(prefix, after(prefix), true, func(key, val []byte) bool {
		h.Seq = binary.BigEndian.Uint64(key[len(key)-8:])
		var hd header
		if hd, _, err = parseEvent(h.Seq, val); err != nil {
			err = fmt.Errorf("event %d of %s: %w", h.Seq, ref, err)
			return false
		}
		h.Ordinal, h.Message, h.At = hd.ordinal, hd.prev, hd.at
		if hd.class == pb.Class_HISTORY {
			h.Message = h.Seq
		}
		return false
	})
	if scanErr != nil {
		err = scanErr
	}
	return h, err
}

// Event returns an event of the log, or nil. Whoever shows it to somebody
// checks his reach first.
func (v *View) Event(seq uint64) *Event {
	if v.tx != nil {
		return v.tx.Event(seq)
	}
	v.charge(1)
	s := v.rows.get(logKey(v.scratch[:0], v.ref, seq))
	if s == nil {
		return nil
	}
	e, err := v.reg.decodeEvent(v, &loggedRow{seq: seq, val: s.val})
	if err != nil {
		panic(fault{err})
	}
	return e
}

// Reach is what the viewer may read of this log.
func (v *View) Reach(viewer Caller) Reach { return v.reg.logs[v.ref.Kind].Reach(v, viewer) }

// Events yields the events of the log in [from, through], backwards if reverse,
// without asking who may see them, until yield returns false.
func (v *View) Events(from, through uint64, reverse bool, yield func(*Event) bool) {
	v.eventRows(from, through, reverse, func(row loggedRow) bool {
		e, err := v.reg.decodeEvent(v, &row)
		if err != nil {
			panic(fault{err})
		}
		return yield(e)
	})
}

// walk yields the headers of the events in [from, through], oldest first.
func (v *View) walk(from, through uint64, yield func(seq uint64, h *header) bool) {
	v.eventRows(from, through, false, func(row loggedRow) bool {
		h, _, err := parseEvent(row.seq, row.val)
		if err != nil {
			panic(fault{fmt.Errorf("event %d of %s: %w", row.seq, v.ref, err)})
		}
		return yield(row.seq, &h)
	})
}

// eventRows yields the rows of the events in [from, through] as the view sees
// them. Their values are valid only until yield returns.
func (v *View) eventRows(from, through uint64, reverse bool, yield func(loggedRow) bool) {
	if from > through {
		return
	}
	over := map[uint64]loggedRow{}
	var cuts []cut
	reader := v.reader()
	if v.tx != nil {
		over, cuts = v.tx.eventsOver(from, through)
	}
	lower, upper := logKey(nil, v.ref, from), append(logKey(nil, v.ref, through), 0)
	merged := map[string]*slot{}
	for seq, row := range over {
		merged[string(logKey(nil, v.ref, seq))] = &slot{val: row.val, stamped: row.stamped}
	}
	mergeRows(reader, lower, upper, reverse, merged, cuts, func(key []byte, s *slot) bool {
		v.charge(1)
		return yield(loggedRow{seq: binary.BigEndian.Uint64(key[len(key)-8:]), val: s.val, stamped: s.stamped})
	})
}

// reader is the durable view under what v sees.
func (v *View) reader() Reader {
	if v.tx != nil {
		return v.tx.memory.view()
	}
	return v.rows.(durable).Reader
}

// eventsOver is the events in [from, through] that are not durable, this Step's
// included, and what has been deleted of those that are.
func (tx *Tx) eventsOver(from, through uint64) (map[uint64]loggedRow, []cut) {
	over := map[uint64]loggedRow{}
	for seq, row := range tx.memory.events {
		if seq >= from && seq <= through && !inCuts(tx.cuts, logKey(nil, tx.ref, seq)) {
			over[seq] = row
		}
	}
	for _, row := range tx.logged {
		if row.seq >= from && row.seq <= through {
			over[row.seq] = row
		}
	}
	return over, slices.Concat(tx.memory.cuts, tx.cuts)
}

// skipChanges is how many changes in a row History reads before it jumps over
// the rest of them by their prev.
const skipChanges = 16

// MessagesBefore yields history events below seq, newest first.
func (v *View) MessagesBefore(seq uint64, yield func(*Event) bool) {
	for seq > 1 {
		changes, next := 0, uint64(0)
		v.Events(1, seq-1, true, func(e *Event) bool {
			if e.header.class != pb.Class_HISTORY {
				changes++
				next = e.header.prev + 1
				return changes < skipChanges
			}
			changes, next = 0, 0
			return yield(e)
		})
		if changes < skipChanges {
			return
		}
		seq = next
	}
}

// MessagesAfter yields history events above seq, oldest first.
func (v *View) MessagesAfter(seq uint64, yield func(*Event) bool) {
	head := v.Head()
	for seq < head.Seq {
		changes, last := 0, header{}
		v.Events(seq+1, head.Seq, false, func(e *Event) bool {
			if e.header.class != pb.Class_HISTORY {
				changes++
				seq, last = e.Seq, e.header
				return changes < skipChanges
			}
			changes = 0
			return yield(e)
		})
		if changes < skipChanges || last.ordinal == head.Ordinal {
			return
		}
		seq = v.lastOf(last.ordinal, seq, head.Seq)
	}
}

// lastOf finds the last event in [from, through] with an ordinal, which the one
// at from has and the one at through has not. Ordinals only rise; below the floor
// there are gaps.
func (v *View) lastOf(ordinal, from, through uint64) uint64 {
	for from+1 < through {
		middle := from + (through-from)/2
		at, h := through, header{}
		v.walk(middle, through-1, func(seq uint64, found *header) bool {
			at, h = seq, *found
			return false
		})
		if at == through || h.ordinal > ordinal {
			through = middle
		} else {
			from = at
		}
	}
	return from
}

// decodeEvent reads an event row. A body that cannot be read is nil: the event
// is delivered as Unreadable at its seq and poisons nothing else.
func (r *Registry) decodeEvent(v *View, row *loggedRow) (*Event, error) {
	h, body, err := parseEvent(row.seq, row.val)
	if err != nil {
		return nil, fmt.Errorf("event %d of %s: %w", row.seq, v.ref, err)
	}
	e := &Event{Ref: v.ref, Seq: row.seq, Stamp: row.stamp(), At: h.at, header: h}
	if h.by != 0 {
		e.By = v.name(h.by)
	}
	t := r.events.byNumber[h.number]
	if t == nil {
		e.Type = r.events.of(&pb.Unreadable{})
		return e, nil
	}
	e.Type = t
	m := t.body.New().Interface().(Message)
	if h.keyID == 0 && m.UnmarshalVT(body) == nil {
		e.Body = m
	}
	return e, nil
}

// name is the user id of an author's number. A page asks for the same few
// names again and again.
func (v *View) name(number uint32) string {
	if name, ok := v.names[number]; ok {
		return name
	}
	name := v.reg.logs[v.ref.Kind].Name(v, number)
	if v.tx == nil { // In a Step rows may change.
		if v.names == nil {
			v.names = map[uint32]string{}
		}
		v.names[number] = name
	}
	return name
}

// join fills in the fields of e that are stored elsewhere, as far as the
// viewer may see where they are stored.
func (v *View) join(e *Event, reach Reach) {
	if e.Body == nil {
		return
	}
	for _, j := range e.Type.joined {
		seq := e.Body.ProtoReflect().Get(j.seq).Uint()
		if !reach.Allows(seq) {
			continue
		}
		if from := v.Event(seq); from != nil && from.Body != nil && from.Type.body.Descriptor() == j.field.Message() {
			e.Body.ProtoReflect().Set(j.field, protoValue(from.Body))
		}
	}
}

// replayReserve is how many rows one more event of a page may need: its own,
// its author's name, what is joined to it, and whether that is hidden.
const replayReserve = 16

// Replay reads the part of a log after a seq as one viewer may see it: at most
// limit events, with a Hole where he may not. It steps over what lies between
// his intervals without reading it. Rows is the durable view.
func (r *Registry) Replay(rows Reader, ref Ref, viewer Caller, policy *Policy, after uint64, limit int) (page Page) {
	defer func() { page = recovered(recover(), page) }()
	v := r.query(rows, ref, viewer, policy)
	head := v.Head()
	if err := v.requireDense(v.Reach(viewer), after, head.Seq); err != nil {
		return Page{Err: err}
	}
	p := replay{View: v, reach: v.Reach(viewer), limit: max(1, limit), page: Page{Through: after}}
	p.last = p.reach.Last(head.Seq)
	for _, in := range p.reach.Intervals {
		from, through := max(in.From, p.page.Through+1), p.last
		if in.Through != 0 {
			through = min(in.Through, p.last)
		}
		if p.page.More || from > through {
			continue
		}
		if from > p.page.Through+1 {
			p.hide(from - 1)
		}
		v.Events(from, through, false, p.add)
	}
	p.closeHole()
	return p.page
}

// requireDense refuses to replay what is no longer there: a viewer who has heard
// the log up to a seq below the floor cannot recover.
func (v *View) requireDense(reach Reach, after, head uint64) *Error {
	floor := v.Floor()
	for _, in := range reach.Intervals {
		if in.Through != 0 && in.Through <= after || in.From > head {
			continue
		}
		if max(in.From, after+1) < floor {
			return Errorf(Expired, "the log goes back to %d: begin there, or at its end", floor)
		}
		return nil
	}
	return nil
}

// A replay is a page under way.
type replay struct {
	*View
	reach Reach
	last  uint64 // seq of the last event that the viewer may see
	limit int
	page  Page
	hole  uint64 // first seq of a hole that may still grow; 0: there is none
}

// hide makes what follows, up to through, part of a hole.
func (p *replay) hide(through uint64) {
	if p.hole == 0 {
		p.hole = p.page.Through + 1
	}
	p.page.Through = through
}

func (p *replay) closeHole() {
	if p.hole != 0 {
		p.page.Events = append(p.page.Events, p.Hole(p.hole, p.page.Through))
		p.hole = 0
	}
}

// add takes the next event into the page and reports whether the page goes on.
func (p *replay) add(e *Event) bool {
	room := p.limit - len(p.page.Events)
	if p.hole != 0 {
		room--
	}
	hidden := p.reach.Hidden != nil && p.reach.Hidden(e.Seq)
	switch {
	case hidden && p.hole != 0: // It needs no more room.
		p.hide(e.Seq)
	case room <= 0:
		p.page.More = true
		return false
	case hidden:
		p.hide(e.Seq)
	default:
		p.closeHole()
		p.join(e, p.reach)
		p.page.Events = append(p.page.Events, e)
		p.page.Through = e.Seq
	}
	p.page.More = p.budget < replayReserve && e.Seq < p.last
	return !p.page.More
}

// Position reads where a log stands for one viewer. Rows is the durable view.
func (r *Registry) Position(rows Reader, ref Ref, viewer Caller, policy *Policy, incarnation uint64) (p Position) {
	p.Ref = ref
	defer func() {
		if page := recovered(recover(), Page{}); page.Err != nil {
			p = Position{Ref: ref, Err: page.Err, Fault: page.Fault}
		}
	}()
	if r.logs[ref.Kind] == nil || ref.Tenant != viewer.Tenant {
		return Position{Ref: ref, Err: Errorf(NotFound, "there is no such log, or you may not read it")}
	}
	v := r.query(rows, ref, viewer, policy)
	reach := v.Reach(viewer)
	if len(reach.Intervals) == 0 {
		return Position{Ref: ref, Err: Errorf(NotFound, "there is no such log, or you may not read it")}
	}
	p.Head = reach.Last(v.Head().Seq)
	p.Floor = min(v.Floor(), p.Head+1) // Of what came after his time he learns nothing.
	p.Ended = reach.Intervals[len(reach.Intervals)-1].Through != 0
	origin, _ := origins.Get(v, nil)
	p.Epoch = strconv.FormatUint(incarnation, 36) + "." + strconv.FormatUint(origin.GetStamp(), 36)
	return p
}

var origins = NewTable[pb.Origin]()

// recovered turns the panics of a read into the page's error. A damaged row and
// a bug in the rules of a log are internal errors for this reader; the host
// logs them.
func recovered(p any, page Page) Page {
	var err error
	switch p := p.(type) {
	case nil:
		return page
	case tooMuch:
		return Page{Err: Errorf(TooLarge, "that is more than one request may read")}
	case fault:
		err = p.error
	default:
		err = fmt.Errorf("reading a log panicked: %v\n%s", p, debug.Stack())
	}
	return Page{Err: Public(err), Fault: err}
}

// Visible prepares one event for a viewer: nil if he may not see it, else with
// its joined fields. Queries that return events pass each through it.
func (v *View) Visible(e *Event, reach Reach) *Event {
	if !reach.Allows(e.Seq) {
		return nil
	}
	v.join(e, reach)
	return e
}

// Hole stands for a range of the log that the viewer may not see.
func (v *View) Hole(from, through uint64) *Event { return v.reg.hole(v.ref, from, through) }

// Wire is the event as clients get it in replies.
func (e *Event) Wire() *pb.Event {
	w := &pb.Event{Type: e.Type.Number, Seq: e.Seq, At: e.At, By: e.By}
	if e.Body != nil {
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(e.Body)
		if err == nil {
			w.Body = body
			return w
		}
	}
	w.Type = unreadable
	return w
}

var unreadable = proto.GetExtension((&pb.Unreadable{}).ProtoReflect().Descriptor().Options(), pb.E_Event).(*pb.EventType).Number
