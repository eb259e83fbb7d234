package storage

import (
	"bytes"
	"slices"
	"sort"

	"kith/actors/entity"
)

// A range is deleted row by row if there is not much in it. Pebble keeps deletions of
// ranges apart from the rows, and after each one the next reader sorts all of those
// anew that are in the memtable: 5 ms with 1,000 of them, 18 ms with 10,000, 47 ms with
// 20,000, and every conversation deletes some ranges a day. A row takes the committer
// 2 µs. The simulated town of actors/sim, whose messages are kept for a day, spent two
// thirds of its time there.

// maxPoints is how many rows of ranges a group deletes one by one, at most: some
// milliseconds. A range with more is deleted as one; there are few, for so much must
// have been written first.
const maxPoints = 4096

// points returns a group in which the ranges with few rows are deleted row by row.
func (d *DB) points(group []entity.Write, most int) (all []entity.Write, err error) {
	var order []int32 // the rows that the group puts, by key
	for i := range group {
		r := &group[i]
		if r.End == nil {
			all = append(all, *r)
			continue
		}
		if order == nil {
			order = putsOf(group)
		}
		gone, err := d.rowsIn(r, most)
		if err != nil {
			return nil, err
		}
		if len(gone) > most {
			all = append(all, *r)
			continue
		}
		most -= len(gone)
		all = append(all, gone...)
		first := sort.Search(len(order), func(n int) bool { return bytes.Compare(group[order[n]].Key, r.Key) >= 0 })
		for _, at := range order[first:] {
			if bytes.Compare(group[at].Key, r.End) >= 0 {
				break
			}
			if int(at) < i {
				all = append(all, entity.Write{Key: group[at].Key})
			}
		}
	}
	return all, nil
}

// putsOf is the places of the rows that a group puts, by key.
func putsOf(group []entity.Write) []int32 {
	order := []int32{}
	for i := range group {
		if group[i].End == nil && group[i].Val != nil {
			order = append(order, int32(i))
		}
	}
	slices.SortFunc(order, func(a, b int32) int { return bytes.Compare(group[a].Key, group[b].Key) })
	return order
}

// rowsIn returns the deletions of what is stored in a range; one more than most: that
// is not all.
func (d *DB) rowsIn(r *entity.Write, most int) (gone []entity.Write, err error) {
	err = d.Scan(r.Key, r.End, false, func(key, _ []byte) bool {
		gone = append(gone, entity.Write{Key: bytes.Clone(key)})
		return len(gone) <= most
	})
	return gone, err
}
