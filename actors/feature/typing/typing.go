// Package typing lets the others in a conversation see that somebody is about to
// say something. Nothing of it is stored.
package typing

import (
	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// Feature is typing.
var Feature = entity.Feature{Name: "typing", Parts: []entity.Part{
	entity.Command(typed),
}}

// typed says nothing in a conversation of many: there is always somebody typing.
// Who may not write is not about to.
func typed(tx *entity.Tx, req *pb.TypeRequest) (*pb.TypeResponse, error) {
	me, err := conversation.RequireMember(tx)
	if err != nil {
		return nil, err
	}
	if pb.Activity_name[int32(req.Activity)] == "" {
		return nil, entity.Errorf(entity.Invalid, "there is no activity %d", req.Activity)
	}
	info := conversation.Of(tx)
	if err := conversation.RequireRole(me, info.GetPermissions().GetSend(), "send messages here"); err != nil {
		return nil, err
	}
	if int(info.Members) > tx.Policy().MaxTypingMembers || conversation.HidesMembers(tx) {
		return &pb.TypeResponse{}, nil
	}
	tx.Signal(&pb.Typed{Activity: req.Activity})
	return &pb.TypeResponse{}, nil
}
