package entity

import (
	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
)

// A Message is a generated protobuf message with the generated fast paths.
type Message interface {
	proto.Message
	SizeVT() int
	MarshalVT() ([]byte, error)
	MarshalToSizedBufferVT([]byte) (int, error)
	UnmarshalVT([]byte) error
}

// A Feature is a named list of parts. Everything the server can do is a
// Feature.
type Feature struct {
	Name  string
	Parts []Part
}

// A Part is what Command, Query, Before, After, Logs or Verify returns.
type Part struct {
	in      proto.Message // what the part is about: a request or an event
	out     proto.Message // methods only
	command func(*Tx, proto.Message) (proto.Message, error)
	query   func(*View, proto.Message) (proto.Message, error)
	before  func(*Tx, proto.Message) error
	after   func(*Tx, proto.Message) error
	outside bool // a task: nothing of it runs in an entity

	kind  pb.Kind // Logs and Verify only
	log   *LogRules
	check Check
}

// Command makes h the handler of the rpc whose request is Req. It takes its
// turn on the entity and may change its rows.
func Command[Req, Resp proto.Message](h func(*Tx, Req) (Resp, error)) Part {
	var in Req
	var out Resp
	return Part{in: in, out: out, command: func(tx *Tx, m proto.Message) (proto.Message, error) {
		return h(tx, m.(Req))
	}}
}

// Query is like Command for an rpc that changes nothing. Queries read the
// durable view, take no turn and never touch an entity's memory.
func Query[Req, Resp proto.Message](h func(*View, Req) (Resp, error)) Part {
	var in Req
	var out Resp
	return Part{in: in, out: out, query: func(v *View, m proto.Message) (proto.Message, error) {
		return h(v, m.(Req))
	}}
}

// Outside declares the rpc whose request is Req as a task, which is done outside
// of this server: see Tx.Task.
func Outside[Req, Resp proto.Message]() Part {
	var in Req
	var out Resp
	return Part{in: in, out: out, outside: true}
}

// Before runs ahead of a command and may refuse it. Hooks run in the order in
// which features are listed.
func Before[Req proto.Message](h func(*Tx, Req) error) Part {
	var in Req
	return Part{in: in, before: func(tx *Tx, m proto.Message) error { return h(tx, m.(Req)) }}
}

// After runs when an event is emitted, in the same transaction; it may refuse
// the whole of it.
func After[Event proto.Message](h func(*Tx, Event) error) Part {
	var in Event
	return Part{in: in, after: func(tx *Tx, m proto.Message) error { return h(tx, m.(Event)) }}
}

// Logs says how the logs of a kind of entity are read, signed and addressed.
// Each kind needs exactly one.
func Logs(kind pb.Kind, rules LogRules) Part { return Part{kind: kind, log: &rules} }
