package entity

import (
	"encoding/binary"

	"kith/actors/pb"
)

// A logCheck is how far Verify has come in the log of one entity.
type logCheck struct {
	floor   uint64 // every event from this seq on is there
	born    bool   // it has an Origin
	stamp   uint64 // of the log's birth, or of the last change
	started bool   // there was an event
	last    header // of the last event
	lastSeq uint64
	message uint64 // seq of the last history event; 0: none
}

// beginLog reads what the log of an entity is compared with.
func (w *walk) beginLog(ref Ref) logCheck {
	l := logCheck{floor: 1}
	var floor pb.Floor
	if w.read(ref, floors.num, &floor) {
		l.floor = max(1, floor.Seq)
	}
	var origin pb.Origin
	if l.born = w.read(ref, origins.num, &origin); l.born {
		l.stamp = origin.Stamp
		if origin.Stamp > w.stamp {
			w.problem("its log began with commit %d, and the last commit was %d", origin.Stamp, w.stamp)
		}
	}
	return l
}

// read reads a row of an entity that has one row in a table. One that cannot be
// decoded is reported when the walk comes to it.
func (w *walk) read(ref Ref, table uint32, row Message) bool {
	val, ok, err := w.rows.Get(rowKey(nil, ref, table, nil))
	if err != nil {
		w.err = err
	}
	return err == nil && ok && row.UnmarshalVT(val) == nil
}

// event looks at the next event row.
func (l *logCheck) event(w *walk, key Key, val []byte) {
	w.seen.Events++
	if len(key) != 8 {
		w.problem("the key %x is of no event", []byte(key))
		return
	}
	seq := binary.BigEndian.Uint64(key)
	h, body, err := parseEvent(seq, val)
	if err != nil {
		w.problem("event %d cannot be decoded: %v", seq, err)
		l.lastSeq = seq // Its place is not empty; what it says, the next one cannot be compared with.
		l.started = false
		return
	}
	l.body(w, seq, h, body)
	l.place(w, seq, h)
	l.stamps(w, seq, getStamp(val))
	l.last, l.lastSeq, l.started = h, seq, true
	l.message = h.prev
	if h.class == pb.Class_HISTORY {
		l.message = seq
	}
}

// body looks at what an event says.
func (l *logCheck) body(w *walk, seq uint64, h header, body []byte) {
	t := w.reg.events.byNumber[h.number]
	switch {
	case t == nil:
		w.problem("event %d is of the type %#x, which this program does not know", seq, h.number)
	case t.Class != h.class:
		w.problem("event %d is a %s of the class %s", seq, t.Name, h.class)
	case h.keyID == 0 && t.body.New().Interface().(Message).UnmarshalVT(body) != nil:
		w.problem("event %d, a %s, cannot be decoded", seq, t.Name)
	}
}

// place compares where an event stands with the one before it: seqs are dense
// from the floor on, ordinals count the messages, prev names the last one.
func (l *logCheck) place(w *walk, seq uint64, h header) {
	if missing := max(l.lastSeq+1, l.floor); seq > missing {
		w.problem("events %d to %d are missing", missing, seq-1)
	}
	ordinal, prev, known := l.last.ordinal, l.message, l.started && seq == l.lastSeq+1
	if seq == 1 {
		ordinal, prev, known = 0, 0, true
	}
	if h.class == pb.Class_HISTORY {
		ordinal++
	}
	switch {
	case known && h.ordinal != ordinal:
		w.problem("event %d has the ordinal %d; it should be %d", seq, h.ordinal, ordinal)
	case known && h.prev != prev:
		w.problem("event %d says that the message before it is %d; it is %d", seq, h.prev, prev)
	case l.started && (h.ordinal < ordinal || h.prev < prev):
		w.problem("event %d has the ordinal %d and %d before it, and an earlier event is beyond", seq, h.ordinal, h.prev)
	case l.started && h.at < l.last.at:
		w.problem("event %d is earlier than the one before it", seq)
	}
}

// stamps compares the stamp of an event with the last commit's and with those
// before it, than which it is not lower.
func (l *logCheck) stamps(w *walk, seq, stamp uint64) {
	switch {
	case stamp == 0:
		w.problem("event %d has no stamp", seq)
	case stamp > w.stamp:
		w.problem("event %d has the stamp %d, and the last commit %d", seq, stamp, w.stamp)
	case stamp < l.stamp:
		w.problem("event %d has the stamp %d, which is lower than %d before it", seq, stamp, l.stamp)
	default:
		l.stamp = stamp
	}
}

// end is after the last row of the entity.
func (l *logCheck) end(w *walk) {
	if l.lastSeq != 0 && !l.born {
		w.problem("its log has events and no beginning, so its epoch is not known")
	}
}
