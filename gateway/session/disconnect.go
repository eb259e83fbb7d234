package session

import (
	"errors"

	"kith/gateway/wire"
)

// A Disconnect is a way in which the server ends a session. SDKs connect again
// after it unless it is terminal, which the code alone tells them: 3500 to 3999
// and 4500 to 4999 are. 1009 is never sent: SDKs give up on it.
type Disconnect struct {
	Name     string // in metrics
	Code     uint16
	Reason   string // what people read, unless there is more to say
	Terminal bool
}

// Every way in which a session ends by the server's will. The codes from 3000 on
// are Centrifuge's, from 4000 on ours, those below are RFC 6455's.
var (
	Shutdown    = &Disconnect{"shutdown", 3001, "the server is going down; connect again", false}
	ServerError = &Disconnect{"server_error", 3004, "something went wrong on our side; connect again", false}
	Expired     = &Disconnect{"expired", 3005, "the token has expired; connect with a new one", false}
	Slow        = &Disconnect{"slow", 3008, "the connection does not take what it is sent; connect again", false}
	NoPong      = &Disconnect{"no_pong", 3012, "no answer to a ping", false}

	InvalidToken    = &Disconnect{"invalid_token", 3500, "the token is not valid", true}
	BadRequest      = &Disconnect{"bad_request", 3501, "the client breaks the protocol", true}
	Stale           = &Disconnect{"stale", 3502, "nobody connected in time", true}
	TooManySessions = &Disconnect{"too_many_sessions", 3504, "newer sessions of the same user took the place of this one", true}
	NotOffered      = &Disconnect{"not_offered", 3508, "this server takes no messages outside of rpc", true}
	TooManyRequests = &Disconnect{"too_many_requests", 3509, "the client goes on sending although it is refused", true}

	// A message that is too large ends a session that is connected, or about to be,
	// with a code after which SDKs come back: what was sent is lost, the user's
	// session need not be. Where connecting itself is too large there is nothing to
	// come back for, and BadRequest says so.
	TooLarge = &Disconnect{"too_large", 4009, "a message was larger than 64 KiB", false}
	// Crowded is for a first message that is not small while strangers hold as much
	// memory as they may. It would be taken at another time.
	Crowded = &Disconnect{"crowded", 4010, "too many connections are signing in; connect again", false}
	// Pinging is no work for the user, and may be a fault of his network's: he comes
	// back.
	Pinging = &Disconnect{"pinging", 4011, "there were too many pings", false}

	BadFrame = &Disconnect{"bad_frame", wire.CloseProtocol, "a frame breaks RFC 6455", false}
	BadKind  = &Disconnect{"bad_kind", wire.CloseUnsupported, "text where binary is spoken, or the other way round", false}
	NotUTF8  = &Disconnect{"not_utf8", wire.CloseInvalidUTF8, "text is not UTF-8", false}
)

// gone stands in metrics for a connection that the client or the network ended.
var gone = &Disconnect{Name: "gone"}

// disconnects is the table of them.
var disconnects = []*Disconnect{
	Shutdown, ServerError, Expired, Slow, NoPong,
	InvalidToken, BadRequest, Stale, TooManySessions, NotOffered, TooManyRequests,
	TooLarge, Crowded, Pinging, BadFrame, BadKind, NotUTF8,
}

// disconnectFor chooses how a session ends whose bytes broke a rule of package
// wire. signedIn says whether there is, or may soon be, a session to come back to.
func disconnectFor(err error, signedIn bool) *Disconnect {
	var broken *wire.Error
	switch {
	case IsTooLarge(err) && signedIn:
		return TooLarge
	case !errors.As(err, &broken) || broken.TooLarge:
		return BadRequest
	}
	for _, d := range disconnects {
		if d.Code == broken.Code {
			return d
		}
	}
	return BadFrame
}

// IsTooLarge reports whether err is package wire's refusal of what is too large.
func IsTooLarge(err error) bool {
	var broken *wire.Error
	return errors.As(err, &broken) && broken.TooLarge
}

// Codes and reasons of an `unsubscribe` push. Where a client had subscribed itself,
// SDKs subscribe again after those from 2500 on, at once and whatever happens: so
// only what a new subscription heals has such a code. For channels that the server
// subscribed them to, they look at none; people with a debugger do.
const (
	unsubscribedLeft    = 2000 // he is not in the conversation any more
	unsubscribedIdle    = 2001 // its place was needed for another one
	unsubscribedBroken  = 2002 // it cannot be read
	unsubscribedExpired = 2500 // what comes next in it is gone; a new subscription begins at the head
	unsubscribedMoved   = 2501 // the client's own subscription takes its place, and is under way
)

var unsubscribedReason = map[uint32]string{
	unsubscribedLeft:    "you are not in the conversation any more",
	unsubscribedIdle:    "a busier conversation needed the place",
	unsubscribedBroken:  "the conversation cannot be read",
	unsubscribedExpired: "what you have missed is no longer there; subscribe again, and read history",
	unsubscribedMoved:   "your own subscription takes the place of this one",
}
