package entity_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
	"kith/actors/pb"
)

// recount is a check of the counts: none may be negative.
func recount(v *entity.View, report func(sentence string)) {
	counts := entity.NewTable[Count]()
	for key, row := range counts.Scan(v, nil) {
		if row.N < 0 {
			name, _ := key.TakeStr()
			report("the count " + name + " is negative")
		}
	}
}

// inspected is a world whose store a node has served: it has a stamp and the
// tenant 1, three messages and a change at counter 1, a pending tell to counter 2,
// one that was heard, and a timer that sweeps.
func inspected(t *testing.T) *world {
	w := newWorld(t, entity.Feature{Name: "recount", Parts: []entity.Part{entity.Verify(pb.Kind_CONVERSATION, recount)}})
	w.must(Say("a"), Set("k", 1))
	w.must(Say("b"), Note(1))
	w.must(Say("c"), To(2, Say("heard")), Set("many", 2))
	heard := w.pending[0]
	w.take(w.memory(two), w.memory(two).Hear(w.reg, heard, w.turn))
	if err := w.store.Commit(heard.Done()); err != nil {
		t.Fatal(err)
	}
	w.must(To(2, Say("pending")))
	w.step(w.call(ann, &DoRequest{CounterId: 1, RequestId: "r", Acts: []*Act{Set("k", 2)}}))
	w.commit(entity.StampRow(w.stamp, w.turn.Now), entity.TenantRow("acme", 1))
	return w
}

// commit writes rows behind everybody's back.
func (w *world) commit(rows ...entity.Write) {
	w.Helper()
	if err := w.store.Commit(rows); err != nil {
		w.Fatal(err)
	}
}

// verify returns what is wrong, a line each.
func (w *world) verify() (string, entity.Verified) {
	w.Helper()
	var found []string
	seen, err := w.reg.Verify(w.store.Rows(), func(p entity.Problem) { found = append(found, p.String()) }, nil)
	if err != nil {
		w.Fatal(err)
	}
	if int(seen.Problems) != len(found) {
		w.Errorf("it counts %d problems, and reports %d", seen.Problems, len(found))
	}
	return strings.Join(found, "\n"), seen
}

// first is the first row of a table that belongs to the shards.
func (w *world) first(table uint32) (row entity.Write) {
	w.Helper()
	for shard := range uint16(entity.Shards) {
		lower, upper := entity.System(shard, table)
		err := w.store.Rows().Scan(lower, upper, false, func(key, val []byte) bool {
			row = entity.Write{Key: bytes.Clone(key), Val: bytes.Clone(val)}
			return false
		})
		if err != nil {
			w.Fatal(err)
		}
		if row.Key != nil {
			return row
		}
	}
	w.Fatalf("table %#x has no row", table)
	return row
}

// row reads a row.
func (w *world) row(key []byte) entity.Write {
	w.Helper()
	val, ok, err := w.store.Rows().Get(key)
	if err != nil || !ok {
		w.Fatalf("there is no row %x: %v", key, err)
	}
	return entity.Write{Key: key, Val: val}
}

// reheader is an event with another header.
func (w *world) reheader(seq uint64, change func(*entity.Header)) entity.Write {
	w.Helper()
	old := w.row(entity.LogKey(one, seq))
	h, body, err := entity.ParseEvent(seq, old.Val)
	if err != nil {
		w.Fatal(err)
	}
	change(&h)
	val := entity.AppendEvent(seq, h, body)
	copy(val[1:9], old.Val[1:9])
	return entity.Write{Key: old.Key, Val: val}
}

// restamped is an event with another stamp.
func (w *world) restamped(seq, stamp uint64) entity.Write {
	w.Helper()
	row := w.row(entity.LogKey(one, seq))
	entity.PutStamp(row.Val, stamp)
	return row
}

// inShard is a row in another shard.
func inShard(row entity.Write, shard uint16) entity.Write {
	row.Key = bytes.Clone(row.Key)
	binary.BigEndian.PutUint16(row.Key, shard)
	return row
}

