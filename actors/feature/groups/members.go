package groups

import (
	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// members pages in the order of user numbers, which is as good as any and does
// not change.
func members(v *entity.View, req *pb.GroupMembersRequest) (*pb.GroupMembersResponse, error) {
	if _, _, err := require(v); err != nil {
		return nil, err
	}
	from, limit, err := entity.Paging(v, req.Cursor, req.Limit)
	if err != nil {
		return nil, err
	}
	resp := &pb.GroupMembersResponse{}
	last := uint64(0)
	for key := range conversation.Present.ScanFrom(v, nil, from) {
		if len(resp.Members) == limit {
			resp.Cursor = entity.Cursor(last)
			break
		}
		last, _ = key.TakeU64()
		m, _ := conversation.Members.Get(v, key)
		resp.Members = append(resp.Members, &pb.GroupMember{UserId: m.GetUserId(), Role: m.GetRole(), JoinedAt: m.GetJoinedAt()})
	}
	return resp, nil
}

// setRole is the owner's. Handing the group over makes him an admin.
func setRole(tx *entity.Tx, req *pb.SetRoleRequest) (*pb.SetRoleResponse, error) {
	_, me, err := require(tx)
	if err != nil {
		return nil, err
	}
	if err := conversation.RequireRole(me, pb.Role_OWNER, "give people a role"); err != nil {
		return nil, err
	}
	them, err := find(tx, req.UserId)
	switch {
	case err != nil:
		return nil, err
	case req.Role == pb.Role_ROLE_UNSPECIFIED || pb.Role_name[int32(req.Role)] == "":
		return nil, entity.Errorf(entity.Invalid, "a role is MEMBER, ADMIN or OWNER")
	case them.Role == req.Role:
		return &pb.SetRoleResponse{}, nil // Nothing changes, so nobody is told.
	case req.UserId == me.UserId:
		return nil, entity.Errorf(entity.Invalid, "a group needs an owner: make somebody else the owner instead")
	}
	appoint(tx, req.UserId, req.Role)
	if req.Role == pb.Role_OWNER {
		appoint(tx, me.UserId, pb.Role_ADMIN)
	}
	return &pb.SetRoleResponse{}, nil
}

func appoint(tx *entity.Tx, user string, role pb.Role) {
	conversation.SetRole(tx, user, role)
	tx.Emit(&pb.RoleChanged{UserId: user, Role: role})
}

// remove is for those above: the owner removes anybody, admins remove members.
func remove(tx *entity.Tx, req *pb.RemoveRequest) (*pb.RemoveResponse, error) {
	_, me, err := require(tx)
	if err != nil {
		return nil, err
	}
	if err := conversation.RequireRole(me, pb.Role_ADMIN, "remove people"); err != nil {
		return nil, err
	}
	them, err := find(tx, req.UserId)
	switch {
	case err != nil:
		return nil, err
	case req.UserId == me.UserId:
		return nil, entity.Errorf(entity.Invalid, "who wants to go, leaves")
	case them.Role >= me.Role:
		return nil, entity.Errorf(entity.Denied, "only the owner can remove an admin")
	}
	conversation.Exit(tx, &pb.MemberRemoved{UserId: req.UserId}, req.UserId)
	return &pb.RemoveResponse{}, nil
}

// leave lets the owner go only when he is the last: a group with members has an
// owner.
func leave(tx *entity.Tx, _ *pb.LeaveRequest) (*pb.LeaveResponse, error) {
	info, me, err := require(tx)
	if err != nil {
		return nil, err
	}
	if me.Role == pb.Role_OWNER && info.Members > 1 {
		return nil, entity.Errorf(entity.Denied, "make somebody else the owner before you leave")
	}
	conversation.Exit(tx, &pb.MemberLeft{UserId: me.UserId}, me.UserId)
	return &pb.LeaveResponse{}, nil
}

// find returns a present member.
func find(tx *entity.Tx, user string) (*pb.Member, error) {
	if them, ok := conversation.Member(tx, user); ok {
		return them, nil
	}
	return nil, entity.Errorf(entity.NotFound, "there is no such person in this group")
}
