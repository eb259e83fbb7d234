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
}
