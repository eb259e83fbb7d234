// Package receipts says how far each member of a conversation has read, who has
// read a message, and what is unread. A marker is one row for each member and only
// moves forward; nothing is written for a message.
//
// receipts.go moves the markers, mentions.go knows whom messages mention,
// readers.go and sharing.go tell others how far somebody has read, if he wants it,
// state.go and missed.go answer what a list of dialogs and a device that was away
// ask of a conversation, and recount.go counts again from the log.
package receipts

import (
	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// Feature is receipts and unread counts.
var Feature = entity.Feature{Name: "receipts", Parts: []entity.Part{
	entity.Verify(pb.Kind_CONVERSATION, recount),

	entity.Command(markRead),
	entity.Command(markDelivered),
	entity.After(wrote),
	entity.After(revoked),

	entity.After(mention),
	entity.After(mentionEdited),
	entity.After(mentionsExpired),

	entity.Query(readers),
	entity.Command(setSharing),
	entity.Command(sharePage),
	entity.Command(share),
	entity.Query(sharing),
	entity.After(shareJoined),

	entity.Query(glance),
	entity.Query(state),
}}

func markRead(tx *entity.Tx, req *pb.MarkReadRequest) (*pb.MarkReadResponse, error) {
	me, err := conversation.RequireMember(tx)
	if err != nil {
		return nil, err
	}
	at, to := conversation.ReadTo(&tx.View, me), conversation.MessageAt(&tx.View, req.Seq)
	if to.Ordinal > at.Ordinal { // Else nothing changes, so nobody is told.
		at = to
		conversation.Advance(tx, me, at)
		tx.SignalTo(whoSees(tx, me), &pb.ReadMoved{UserId: me.UserId, Seq: at.Seq})
	}
	unread, mentions := conversation.Unread(&tx.View, me)
	return &pb.MarkReadResponse{Seq: at.Seq, Unread: unread, Mentions: mentions}, nil
}

// markDelivered knows that what was read has arrived.
func markDelivered(tx *entity.Tx, req *pb.MarkDeliveredRequest) (*pb.MarkDeliveredResponse, error) {
	me, err := conversation.RequireMember(tx)
	if err != nil {
		return nil, err
	}
	at, to := delivered(&tx.View, me), conversation.MessageAt(&tx.View, req.Seq).Seq
	if to > at {
		at = to
		row := conversation.Markers.Edit(tx, markerKey(me.Number))
		row.Delivered = at
		conversation.Markers.Put(tx, markerKey(me.Number), row)
		tx.SignalTo(whoSees(tx, me), &pb.DeliveredMoved{UserId: me.UserId, Seq: at})
	}
	return &pb.MarkDeliveredResponse{Seq: at}, nil
}

func markerKey(number uint32) entity.Key { return entity.Key{}.U32(number) }

func marker(v entity.Viewer, number uint32) *pb.Marker {
	row, _ := conversation.Markers.Get(v, markerKey(number))
	return row
}

// delivered is up to where everything has arrived at a member.
func delivered(v *entity.View, m *pb.Member) uint64 {
	return max(marker(v, m.Number).GetDelivered(), conversation.ReadTo(v, m).Seq)
}

// whoSees is the users who hear how far a member has read: he himself, and in a
// direct the other, if both share it. In a group, authors ask.
func whoSees(tx *entity.Tx, me *pb.Member) []uint64 {
	users := []uint64{tx.Caller().Number}
	if other := peer(tx, me); other != 0 && !marker(tx, me.Number).GetOff() && !marker(tx, other).GetOff() {
		row, _ := conversation.Numbers.Get(tx, markerKey(other))
		users = append(users, row.GetUserNumber())
	}
	return users
}

// peer is the number of the other member of a direct; 0: it is none.
func peer(v entity.Viewer, me *pb.Member) uint32 {
	const both = 1 + 2 // The numbers of the two.
	if conversation.Of(v).GetType() != pb.Conversation_DIRECT {
		return 0
	}
	return both - me.Number
}

// wrote has who writes have read what was before. A message from outside has no
// author here.
func wrote(tx *entity.Tx, _ *pb.MessageSent) error {
	if me, ok := conversation.Member(tx, tx.Caller().User); ok {
		conversation.NoteOwn(tx, me)
	}
	return nil
}

func revoked(tx *entity.Tx, gone *pb.MessageRevoked) error {
	conversation.NoteRevoked(tx, gone.Seq)
	setMentions(tx, gone.Seq, nil)
	return nil
}
