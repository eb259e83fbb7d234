package groups

import (
	"bytes"
	"iter"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// members pages in the order of user numbers, which is as good as any and does
// not change.
func members(v *entity.View, req *pb.GroupMembersRequest) (*pb.GroupMembersResponse, error) {
	_, me, err := require(v)
	if err != nil {
		return nil, err
	}
	from, limit, err := entity.Paging(v, req.Cursor, req.Limit)
	if err != nil {
		return nil, err
	}
	resp := &pb.GroupMembersResponse{}
	last := uint64(0)
	for key := range listed(v, me, req.Admins, from) {
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

// listed yields the keys of the members whom the caller may list, after one. Of a
// channel, its admins list only the first: who reads it is not for copying.
func listed(v *entity.View, me *pb.Member, admins bool, from entity.Key) iter.Seq[entity.Key] {
	return func(yield func(entity.Key) bool) {
		switch {
		case admins || !conversation.SeesMembers(v, me):
			for key := range conversation.Admins.ScanFrom(v, nil, from) {
				if !yield(key) {
					return
				}
			}
		case conversation.HidesMembers(v):
			shown := 0
			for key := range conversation.Present.Scan(v, nil) {
				shown++
				if shown > v.Policy().SubscribersShown || bytes.Compare(key, from) > 0 && !yield(key) {
					return
				}
			}
		default:
			for key := range conversation.Present.ScanFrom(v, nil, from) {
				if !yield(key) {
					return
				}
			}
		}
	}
}

// setRole is the owner's. Handing the group over makes him an admin.
func setRole(tx *entity.Tx, req *pb.SetRoleRequest) (*pb.SetRoleResponse, error) {
	info, me, err := require(tx)
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
		return nil, entity.Errorf(entity.Invalid, "a %s needs an owner: make somebody else the owner instead", conversation.Noun(info))
	}
	if them.Role < pb.Role_ADMIN {
		if err := requireRoomForAdmin(tx, info); err != nil {
			return nil, err
		}
	}
	appoint(tx, req.UserId, req.Role)
	if req.Role == pb.Role_OWNER {
		appoint(tx, me.UserId, pb.Role_ADMIN)
	}
	if conversation.HidesMembers(tx) { // Who is no admin any more is a subscriber, of whom nobody is to know.
		tx.Emit(&pb.AdminsChanged{})
	}
	return &pb.SetRoleResponse{}, nil
}

func appoint(tx *entity.Tx, user string, role pb.Role) {
	conversation.SetRole(tx, user, role)
	if !conversation.HidesMembers(tx) {
		tx.Emit(&pb.RoleChanged{UserId: user, Role: role})
	}
}

func requireRoomForAdmin(tx *entity.Tx, info *pb.Conversation) error {
	admins, most := 0, tx.Policy().MaxAdmins
	for range conversation.Admins.Scan(tx, nil) {
		admins++
	}
	if admins >= most {
		return entity.Errorf(entity.Exhausted, "a %s has at most %d admins, its owner included", conversation.Noun(info), most)
	}
	return nil
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
	conversation.Exit(tx, farewell(tx, &pb.MemberRemoved{UserId: req.UserId}), req.UserId)
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
	conversation.Exit(tx, farewell(tx, &pb.MemberLeft{UserId: me.UserId}), me.UserId)
	return &pb.LeaveResponse{}, nil
}

// farewell is the last event that somebody hears. That of a channel names nobody.
// It has to be an event: a signal may be lost, and then he would read on; nor
// would it have a seq, at which his reading ends.
func farewell(tx *entity.Tx, said entity.Message) entity.Message {
	if conversation.HidesMembers(tx) {
		return &pb.SubscriberLeft{}
	}
	return said
}

// dissolve ends the group for everybody at the seq of its event. What is left to
// do for each member is done page by page, between other calls.
func dissolve(tx *entity.Tx, _ *pb.DissolveRequest) (*pb.DissolveResponse, error) {
	info, me, err := require(tx)
	if err != nil {
		return nil, err
	}
	if err := conversation.RequireRole(me, pb.Role_OWNER, "dissolve the "+conversation.Noun(info)); err != nil {
		return nil, err
	}
	conversation.Dissolve(tx, &pb.GroupDissolved{})
	tx.Continue(&pb.DissolvePageRequest{})
	return &pb.DissolveResponse{}, nil
}

func dissolvePage(tx *entity.Tx, req *pb.DissolvePageRequest) (*pb.DissolvePageResponse, error) {
	if last, more := conversation.ClosePage(tx, req.After); more {
		tx.Continue(&pb.DissolvePageRequest{After: last})
	}
	return &pb.DissolvePageResponse{}, nil
}

// find returns a present member.
func find(tx *entity.Tx, user string) (*pb.Member, error) {
	if them, ok := conversation.Member(tx, user); ok {
		return them, nil
	}
	return nil, entity.Errorf(entity.NotFound, "there is no such person in this %s", conversation.Noun(conversation.Of(tx)))
}
