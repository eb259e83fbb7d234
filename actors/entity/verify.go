package entity

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"kith/actors/pb"
)

// A Check looks at the rows of one entity and reports, in sentences, what cannot
// be: a count that does not count, a row that another should name. It judges the
// tables of its own package only, whose rows it may scan whole, and its caller is
// nobody. Rows that cannot be decoded are reported by the kernel.
type Check func(v *View, report func(sentence string))

// Verify adds a check of the entities of a kind to those of Registry.Verify.
func Verify(kind pb.Kind, check Check) Part { return Part{kind: kind, check: check} }

// A Problem is one thing that is wrong with a store.
type Problem struct {
	Ref  Ref    // the entity; zero: a row of a shard or of the node itself
	Text string // a sentence
}

func (p Problem) String() string {
	if p.Ref == (Ref{}) {
		return p.Text
	}
	return p.Ref.String() + ": " + p.Text
}

// Verified counts what Registry.Verify has looked at.
type Verified struct {
	Rows        uint64 `json:"rows"`
	Entities    uint64 `json:"entities"`
	Events      uint64 `json:"events"`
	Timers      uint64 `json:"timers"`
	Tells       uint64 `json:"tells"`        // pending in the outbox
	DeadLetters uint64 `json:"dead_letters"` // parked
	Problems    uint64 `json:"problems"`
}

// progressRows is after how many rows progress is told: a few times a second.
const progressRows = 100_000

// Verify walks a whole store and reports everything in it that cannot be: seqs
// that are not dense, rows that cannot be decoded or belong to nobody, tells that
// were never sent, and what the checks of the features find. It changes nothing
// and needs rows as they were at one moment. An error means that the store could
// not be read to its end.
//
// report hears each problem; progress, if not nil, hears now and then how far it
// is.
func (r *Registry) Verify(rows Reader, report func(Problem), progress func(Verified)) (Verified, error) {
	w := walk{reg: r, rows: rows, report: report, tables: tablesOf(protoregistry.GlobalTypes)}
	policy, _ := Profile("dev") // What a tenant's policy says is not in the store; a check has no use for it.
	w.policy = &policy
	if err := w.readNode(); err != nil {
		return w.seen, err
	}
	err := rows.Scan(nil, nil, false, func(key, val []byte) bool {
		w.row(key, val)
		if w.seen.Rows%progressRows == 0 && progress != nil {
			progress(w.seen)
		}
		return w.err == nil
	})
	if err == nil {
		err = w.err
	}
	if err != nil {
		return w.seen, err
	}
	w.leave()
	return w.seen, nil
}

// A walk is one Verify on its way through the rows.
type walk struct {
	reg    *Registry
	rows   Reader
	report func(Problem)
	seen   Verified
	err    error // reading failed

	tables  map[uint32]protoreflect.MessageType
	tenants map[Tenant]string
	stamp   uint64 // of the last commit
	policy  *Policy

	ref   Ref    // the entity whose rows are being read; zero: none
	shard uint16 // where they are
	log   logCheck
}

// tablesOf returns the type of the rows of every table, by number.
func tablesOf(types *protoregistry.Types) map[uint32]protoreflect.MessageType {
	tables := map[uint32]protoreflect.MessageType{}
	for _, d := range declaring(types, func(d protoreflect.MessageDescriptor) bool { return tableOf(d) != nil }) {
		if t, err := types.FindMessageByName(d.FullName()); err == nil {
			tables[tableOf(d).Number] = t
		}
	}
	return tables
}

func (w *walk) problem(format string, args ...any) {
	w.seen.Problems++
	w.report(Problem{w.ref, fmt.Sprintf(format, args...)})
}

// readNode reads what the rest is compared with.
func (w *walk) readNode() error {
	stamp, _, err := ReadStamp(w.rows)
	if err != nil {
		return fmt.Errorf("read the last commit: %w", err)
	}
	known, err := ReadTenants(w.rows)
	if err != nil {
		return fmt.Errorf("read the tenants: %w", err)
	}
	w.stamp, w.tenants = stamp, map[Tenant]string{}
	for name, t := range known {
		if other, taken := w.tenants[t]; taken || t == 0 {
			w.problem("tenant %s has the number %d, which is nobody's or that of %q, too", name, t, other)
		}
		w.tenants[t] = name
	}
	return nil
}

// ownBytes is where the table of a row stands that belongs to a shard or to the
// node: after shard(2) and tenant and kind, which are 0.
const ownBytes = 7

// entityBytes is where it stands in a row of an entity: refKey is before it.
const entityBytes = 15

