package entitytest

import (
	"bytes"
	"sync"

	"github.com/cespare/xxhash/v2"

	"kith/actors/entity"
)

// A Store keeps rows in memory: what package storage does, without a disk. The
// zero Store is empty. What a Snapshot shows never changes.
type Store struct {
	mu   sync.Mutex // guards root
	root *node

	// Synced, if set, is called with each group before its commit is over:
	// where an fsync would be. An error fails the commit.
	Synced func(group []entity.Write) error
	// Full is what Low says.
	Full bool
}

// Commit implements host.Storage.
func (s *Store) Commit(group []entity.Write) error {
	s.mu.Lock()
	root := s.root
	s.mu.Unlock()
	for _, w := range group {
		switch {
		case w.End != nil:
			var gone [][]byte
			root.scan(w.Key, w.End, false, func(key, _ []byte) bool {
				gone = append(gone, key)
				return true
			})
			for _, key := range gone {
				root = root.without(key)
			}
		case w.Val == nil:
			root = root.without(w.Key)
		default:
			root = root.with(&node{key: bytes.Clone(w.Key), val: bytes.Clone(w.Val), rank: xxhash.Sum64(w.Key)})
		}
	}
	if s.Synced != nil {
		if err := s.Synced(group); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.root = root
	s.mu.Unlock()
	return nil
}

// Snapshot implements host.Storage.
func (s *Store) Snapshot() entity.Snapshot { return s.Rows() }

// Rows is the store as it is now.
func (s *Store) Rows() Rows {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Rows{s.root}
}

// Incarnation implements host.Storage.
func (s *Store) Incarnation() uint64 { return 1 }

// Low implements host.Storage.
func (s *Store) Low() bool { return s.Full }

// Rows is a store as it was at one moment.
type Rows struct{ root *node }

// Get implements entity.Reader.
func (r Rows) Get(key []byte) ([]byte, bool, error) {
	for n := r.root; n != nil; {
		switch order := bytes.Compare(key, n.key); {
		case order == 0:
			return bytes.Clone(n.val), true, nil
		case order < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil, false, nil
}

// Scan implements entity.Reader. What it yields is overwritten afterwards, as a
// real store does.
func (r Rows) Scan(lower, upper []byte, reverse bool, yield func(key, val []byte) bool) error {
	var k, v []byte
	r.root.scan(lower, upper, reverse, func(key, val []byte) bool {
		k, v = append(k[:0], key...), append(v[:0], val...)
		return yield(k, v)
	})
	clear(k)
	clear(v)
	return nil
}

// Close implements entity.Snapshot.
func (Rows) Close() error { return nil }

// Count is the number of rows whose keys are in [lower, upper).
func (r Rows) Count(lower, upper []byte) (n int) {
	r.root.scan(lower, upper, false, func([]byte, []byte) bool {
		n++
		return true
	})
	return n
}

// A node is a row in a treap: a search tree by key and a heap by rank, which
// is a hash, so that the same rows make the same tree. Nodes never change.
type node struct {
	key, val    []byte
	rank        uint64
	left, right *node
}

func (n *node) scan(lower, upper []byte, reverse bool, yield func(key, val []byte) bool) bool {
	if n == nil {
		return true
	}
	above := bytes.Compare(n.key, lower) >= 0
	below := upper == nil || bytes.Compare(n.key, upper) < 0
	first, second, toFirst, toSecond := n.left, n.right, above, below
	if reverse {
		first, second, toFirst, toSecond = n.right, n.left, below, above
	}
	if toFirst && !first.scan(lower, upper, reverse, yield) {
		return false
	}
	if above && below && !yield(n.key, n.val) {
		return false
	}
	return !toSecond || second.scan(lower, upper, reverse, yield)
}

// with is the tree with a row put.
func (n *node) with(row *node) *node {
	if n == nil {
		return row
	}
	order := bytes.Compare(row.key, n.key)
	if order == 0 {
		return &node{row.key, row.val, n.rank, n.left, n.right}
	}
	if row.rank > n.rank {
		left, right := n.split(row.key)
		return &node{row.key, row.val, row.rank, left, right}
	}
	c := *n
	if order < 0 {
		c.left = n.left.with(row)
	} else {
		c.right = n.right.with(row)
	}
	return &c
}

// split parts a tree into what is below a key that it does not have, and what
// is above.
func (n *node) split(key []byte) (below, above *node) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if bytes.Compare(key, n.key) < 0 {
		below, c.left = n.left.split(key)
		return below, &c
	}
	c.right, above = n.right.split(key)
	return &c, above
}

// without is the tree without a key.
func (n *node) without(key []byte) *node {
	if n == nil {
		return nil
	}
	c := *n
	switch order := bytes.Compare(key, n.key); {
	case order < 0:
		c.left = n.left.without(key)
	case order > 0:
		c.right = n.right.without(key)
	default:
		return join(n.left, n.right)
	}
	return &c
}

// join is the tree of two, all of one before all of the other.
func join(left, right *node) *node {
	switch {
	case left == nil:
		return right
	case right == nil:
		return left
	case left.rank > right.rank:
		c := *left
		c.right = join(left.right, right)
		return &c
	default:
		c := *right
		c.left = join(left, right.left)
		return &c
	}
}
