// Package channels is conversations in which admins post and subscribers read,
// who do not see each other. What channels share with groups (joining, inviting,
// roles, leaving, dissolving) is in package groups; here is how one is made, what
// only channels have, and how often their posts were viewed (views.go).
package channels

import (
	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// Feature is channels.
var Feature = entity.Feature{Name: "channels", Parts: []entity.Part{
	entity.Command(create),
	entity.Command(change),

	entity.Command(view),
	entity.Query(views),
	entity.Verify(pb.Kind_CONVERSATION, check),
}}

// create needs no permission: anybody may have a channel of his own.
func create(tx *entity.Tx, req *pb.CreateChannelRequest) (*pb.CreateChannelResponse, error) {
	if conversation.Info.Has(tx, nil) {
		return nil, entity.Errorf(entity.Conflict, "this request_id has made a conversation before")
	}
	info := &pb.Conversation{
		Type: pb.Conversation_CHANNEL, CreatedAt: tx.Now().UnixMilli(),
		Name: req.Name, Announcement: req.Description, Signatures: req.Signatures,
		Permissions: &pb.Permissions{Send: pb.Role_ADMIN, Invite: pb.Role_ADMIN, ChangeInfo: pb.Role_ADMIN, Pin: pb.Role_ADMIN},
		JoinRule:    pb.JoinRule_INVITED,
	}
	if req.Public {
		info.JoinRule = pb.JoinRule_OPEN
	}
	if err := conversation.Validate(tx.Policy(), info); err != nil {
		return nil, err
	}
	conversation.Info.Put(tx, nil, info)
	_, err := conversation.Enter(tx, &pb.ChannelCreated{Name: req.Name}, pb.Role_OWNER, tx.Caller().User)
	return &pb.CreateChannelResponse{ConversationId: tx.Self().ID}, err
}

func change(tx *entity.Tx, req *pb.ChangeChannelRequest) (*pb.ChangeChannelResponse, error) {
	me, err := conversation.RequireMember(tx)
	if err != nil {
		return nil, err
	}
	if err := requireChannel(tx); err != nil {
		return nil, err
	}
	if err := conversation.RequireRole(me, pb.Role_ADMIN, "change how the channel works"); err != nil {
		return nil, err
	}
	info := conversation.Info.Edit(tx, nil)
	if req.Signatures == nil || *req.Signatures == info.Signatures {
		return &pb.ChangeChannelResponse{}, nil // Nothing changes, so nobody is told.
	}
	info.Signatures = *req.Signatures
	conversation.Info.Put(tx, nil, info)
	tx.Emit(&pb.ChannelChanged{Signatures: info.Signatures})
	return &pb.ChangeChannelResponse{}, nil
}

// requireChannel refuses other conversations.
func requireChannel(v entity.Viewer) error {
	if conversation.Of(v).GetType() != pb.Conversation_CHANNEL {
		return entity.Errorf(entity.Invalid, "this conversation is not a channel")
	}
	return nil
}
