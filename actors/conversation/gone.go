package conversation

import (
	"kith/actors/entity"
	"kith/actors/pb"
)

// Expire drops the messages of a range of the log, with the changes between them,
// and emits MessagesExpired. It reports whether there were any. Where messages
// before the range remain it reads each message of it: whoever expires such ranges
// takes as much of one as a Step may read. The range ends before what this Step has
// emitted.
func Expire(tx *entity.Tx, from, through uint64) bool {
	first := firstMessage(tx, from)
	last := MessageAt(&tx.View, through)
	if first.Seq == 0 || first.Seq > last.Seq {
		return false
	}
	if MessageAt(&tx.View, first.Seq-1).Seq == 0 {
		expireOldest(tx, last)
	} else {
		expireAmong(tx, first, last)
	}
	tx.Drop(first.Seq, last.Seq)
	tx.EmitUnsigned(&pb.MessagesExpired{From: first.Seq, Through: last.Seq})
	return true
}

func firstMessage(tx *entity.Tx, from uint64) (at Place) {
	tx.MessagesAfter(max(from, 1)-1, func(e *entity.Event) bool {
		at = Place{e.Seq, e.Ordinal()}
		return false
	})
	return at
}

// expireOldest notes that everything up to a message is gone, which takes one row
// however much it is.
func expireOldest(tx *entity.Tx, last Place) {
	lastGone.Put(tx, nil, &pb.Expired{Seq: last.Seq, Ordinal: last.Ordinal})
	marked.DeleteRange(tx, markKey(0, markGone, 0), markKey(0, markGone, (last.Ordinal+1)/markBlock))
	HiddenCounts.DeleteRange(tx, entity.Key{}.U64(0), entity.Key{}.U64(last.Seq+1))
}

// expireAmong marks each message, and moves the markers of those whose own message
// stood for them.
func expireAmong(tx *entity.Tx, first, last Place) {
	var authors []string
	wrote := map[string]Place{}
	tx.MessagesAfter(first.Seq-1, func(e *entity.Event) bool {
		if e.Seq > last.Seq {
			return false
		}
		setMark(tx, 0, markGone, e.Ordinal(), true)
		if _, ok := wrote[e.By]; !ok {
			authors = append(authors, e.By)
		}
		wrote[e.By] = Place{e.Seq, e.Ordinal()}
		return true
	})
	for _, user := range authors {
		if m, ok := Member(tx, user); ok && wrote[user].Ordinal > readFrom(&tx.View, m).Ordinal {
			Advance(tx, m, wrote[user])
		}
	}
}

// hiddenTimes is how many of the latest times at which a member deleted messages
// for himself are kept. Who has not heard of the one before them begins anew.
const hiddenTimes = 64

// NoteHidden keeps what a member has deleted for himself just now, by Hide, for his
// other devices.
func NoteHidden(tx *entity.Tx, reader *pb.Member, seqs []uint64) {
	key := entity.Key{}.U32(reader.Number)
	row := Markers.Edit(tx, key)
	row.Hides++
	Markers.Put(tx, key, row)
	lately.Put(tx, entity.Key{}.U32(reader.Number).U32(row.Hides), &pb.HiddenLately{Seqs: seqs})
	if row.Hides > hiddenTimes {
		lately.Delete(tx, entity.Key{}.U32(reader.Number).U32(row.Hides-hiddenTimes))
	}
}

// HiddenBetween is what a member deleted for himself in the commits above one and
// not above another. ok is false if some of it may be forgotten.
func HiddenBetween(v *entity.View, m *pb.Member, since, until uint64) (seqs []uint64, ok bool) {
	row, _ := Markers.Get(v, entity.Key{}.U32(m.Number))
	oldest := uint64(0)
	for _, time := range lately.Scan(v, entity.Key{}.U32(m.Number)) {
		if oldest == 0 {
			oldest = time.Stamp
		}
		if time.Stamp > since && time.Stamp <= until {
			seqs = append(seqs, time.Seqs...)
		}
	}
	return seqs, row.GetHides() <= hiddenTimes || oldest <= since
}

// markHidden marks a message as gone for one reader, if it may count as unread.
func markHidden(tx *entity.Tx, reader *pb.Member, seq uint64) {
	row, _ := Markers.Get(tx, entity.Key{}.U32(reader.Number))
	if e := tx.Event(seq); e.Ordinal() > row.GetOrdinal() {
		setMark(tx, reader.Number, markGone, e.Ordinal(), true)
	}
}
