package entity

import (
	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
)

// A Caller is whom a call is made for: what a token proved.
type Caller struct {
	Tenant Tenant
	User   string // the token's subject, the id that people see; empty: the server itself
	Number uint64 // UserNumber(Tenant, User)
	Device string // the token's device claim
}

// Ref names the caller's own entity.
func (c Caller) Ref() Ref { return Ref{c.Tenant, pb.Kind_USER, c.Number} }

// A Call is a request that a door has accepted, addressed to the entity that
// must run it.
type Call struct {
	Method    *Method
	To        Ref
	Caller    Caller
	RequestID string // the client's name for this request; empty: it will not be repeated
	Req       proto.Message
}

// A Result is what a caller learns, once it is durable.
type Result struct {
	Reply proto.Message // of the method's response type; nil with Err
	Err   *Error
}

// A Position says where a log stands for one viewer, in the durable view.
type Position struct {
	Ref   Ref
	Head  uint64 // seq of the last event that the viewer may ever be shown; 0: none
	Floor uint64 // who has heard the log up to a seq below Floor-1 has missed what is no longer there
	Epoch string // a seq means something only together with the epoch it was seen in
	Ended bool   // the viewer has left: no event after Head will be his
	Err   *Error // NotFound: no such log, or the viewer may not know of it
	Fault error  // why, if it is our mistake: for the log
}

// A Page is a part of a log as one viewer may see it: rising, with a Hole where
// he may not.
type Page struct {
	Events  []*Event
	Through uint64 // the page covers the log up to here
	More    bool   // there is more in the durable view
	Err     *Error
	Fault   error // why, if it is our mistake: for the log
}
