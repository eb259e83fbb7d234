package entity

import (
	"fmt"
	"iter"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Table is one family of an entity's rows. Its number is the (table) option
// of T.
type Table[T any, M interface {
	*T
	Message
}] struct {
	num   uint32
	stamp byte // its rows begin with this tag and the stamp of the commit that wrote them; 0: they have none
}

// NewTable returns the table of rows of type T.
func NewTable[T any, M interface {
	*T
	Message
}]() Table[T, M] {
	d := M(new(T)).ProtoReflect().Descriptor()
	opt := tableOf(d)
	if opt == nil {
		panic("entity: " + string(d.FullName()) + " has no (table) option")
	}
	return Table[T, M]{opt.Number, stampTag(d)}
}

func (t Table[T, M]) number() uint32 { return t.num }

// Get returns the row at k, and whether there is one; without one, M is nil,
// whose getters give zero values. The row is frozen: to change it, Edit it.
func (t Table[T, M]) Get(r Viewer, k Key) (M, bool) {
	v := r.view()
	slot := v.rows.get(v.key(t.num, k))
	v.charge(1)
	if slot == nil || slot.val == nil {
		return nil, false
	}
	return t.decode(v, slot), true
}

// Has reports whether there is a row at k.
func (t Table[T, M]) Has(r Viewer, k Key) bool {
	_, ok := t.Get(r, k)
	return ok
}

// Edit returns a copy of the row at k, or an empty row, for Put.
func (t Table[T, M]) Edit(r Viewer, k Key) M {
	row, ok := t.Get(r, k)
	if !ok {
		return M(new(T))
	}
	return clone[T, M](row)
}

// Scan yields the rows whose keys start with prefix, in key order. The keys it
// yields have the prefix removed and are the caller's to keep.
func (t Table[T, M]) Scan(r Viewer, prefix Key) iter.Seq2[Key, M] {
	return t.ScanFrom(r, prefix, nil)
}

// ScanFrom is Scan that begins after the key from (prefix removed), for pages.
func (t Table[T, M]) ScanFrom(r Viewer, prefix, from Key) iter.Seq2[Key, M] {
	v := r.view()
	full := append([]byte(nil), v.key(t.num, prefix)...)
	lower := full
	if from != nil {
		lower = append(append(append([]byte(nil), full...), from...), 0)
	}
	return func(yield func(Key, M) bool) {
		v.rows.scan(lower, after(full), false, func(key []byte, slot *slot) bool {
			v.charge(1)
			return yield(append(Key(nil), key[len(full):]...), t.decode(v, slot))
		})
	}
}

// Put stores row at k. The row is the kernel's from now on: it must not change.
func (t Table[T, M]) Put(tx *Tx, k Key, row M) {
	room := 0
	if t.stamp != 0 {
		room = stampBytes
	}
	val := make([]byte, room, room+row.SizeVT())
	val, err := appendMessage(val, row)
	if err != nil {
		panic(fault{err})
	}
	if t.stamp != 0 {
		val[0] = t.stamp
	}
	tx.put(t.num, tx.key(t.num, k), &slot{val: val, msg: row, stamped: t.stamp != 0})
}

// Delete removes the row at k, if there is one.
func (t Table[T, M]) Delete(tx *Tx, k Key) { tx.put(t.num, tx.key(t.num, k), &slot{}) }

// DeleteAll removes every row whose key starts with prefix, as one write and
// without reading them.
func (t Table[T, M]) DeleteAll(tx *Tx, prefix Key) {
	lower := rowKey(nil, tx.ref, t.num, prefix)
	tx.touch(t.num)
	tx.deleteRange(lower, after(lower))
}

// DeleteRange removes every row whose key is in [from, to), as one write and
// without reading them.
func (t Table[T, M]) DeleteRange(tx *Tx, from, to Key) {
	tx.touch(t.num)
	tx.deleteRange(rowKey(nil, tx.ref, t.num, from), rowKey(nil, tx.ref, t.num, to))
}

// stampBytes is the beginning of a stamped row: the tag of the field stamp, a
// fixed64, and the eight bytes of the stamp, which the commit queue fills in.
const stampBytes = 9

// stampTag is the tag of the field stamp of a stamped table; 0: it is none.
func stampTag(d protoreflect.MessageDescriptor) byte {
	if !tableOf(d).Stamped {
		return 0
	}
	return byte(protowire.EncodeTag(d.Fields().ByName("stamp").Number(), protowire.Fixed64Type))
}

// decode returns the decoded row of a slot, and remembers it there. A command
// sees no stamp: that of a row on its way is not known, and a Step with a warm
// memory must not see less than one with a cold memory.
func (t Table[T, M]) decode(v *View, s *slot) M {
	if s.msg != nil {
		return s.msg.(M)
	}
	m := M(new(T))
	val := s.val
	if s.stamped = t.stamp != 0; s.stamped && v.tx != nil {
		val = val[min(stampBytes, len(val)):]
	}
	if err := m.UnmarshalVT(val); err != nil {
		panic(fault{fmt.Errorf("decode a row of table %#x: %w", t.num, err)})
	}
	s.msg = m
	return m
}

func clone[T any, M interface {
	*T
	Message
}](m M) M {
	if c, ok := any(m).(interface{ CloneVT() M }); ok {
		return c.CloneVT()
	}
	panic("entity: a row without CloneVT")
}

// A slot is one row in memory. val nil: there is no such row.
type slot struct {
	val     []byte
	msg     Message // decoded; nil until somebody asks
	version uint64  // the Step that wrote it; 0: read from storage
	stamped bool    // val begins with a stamp, whose place is the committer's once the row is written
}

// fault is a storage failure or a damaged row. No feature can handle one, so
// none has to: Step recovers it.
type fault struct{ error }
