package conversation

import (
	"kith/actors/entity"
	"kith/actors/pb"
)

// What is unread for a member are the messages after the last one that he has
// read, has written or was there before he joined; without those that were
// revoked, have expired, or that he has deleted for himself. It is a subtraction of
// ordinals and of the few marks above: no message costs a row for anybody.

// Markers says how far each member has read.
var Markers = entity.NewTable[pb.Marker]() // by member number

var (
	marked   = entity.NewTable[pb.Marked]()       // by member number (0: everybody), mark, block
	lastGone = entity.NewTable[pb.Expired]()      // one row
	lately   = entity.NewTable[pb.HiddenLately]() // by member number, number of the time
)

const (
	// MaxUnread stands for as many unread messages or more: no client shows a number
	// with five digits.
	MaxUnread = 9_999

	// OwnWithin is how many messages after a marker a message of the member's own is
	// looked for. Who writes has read what was before; his row is written only when
	// he is that far behind, so that it costs next to nothing.
	OwnWithin = 64

	// markBlock is how many messages one row marks: 128 bytes at most.
	markBlock = 1024
)

// A mark is what is said about messages in marked.
type mark uint32

// The numbers are in keys.
const (
	markGone      mark = 1
	markMentioned mark = 2
)

// A Place is a message in a log, by its two numbers, or the beginning.
type Place struct{ Seq, Ordinal uint64 }

func later(a, b Place) Place {
	if b.Ordinal > a.Ordinal {
		return b
	}
	return a
}

// MessageAt is the last message at or before a seq.
func MessageAt(v *entity.View, seq uint64) (at Place) {
	v.MessagesBefore(min(seq, v.Head().Seq)+1, func(e *entity.Event) bool {
		at = Place{e.Seq, e.Ordinal()}
		return false
	})
	return at
}

// ReadTo is how far a present member has read.
func ReadTo(v *entity.View, m *pb.Member) Place {
	from := readFrom(v, m)
	to := from
	if v.Head().Ordinal == from.Ordinal {
		return to
	}
	v.MessagesAfter(from.Seq, func(e *entity.Event) bool {
		if e.Ordinal() >= from.Ordinal+OwnWithin {
			return false
		}
		if e.By != "" && e.By == m.UserId {
			to = Place{e.Seq, e.Ordinal()}
		}
		return true
	})
	return to
}

// readFrom is how far a member has read, but for what he has written since. What
// has expired and what was before he joined is read.
func readFrom(v *entity.View, m *pb.Member) Place {
	row, _ := Markers.Get(v, entity.Key{}.U32(m.Number))
	gone, _ := lastGone.Get(v, nil)
	at := later(Place{row.GetRead(), row.GetOrdinal()}, Place{m.Since, m.JoinedOrdinal})
	return later(at, Place{gone.GetSeq(), gone.GetOrdinal()})
}

// NoteOwn notes that a member is the author of the last message of the log. If
// nobody can tell from the message, or it is far from his marker, his marker moves.
func NoteOwn(tx *entity.Tx, m *pb.Member) {
	head := tx.Head()
	if !signs(tx, m) || head.Ordinal >= readFrom(&tx.View, m).Ordinal+OwnWithin {
		Advance(tx, m, Place{head.Message, head.Ordinal})
	}
}

// Advance moves the marker of a member to a message that is after it. What is
// marked before is not counted any more, and forgotten in whole blocks.
func Advance(tx *entity.Tx, m *pb.Member, to Place) {
	key := entity.Key{}.U32(m.Number)
	row := Markers.Edit(tx, key)
	was := row.Ordinal / markBlock
	row.Read, row.Ordinal = to.Seq, to.Ordinal
	Markers.Put(tx, key, row)
	now := to.Ordinal / markBlock
	if now == was {
		return
	}
	for _, what := range []mark{markGone, markMentioned} {
		marked.DeleteRange(tx, markKey(m.Number, what, 0), markKey(m.Number, what, now))
	}
	if gone, ok := lastGone.Get(tx, nil); ok {
		Hidden.DeleteRange(tx, key.U64(0), entity.Key{}.U32(m.Number).U64(gone.Seq+1))
	}
}

// Unread counts what is unread for a present member, and how many messages of it
// mention him, each up to MaxUnread.
func Unread(v *entity.View, m *pb.Member) (unread, mentions uint32) {
	after, head := ReadTo(v, m).Ordinal, v.Head().Ordinal
	if after >= head {
		return 0, 0
	}
	gone := marks{}
	gone.read(v, 0, markGone, after, head)
	gone.read(v, m.Number, markGone, after, head)
	mentioned := marks{}
	mentioned.read(v, m.Number, markMentioned, after, head)
	count := head - after - gone.count(after, head, nil)
	return uint32(min(count, MaxUnread)), uint32(min(mentioned.count(after, head, gone), MaxUnread))
}

// Mention marks a message as one that mentions a member, or as one that does not.
func Mention(tx *entity.Tx, member uint32, ordinal uint64, on bool) {
	setMark(tx, member, markMentioned, ordinal, on)
}

// NoteRevoked marks a message as gone for everybody.
func NoteRevoked(tx *entity.Tx, seq uint64) {
	if e := tx.Event(seq); e != nil && !tx.Planted(entity.DriftingUnread) {
		setMark(tx, 0, markGone, e.Ordinal(), true)
	}
}

func markKey(member uint32, what mark, block uint64) entity.Key {
	return entity.Key{}.U32(member).U32(uint32(what)).U64(block)
}

// setMark sets or takes away a mark of one message.
func setMark(tx *entity.Tx, member uint32, what mark, ordinal uint64, on bool) {
	key := markKey(member, what, ordinal/markBlock)
	row := marked.Edit(tx, key)
	at, bit := int(ordinal%markBlock/8), byte(1)<<(ordinal%8)
	for len(row.Bits) <= at {
		row.Bits = append(row.Bits, 0)
	}
	if on {
		row.Bits[at] |= bit
	} else {
		row.Bits[at] &^= bit
	}
	for len(row.Bits) > 0 && row.Bits[len(row.Bits)-1] == 0 {
		row.Bits = row.Bits[:len(row.Bits)-1]
	}
	if len(row.Bits) == 0 {
		marked.Delete(tx, key)
		return
	}
	marked.Put(tx, key, row)
}

// marks is a set of ordinals, by block.
type marks map[uint64]*[markBlock / 8]byte

// read adds the marks in the blocks of (after, through].
func (s marks) read(v *entity.View, member uint32, what mark, after, through uint64) {
	var from entity.Key
	if block := (after + 1) / markBlock; block > 0 {
		from = entity.Key{}.U64(block - 1)
	}
	for key, row := range marked.ScanFrom(v, entity.Key{}.U32(member).U32(uint32(what)), from) {
		block, _ := key.TakeU64()
		if block > through/markBlock {
			return
		}
		if s[block] == nil {
			s[block] = new([markBlock / 8]byte)
		}
		for i, b := range row.Bits {
			s[block][i] |= b
		}
	}
}

func (s marks) has(ordinal uint64) bool {
	bits := s[ordinal/markBlock]
	return bits != nil && bits[ordinal%markBlock/8]&(1<<(ordinal%8)) != 0
}

// count counts the marks in (after, through] of what is not in but.
func (s marks) count(after, through uint64, but marks) (n uint64) {
	for block := range s {
		first, last := max(block*markBlock, after+1), min(block*markBlock+markBlock-1, through)
		for ordinal := first; ordinal <= last; ordinal++ {
			if s.has(ordinal) && !but.has(ordinal) {
				n++
			}
		}
	}
	return n
}
