package entity

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"

	"kith/actors/pb"
)

// NumberBits is the width of the numbers that name users and conversations:
// they fit a JSON number and a bot's 52-bit id.
const NumberBits = 52

// A Tenant is the interned number of an isolated customer. It is part of every
// key, so that two tenants never meet. 0 is the node itself.
type Tenant uint32

// A Ref names one entity.
type Ref struct {
	Tenant Tenant
	Kind   pb.Kind
	ID     uint64
}

// User returns the Ref of the user that a token names subject.
func User(t Tenant, subject string) Ref { return Ref{t, pb.Kind_USER, UserNumber(t, subject)} }

// Conversation returns the Ref of a conversation.
func Conversation(t Tenant, id uint64) Ref { return Ref{t, pb.Kind_CONVERSATION, id} }

// Outside reports whether the Ref is nothing in this server, but where tasks go.
func (r Ref) Outside() bool { return r.Kind == pb.Kind_OUTSIDE }

func (r Ref) String() string {
	return strconv.Itoa(int(r.Tenant)) + "/" + r.Kind.String() + "/" + strconv.FormatUint(r.ID, 10)
}

// Name returns the Ref of a username, whatever its case.
func Name(t Tenant, username string) Ref {
	return Ref{t, pb.Kind_NAME, number("name", t, strings.ToLower(username))}
}

// UserNumber is the number of the user that a token names subject: 52 bits of
// a hash. The user's own row holds the subject, so that a second subject with
// the same number is refused and never taken for the first.
func UserNumber(t Tenant, subject string) uint64 { return number("user", t, subject) }

// DirectNumber is the number of the one direct conversation of two users,
// whoever of them asks.
func DirectNumber(t Tenant, a, b string) uint64 {
	if b < a {
		a, b = b, a
	}
	return number("direct", t, a, b)
}

// CreatedNumber is the number of the entity that a request creates.
func CreatedNumber(t Tenant, user, device, requestID string) uint64 {
	return number("created", t, user, device, requestID)
}

// number hashes its arguments to 1 … 2^52-1.
func number(purpose string, t Tenant, parts ...string) uint64 {
	b := make([]byte, 0, 128)
	b = append(b, purpose...)
	b = binary.BigEndian.AppendUint32(b, uint32(t))
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	return max(1, binary.BigEndian.Uint64(sum[:])>>(64-NumberBits))
}
