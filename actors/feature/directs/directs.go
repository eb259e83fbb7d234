// Package directs opens the conversations of two people: one per pair, whoever
// opens first.
package directs

import (
	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// Feature is the opening of direct conversations.
var Feature = entity.Feature{Name: "directs", Parts: []entity.Part{
	entity.Command(open),
}}

// open needs no permission yet: anybody may write to anybody whose id he knows.
func open(tx *entity.Tx, req *pb.OpenDirectRequest) (*pb.OpenDirectResponse, error) {
	me, other := tx.Caller().User, req.UserId
	if me == other {
		return nil, entity.Errorf(entity.Invalid, "a direct conversation needs somebody else")
	}
	resp := &pb.OpenDirectResponse{ConversationId: tx.Self().ID}
	if conversation.Info.Has(tx, nil) {
		return resp, requirePair(tx, me, other)
	}
	conversation.Info.Put(tx, nil, &pb.Conversation{Type: pb.Conversation_DIRECT, CreatedAt: tx.Now().UnixMilli()})
	resp.Opened = true
	_, err := conversation.Enter(tx, &pb.DirectOpened{UserIds: []string{me, other}}, pb.Role_MEMBER, me, other)
	return resp, err
}

// requirePair refuses the one case in 2^52 that the pair's number belongs to
// another conversation.
func requirePair(tx *entity.Tx, a, b string) error {
	_, first := conversation.Member(tx, a)
	_, second := conversation.Member(tx, b)
	if conversation.Of(tx).Type != pb.Conversation_DIRECT || !first || !second {
		return entity.Errorf(entity.Conflict, "%s and %s cannot have a direct conversation: its number is taken", a, b)
	}
	return nil
}
