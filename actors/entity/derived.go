package entity

import "slices"

// A Derived is a value computed from the rows of one table, remembered until a
// row of that table changes. It is frozen, as rows are. Queries compute it
// anew.
type Derived[V any] struct {
	table uint32
	from  func(Viewer) V
}

// NewDerived returns the value that from computes. from may read only table.
func NewDerived[V any](table interface{ number() uint32 }, from func(Viewer) V) *Derived[V] {
	return &Derived[V]{table.number(), from}
}

// derived is a remembered value and how many rows it took to compute: they are
// charged once in each Step, so that a Step may do the same with a cold memory.
type derived struct {
	value any
	rows  int
}

// Of returns the value for the entity that r sees.
func (d *Derived[V]) Of(r Viewer) V {
	v := r.view()
	if v.tx == nil {
		return d.from(r)
	}
	if slices.Contains(v.tx.touched, d.table) {
		return d.from(r) // This Step changed the table; what it sees is its own.
	}
	m := v.tx.memory
	asked := slices.Contains(v.tx.derived, any(d))
	if !asked {
		v.tx.derived = append(v.tx.derived, d)
	}
	if known, ok := m.derived[d]; ok {
		if !asked {
			v.charge(known.rows)
		}
		return known.value.(V)
	}
	before := v.budget
	value := d.from(r)
	m.derived[d] = derived{value, before - v.budget}
	m.derivedFrom[d.table] = append(m.derivedFrom[d.table], d)
	return value
}
