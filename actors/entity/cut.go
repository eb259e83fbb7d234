package entity

import (
	"fmt"

	"kith/actors/pb"
)

// A cut is a range of keys that is deleted as one write.
type cut struct {
	lower, upper []byte // upper nil: to the end
	version      uint64 // the Step that deleted it; 0: this one
}

func inCuts(cuts []cut, key []byte) bool {
	for _, s := range cuts {
		if inRange(string(key), s.lower, s.upper) {
			return true
		}
	}
	return false
}

// deleteRange deletes a range of rows, those that this Step has written before among
// them. What it writes there later stays: cuts are written first.
func (tx *Tx) deleteRange(lower, upper []byte) {
	tx.chargeWrite()
	for key := range tx.local {
		if inRange(key, lower, upper) {
			tx.local[key] = &slot{}
		}
	}
	tx.cuts = append(tx.cuts, cut{lower: lower, upper: upper})
}

// Drop deletes the events in [from, through] of the entity's log, as one write.
// The floor rises: whoever has not heard them can no longer recover. The last
// event stays; it says where the log stands. Who drops messages emits an event
// that says so, in the same Step and after.
func (tx *Tx) Drop(from, through uint64) {
	if from == 0 || from > through || through > tx.memory.head.Seq {
		panic(fmt.Sprintf("entity: Drop of events %d to %d", from, through))
	}
	tx.dropped = max(tx.dropped, through)
	kept := tx.logged[:0]
	for _, l := range tx.logged {
		if l.seq < from || l.seq > through {
			kept = append(kept, l)
		}
	}
	tx.logged = kept
	tx.deleteRange(logKey(nil, tx.ref, from), logKey(nil, tx.ref, through+1))
	if floor := floors.Edit(tx, nil); floor.Seq <= through {
		floor.Seq = through + 1
		floors.Put(tx, nil, floor)
	}
}

// keepCut makes a deletion part of the memory, and returns its write.
func (m *Memory) keepCut(c cut) Write {
	c.version = m.version
	for key, s := range m.rows {
		if inRange(key, c.lower, c.upper) {
			m.remember(key, &slot{version: max(s.version, m.version)})
		}
	}
	for seq := range m.events {
		if inRange(string(logKey(nil, m.ref, seq)), c.lower, c.upper) {
			delete(m.events, seq)
		}
	}
	m.cuts = append(m.cuts, c)
	return Write{Key: c.lower, End: c.upper}
}

// floors says where the log of an entity is dense. One row.
var floors = NewTable[pb.Floor]()

// Floor is the seq from which on the log is dense: below it events are gone.
func (v *View) Floor() uint64 {
	floor, _ := floors.Get(v, nil)
	return max(1, floor.GetSeq())
}
