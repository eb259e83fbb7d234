// Package groups is conversations with roles: an owner, admins and members; and
// what channels share with them, which is all but what package channels has.
// groups.go is the group itself, joining.go how people come in, inviteall.go how
// many do at once, members.go what they are and how they go.
package groups

import (
	"google.golang.org/protobuf/proto"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// Feature is groups.
var Feature = entity.Feature{Name: "groups", Parts: []entity.Part{
	entity.Command(create),
	entity.Query(get),
	entity.Command(change),

	entity.Command(invite),
	entity.Command(vouch),
	entity.Command(vouched),
	entity.Command(join),

	entity.Command(inviteAll),
	entity.Command(vouchAll),
	entity.Command(vouchedAll),

	entity.Query(members),
	entity.Command(setRole),
	entity.Command(remove),
	entity.Command(leave),
	entity.Command(dissolve),
	entity.Command(dissolvePage),
}}

// create needs no permission: anybody may have a group of his own.
func create(tx *entity.Tx, req *pb.CreateGroupRequest) (*pb.CreateGroupResponse, error) {
	if conversation.Info.Has(tx, nil) {
		return nil, entity.Errorf(entity.Conflict, "this request_id has made a group before")
	}
	info := &pb.Conversation{
		Type: pb.Conversation_GROUP, CreatedAt: tx.Now().UnixMilli(),
		Name: req.Name, Announcement: req.Announcement,
		Permissions:   &pb.Permissions{Send: pb.Role_MEMBER, Invite: pb.Role_MEMBER, ChangeInfo: pb.Role_ADMIN, Pin: pb.Role_ADMIN},
		HistoryHidden: req.HistoryHidden, JoinRule: pb.JoinRule_INVITED,
	}
	if req.JoinRule != pb.JoinRule_JOIN_RULE_UNSPECIFIED {
		info.JoinRule = req.JoinRule
	}
	conversation.Permit(info.Permissions, req.Permissions)
	if err := conversation.Validate(tx.Policy(), info); err != nil {
		return nil, err
	}
	conversation.Info.Put(tx, nil, info)
	if _, err := conversation.Enter(tx, &pb.GroupCreated{Name: req.Name}, pb.Role_OWNER, tx.Caller().User); err != nil {
		return nil, err
	}
	resp := &pb.CreateGroupResponse{ConversationId: tx.Self().ID}
	if len(req.UserIds) == 0 {
		return resp, nil
	}
	return resp, ask(tx, req.UserIds, 0)
}

func get(v *entity.View, req *pb.GetGroupRequest) (*pb.GetGroupResponse, error) {
	info, me, err := require(v)
	if err != nil {
		return nil, err
	}
	return &pb.GetGroupResponse{
		ConversationId: req.ConversationId, Name: info.Name, Announcement: info.Announcement,
		Members: info.Members, Permissions: info.Permissions.CloneVT(), HistoryHidden: info.HistoryHidden,
		JoinRule: info.JoinRule, CreatedAt: info.CreatedAt, Role: me.Role,
		Type: info.Type, Signatures: info.Signatures, Large: info.Large, Inviting: left(v),
	}, nil
}

func change(tx *entity.Tx, req *pb.ChangeGroupRequest) (*pb.ChangeGroupResponse, error) {
	old, me, err := require(tx)
	if err != nil {
		return nil, err
	}
	if req.Name != nil || req.Announcement != nil {
		if err := conversation.RequireRole(me, old.Permissions.GetChangeInfo(), "change the name and the announcement"); err != nil {
			return nil, err
		}
	}
	if req.Permissions != nil || req.HistoryHidden != nil || req.JoinRule != pb.JoinRule_JOIN_RULE_UNSPECIFIED {
		if err := conversation.RequireRole(me, pb.Role_ADMIN, "change how the "+conversation.Noun(old)+" works"); err != nil {
			return nil, err
		}
	}
	info := conversation.Info.Edit(tx, nil)
	apply(info, req)
	if err := conversation.Validate(tx.Policy(), info); err != nil {
		return nil, err
	}
	if proto.Equal(old, info) {
		return &pb.ChangeGroupResponse{}, nil // Nothing changes, so nobody is told.
	}
	conversation.Info.Put(tx, nil, info)
	tx.Emit(&pb.GroupChanged{
		Name: info.Name, Announcement: info.Announcement, Permissions: info.Permissions.CloneVT(),
		HistoryHidden: info.HistoryHidden, JoinRule: info.JoinRule,
	})
	return &pb.ChangeGroupResponse{}, nil
}

// apply changes what the request has and leaves the rest.
func apply(info *pb.Conversation, req *pb.ChangeGroupRequest) {
	if req.Name != nil {
		info.Name = *req.Name
	}
	if req.Announcement != nil {
		info.Announcement = *req.Announcement
	}
	if req.HistoryHidden != nil {
		info.HistoryHidden = *req.HistoryHidden
	}
	if req.JoinRule != pb.JoinRule_JOIN_RULE_UNSPECIFIED {
		info.JoinRule = req.JoinRule
	}
	conversation.Permit(info.Permissions, req.Permissions)
}

// require returns the group or channel and the caller's place in it. It refuses
// who is not in it, and conversations that are neither.
func require(v entity.Viewer) (*pb.Conversation, *pb.Member, error) {
	me, err := conversation.RequireMember(v)
	if err != nil {
		return nil, nil, err
	}
	info := conversation.Of(v)
	if info.GetType() != pb.Conversation_GROUP && info.GetType() != pb.Conversation_CHANNEL {
		return nil, nil, entity.Errorf(entity.Invalid, "this conversation is neither a group nor a channel")
	}
	return info, me, nil
}
