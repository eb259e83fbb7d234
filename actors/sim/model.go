package sim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kith/actors/entity"
)

// A Model is the simplest storage that could possibly work: a map and the order
// of its keys. It is what the real one is checked against. It keeps the values
// it is given, as they are: the stamp is for whoever commits to fill in.
type Model struct {
	rows map[string][]byte
	keys []string // sorted
}

// NewModel returns an empty Model.
func NewModel() *Model { return &Model{rows: map[string][]byte{}} }

// Clone returns a Model with the same rows.
func (m *Model) Clone() *Model { return &Model{maps.Clone(m.rows), slices.Clone(m.keys)} }

// Get implements entity.Reader.
func (m *Model) Get(key []byte) ([]byte, bool, error) {
	val, ok := m.rows[string(key)]
	return bytes.Clone(val), ok, nil
}

// Scan implements entity.Reader.
func (m *Model) Scan(lower, upper []byte, reverse bool, yield func(key, val []byte) bool) error {
	keys := m.between(lower, upper)
	if reverse {
		for _, k := range slices.Backward(keys) {
			if !yield([]byte(k), m.rows[k]) {
				return nil
			}
		}
		return nil
	}
	for _, k := range keys {
		if !yield([]byte(k), m.rows[k]) {
			return nil
		}
	}
	return nil
}

// between returns the keys in [lower, upper).
func (m *Model) between(lower, upper []byte) []string {
	from, to := m.at(string(lower)), len(m.keys)
	if upper != nil {
		to = max(from, m.at(string(upper)))
	}
	return m.keys[from:to]
}

// at is where a key is, or would be.
func (m *Model) at(key string) int {
	i, _ := slices.BinarySearch(m.keys, key)
	return i
}

// Commit applies writes.
func (m *Model) Commit(writes []entity.Write) {
	for _, w := range writes {
		switch {
		case w.End != nil:
			for _, k := range slices.Clone(m.between(w.Key, w.End)) {
				m.delete(k)
			}
		case w.Val == nil:
			m.delete(string(w.Key))
		default:
			m.put(string(w.Key), w.Val)
		}
	}
}

func (m *Model) put(key string, val []byte) {
	if _, ok := m.rows[key]; !ok {
		m.keys = slices.Insert(m.keys, m.at(key), key)
	}
	m.rows[key] = val
}

func (m *Model) delete(key string) {
	if _, ok := m.rows[key]; ok {
		i := m.at(key)
		m.keys = slices.Delete(m.keys, i, i+1)
		delete(m.rows, key)
	}
}

// Diff describes the rows on which m and other disagree, or returns "".
func (m *Model) Diff(other entity.Reader) (string, error) {
	var diff []string
	seen := map[string]bool{}
	err := other.Scan(nil, nil, false, func(key, val []byte) bool {
		seen[string(key)] = true
		switch want, ok := m.rows[string(key)]; {
		case !ok:
			diff = append(diff, fmt.Sprintf("row %x is there", key))
		case !bytes.Equal(val, want):
			diff = append(diff, fmt.Sprintf("row %x is %x, want %x", key, val, want))
		}
		return len(diff) < maxDiff
	})
	for _, k := range m.keys {
		if !seen[k] && len(diff) < maxDiff {
			diff = append(diff, fmt.Sprintf("row %x is missing", k))
		}
	}
	return strings.Join(diff, "; "), err
}

// maxDiff is how many differences are worth reading.
const maxDiff = 4
