package storage

import (
	"bytes"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"kith/actors/entity"
)

// writer turns groups into batches and keeps its memory between them.
type writer struct {
	batch *pebble.Batch
	order []int32 // indices of the group, sorted by key
}

// fill makes the batch of a group and returns how many operations it has.
func (w *writer) fill(group []entity.Write) (rows int, err error) {
	w.batch.Reset()
	if slices.ContainsFunc(group, isRange) {
		return w.inOrder(group)
	}
	return w.sorted(group)
}

func isRange(r entity.Write) bool { return r.End != nil }

// inOrder adds the writes as they come: a range may cover rows written before
// it and must not touch those written after it.
func (w *writer) inOrder(group []entity.Write) (rows int, err error) {
	for i := range group {
		if r := &group[i]; r.End != nil && bytes.Compare(r.Key, r.End) >= 0 {
			continue // An empty range holds no rows, and Pebble refuses it.
		}
		if err := w.add(&group[i]); err != nil {
			return 0, err
		}
		rows++
	}
	return rows, nil
}

// sorted adds the last write of each key, in key order. Nobody can see the
// others, and a row like an entity's head is written by each of its Steps.
//
// Committer's CPU per write in µs, groups of 50 and 200, against adding all as
// they come: 4.5 : 4.4 and 2.8 : 2.7 when no key repeats (sorted keys do not
// help the memtable, they lie too far apart), 2.4 : 3.0 and 1.5 : 1.7 when each
// is written three times.
func (w *writer) sorted(group []entity.Write) (rows int, err error) {
	w.order = w.order[:0]
	for i := range group {
		w.order = append(w.order, int32(i))
	}
	slices.SortFunc(w.order, func(a, b int32) int {
		if c := bytes.Compare(group[a].Key, group[b].Key); c != 0 {
			return c
		}
		return int(a - b)
	})
	for i, at := range w.order {
		if i+1 < len(w.order) && bytes.Equal(group[at].Key, group[w.order[i+1]].Key) {
			continue
		}
		if err := w.add(&group[at]); err != nil {
			return 0, err
		}
		rows++
	}
	return rows, nil
}

func (w *writer) add(r *entity.Write) error {
	switch {
	case r.End != nil:
		return w.batch.DeleteRange(r.Key, r.End, nil)
	case r.Val == nil:
		return w.batch.Delete(r.Key, nil)
	default:
		return w.batch.Set(r.Key, r.Val, nil)
	}
}
