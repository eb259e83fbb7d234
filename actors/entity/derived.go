package entity

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

// Of returns the value for the entity that r sees.
func (d *Derived[V]) Of(r Viewer) V {
	v := r.view()
	if v.tx == nil {
		return d.from(r)
	}
	if v.tx.touched[d.table] {
		return d.from(r) // This Step changed the table; what it sees is its own.
	}
	m := v.tx.memory
	if known, ok := m.derived[d]; ok {
		return known.(V)
	}
	value := d.from(r)
	m.derived[d] = value
	m.derivedFrom[d.table] = append(m.derivedFrom[d.table], d)
	return value
}
