package groups

import (
	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// underWay is the rows of each InviteAll that has not ended. By number of the
// inviter and the conversation that is asked: for each there is one tell on its
// way, either the question for the next page or the page.
//
// The group asks for a page when it has let in the one before, rather than being
// sent all of them: so there is never more than one page in an outbox, and when the
// inviter loses his right, what is left is not sent.
var underWay = entity.NewTable[pb.Inviting]()

// maxUnderWay bounds the InviteAlls of a group at a time. Each takes turns of its
// entity, and Get reads the row of each.
const maxUnderWay = 8

func inviteAll(tx *entity.Tx, req *pb.InviteAllRequest) (*pb.InviteAllResponse, error) {
	info, me, err := require(tx)
	if err != nil {
		return nil, err
	}
	if err := mayInvite(info, me); err != nil {
		return nil, err
	}
	self := tx.Self()
	if req.Via == 0 || req.Via >= 1<<entity.NumberBits || req.Via == self.ID {
		return nil, entity.Errorf(entity.Invalid, "via must be another conversation, whose members you may invite")
	}
	if err := requireRoom(tx, 1); err != nil {
		return nil, err
	}
	key := underWayKey(tx, req.Via)
	if underWay.Has(tx, key) {
		return &pb.InviteAllResponse{}, nil // It goes on.
	}
	others := 0
	for range underWay.Scan(tx, nil) {
		others++
	}
	if others >= maxUnderWay {
		return nil, entity.Errorf(entity.Exhausted, "the members of %d conversations are being invited already", maxUnderWay)
	}
	underWay.Put(tx, key, &pb.Inviting{At: tx.Now().UnixMilli()})
	tx.Tell(entity.Conversation(self.Tenant, req.Via), &pb.VouchAllRequest{Group: self.ID})
	return &pb.InviteAllResponse{}, nil
}

func underWayKey(tx *entity.Tx, via uint64) entity.Key {
	return entity.Key{}.U64(tx.Caller().Number).U64(via)
}

// vouchAll runs on the conversation that is asked, for the inviter. Who may not
// invite everybody gets a page that is the last one and has nobody.
func vouchAll(tx *entity.Tx, req *pb.VouchAllRequest) (*pb.VouchAllResponse, error) {
	page := &pb.VouchedAllRequest{Via: tx.Self().ID, Seen: req.Seen}
	if me, err := conversation.RequireMember(tx); err == nil && vouchesForAll(tx, me) {
		fill(tx, page, req.After)
	}
	tx.Tell(entity.Conversation(tx.Self().Tenant, req.Group), page)
	return &pb.VouchAllResponse{}, nil
}

// vouchesForAll reports whether a member may invite everybody: an admin may, and
// who could do it by one Invite. Nobody may who cannot see them all.
func vouchesForAll(tx *entity.Tx, me *pb.Member) bool {
	few := int(conversation.Of(tx).Members) <= tx.Policy().MaxInvites
	return (me.Role >= pb.Role_ADMIN || few) && !conversation.HidesMembers(tx)
}

// fill takes those who come after a user number into a page.
func fill(tx *entity.Tx, page *pb.VouchedAllRequest, after uint64) {
	last := after
	for key := range conversation.Present.ScanFrom(tx, nil, entity.Key{}.U64(after)) {
		if len(page.UserIds) == tx.Policy().MaxInvites {
			page.After = last
			break
		}
		last, _ = key.TakeU64()
		m, _ := conversation.Members.Get(tx, key)
		page.UserIds = append(page.UserIds, m.GetUserId())
	}
	page.Seen += uint32(len(page.UserIds))
	if members := conversation.Of(tx).Members; page.After != 0 && members > page.Seen {
		page.Left = members - page.Seen
	}
}

// vouchedAll runs on the group again, for the inviter: it lets a page of people in
// and asks for the next one. Much may have happened since he asked.
func vouchedAll(tx *entity.Tx, req *pb.VouchedAllRequest) (*pb.VouchedAllResponse, error) {
	resp, key := &pb.VouchedAllResponse{}, underWayKey(tx, req.Via)
	row, ok := underWay.Get(tx, key)
	if !ok {
		return resp, nil
	}
	info, me, err := require(tx)
	if err != nil || mayInvite(info, me) != nil {
		underWay.Delete(tx, key)
		return resp, nil
	}
	users := newcomers(tx, req.UserIds, room(tx, info))
	if len(users) > 0 {
		if err := admit(tx, users...); err != nil {
			return nil, err
		}
	}
	if req.After == 0 || requireRoom(tx, 1) != nil {
		underWay.Delete(tx, key)
		return resp, nil
	}
	underWay.Put(tx, key, &pb.Inviting{At: row.At, Left: req.Left})
	tx.Tell(entity.Conversation(tx.Self().Tenant, req.Via), &pb.VouchAllRequest{Group: tx.Self().ID, After: req.After, Seen: req.Seen})
	return resp, nil
}

// newcomers are those who are not in the group and can come in, as many as there
// is room for.
func newcomers(tx *entity.Tx, users []string, room int) (in []string) {
	for _, user := range users {
		if len(in) >= room {
			break
		}
		if _, there := conversation.Member(tx, user); !there && conversation.Seatable(tx, user) == nil {
			in = append(in, user)
		}
	}
	return in
}

// left is how many people have still to be looked at.
func left(v *entity.View) (people uint32) {
	for _, row := range underWay.Scan(v, nil) {
		people += row.Left
	}
	return people
}