// row looks at one row.
func (w *walk) row(key, val []byte) {
	w.seen.Rows++
	at := entityBytes
	if len(key) > ownBytes && binary.BigEndian.Uint32(key[2:]) == 0 && key[6] == 0 {
		at = ownBytes
	}
	table, rest, ok := splitTable(key, at)
	if !ok {
		w.seen.Problems++
		w.report(Problem{Text: fmt.Sprintf("the key %x is of no row", key)})
		return
	}
	shard := binary.BigEndian.Uint16(key)
	if at == ownBytes {
		w.enter(Ref{}, shard)
		w.ownRow(shard, table, rest, val)
		return
	}
	w.enter(Ref{
		Tenant: Tenant(binary.BigEndian.Uint32(key[2:])),
		Kind:   pb.Kind(key[6]),
		ID:     binary.BigEndian.Uint64(key[7:]),
	}, shard)
	w.entityRow(table, rest, val)
}

// splitTable takes the number of the table that stands at a place of a key.
func splitTable(key []byte, at int) (table uint32, rest Key, ok bool) {
	switch {
	case len(key) <= at:
		return 0, nil, false
	case key[at] < 0x80:
		return uint32(key[at]), key[at+1:], true
	case len(key) <= at+1:
		return 0, nil, false
	default:
		return uint32(key[at]&0x7F)<<8 | uint32(key[at+1]), key[at+2:], true
	}
}

// enter goes on to an entity, unless its rows are being read already.
func (w *walk) enter(ref Ref, shard uint16) {
	if ref == w.ref && shard == w.shard {
		return
	}
	w.leave()
	w.ref, w.shard = ref, shard
	if ref == (Ref{}) {
		return
	}
	w.seen.Entities++
	if _, known := w.tenants[ref.Tenant]; !known {
		w.problem("its tenant has no name")
	}
	if _, known := pb.Kind_name[int32(ref.Kind)]; !known || ref.Kind == pb.Kind_KIND_UNSPECIFIED {
		w.problem("it is of a kind that this program does not know")
	}
	if shard != ref.Shard() {
		w.problem("its rows are in shard %d, where nobody looks for them; they belong into shard %d", shard, ref.Shard())
	}
	w.log = w.beginLog(ref)
}

// leave ends an entity: its rows have all been seen, and the checks of its kind
// have their turn.
func (w *walk) leave() {
	ref := w.ref
	if ref == (Ref{}) {
		return
	}
	w.log.end(w)
	for _, c := range w.reg.checks[ref.Kind] {
		w.run(c)
	}
	w.ref = Ref{}
}

// run runs a check. One that trips over a damaged row has said what it could.
func (w *walk) run(c featureCheck) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case fault:
			w.problem("the check of %s ended early: %v", c.feature, p.error)
		default:
			w.problem("the check of %s ended early: %v", c.feature, p)
		}
	}()
	c.check(w.view(w.ref), func(sentence string) { w.problem("%s", sentence) })
}

// view reads an entity without a bound.
func (w *walk) view(ref Ref) *View {
	v := w.reg.query(w.rows, ref, Caller{Tenant: ref.Tenant}, w.policy)
	v.budget = math.MaxInt
	return v
}

// entityRow looks at a row of an entity.
func (w *walk) entityRow(table uint32, key Key, val []byte) {
	if table == logTable {
		w.log.event(w, key, val)
		return
	}
	row := w.decode(table, key, val)
	switch row := row.(type) {
	case *pb.Heard:
		w.heard(key, row)
	case *pb.Timer:
		w.seen.Timers++
		w.timer(key, row)
	case *pb.Requested:
		if len(key) != 20 {
			w.problem("the key %x is of no remembered request", []byte(key))
		}
	}
}

// decode reads a row of any table but the log; nil: it cannot be read, and that
// was reported.
func (w *walk) decode(table uint32, key Key, val []byte) proto.Message {
	t, known := w.tables[table]
	if !known {
		w.problem("a row is in the table %#x, which this program does not know", table)
		return nil
	}
	d := t.Descriptor()
	m := t.New().Interface()
	if err := m.(Message).UnmarshalVT(val); err != nil {
		w.problem("the row %x of the table %s cannot be decoded: %v", []byte(key), d.Name(), err)
		return nil
	}
	if tableOf(d).Stamped && len(val) > stampAt+8 && getStamp(val) > w.stamp {
		w.problem("the row %x of the table %s has the stamp %d, and the last commit %d", []byte(key), d.Name(), getStamp(val), w.stamp)
	}
	return m
}

