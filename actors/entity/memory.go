package entity

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Memory is what one live entity remembers between Steps: where its log
// stands, rows it has read, and the pending overlay: what its Steps wrote that
// is not durable yet. Only its own Steps read it. It belongs to one goroutine
// at a time.
type Memory struct {
	ref    Ref
	open   func() (Reader, func()) // a durable view, and how to give it back
	loaded bool

	head    Head
	version uint64 // Steps that wrote something
	durable uint64 // the version up to which writes are durable

	rows    map[string]*slot     // rows known, or known to be absent (val nil)
	bytes   int                  // of the rows, with slotBytes for each
	pending []pendingRow         // rows of Steps that are not durable, oldest first
	events  map[uint64]loggedRow // event rows that are not durable
	logged  []pendingEvent
	cuts    []cut // deletions that are not durable, oldest first

	sweepAt int64 // when the next sweep of what is past its window is due, in unix milliseconds; 0: none is known of

	requests requests

	derived     map[any]derived
	derivedFrom map[uint32][]any

	reader  Reader  // the durable view, once a Step has needed it
	done    func()  // gives it back
	scratch []byte  // for keys and requests, between which it is free
	extra   []Write // for the kernel's own writes of a Step
	planted Bug
}

type pendingRow struct {
	version uint64
	key     string
}

type pendingEvent struct {
	version uint64
	seq     uint64
}

// maxMemoryBytes bounds the rows that an entity keeps between two Steps; rows
// that are not durable stay in any case. It holds a member table of 500.
const maxMemoryBytes = 256 << 10

// slotBytes is what a row in memory takes beside its key and value. A row that
// is known to be absent takes it too: who asks for many must not fill memory.
const slotBytes = 128

// maxScratchBytes and maxExtra bound what is kept for the next Step: what a
// message needs, and not what the largest request needed.
const (
	maxScratchBytes = 1 << 10
	maxExtra        = 4
)

// NewMemory returns the memory of an entity that has run nothing yet. open
// gives a durable view and the function that returns it; a view is held for
// one Step at most, and only by a Step that needs one.
func NewMemory(ref Ref, open func() (Reader, func()), planted Bug) *Memory {
	m := &Memory{ref: ref, open: open, events: map[uint64]loggedRow{}, planted: planted}
	m.forgetRows()
	return m
}

// Ref names the entity.
func (m *Memory) Ref() Ref { return m.ref }

// Version counts the Steps that wrote something.
func (m *Memory) Version() uint64 { return m.version }

// Pending reports whether some of what was written is not durable.
func (m *Memory) Pending() bool { return m.durable < m.version }

// Empty reports whether the entity does not exist: it has no log, and nothing
// on its way to one.
func (m *Memory) Empty() bool { return m.head.Seq == 0 && !m.Pending() }

// Durable says that every write up to a version is durable: a durable view
// opened from now on has them.
func (m *Memory) Durable(version uint64) {
	if version <= m.durable {
		return
	}
	m.durable = version
	m.requests.durable(version)
	done := 0
	for done < len(m.pending) && m.pending[done].version <= version {
		done++
	}
	m.pending = slices.Delete(m.pending, 0, done)
	done = 0
	for done < len(m.logged) && m.logged[done].version <= version {
		seq := m.logged[done].seq
		if m.events[seq].version <= version { // Else it has been rewritten.
			delete(m.events, seq)
		}
		done++
	}
	m.logged = slices.Delete(m.logged, 0, done)
	done = 0
	for done < len(m.cuts) && m.cuts[done].version <= version {
		done++
	}
	m.cuts = slices.Delete(m.cuts, 0, done)
}

// trim keeps the memory within its bound. Rows that are not durable stay.
func (m *Memory) trim() {
	if m.bytes > maxMemoryBytes && len(m.rows) > len(m.pending) {
		m.Forget()
	}
	m.requests.trim()
}

// Forget drops what can be read again. After a panic nothing that was decoded
// is trusted.
func (m *Memory) Forget() {
	keep := m.rows
	m.forgetRows()
	for _, p := range m.pending {
		if s := keep[p.key]; m.rows[p.key] == nil {
			m.rows[p.key] = &slot{val: s.val, version: s.version, stamped: s.stamped}
			m.bytes += len(p.key) + len(s.val) + slotBytes
		}
	}
	m.requests.forget()
	m.scratch = nil
	m.sweepAt = 0
}

func (m *Memory) forgetRows() {
	m.rows, m.bytes = map[string]*slot{}, 0
	m.derived, m.derivedFrom = map[any]derived{}, map[uint32][]any{}
}

// view opens the durable view for the rest of the Step.
func (m *Memory) view() Reader {
	if m.reader == nil {
		m.reader, m.done = m.open()
	}
	return m.reader
}

// closeView gives the durable view back, if the Step needed one.
func (m *Memory) closeView() {
	if m.reader != nil {
		m.done()
		m.reader, m.done = nil, nil
	}
}

// load finds where the log stands, once.
func (m *Memory) load() error {
	if m.loaded {
		return nil
	}
	head, err := readHead(m.view(), m.ref)
	if err != nil {
		return err
	}
	if m.planted == SeqReused && head.Seq > 0 {
		head.Seq--
	}
	m.head, m.loaded = head, true
	return nil
}

// get returns a row through the pending overlay.
func (m *Memory) get(key []byte) *slot {
	if s, ok := m.rows[string(key)]; ok {
		return s
	}
	var s *slot
	if !inCuts(m.cuts, key) {
		s = durable{m.view()}.get(key)
	}
	if s == nil {
		s = &slot{}
	}
	m.remember(string(key), s)
	return s
}

