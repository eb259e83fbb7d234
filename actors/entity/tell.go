package entity

import (
	"encoding/binary"
	"fmt"
	"time"

	"kith/actors/pb"
)

// A Tell is a command from one entity to another, exactly once in effect and
// in order per pair. It is stored with the writes that caused it, so it is
// never lost; the receiver remembers the last number it heard from each
// sender, so it is never run twice.
type Tell struct {
	From   Ref
	Number uint64 // 1, 2, 3 … per sender
	Call   Call   // Method is nil if this server does not know it
	At     time.Time
	Again  bool // it was a dead letter, and comes after later tells of its sender

	row *pb.Outbox
}

var (
	outboxHead  = NewTable[pb.OutboxHead]()
	heard       = NewTable[pb.Heard]()
	outbox      = NewTable[pb.Outbox]()
	deadLetters = NewTable[pb.DeadLetter]()
)

// Tell sends a command to another entity, after commit. It is made for the
// caller of this Step.
func (tx *Tx) Tell(to Ref, req Message) {
	if to == tx.ref {
		panic("entity: what an entity tells itself is a Continue")
	}
	tx.send(to, req)
}

// Continue has the entity go on with long work in another Step, after commit and
// between other calls. req says where: it is the cursor.
func (tx *Tx) Continue(req Message) { tx.send(tx.ref, req) }

// Task has something done outside of this server, after commit: at least once,
// tried again until it is done or the tenant's policy gives up, and in order for
// each entity. req names what it is about; bodies are read when it is done, so
// that what is erased meanwhile does not leave.
func (tx *Tx) Task(req Message) {
	to := Ref{tx.ref.Tenant, pb.Kind_OUTSIDE, number("outside", 0, string(req.ProtoReflect().Descriptor().FullName()))}
	tx.send(to, req)
}

// nextTell is the number of the next tell.
func (tx *Tx) nextTell() uint64 {
	head := outboxHead.Edit(tx, nil)
	head.Number++
	outboxHead.Put(tx, nil, head)
	return head.Number
}

func (tx *Tx) send(to Ref, req Message) {
	m := tx.method(req)
	if m == nil || m.ReadOnly() || m.On != to.Kind || to.Tenant != tx.ref.Tenant {
		panic(fmt.Sprintf("entity: %s cannot be told to %s by %s", req.ProtoReflect().Descriptor().Name(), to, tx.ref))
	}
	if len(tx.tells) >= tx.policy.StepTells {
		panic(tooMuch{"tells"})
	}
	body, err := req.MarshalVT()
	if err != nil {
		panic(fault{err})
	}
	t := &Tell{From: tx.ref, Number: tx.nextTell(), At: tx.now, Call: Call{Method: m, To: to, Caller: tx.caller, Req: req}}
	t.row = &pb.Outbox{
		Method: m.Name, User: tx.caller.User, UserNumber: tx.caller.Number, Device: tx.caller.Device,
		Request: body, At: tx.now.UnixMilli(),
	}
	tx.tells = append(tx.tells, t)
}

// Hear runs a tell against its receiver, unless that has heard it before. A
// refused tell is heard too: nobody is waiting for it to be tried again. An
// overloaded or panicking one is not.
func (m *Memory) Hear(r *Registry, t *Tell, turn Turn) Outcome {
	return m.guard(func() Outcome {
		remember := func(tx *Tx) { heard.Put(tx, t.heardKey(), &pb.Heard{Number: t.Number}) }
		tx := m.begin(r, &t.Call, turn)
		if last, ok := heard.Get(tx, t.heardKey()); ok && last.Number >= t.Number {
			return Outcome{Heard: true}
		}
		out := m.step(r, &t.Call, turn, remember)
		if out.Err != nil && out.Err.Code != Overloaded {
			tx := m.begin(r, &t.Call, turn)
			remember(tx)
			out.Writes = m.keep(tx, nil)
		}
		return out
	})
}

// heardKey is the key of the row that remembers this tell: one row for each
// sender, but one of its own for a tell that comes out of order.
func (t *Tell) heardKey() Key {
	k := Key(make([]byte, 0, 24)).U32(uint32(t.From.Tenant))
	k = append(k, byte(t.From.Kind)).U64(t.From.ID)
	if t.Again {
		k = k.U64(t.Number)
	}
	return k
}

// ForgetHeard drops the memory of a tell whose row is durably gone from its
// sender, and of those before it, unless a later one was heard since.
func (m *Memory) ForgetHeard(r *Registry, t *Tell, turn Turn) Outcome {
	return m.guard(func() Outcome {
		tx := m.begin(r, &t.Call, turn)
		if last, ok := heard.Get(tx, t.heardKey()); !ok || last.Number > t.Number {
			return Outcome{}
		}
		heard.Delete(tx, t.heardKey())
		return Outcome{Writes: m.keep(tx, nil)}
	})
}