// ownRow looks at a row of a shard or of the node.
func (w *walk) ownRow(shard uint16, table uint32, key Key, val []byte) {
	if table >= firstFeatureTable {
		w.problem("shard %d has a row of the table %#x outside of every entity", shard, table)
		return
	}
	switch row := w.decode(table, key, val).(type) {
	case *pb.Outbox:
		w.seen.Tells++
		w.tell(shard, key, row, true)
	case *pb.DeadLetter:
		w.seen.DeadLetters++
		w.tell(shard, key, row.Tell, false)
	case *pb.Due:
		w.due(shard, key)
	}
}

// dueKeyBytes is the least length of a place in the index of timers: time,
// entity, and the end of an empty method.
const dueKeyBytes = 8 + 4 + 1 + 8 + 1

// due looks at a place in the index of timers.
func (w *walk) due(shard uint16, key Key) {
	if len(key) < dueKeyBytes {
		w.problem("shard %d has a timer's time under the key %x, which is of none", shard, []byte(key))
		return
	}
	d := dueOf(key)
	var row pb.Timer
	val, ok, err := w.rows.Get(rowKey(nil, d.Ref, timers.num, d.name))
	switch {
	case err != nil:
		w.err = err
	case d.Ref.Shard() != shard:
		w.problem("a timer of %s is in shard %d, where nobody looks for it", d.Ref, shard)
	case !ok || row.UnmarshalVT(val) == nil && row.At != d.At:
		w.problem("shard %d has a time for a timer of %s (%s), which has none then", shard, d.Ref, d.Method())
	}
}

// timer looks at a timer: one that is not in the index is never found.
func (w *walk) timer(key Key, row *pb.Timer) {
	if bytes.IndexByte(key, 0) < 0 {
		w.problem("the key %x is of no timer", []byte(key))
		return
	}
	d := Due{w.ref, row.At, key}
	_, ok, err := w.rows.Get(d.indexKey())
	switch {
	case err != nil:
		w.err = err
	case !ok:
		w.problem("its timer for %s is not among those that are looked for", d.Method())
	case d.Method() != "" && timerCall(w.reg, &d, row) == nil:
		w.problem("its timer is for the method %q, which this program does not know, or its request cannot be read", d.Method())
	}
}

// firstFeatureTable is the first table that is not the kernel's.
const firstFeatureTable = 0x10

// tellKeyBytes is the length of a tell's key: two entities and a number.
const tellKeyBytes = 2*(4+1+8) + 8

// tell looks at a tell that is pending or parked. What is pending must be such as
// can be delivered.
func (w *walk) tell(shard uint16, key Key, row *pb.Outbox, pending bool) {
	if len(key) != tellKeyBytes || row == nil {
		w.problem("shard %d has a tell under the key %x, which is of none", shard, []byte(key))
		return
	}
	t := w.reg.tellOf(key, row)
	switch sent := w.sent(t.From); {
	case t.From.Shard() != shard:
		w.problem("tell %d from %s to %s is in shard %d, where nobody looks for it", t.Number, t.From, t.Call.To, shard)
	case t.From.Tenant != t.Call.To.Tenant:
		w.problem("tell %d from %s goes to %s, which is another tenant's", t.Number, t.From, t.Call.To)
	case t.Number == 0 || t.Number > sent:
		w.problem("tell %d from %s to %s was never sent: the last one was %d", t.Number, t.From, t.Call.To, sent)
	case pending && t.Call.Method == nil:
		w.problem("tell %d from %s to %s is of a method that this program does not know (%s), or its request cannot be read", t.Number, t.From, t.Call.To, row.Method)
	}
}

// sent is the number of the last tell of an entity.
func (w *walk) sent(from Ref) uint64 {
	val, ok, err := w.rows.Get(rowKey(nil, from, outboxHead.num, nil))
	if err != nil {
		w.err = err
		return 0
	}
	row := &pb.OutboxHead{}
	if !ok || row.UnmarshalVT(val) != nil { // That is reported where it is.
		return 0
	}
	return row.Number
}

// heard looks at the memory of a tell. Whoever remembers one that is still to be
// sent will not hear it.
func (w *walk) heard(key Key, row *pb.Heard) {
	if len(key) != 13 && len(key) != 21 {
		w.problem("the key %x is of no tell that was heard", []byte(key))
		return
	}
	tenant, rest := key.TakeU32()
	from := Ref{Tenant: Tenant(tenant), Kind: pb.Kind(rest[0])}
	from.ID, _ = rest[1:].TakeU64()
	if sent := w.sent(from); row.Number == 0 || row.Number > sent {
		w.problem("it has heard tell %d of %s, whose last one was %d", row.Number, from, sent)
	}
}
