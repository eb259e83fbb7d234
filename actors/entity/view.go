package entity

import (
	"time"
)

// A rows is what a View reads through: an entity's Memory in a Step, the
// durable view in a query.
type rows interface {
	get(key []byte) *slot // nil or a nil val: there is no such row
	scan(lower, upper []byte, reverse bool, yield func(key []byte, s *slot) bool)
}

// A View reads one entity. Queries get nothing more.
type View struct {
	ref    Ref
	caller Caller
	now    time.Time
	policy *Policy
	reg    *Registry
	rows   rows
	tx     *Tx // nil in a query

	incarnation uint64 // of what a query reads

	scratch []byte // the key being looked up
	budget  int    // rows that may still be read
	online  func(Ref) bool
	asks    *int // queries that may still be asked; shared with those that are
	names   map[uint32]string
}

// A Viewer is a *View or a *Tx: anything rows can be read through.
type Viewer interface {
	view() *View
	Self() Ref
	Caller() Caller
	Policy() *Policy
	Event(seq uint64) *Event
	Reach(viewer Caller) Reach
}

func (v *View) view() *View { return v }

// Self names the entity.
func (v *View) Self() Ref { return v.ref }

// Caller is whom the call is made for. A tell is made for the caller of the
// command that told.
func (v *View) Caller() Caller { return v.caller }

// Policy is the tenant's.
func (v *View) Policy() *Policy { return v.policy }

// Now is the time of the Step, never earlier than the entity's last event. It
// is for people and policies; order is seq and stamp.
func (v *View) Now() time.Time { return v.now }

// Online reports whether the user whom a query is about is connected now.
func (v *View) Online() bool { return v.online != nil && v.online(v.ref) }

// Stamp is the number of the last commit in the durable view, of whatever entity.
// A row or an event with a larger stamp is from later.
func (v *View) Stamp() uint64 {
	stamp, _, err := ReadStamp(v.reader())
	if err != nil {
		panic(fault{err})
	}
	return stamp
}

// Incarnation tells the history of rows that a query reads from another one, whose
// stamps say nothing here.
func (v *View) Incarnation() uint64 { return v.incarnation }

// key builds a full key in the view's scratch space. It is valid until the
// next call.
func (v *View) key(table uint32, k Key) []byte {
	v.scratch = rowKey(v.scratch[:0], v.ref, table, k)
	return v.scratch
}

// tooMuch is the panic of a Step that exceeds its policy.
type tooMuch struct{ what string }

// charge counts rows read against the policy.
func (v *View) charge(n int) {
	if v.budget -= n; v.budget < 0 {
		panic(tooMuch{"rows read"})
	}
}

// durable reads rows from the durable view, without memory.
type durable struct{ Reader }

func (d durable) get(key []byte) *slot {
	val, ok, err := d.Get(key)
	if err != nil {
		panic(fault{err})
	}
	if !ok {
		return nil
	}
	return &slot{val: val}
}

func (d durable) scan(lower, upper []byte, reverse bool, yield func([]byte, *slot) bool) {
	err := d.Scan(lower, upper, reverse, func(key, val []byte) bool {
		return yield(key, &slot{val: append([]byte{}, val...)})
	})
	if err != nil {
		panic(fault{err})
	}
}