func TestNothingIsWrongWithWhatANodeWrote(t *testing.T) {
	w := inspected(t)
	found, seen := w.verify()
	if found != "" {
		t.Errorf("found\n%s", found)
	}
	want := entity.Verified{Rows: uint64(w.store.Rows().Count(nil, nil)), Entities: 2, Events: 5, Timers: 1, Tells: 1}
	if seen != want {
		t.Errorf("seen %+v, want %+v", seen, want)
	}
}

func TestWhatWasRewrittenBeforeItWasDurableIsRight(t *testing.T) {
	w := inspected(t)
	w.held = true
	w.must(Say("one"))
	w.must(Say("two"))
	w.must(Revise(5, "three"))
	w.settle()
	w.commit(entity.StampRow(w.stamp, w.turn.Now))
	if found, _ := w.verify(); found != "" {
		t.Errorf("found\n%s", found)
	}
}

func TestEveryKindOfDamageIsReported(t *testing.T) {
	gone := func(key []byte) []entity.Write { return []entity.Write{{Key: key}} }
	key := func(table uint32, k entity.Key) []byte { return entity.RowKey(one, table, k) }
	str := func(s string) entity.Key { return entity.Key(nil).Str(s) }
	other := entity.Ref{Tenant: 7, Kind: pb.Kind_CONVERSATION, ID: 5}
	for _, c := range []struct {
		name   string
		damage func(w *world) []entity.Write
		want   string
	}{
		{"an event is missing", func(w *world) []entity.Write { return gone(entity.LogKey(one, 2)) }, "1/CONVERSATION/1: events 2 to 2 are missing"},
		{"the first is", func(w *world) []entity.Write { return gone(entity.LogKey(one, 1)) }, "events 1 to 1 are missing"},
		{"an event's row is cut", func(w *world) []entity.Write {
			row := w.row(entity.LogKey(one, 2))
			return []entity.Write{{Key: row.Key, Val: row.Val[:12]}}
		}, "event 2 cannot be decoded"},
		{"an event's body is cut", func(w *world) []entity.Write {
			row := w.row(entity.LogKey(one, 2))
			return []entity.Write{{Key: row.Key, Val: row.Val[:len(row.Val)-1]}}
		}, "event 2, a Said, cannot be decoded"},
		{"an event of no type", func(w *world) []entity.Write {
			return []entity.Write{w.reheader(2, func(h *entity.Header) { h.Number = 0x7EEE })}
		}, "event 2 is of the type 0x7eee"},
		{"a class that is not the type's", func(w *world) []entity.Write {
			return []entity.Write{w.reheader(2, func(h *entity.Header) { h.Class = pb.Class_CHANGE })}
		}, "event 2 is a Said of the class CHANGE"},
		{"an ordinal that leaps", func(w *world) []entity.Write {
			return []entity.Write{w.reheader(2, func(h *entity.Header) { h.Ordinal = 9 })}
		}, "event 2 has the ordinal 9; it should be 2"},
		{"an ordinal of a change that leaps", func(w *world) []entity.Write {
			return []entity.Write{w.reheader(3, func(h *entity.Header) { h.Ordinal = 3 })}
		}, "event 3 has the ordinal 3; it should be 2"},
		{"a prev that names another", func(w *world) []entity.Write {
			return []entity.Write{w.reheader(4, func(h *entity.Header) { h.Prev = 1 })}
		}, "event 4 says that the message before it is 1; it is 2"},
		{"an event out of its time", func(w *world) []entity.Write {
			return []entity.Write{w.reheader(2, func(h *entity.Header) { h.At -= 1000 })}
		}, "event 2 is earlier than the one before it"},
		{"no stamp", func(w *world) []entity.Write { return []entity.Write{w.restamped(3, 0)} }, "event 3 has no stamp"},
		{"a stamp of the future", func(w *world) []entity.Write { return []entity.Write{w.restamped(3, 99)} }, "event 3 has the stamp 99, and the last commit"},
		{"a stamp that falls", func(w *world) []entity.Write { return []entity.Write{w.restamped(4, 1)} }, "event 4 has the stamp 1, which is lower than 2"},
		{"a log without a beginning", func(w *world) []entity.Write { return gone(key(originTable, nil)) }, "its log has events and no beginning"},
		{"a row that cannot be decoded", func(w *world) []entity.Write {
			return []entity.Write{{Key: key(countTable, str("k")), Val: []byte{0x08}}}
		}, "of the table Count cannot be decoded"},
		{"and the check that trips over it", func(w *world) []entity.Write {
			return []entity.Write{{Key: key(countTable, str("k")), Val: []byte{0x08}}}
		}, "the check of recount ended early"},
		{"a table that nobody knows", func(w *world) []entity.Write {
			return []entity.Write{{Key: key(0x6FFF, str("k")), Val: []byte{}}}
		}, "in the table 0x6fff, which this program does not know"},
		{"a count that does not count", func(w *world) []entity.Write {
			return []entity.Write{{Key: key(countTable, str("k")), Val: encode(&Count{N: -1})}}
		}, "1/CONVERSATION/1: the count k is negative"},
		{"rows of a tenant without a name", func(w *world) []entity.Write {
			return []entity.Write{{Key: entity.RowKey(other, countTable, str("k")), Val: []byte{}}}
		}, "7/CONVERSATION/5: its tenant has no name"},
		{"two tenants with a number", func(w *world) []entity.Write { return []entity.Write{entity.TenantRow("zeta", 1)} }, "has the number 1, which is nobody's or that of"},
		{"an entity of no kind", func(w *world) []entity.Write {
			return []entity.Write{{Key: entity.RowKey(entity.Ref{Tenant: 1, Kind: 99, ID: 5}, countTable, str("k")), Val: []byte{}}}
		}, "it is of a kind that this program does not know"},
		{"a row in another shard", func(w *world) []entity.Write {
			return []entity.Write{inShard(w.row(key(countTable, str("k"))), (one.Shard()+1)%entity.Shards)}
		}, "where nobody looks for them; they belong into shard"},
		{"a key of no row", func(w *world) []entity.Write { return []entity.Write{{Key: []byte{1, 2, 3, 4, 5}, Val: []byte{}}} }, "the key 0102030405 is of no row"},
		{"a feature's row outside of every entity", func(w *world) []entity.Write {
			lower, _ := entity.System(3, countTable)
			return []entity.Write{{Key: lower, Val: []byte{}}}
		}, "shard 3 has a row of the table 0x7f00 outside of every entity"},
		{"a tell that was never sent", func(w *world) []entity.Write {
			return []entity.Write{{Key: key(headTable, nil), Val: encode(&pb.OutboxHead{Number: 1})}}
		}, "tell 2 from 1/CONVERSATION/1 to 1/CONVERSATION/2 was never sent: the last one was 1"},
		{"a tell of no method", func(w *world) []entity.Write {
			return []entity.Write{{Key: w.first(outboxTable).Key, Val: encode(&pb.Outbox{Method: "No.Such"})}}
		}, "of a method that this program does not know (No.Such)"},
		{"a tell in another shard", func(w *world) []entity.Write {
			return []entity.Write{inShard(w.first(outboxTable), (one.Shard()+1)%entity.Shards)}
		}, "is in shard"},
		{"a tell that cannot be decoded", func(w *world) []entity.Write {
			return []entity.Write{{Key: w.first(outboxTable).Key, Val: []byte{0x08}}}
		}, "of the table Outbox cannot be decoded"},
		{"a dead letter without a tell", func(w *world) []entity.Write {
			lower, _ := entity.System(3, deadTable)
			return []entity.Write{{Key: lower, Val: []byte{}}}
		}, "which is of none"},
		{"a memory of what is still to be told", func(w *world) []entity.Write {
			lower, _ := entity.Range(two, heardTable)
			k := entity.Key(lower).U32(1)
			k = append(k, byte(pb.Kind_CONVERSATION)).U64(1)
			return []entity.Write{{Key: k, Val: encode(&pb.Heard{Number: 3})}}
		}, "1/CONVERSATION/2: it has heard tell 3 of 1/CONVERSATION/1, whose last one was 2"},
		{"a remembered request of no name", func(w *world) []entity.Write {
			return []entity.Write{{Key: key(requestedTable, entity.Key(nil).U32(1)), Val: []byte{}}}
		}, "is of no remembered request"},
		{"a timer that is never found", func(w *world) []entity.Write { return gone(w.first(dueTable).Key) }, "is not among those that are looked for"},
		{"a timer that is found and is none", func(w *world) []entity.Write {
			lower, upper := entity.Range(one, timerTable)
			return []entity.Write{{Key: lower, End: upper}}
		}, "has a time for a timer of 1/CONVERSATION/1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := inspected(t)
			w.commit(c.damage(w)...)
			if found, _ := w.verify(); !strings.Contains(found, c.want) {
				t.Errorf("found\n%s\nwant %q", found, c.want)
			}
		})
	}
}

