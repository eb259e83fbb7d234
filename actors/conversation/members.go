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
//
// In a large conversation those who enter are counted, and nothing is said: a
// hundred thousand joins would be its log. Nor is anything said where said is nil.
// Then Enter returns where the log stands, and they read from behind it on.
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
	info.Large = info.Large || int(info.Members) > tx.Policy().LargeAbove
	info.LatestFrom = max(info.LatestFrom, from)
	Info.Put(tx, nil, info)
	seq := tx.Head().Seq
	if said != nil && !info.Large {
		seq = tx.Emit(said)
	}
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

// Seatable refuses who cannot enter, whoever lets him in.
func Seatable(tx *entity.Tx, user string) error {
	switch m, ok := Members.Get(tx, memberKey(tx, user)); {
	case ok && m.UserId != user:
		return entity.Errorf(entity.Conflict, "%s cannot be in this conversation: somebody else has his number", user)
	case len(m.GetReadable()) >= maxIntervals:
		return entity.Errorf(entity.Exhausted, "%s has come and gone here too often", user)
	}
	return nil
}

// seat writes the rows of one new or returning member, who reads from a seq on.
func seat(tx *entity.Tx, info *pb.Conversation, user string, role pb.Role, from uint64) error {
	if err := Seatable(tx, user); err != nil {
		return err
	}
	key := memberKey(tx, user)
	m := Members.Edit(tx, key)
	if m.Number == 0 {
		info.NextNumber = max(1, info.NextNumber)
		m.Number, m.UserId = info.NextNumber, user
		info.NextNumber++
		number, _ := key.TakeU64()
		Numbers.Put(tx, entity.Key{}.U32(m.Number), &pb.MemberNumber{UserId: user, UserNumber: number})
	}
	m.Role, m.JoinedAt, m.Since = role, tx.Now().UnixMilli(), tx.Head().Seq
	m.JoinedOrdinal = tx.Head().Ordinal
	m.Readable = open(m.Readable, from)
	putMember(tx, key, m)
	Present.Put(tx, key, &pb.Present{From: m.Readable[len(m.Readable)-1].From})
	info.Members++
	return nil
}

// putMember writes the row of a member, and that of an admin.
func putMember(tx *entity.Tx, key entity.Key, m *pb.Member) {
	Members.Put(tx, key, m)
	switch staff := m.Role >= pb.Role_ADMIN; {
	case staff == Admins.Has(tx, key):
	case staff:
		Admins.Put(tx, key, &pb.Staff{})
	default:
		Admins.Delete(tx, key)
	}
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
// that he hears and may read, in a large conversation, too. His dialogs are told.
func Exit(tx *entity.Tx, said entity.Message, user string) {
	key := memberKey(tx, user)
	number, _ := key.TakeU64()
	seq := tx.EmitLast(said, number)
	info := Info.Edit(tx, nil)
	unseat(tx, info, key, seq)
	info.Large = info.Large && int(info.Members) >= tx.Policy().SmallBelow
	Info.Put(tx, nil, info)
}

// unseat writes the rows of a present member who hears nothing after a seq.
func unseat(tx *entity.Tx, info *pb.Conversation, key entity.Key, seq uint64) {
	m := Members.Edit(tx, key)
	closeAt(m, seq)
	putMember(tx, key, m)
	Present.Delete(tx, key)
	info.Members--
	tx.Tell(entity.User(tx.Self().Tenant, m.UserId), &pb.DialogLeftRequest{ConversationId: tx.Self().ID, Seq: seq, UserId: m.UserId})
}

// closeAt makes a present member one who has left with the event at seq.
func closeAt(m *pb.Member, seq uint64) {
	m.Role = pb.Role_ROLE_UNSPECIFIED
	m.Readable[len(m.Readable)-1].Through = seq
}

// Dissolve emits said, with which everybody leaves: nobody hears, writes or joins
// any more. The rows of the members follow page by page, by ClosePage.
func Dissolve(tx *entity.Tx, said entity.Message) {
	seq := tx.EmitLast(said, entity.Everybody)
	info := Info.Edit(tx, nil)
	info.DissolvedAt = seq
	Info.Put(tx, nil, info)
}

// ClosePage writes down for the next members of a dissolved conversation that
// they have left, and tells their dialogs. It begins after a user number and
// returns at which it has ended, and whether there are more.
func ClosePage(tx *entity.Tx, after uint64) (last uint64, more bool) {
	info := Info.Edit(tx, nil)
	most := tx.Policy().MaxInvites
	for key := range Present.ScanFrom(tx, nil, entity.Key{}.U64(after)) {
		if more = most == 0; more {
			break
		}
		most--
		unseat(tx, info, key, info.DissolvedAt)
		last, _ = key.TakeU64()
	}
	Info.Put(tx, nil, info)
	return last, more
}

// SetRole gives a present member another role.
func SetRole(tx *entity.Tx, user string, role pb.Role) {
	key := memberKey(tx, user)
	m := Members.Edit(tx, key)
	m.Role = role
	putMember(tx, key, m)
}
