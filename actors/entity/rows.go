package entity

// A Reader reads rows as they were at one moment. Package storage implements
// it on Pebble; the simulator's model is a map.
type Reader interface {
	// Get returns the value of key, or false. The value is the caller's to keep.
	Get(key []byte) (val []byte, ok bool, err error)

	// Scan calls yield with the rows whose keys are in [lower, upper), in
	// order, backwards if reverse, until yield returns false. Keys and values
	// are valid only until yield returns.
	Scan(lower, upper []byte, reverse bool, yield func(key, val []byte) bool) error
}

// A Write is one row to store. Nothing in it may change once it is made, but
// for the stamp that the commit queue fills in.
type Write struct {
	Key []byte
	Val []byte // nil: delete the row
	End []byte // not nil: delete every row in [Key, End)

	// Stamped says that Val has room for the stamp of its commit in the eight
	// bytes after the first.
	Stamped bool
	// First is the value with which an event was written when it was emitted, if that
	// was not durable yet when it was rewritten: its stamp stays.
	First []byte
}

// Stamp fills in the number of the commit, if there is room for it. Whoever
// commits calls it, in the order of the commits and within one in the order of the
// Steps.
func (w *Write) Stamp(stamp uint64) {
	if !w.Stamped {
		return
	}
	if w.First != nil && getStamp(w.First) != 0 {
		stamp = getStamp(w.First)
	}
	PutStamp(w.Val, stamp)
}
