package receipts

import (
	"fmt"
	"slices"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// recount counts from the log itself what is unread for each member, and compares
// it with the subtraction.
func recount(v *entity.View, report func(sentence string)) {
	log := readLog(v)
	for key := range conversation.Present.Scan(v, nil) {
		m, ok := conversation.Members.Get(v, key)
		if !ok || m.Number == 0 {
			continue // That is reported where it is.
		}
		unread, mentions := log.unread(v, m)
		if gotUnread, gotMentions := conversation.Unread(v, m); gotUnread != unread || gotMentions != mentions {
			report(fmt.Sprintf("member %d has %d unread messages, %d of which mention him; %d and %d are counted",
				m.Number, unread, mentions, gotUnread, gotMentions))
		}
	}
	for key := range mentions.Scan(v, nil) {
		seq, _ := key.TakeU64()
		if !log.has(seq) {
			report(fmt.Sprintf("it is known whom message %d mentions, which is gone", seq))
		}
	}
	for key := range conversation.Markers.Scan(v, nil) {
		number, _ := key.TakeU32()
		if row := marker(v, number); row.Read > v.Head().Seq || row.Delivered > v.Head().Seq || conversation.Name(v, number) == "" {
			report(fmt.Sprintf("the marker of member %d is beyond the log, or nobody's", number))
		}
	}
}

// A wholeLog is what a count needs of every message that is there.
type wholeLog struct {
	ordinals []uint64            // of those that were not revoked, rising
	seqs     []uint64            // of the same
	own      map[string]uint64   // ordinal of the last message of each author
	mentions map[uint32][]uint64 // ordinals of those that mention a member, by his number
}

func readLog(v *entity.View) *wholeLog {
	log := &wholeLog{own: map[string]uint64{}, mentions: map[uint32][]uint64{}}
	v.MessagesAfter(0, func(e *entity.Event) bool {
		log.own[e.By] = e.Ordinal()
		sent, ok := e.Body.(*pb.MessageSent)
		if ok && sent.Revoked {
			return true
		}
		log.ordinals, log.seqs = append(log.ordinals, e.Ordinal()), append(log.seqs, e.Seq)
		if row, found := mentions.Get(v, entity.Key{}.U64(e.Seq)); found {
			for _, number := range row.Members {
				log.mentions[number] = append(log.mentions[number], e.Ordinal())
			}
		}
		return true
	})
	return log
}

func (l *wholeLog) has(seq uint64) bool {
	_, there := slices.BinarySearch(l.seqs, seq)
	return there
}

// unread counts the messages after the last one that a member has read or
// written, or that was there before he joined, but for those that he has deleted.
func (l *wholeLog) unread(v *entity.View, m *pb.Member) (unread, mentions uint32) {
	after := max(marker(v, m.Number).GetOrdinal(), m.JoinedOrdinal)
	if m.UserId != "" { // Else what nobody signed would be his.
		after = max(after, l.own[m.UserId])
	}
	first, _ := slices.BinarySearch(l.ordinals, after+1)
	count := len(l.ordinals) - first
	hidden := map[uint64]bool{}
	for key := range conversation.Hidden.Scan(v, entity.Key{}.U32(m.Number)) {
		seq, _ := key.TakeU64()
		if i, there := slices.BinarySearch(l.seqs, seq); there && i >= first {
			count--
			hidden[l.ordinals[i]] = true
		}
	}
	of := 0
	for _, ordinal := range l.mentions[m.Number] {
		if ordinal > after && !hidden[ordinal] {
			of++
		}
	}
	return uint32(min(count, conversation.MaxUnread)), uint32(min(of, conversation.MaxUnread))
}