// Of what lies below the floor of a log nothing has to be there; above it all has.
func TestWhatIsBelowTheFloorMayBeGone(t *testing.T) {
	w := inspected(t)
	floor := func(seq uint64) {
		w.commit(entity.Write{Key: entity.RowKey(one, floorTable, nil), Val: encode(&pb.Floor{Seq: seq})})
	}
	w.commit(entity.Write{Key: entity.LogKey(one, 1)}, entity.Write{Key: entity.LogKey(one, 3)})
	floor(4)
	if found, _ := w.verify(); found != "" {
		t.Errorf("found\n%s", found)
	}
	floor(3)
	if found, _ := w.verify(); !strings.Contains(found, "events 3 to 3 are missing") {
		t.Errorf("found\n%s", found)
	}
}

func TestProgressIsTold(t *testing.T) {
	w := inspected(t)
	var rows []entity.Write
	for n := range entity.ProgressRows {
		rows = append(rows, entity.Write{Key: entity.RowKey(one, countTable, entity.Key(nil).U64(uint64(n)).Str("")), Val: []byte{}})
	}
	w.commit(rows...)
	told := 0
	if _, err := w.reg.Verify(w.store.Rows(), func(entity.Problem) {}, func(entity.Verified) { told++ }); err != nil || told != 1 {
		t.Errorf("progress was told %d times (%v), want once", told, err)
	}
}

