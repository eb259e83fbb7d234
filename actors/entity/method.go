package entity

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"kith/actors/pb"
)

// A Method is one rpc and the code that answers it.
type Method struct {
	Feature  string
	Name     string        // "Reactions.React"
	On       pb.Kind       // the kind of entity that runs it
	Internal bool          // only entities may call it, by Tell
	Frees    bool          // it goes on when the disk is nearly full
	Pace     time.Duration // a caller is heard so often by one entity; 0: always

	before  []func(*Tx, proto.Message) error
	command func(*Tx, proto.Message) (proto.Message, error)
	query   func(*View, proto.Message) (proto.Message, error)

	request protoreflect.MessageType
	reply   protoreflect.MessageType
	to      protoreflect.FieldDescriptor // names the entity; nil: the caller
	pair    protoreflect.FieldDescriptor // names the other user of a direct
	creates bool
}

// ReadOnly reports whether the method is a query.
func (m *Method) ReadOnly() bool { return m.query != nil }

// New returns an empty request.
func (m *Method) New() proto.Message { return m.request.New().Interface() }

// NewReply returns an empty reply.
func (m *Method) NewReply() proto.Message { return m.reply.New().Interface() }

// newMethod joins a handler to its rpc.
func newMethod(feature string, rpc protoreflect.MethodDescriptor, p Part) (*Method, error) {
	name := methodName(rpc)
	op, _ := proto.GetExtension(rpc.Options(), pb.E_Op).(*pb.Op)
	idempotency := rpc.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel()
	readOnly := idempotency == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
	in := rpc.Input()
	m := &Method{
		Feature: feature, Name: name, On: op.GetOn(), Internal: op.GetInternal(), Frees: op.GetFrees(),
		Pace:    time.Duration(op.GetPaceMs()) * time.Millisecond,
		command: p.command, query: p.query, creates: op.GetCreates(),
		request: p.in.ProtoReflect().Type(), reply: p.out.ProtoReflect().Type(),
	}
	if op.GetTo() != "" {
		if m.to = in.Fields().ByName(protoreflect.Name(op.GetTo())); m.to == nil {
			return nil, fmt.Errorf("%s: %s has no field %q", name, in.Name(), op.GetTo())
		}
	}
	if op.GetPair() != "" {
		if m.pair = in.Fields().ByName(protoreflect.Name(op.GetPair())); m.pair == nil || m.pair.Kind() != protoreflect.StringKind {
			return nil, fmt.Errorf("%s: %s has no string field %q", name, in.Name(), op.GetPair())
		}
	}
	retryable := in.Fields().ByName("request_id") != nil
	switch {
	case p.outside != (m.On == pb.Kind_OUTSIDE):
		return nil, fmt.Errorf("%s: what is on OUTSIDE is declared by entity.Outside, and nothing else is", name)
	case m.On == pb.Kind_OUTSIDE && !m.Internal:
		return nil, fmt.Errorf("%s: a task is internal", name)
	case m.On == pb.Kind_KIND_UNSPECIFIED:
		return nil, fmt.Errorf("%s: no (op) option", name)
	case rpc.Output() != p.out.ProtoReflect().Descriptor():
		return nil, fmt.Errorf("%s: the handler returns %s, the .proto says %s", name, p.out.ProtoReflect().Descriptor().Name(), rpc.Output().Name())
	case hasMap(in) || hasMap(rpc.Output()):
		return nil, fmt.Errorf("%s: its request or reply has a map, which has no order of bytes", name)
	case p.query != nil && !readOnly:
		return nil, fmt.Errorf("%s is a Query, so its rpc needs option idempotency_level = NO_SIDE_EFFECTS", name)
	case p.command != nil && readOnly:
		return nil, fmt.Errorf("%s is a Command, so its rpc must not have option idempotency_level = NO_SIDE_EFFECTS", name)
	case !readOnly && !m.Internal && !retryable:
		return nil, fmt.Errorf("%s: the request of a command needs a request_id", name)
	case m.On != pb.Kind_USER && m.to == nil && m.pair == nil && !m.creates && !m.Internal:
		return nil, fmt.Errorf("%s: nothing in the request names the entity", name)
	case m.to != nil && m.On == pb.Kind_CONVERSATION && m.to.Kind() != protoreflect.Uint64Kind:
		return nil, fmt.Errorf("%s: %s must be a uint64", name, m.to.Name())
	case m.to != nil && m.On != pb.Kind_CONVERSATION && m.to.Kind() != protoreflect.StringKind:
		return nil, fmt.Errorf("%s: %s must be a string", name, m.to.Name())
	}
	return m, nil
}

// methodName is what clients call an rpc: "Reactions.React".
func methodName(rpc protoreflect.MethodDescriptor) string {
	return string(rpc.Parent().Name()) + "." + string(rpc.Name())
}

// NewCall addresses a client's request to the entity that must run it. It
// refuses what names no entity and what only entities may call.
func (r *Registry) NewCall(m *Method, caller Caller, req proto.Message) (*Call, *Error) {
	if m.Internal {
		return nil, Errorf(Unsupported, "there is no method %s", m.Name)
	}
	c := &Call{Method: m, Caller: caller, Req: req}
	if q, ok := req.(interface{ GetRequestId() string }); ok && !m.ReadOnly() {
		c.RequestID = q.GetRequestId()
		if c.RequestID != "" && !ValidRequestID(c.RequestID) {
			return nil, Errorf(Invalid, "request_id must be at most 64 bytes and have no zero byte")
		}
	}
	to, err := m.target(c)
	c.To = to
	return c, err
}

// target returns the entity that must run c.
func (m *Method) target(c *Call) (Ref, *Error) {
	t := c.Caller.Tenant
	switch {
	case m.creates && c.RequestID == "":
		return Ref{}, Errorf(Invalid, "%s needs a request_id: what it creates is named by it", m.Name)
	case m.creates:
		return Ref{t, m.On, CreatedNumber(t, c.Caller.User, c.Caller.Device, c.RequestID)}, nil
	case m.pair != nil:
		other := c.Req.ProtoReflect().Get(m.pair).String()
		if !ValidUserID(other) {
			return Ref{}, Errorf(Invalid, "%s is not a user id", m.pair.Name())
		}
		return Ref{t, m.On, DirectNumber(t, c.Caller.User, other)}, nil
	case m.to == nil:
		return c.Caller.Ref(), nil
	case m.On == pb.Kind_NAME:
		return Name(t, c.Req.ProtoReflect().Get(m.to).String()), nil
	case m.On == pb.Kind_USER:
		other := c.Req.ProtoReflect().Get(m.to).String()
		if !ValidUserID(other) {
			return Ref{}, Errorf(Invalid, "%s is not a user id", m.to.Name())
		}
		return User(t, other), nil
	default:
		id := c.Req.ProtoReflect().Get(m.to).Uint()
		if id == 0 || id >= 1<<NumberBits {
			return Ref{}, Errorf(Invalid, "%s must be a number from 1 to 2^%d - 1", m.to.Name(), NumberBits)
		}
		return Ref{t, m.On, id}, nil
	}
}
