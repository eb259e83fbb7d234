package conversation

import (
	"kith/actors/entity"
	"kith/actors/pb"
)

// Log says how the log of a conversation is read, signed and addressed:
// everybody reads what was said while he was in it, but for what he deleted for
// himself; members sign with their numbers; the present members hear, or, where
// they are too many, those who watch.
var Log = entity.LogRules{
	Reach:    reach,
	Author:   author,
	Name:     name,
	Audience: audience,
}

// author lets nobody sign in a channel but its admins, where it has signatures:
// what a subscriber does must not show who he is.
func author(v entity.Viewer, c entity.Caller) uint32 {
	m := person(v, c)
	if !present(m) || !signs(v, m) {
		return 0
	}
	return m.Number
}

func signs(v entity.Viewer, m *pb.Member) bool {
	return !HidesMembers(v) || m.Role >= pb.Role_ADMIN && Of(v).Signatures
}

// audience of a large conversation reads no member: however many there are, an
// event costs the same. Of one that was dissolved nobody hears any more.
func audience(v entity.Viewer) *entity.Audience {
	switch info := Of(v); {
	case info.GetDissolvedAt() != 0:
		return &entity.Audience{}
	case info.GetLarge():
		return entity.WhoeverWatches
	default:
		return hearers.Of(v).audience
	}
}

func name(v entity.Viewer, number uint32) string {
	row, _ := Numbers.Get(v, entity.Key{}.U32(number))
	return row.GetUserId()
}

func reach(v *entity.View, viewer entity.Caller) entity.Reach {
	m := person(v, viewer)
	if m == nil {
		return entity.Reach{}
	}
	h := hiding{view: v, member: m.Number}
	return entity.Reach{Intervals: m.Readable, Hidden: h.hides}
}

// wholeHiding is how many deleted messages of one member are read at once.
// Few people have more; for them each event is looked up.
const wholeHiding = 256

// A hiding is what one member deleted for himself. It is read when the first
// event asks.
type hiding struct {
	view   *entity.View
	member uint32
	asked  bool
	seqs   map[uint64]bool // all of them, unless more
	more   bool
}

func (h *hiding) hides(seq uint64) bool {
	if !h.asked {
		h.read()
	}
	if h.more {
		return Hidden.Has(h.view, entity.Key{}.U32(h.member).U64(seq))
	}
	return h.seqs[seq]
}

func (h *hiding) read() {
	h.asked = true
	for key := range Hidden.Scan(h.view, entity.Key{}.U32(h.member)) {
		if h.more = len(h.seqs) == wholeHiding; h.more {
			return
		}
		if h.seqs == nil {
			h.seqs = map[uint64]bool{}
		}
		seq, _ := key.TakeU64()
		h.seqs[seq] = true
	}
}

// hearing is what is remembered about the present members.
type hearing struct {
	audience *entity.Audience
	from     uint64 // all of them read everything from this seq on
}

var hearers = entity.NewDerived(Present, func(v entity.Viewer) hearing {
	h := hearing{audience: &entity.Audience{}}
	for key, p := range Present.Scan(v, nil) {
		user, _ := key.TakeU64()
		h.audience.Users = append(h.audience.Users, user)
		h.from = max(h.from, p.From)
	}
	return h
})

// Message returns the message at seq, if the caller may see it, with what it
// says now: one that was revoked is there, Revoked and without content. Who may
// not see it is refused in the same words as if there were none.
func Message(v entity.Viewer, seq uint64) (*entity.Event, *pb.MessageSent, error) {
	return MessageWithin(v, seq, v.Reach(v.Caller()))
}

// MessageWithin is Message for another reach than the caller's: his intervals
// alone, say, to find also what he has deleted for himself.
func MessageWithin(v entity.Viewer, seq uint64, reach entity.Reach) (*entity.Event, *pb.MessageSent, error) {
	if reach.Allows(seq) {
		if e := v.Event(seq); e != nil {
			if sent, ok := e.Body.(*pb.MessageSent); ok {
				return e, sent, nil
			}
		}
	}
	return nil, nil, entity.Errorf(entity.NotFound, "there is no message %d", seq)
}

// Answered returns the message that another one answers, and refuses what cannot be
// answered by the caller, or any more.
func Answered(v entity.Viewer, to *pb.Reply) (*pb.MessageSent, error) {
	_, answered, err := Message(v, to.GetSeq())
	switch {
	case err != nil:
		return nil, err
	case answered.Revoked:
		return nil, entity.Errorf(entity.NotFound, "message %d was revoked", to.Seq)
	case uint64(to.QuoteOffset)+uint64(to.QuoteLength) > uint64(UTF16Units(Words(answered.Content))):
		return nil, entity.Errorf(entity.Invalid, "the quote is not within the text that it is from")
	}
	return answered, nil
}

// AllMayRead reports whether every present member may see the event at seq:
// then its body can be joined to an event that they hear now. In doubt it says
// no, and where there are too many to ask, for what was before anybody who ever
// came; who hears a bare seq asks History.
func AllMayRead(tx *entity.Tx, seq uint64) bool {
	info := Of(tx)
	from := info.GetLatestFrom()
	if !info.GetLarge() {
		from = hearers.Of(tx).from
	}
	return seq >= from && !HiddenCounts.Has(tx, entity.Key{}.U64(seq))
}

// Wrote reports whether the caller is the author of a message. A post that nobody
// signed is the channel's, so its admins are.
func Wrote(v entity.Viewer, message *entity.Event) bool {
	if message.By == "" && HidesMembers(v) {
		return person(v, v.Caller()).GetRole() >= pb.Role_ADMIN
	}
	return message.By == v.Caller().User
}

// Hide deletes a message for one reader, and reports whether he had not deleted
// it before. What everybody who was ever a member has deleted is in nobody's
// reach any more; gone says so.
func Hide(tx *entity.Tx, reader *pb.Member, seq uint64) (hidden, gone bool) {
	key := entity.Key{}.U32(reader.Number).U64(seq)
	if Hidden.Has(tx, key) {
		return false, false
	}
	Hidden.Put(tx, key, &pb.Hidden{})
	markHidden(tx, reader, seq)
	count := HiddenCounts.Edit(tx, entity.Key{}.U64(seq))
	count.Members++
	HiddenCounts.Put(tx, entity.Key{}.U64(seq), count)
	return true, count.Members == Of(tx).NextNumber-1
}
