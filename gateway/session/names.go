package session

import (
	"strconv"
	"strings"

	"kith/actors/entity"
	"kith/actors/pb"
)

// Channels are named "u:<user id>", the log of the user himself, and
// "c:<number>", the log of a conversation. Each log has one name.
const (
	userPrefix         = "u:"
	conversationPrefix = "c:"
)

// channelName is what a viewer calls a log. user is the id of the user whose
// log it is, and not asked for in a conversation.
func channelName(ref entity.Ref, user string) string {
	if ref.Kind == pb.Kind_USER {
		return userPrefix + user
	}
	var room [len(conversationPrefix) + 20]byte // 2 → 1 allocs; each event needs its name.
	return string(strconv.AppendUint(append(room[:0], conversationPrefix...), ref.ID, 10))
}

// parseChannel returns the log that a viewer calls by name: his own, or a
// conversation's. Whether he may read it is not known here.
func parseChannel(name string, viewer entity.Caller) (entity.Ref, bool) {
	if user, ok := strings.CutPrefix(name, userPrefix); ok {
		return viewer.Ref(), user == viewer.User
	}
	digits, ok := strings.CutPrefix(name, conversationPrefix)
	if !ok || digits == "" || digits[0] < '1' || digits[0] > '9' {
		return entity.Ref{}, false // A leading zero or sign would be a second name.
	}
	id, err := strconv.ParseUint(digits, 10, entity.NumberBits)
	return entity.Conversation(viewer.Tenant, id), err == nil
}
