package conversation

import (
	"kith/actors/entity"
	"kith/actors/pb"
)

// Enter makes people present members with a role, and then emits said: it is
// the first event that they hear. Who entered reads from there on, or from the
// beginning where the conversation shows its history; who returns keeps his
// number and what he could read before. Their dialogs are told. It returns the
// seq of said.
func Enter(tx *entity.Tx, said entity.Message, role pb.Role, users ...string) (uint64, error) {
	info := Info.Edit(tx, nil)
	from := uint64(1)
	if info.HistoryHidden {
		from = tx.Head().Seq + 1 // The seq of said.
	}
	for _, user := range users {
		if err := seat(tx, info, user, role, from); err != nil {
			return 0, err
		}
	}
	Info.Put(tx, nil, info)
	seq := tx.Emit(said)
	for i, user := range users {
		joined := &pb.DialogJoinedRequest{ConversationId: tx.Self().ID, Seq: seq, UserId: user}
		if info.Type == pb.Conversation_DIRECT {
			joined.Peer = users[1-i]
		}
		tx.Tell(entity.User(tx.Self().Tenant, user), joined)
	}
	return seq, nil
}

// maxIntervals is how often somebody can come back to a conversation that hides
// what was said while he was away: his row has an interval for each time.
const maxIntervals = 256

// seat writes the rows of one new or returning member, who reads from a seq on.
func seat(tx *entity.Tx, info *pb.Conversation, user string, role pb.Role, from uint64) error {
	key := memberKey(tx, user)
	m := Members.Edit(tx, key)
	switch {
	case m.Number == 0:
		info.NextNumber = max(1, info.NextNumber)
		m.Number, m.UserId = info.NextNumber, user
		info.NextNumber++
		number, _ := key.TakeU64()
		Numbers.Put(tx, entity.Key{}.U32(m.Number), &pb.MemberNumber{UserId: user, UserNumber: number})
	case m.UserId != user:
		return entity.Errorf(entity.Conflict, "%s cannot be in this conversation: somebody else has his number", user)
	}
	if len(m.Readable) >= maxIntervals {
		return entity.Errorf(entity.Exhausted, "%s has come and gone here too often", user)
	}
	m.Role, m.JoinedAt = role, tx.Now().UnixMilli()
	m.Readable = open(m.Readable, from)
	Members.Put(tx, key, m)
	Present.Put(tx, key, &pb.Present{From: m.Readable[len(m.Readable)-1].From})
	info.Members++
	return nil
}

// open adds [from, …) to what a member may read. Intervals stay rising and
// apart from each other.
func open(readable []*pb.Interval, from uint64) []*pb.Interval {
	for len(readable) > 0 {
		last := readable[len(readable)-1]
		if last.Through+1 < from {
			break
		}
		from = min(from, last.From)
		readable = readable[:len(readable)-1]
	}
	return append(readable, &pb.Interval{From: from})
}

// Exit emits said and then takes a present member out: it is the last event
// that he hears and may read. His dialogs are told.
func Exit(tx *entity.Tx, said entity.Message, user string) {
	seq := tx.Emit(said)
	key := memberKey(tx, user)
	m := Members.Edit(tx, key)
	m.Role = pb.Role_ROLE_UNSPECIFIED
	m.Readable[len(m.Readable)-1].Through = seq
	Members.Put(tx, key, m)
	Present.Delete(tx, key)
	info := Info.Edit(tx, nil)
	info.Members--
	Info.Put(tx, nil, info)
	tx.Tell(entity.User(tx.Self().Tenant, user), &pb.DialogLeftRequest{ConversationId: tx.Self().ID, Seq: seq, UserId: user})
}

// SetRole gives a present member another role.
func SetRole(tx *entity.Tx, user string, role pb.Role) {
	key := memberKey(tx, user)
	m := Members.Edit(tx, key)
	m.Role = role
	Members.Put(tx, key, m)
}