// A store that cannot be read to its end is not a good one.
func TestAVerificationThatCannotReadFails(t *testing.T) {
	w := inspected(t)
	broken := errors.New("the disk is broken")
	for _, after := range []int{0, 1, 2, 4, 6, 8} {
		rows := &failing{Rows: w.store.Rows(), left: after, err: broken}
		if _, err := w.reg.Verify(rows, func(entity.Problem) {}, nil); !errors.Is(err, broken) {
			t.Errorf("after %d reads: %v, want %v", after, err, broken)
		}
	}
}

// A failing reader fails after some reads.
type failing struct {
	Rows
	left int
	err  error
}

func (f *failing) Get(key []byte) ([]byte, bool, error) {
	if f.left--; f.left < 0 {
		return nil, false, f.err
	}
	return f.Rows.Get(key)
}

func (f *failing) Scan(lower, upper []byte, reverse bool, yield func(key, val []byte) bool) error {
	if f.left--; f.left < 0 {
		return f.err
	}
	return f.Rows.Scan(lower, upper, reverse, yield)
}

func TestDeadLettersAreListedWithoutWhatTheySay(t *testing.T) {
	w := inspected(t)
	tell := w.pending[len(w.pending)-1]
	w.commit(tell.Park("it panics", w.turn.Now.Add(time.Minute))...)
	var all []entity.Parked
	for shard := range uint16(entity.Shards) {
		if err := entity.ReadParked(w.store.Rows(), shard, func(p entity.Parked) bool {
			all = append(all, p)
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	at := time.UnixMilli(w.turn.Now.UnixMilli())
	want := []entity.Parked{{From: one, To: two, Number: 2, Method: "Counters.Told", Reason: "it panics", Sent: at, ParkedAt: at.Add(time.Minute)}}
	if !slices.Equal(all, want) {
		t.Errorf("parked %+v, want %+v", all, want)
	}
	if found, seen := w.verify(); found != "" || seen.DeadLetters != 1 || seen.Tells != 0 {
		t.Errorf("seen %+v, found\n%s", seen, found)
	}
}