func (m *Memory) remember(key string, s *slot) {
	if old, ok := m.rows[key]; ok {
		m.bytes -= len(key) + len(old.val) + slotBytes
	}
	m.rows[key] = s
	m.bytes += len(key) + len(s.val) + slotBytes
}

// scanUnder scans the durable rows under the pending ones and those in over,
// but for what the Step has cut.
func (m *Memory) scanUnder(lower, upper []byte, reverse bool, over map[string]*slot, cuts []cut, yield func([]byte, *slot) bool) {
	for _, p := range m.pending {
		if _, ok := over[p.key]; !ok && inRange(p.key, lower, upper) && !inCuts(cuts, []byte(p.key)) {
			over[p.key] = m.rows[p.key]
		}
	}
	cuts = slices.Concat(m.cuts, cuts)
	mergeRows(m.view(), lower, upper, reverse, over, cuts, func(key []byte, s *slot) bool {
		if _, ok := over[string(key)]; ok {
			return yield(key, s)
		}
		known := m.rows[string(key)]
		if known == nil {
			known = &slot{val: bytes.Clone(s.val)}
			m.remember(string(key), known)
		}
		return yield(key, known)
	})
}

// mergeRows scans the rows of a view that are in no cut under those in over. The
// value of a row of the view is valid only until yield returns.
func mergeRows(view Reader, lower, upper []byte, reverse bool, over map[string]*slot, cuts []cut, yield func([]byte, *slot) bool) {
	keys := slices.Collect(maps.Keys(over))
	order := strings.Compare
	if reverse {
		order = func(a, b string) int { return strings.Compare(b, a) }
	}
	slices.SortFunc(keys, order)
	emit := func(k string) bool { return over[k].val == nil || yield([]byte(k), over[k]) }
	stopped := false
	err := view.Scan(lower, upper, reverse, func(key, val []byte) bool {
		for len(keys) > 0 && order(keys[0], string(key)) < 0 {
			if stopped = !emit(keys[0]); stopped {
				return false
			}
			keys = keys[1:]
		}
		if len(keys) > 0 && keys[0] == string(key) || inCuts(cuts, key) {
			return true // Overwritten, whose turn comes above, or deleted.
		}
		stopped = !yield(key, &slot{val: val})
		return !stopped
	})
	if err != nil {
		panic(fault{err})
	}
	for _, k := range keys {
		if stopped || !emit(k) {
			return
		}
	}
}

func inRange(key string, lower, upper []byte) bool {
	return key >= string(lower) && (upper == nil || key < string(upper))
}

// row returns an event's row through the pending overlay; val nil: there is
// none.
func (m *Memory) row(seq uint64) loggedRow {
	if l, ok := m.events[seq]; ok {
		return l
	}
	key := logKey(nil, m.ref, seq)
	if inCuts(m.cuts, key) {
		return loggedRow{seq: seq}
	}
	val, _, err := m.view().Get(key)
	if err != nil {
		panic(fault{err})
	}
	return loggedRow{seq: seq, val: val}
}

// keep makes the writes of a successful Step part of the memory, and returns
// them for the commit queue.
func (m *Memory) keep(tx *Tx, extra []Write) []Write {
	n := len(tx.cuts) + len(tx.logged) + len(tx.order) + len(tx.index) + len(extra)
	if n == 0 {
		return nil
	}
	m.version++
	writes := make([]Write, 0, n)
	for _, c := range tx.cuts {
		writes = append(writes, m.keepCut(c))
	}
	if m.head.Seq == 0 && tx.head.Seq > 0 {
		writes = append(writes, m.originRow())
	}
	for _, l := range tx.logged {
		l.version = m.version
		m.events[l.seq] = l
		m.logged = append(m.logged, pendingEvent{m.version, l.seq})
		writes = append(writes, Write{Key: logKey(make([]byte, 0, 24), m.ref, l.seq), Val: l.val, Stamped: l.stamped, First: l.first})
	}
	for _, key := range tx.order {
		s := tx.local[key]
		s.version = m.version
		m.remember(key, s)
		m.pending = append(m.pending, pendingRow{m.version, key})
		w := Write{Key: []byte(key), Val: s.val}
		if s.stamped && m.planted != LostStamp {
			w.Val, w.Stamped = bytes.Clone(s.val), true // The committer writes into it; ours is read meanwhile.
		}
		writes = append(writes, w)
	}
	for _, table := range tx.touched {
		if m.planted == TellRemoved || m.planted == MemberDropped && tx.watched() {
			break
		}
		for _, d := range m.derivedFrom[table] {
			delete(m.derived, d)
		}
		delete(m.derivedFrom, table)
	}
	m.head = tx.head
	return append(append(writes, tx.index...), extra...)
}

// originRow stamps the birth of the log. Its value is a pb.Origin: the tag of
// a fixed64 and the eight bytes of the stamp.
func (m *Memory) originRow() Write {
	val := make([]byte, 9)
	val[0] = 1<<3 | 1
	return Write{Key: rowKey(nil, m.ref, origins.num, nil), Val: val, Stamped: true}
}

// now is the time of a Step: the clock's, but never earlier than the last
// event.
func (m *Memory) now(clock time.Time) time.Time {
	if last := time.UnixMilli(m.head.At); clock.Before(last) {
		return last
	}
	return clock
}
