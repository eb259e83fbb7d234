package conversation

import (
	"kith/actors/entity"
	"kith/actors/pb"
)

// HidesMembers reports whether the members of the conversation do not see each
// other: those of a channel see its admins only.
func HidesMembers(v entity.Viewer) bool { return Of(v).GetType() == pb.Conversation_CHANNEL }

// SeesMembers reports whether a member sees all the others.
func SeesMembers(v entity.Viewer, m *pb.Member) bool {
	return !HidesMembers(v) || m.GetRole() >= pb.Role_ADMIN
}

// Name is the user id of a member's number, present or past; empty: nobody's.
func Name(v entity.Viewer, number uint32) string { return name(v, number) }