// systemPrefix starts the rows of a shard that belong to no entity and sort
// before every entity of the shard.
func systemPrefix(shard uint16, table uint32) []byte {
	b := binary.BigEndian.AppendUint16(nil, shard)
	return tableKey(append(b, 0, 0, 0, 0, 0), table) // tenant 0, kind 0
}

// key is where the tell lies in a table of its sender's shard: with the other
// pending tells of the shard, by sender, receiver and number.
func (t *Tell) key(table uint32) []byte {
	k := Key(systemPrefix(t.From.Shard(), table))
	for _, r := range []Ref{t.From, t.Call.To} {
		k = append(k.U32(uint32(r.Tenant)), byte(r.Kind)).U64(r.ID)
	}
	return k.U64(t.Number)
}

func appendOutbox(writes []Write, tells []*Tell) []Write {
	for _, t := range tells {
		val, err := t.row.MarshalVT()
		if err != nil {
			panic(fault{err})
		}
		writes = append(writes, Write{Key: t.key(outbox.num), Val: val})
	}
	return writes
}

// Done returns the writes that forget a tell which has been heard.
func (t *Tell) Done() []Write { return []Write{{Key: t.key(outbox.num)}} }

// Park returns the writes that move a tell which cannot be run from the outbox
// to the dead letters.
func (t *Tell) Park(reason string, now time.Time) []Write {
	val, err := (&pb.DeadLetter{Tell: t.row, Reason: reason, ParkedAt: now.UnixMilli()}).MarshalVT()
	if err != nil {
		panic(fault{err})
	}
	return []Write{{Key: t.key(outbox.num)}, {Key: t.key(deadLetters.num), Val: val}}
}

// Replay returns the writes that take a parked tell back into the outbox.
func (t *Tell) Replay() []Write {
	t.Again, t.row.Again = true, true
	return append(appendOutbox(nil, []*Tell{t}), Write{Key: t.key(deadLetters.num)})
}

// Outbox calls yield with every tell of a shard that is not known to have been
// heard, in order per pair. A host delivers them when it starts.
func (r *Registry) Outbox(rows Reader, shard uint16, yield func(*Tell) bool) error {
	prefix := systemPrefix(shard, outbox.num)
	return r.scanTells(rows, prefix, parseOutbox, yield)
}

func parseOutbox(val []byte) (*pb.Outbox, error) {
	row := &pb.Outbox{}
	return row, row.UnmarshalVT(val)
}

// OutboxAfter calls yield with what follows a tell in the outbox, from the same
// entity to the same other, in order.
func (r *Registry) OutboxAfter(rows Reader, t *Tell, yield func(*Tell) bool) error {
	prefix := systemPrefix(t.From.Shard(), outbox.num)
	last := t.key(outbox.num)
	pair := last[:len(last)-8]
	return r.scanFrom(rows, prefix, append(last, 0), after(pair), parseOutbox, yield)
}

// DeadLetters calls yield with every parked tell of a shard.
func (r *Registry) DeadLetters(rows Reader, shard uint16, yield func(*Tell) bool) error {
	prefix := systemPrefix(shard, deadLetters.num)
	return r.scanTells(rows, prefix, func(val []byte) (*pb.Outbox, error) {
		row := &pb.DeadLetter{}
		err := row.UnmarshalVT(val)
		return row.Tell, err
	}, yield)
}

func (r *Registry) scanTells(rows Reader, prefix []byte, parse func([]byte) (*pb.Outbox, error), yield func(*Tell) bool) error {
	return r.scanFrom(rows, prefix, prefix, after(prefix), parse, yield)
}

// scanFrom yields the tells in [lower, upper) of a table whose rows start with
// prefix.
func (r *Registry) scanFrom(rows Reader, prefix, lower, upper []byte, parse func([]byte) (*pb.Outbox, error), yield func(*Tell) bool) (err error) {
	scanErr := rows.Scan(lower, upper, false, func(key, val []byte) bool {
		var row *pb.Outbox
		if row, err = parse(val); err != nil {
			return false
		}
		return yield(r.tellOf(Key(key[len(prefix):]), row))
	})
	if scanErr != nil {
		return scanErr
	}
	return err
}

// tellOf rebuilds a tell from its row. A method that this server does not know
// and a request that it cannot read leave Method nil: the host parks those.
func (r *Registry) tellOf(k Key, row *pb.Outbox) *Tell {
	from, to, n := splitTellKey(k)
	t := &Tell{From: from, Number: n, row: row, At: time.UnixMilli(row.At), Again: row.Again}
	t.Call = Call{To: to, Caller: Caller{Tenant: from.Tenant, User: row.User, Number: row.UserNumber, Device: row.Device}}
	if m := r.byName[row.Method]; m != nil {
		req := m.New()
		if req.(Message).UnmarshalVT(row.Request) == nil {
			t.Call.Method, t.Call.Req = m, req
		}
	}
	return t
}
