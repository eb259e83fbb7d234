package httpapi

import (
	"strings"
	"time"

	"kith/actors/entity"
	"kith/gateway/limit"
)

// A Verifier finds out whom a token speaks for. *auth.Cache is one.
type Verifier interface {
	Verify(token string) (entity.Caller, time.Time, *entity.Error)
}

// What WWW-Authenticate says (RFC 6750 §3): without a token nothing but the
// scheme, and with a bad one that it is bad.
const (
	challengeNone    = `Bearer realm="kith"`
	challengeInvalid = `Bearer realm="kith", error="invalid_token"`
)

const scheme = "Bearer "

// authenticated finds out who calls.
func (d *Door) authenticated(next step) step {
	return func(x *exchange) *problem {
		field := string(x.ctx.Request.Header.Peek("Authorization"))
		if len(field) < len(scheme) || !strings.EqualFold(field[:len(scheme)], scheme) {
			p := refuse(entity.Unauthorized, "there is no token; send it as \"Authorization: Bearer …\"")
			p.challenge = challengeNone
			return p
		}
		caller, _, err := d.tokens.Verify(strings.TrimLeft(field[len(scheme):], " "))
		if err != nil {
			return refusal(err)
		}
		x.caller = caller
		return next(x)
	}
}

// maxKnown bounds the devices that are known to be known. 32,768, about 4 MB; a
// device that was forgotten is introduced again, which changes nothing and costs a
// turn of its user.
const maxKnown = 1 << 15

// device names a device for the table of the known.
type device struct {
	user limit.User
	name string
}

// connectName is the method that makes a user known, and his device. The socket
// calls it when a session connects.
const connectName = "Devices.Connect"

// introduced makes the user of a token that is seen for the first time, at this
// door as at the other. If he is refused, so is his call.
func (d *Door) introduced(next step) step {
	return func(x *exchange) *problem {
		key := device{limit.UserOf(x.caller), x.caller.Device}
		if d.known.Get(key) {
			return next(x)
		}
		c := &entity.Call{Method: d.connect, To: x.caller.Ref(), Caller: x.caller, Req: d.connect.New()}
		if _, p := d.await(c); p != nil {
			return p
		}
		d.known.Put(key, true)
		return next(x)
	}
}
