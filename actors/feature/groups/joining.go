package groups

import (
	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// invitations wait for an answer. By number of the invited, of the inviter, and
// the conversation that is asked: each question has one answer.
var invitations = entity.NewTable[pb.Invitation]()

func invite(tx *entity.Tx, req *pb.InviteRequest) (*pb.InviteResponse, error) {
	info, me, err := require(tx)
	if err != nil {
		return nil, err
	}
	if err := mayInvite(info, me); err != nil {
		return nil, err
	}
	if len(req.UserIds) == 0 {
		return nil, entity.Errorf(entity.Invalid, "say whom to invite")
	}
	return &pb.InviteResponse{}, ask(tx, req.UserIds, req.Via)
}

func mayInvite(info *pb.Conversation, me *pb.Member) error {
	return conversation.RequireRole(me, info.Permissions.GetInvite(), "invite people")
}

// ask asks the conversations that the caller says he shares with people whether
// it is so; via 0 stands for his direct with each. Who is a member already is
// left out.
func ask(tx *entity.Tx, users []string, via uint64) error {
	self, me, policy := tx.Self(), tx.Caller(), tx.Policy()
	switch {
	case len(users) > policy.MaxInvites:
		return entity.Errorf(entity.TooLarge, "at most %d people can be invited at a time", policy.MaxInvites)
	case via >= 1<<entity.NumberBits || via == self.ID:
		return entity.Errorf(entity.Invalid, "via must be another conversation that you share with them")
	}
	asked := 0
	for _, user := range users {
		if !entity.ValidUserID(user) {
			return entity.Errorf(entity.Invalid, "user_ids: %s", entity.UserIDRule)
		}
		if _, ok := conversation.Member(tx, user); ok {
			continue
		}
		shared := via
		if shared == 0 {
			shared = entity.DirectNumber(self.Tenant, me.User, user)
		}
		key := invitationKey(entity.UserNumber(self.Tenant, user), me.Number, shared)
		if invitations.Has(tx, key) {
			continue // Asked already; the answer is on its way.
		}
		invitations.Put(tx, key, &pb.Invitation{At: tx.Now().UnixMilli()})
		tx.Tell(entity.Conversation(self.Tenant, shared), &pb.VouchRequest{Group: self.ID, Invited: user})
		asked++
	}
	return requireRoom(tx, asked)
}

func requireRoom(tx *entity.Tx, more int) error {
	if info := conversation.Of(tx); more > room(tx, info) {
		return entity.Errorf(entity.Exhausted, "a %s has at most %d members", conversation.Noun(info), most(tx, info))
	}
	return nil
}

// room is how many more people there may be in a group or a channel.
func room(tx *entity.Tx, info *pb.Conversation) int { return most(tx, info) - int(info.GetMembers()) }

func most(tx *entity.Tx, info *pb.Conversation) int {
	if info.GetType() == pb.Conversation_CHANNEL {
		return tx.Policy().MaxSubscribers
	}
	return tx.Policy().MaxGroupMembers
}

func invitationKey(invited, inviter, via uint64) entity.Key {
	return entity.Key{}.U64(invited).U64(inviter).U64(via)
}

// vouch runs on the conversation that is asked, for the inviter. A channel vouches
// for nobody: its subscribers do not know each other, and who is one would show by
// who can be invited.
func vouch(tx *entity.Tx, req *pb.VouchRequest) (*pb.VouchResponse, error) {
	_, err := conversation.RequireMember(tx)
	_, there := conversation.Member(tx, req.Invited)
	tx.Tell(entity.Conversation(tx.Self().Tenant, req.Group), &pb.VouchedRequest{
		Via: tx.Self().ID, Invited: req.Invited, Known: err == nil && there && !conversation.HidesMembers(tx),
	})
	return &pb.VouchResponse{}, nil
}

// vouched runs on the group again, for the inviter. Much may have happened
// since he asked.
func vouched(tx *entity.Tx, req *pb.VouchedRequest) (*pb.VouchedResponse, error) {
	resp := &pb.VouchedResponse{}
	key := invitationKey(entity.UserNumber(tx.Self().Tenant, req.Invited), tx.Caller().Number, req.Via)
	if !invitations.Has(tx, key) {
		return resp, nil
	}
	invitations.Delete(tx, key)
	info, me, err := require(tx)
	_, there := conversation.Member(tx, req.Invited)
	switch {
	case !req.Known || there || err != nil:
		return resp, nil
	case mayInvite(info, me) != nil || requireRoom(tx, 1) != nil:
		return resp, nil
	}
	return resp, admit(tx, req.Invited)
}

// admit lets people in. Who subscribes to a channel is nobody's business but his
// own: nothing is said there.
func admit(tx *entity.Tx, users ...string) error {
	var said entity.Message
	switch {
	case conversation.HidesMembers(tx):
	case len(users) == 1:
		said = &pb.MemberJoined{UserId: users[0]}
	default:
		said = &pb.MembersJoined{UserIds: users}
	}
	_, err := conversation.Enter(tx, said, pb.Role_MEMBER, users...)
	return err
}

// join lets in who knows the id of an open group or channel. One that nobody is in
// any more, or that was dissolved, has ended.
func join(tx *entity.Tx, _ *pb.JoinRequest) (*pb.JoinResponse, error) {
	user := tx.Caller().User
	if _, ok := conversation.Member(tx, user); ok {
		_, _, err := require(tx)
		return &pb.JoinResponse{}, err // He is in it already.
	}
	if info := conversation.Of(tx); info.GetJoinRule() != pb.JoinRule_OPEN || info.Members == 0 || info.DissolvedAt != 0 {
		return nil, conversation.NotHere()
	}
	if err := requireRoom(tx, 1); err != nil {
		return nil, err
	}
	return &pb.JoinResponse{}, admit(tx, user)
}
