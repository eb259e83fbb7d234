// Package conversation is the vocabulary that features share about
// conversations: what one is, who is in it and as what, and which part of its
// log each may read. It has no methods of its own; features do.
package conversation

import (
	"kith/actors/entity"
	"kith/actors/pb"
)

// The rows of a conversation. Only this package writes Members, Numbers, Present
// and Admins, so that they agree.
var (
	Info    = entity.NewTable[pb.Conversation]() // one row
	Members = entity.NewTable[pb.Member]()       // by user number; present and past
	Present = entity.NewTable[pb.Present]()      // by user number; present only
	Admins  = entity.NewTable[pb.Staff]()        // by user number; present admins, and the owner
	Numbers = entity.NewTable[pb.MemberNumber]() // by member number

	Hidden       = entity.NewTable[pb.Hidden]()      // by member number, seq
	HiddenCounts = entity.NewTable[pb.HiddenCount]() // by seq
)

// NotHere refuses who is not in a conversation, in the same words as if it did
// not exist: nobody learns by trying which conversations there are.
func NotHere() error {
	return entity.Errorf(entity.NotFound, "there is no such conversation, or you are not in it")
}

// Of is what the conversation is; nil, whose getters give zero values, if it
// does not exist.
func Of(v entity.Viewer) *pb.Conversation {
	info, _ := Info.Get(v, nil)
	return info
}

// RequireMember returns the caller's member row and refuses callers who are
// not in the conversation.
func RequireMember(v entity.Viewer) (*pb.Member, error) {
	m := person(v, v.Caller())
	if !present(m) {
		return nil, NotHere()
	}
	return m, nil
}

// RequireReader is RequireMember that also lets in who was once a member: he
// still reads what was said in his time.
func RequireReader(v entity.Viewer) (*pb.Member, error) {
	m := person(v, v.Caller())
	if m == nil {
		return nil, NotHere()
	}
	return m, nil
}

// RequireRole refuses members below a role. act completes the sentence "only
// admins can …".
func RequireRole(m *pb.Member, least pb.Role, act string) error {
	switch {
	case m.Role >= least:
		return nil
	case least == pb.Role_OWNER:
		return entity.Errorf(entity.Denied, "only the owner can %s", act)
	default:
		return entity.Errorf(entity.Denied, "only admins can %s", act)
	}
}

// Member returns a present member by his user id, and whether there is one.
func Member(v entity.Viewer, userID string) (*pb.Member, bool) {
	m := person(v, entity.Caller{User: userID, Number: entity.UserNumber(v.Self().Tenant, userID)})
	return m, present(m)
}

// person returns the row of who is or was a member, or nil. Where the
// conversation was dissolved it says that he has left, also before his row does.
func person(v entity.Viewer, c entity.Caller) *pb.Member {
	m, ok := Members.Get(v, entity.Key{}.U64(c.Number))
	if !ok || m.UserId != c.User { // Another subject with the same number is nobody here.
		return nil
	}
	if at := Of(v).GetDissolvedAt(); at != 0 && present(m) {
		m = m.CloneVT()
		closeAt(m, at)
	}
	return m
}

func present(m *pb.Member) bool { return m.GetRole() != pb.Role_ROLE_UNSPECIFIED }

func memberKey(v entity.Viewer, userID string) entity.Key {
	return entity.Key{}.U64(entity.UserNumber(v.Self().Tenant, userID))
}
