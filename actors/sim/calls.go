package sim

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"kith/actors/entity"
	"kith/actors/pb"
)

// people and devices are few, so that calls collide.
var (
	people  = []string{"ann", "bob", "cat", "dan"}
	devices = []string{"phone", "laptop"}
)

// A driver makes random calls of every method.
type driver struct {
	w      *world
	sent   []*entity.Call // commands with a request id, to be repeated
	groups []entity.Ref   // conversations that were asked for
	nonce  int
}

const (
	// maxSent bounds what a driver may repeat.
	maxSent = 64
	// maxGroups is how many conversations a driver makes: few, so that much
	// happens in each.
	maxGroups = 6
)

// next returns a call: a new one, or one that was sent before, or one that was
// sent before with another body.
func (d *driver) next() *entity.Call {
	rng := d.w.rng
	if len(d.sent) > 0 && rng.IntN(6) == 0 {
		old := d.sent[rng.IntN(len(d.sent))]
		again := *old
		if rng.IntN(5) == 0 {
			again.Req = proto.Clone(old.Req)
			d.fill(again.Req.ProtoReflect(), again.Caller)
			setRequestID(again.Req, old.RequestID)
		}
		return &again
	}
	methods := d.w.reg.Methods()
	m := methods[rng.IntN(len(methods))]
	if rng.IntN(3) == 0 || m.Name == "Groups.Create" && len(d.groups) >= maxGroups {
		m = d.w.reg.ByName("Messages.Send")
	}
	caller := d.caller()
	if m.Name == "Devices.Connect" { // The doors call it when a token was verified.
		return &entity.Call{Method: m, To: caller.Ref(), Caller: caller, Req: &pb.ConnectDeviceRequest{Os: d.pick("linux", "ios")}}
	}
	req := m.New()
	d.fill(req.ProtoReflect(), caller)
	c, err := d.w.reg.NewCall(m, caller, req)
	if err != nil {
		return nil // Refused at the door.
	}
	d.remember(c)
	return c
}

func (d *driver) remember(c *entity.Call) {
	if c.To.Kind == pb.Kind_CONVERSATION {
		known := false
		for _, ref := range d.groups {
			known = known || ref == c.To
		}
		if !known && (len(d.groups) < maxGroups || c.Method.Name == "Directs.Open") {
			d.groups = append(d.groups, c.To)
		}
	}
	if c.RequestID == "" {
		return
	}
	if len(d.sent) == maxSent {
		d.sent = d.sent[1:]
	}
	d.sent = append(d.sent, c)
}

func (d *driver) caller() entity.Caller {
	t, ok := d.w.core.Tenant(d.pick("east", "west"))
	if !ok {
		panic("sim: a tenant is missing")
	}
	user := d.pick(people...)
	return entity.Caller{Tenant: t, User: user, Number: entity.UserNumber(t, user), Device: d.pick(devices...)}
}

// fill sets the fields of a request by name, from small pools.
func (d *driver) fill(m protoreflect.Message, caller entity.Caller) {
	rng := d.w.rng
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.ContainingOneof() != nil && rng.IntN(3) == 0 || fd.HasOptionalKeyword() && rng.IntN(2) == 0 {
			continue
		}
		switch {
		case fd.Name() == "content":
			m.Set(fd, protoValue(d.content()))
		case fd.IsList():
			list := m.NewField(fd).List()
			for range rng.IntN(3) {
				list.Append(d.scalar(fd, caller))
			}
			m.Set(fd, protoreflect.ValueOfList(list))
		case fd.Message() != nil:
			if rng.IntN(4) == 0 {
				d.fill(m.Mutable(fd).Message(), caller)
			}
		default:
			m.Set(fd, d.scalar(fd, caller))
		}
	}
}

func (d *driver) scalar(fd protoreflect.FieldDescriptor, caller entity.Caller) protoreflect.Value {
	rng := d.w.rng
	switch name := fd.Name(); {
	case name == "conversation_id" || name == "via":
		return protoreflect.ValueOfUint64(d.conversation(caller))
	case name == "user_id" || name == "user_ids":
		return protoreflect.ValueOfString(d.pick(people...))
	case name == "request_id":
		d.nonce++
		return protoreflect.ValueOfString(fmt.Sprintf("r%d", d.nonce))
	case fd.Kind() == protoreflect.StringKind:
		return protoreflect.ValueOfString(d.pick("", "a", "news\nhere", "👍"))
	case fd.Kind() == protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(d.seq())
	case fd.Kind() == protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rng.Uint32N(12))
	case fd.Kind() == protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rng.IntN(2) == 0)
	case fd.Kind() == protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rng.IntN(fd.Enum().Values().Len() + 1)))
	default:
		panic("sim: no value for " + string(fd.FullName()))
	}
}

// seq is as a rule one that some conversation has.
func (d *driver) seq() uint64 {
	most := uint64(2)
	if len(d.groups) > 0 {
		most += d.w.check.oracle.logs[d.groups[d.w.rng.IntN(len(d.groups))]]
	}
	return d.w.rng.Uint64N(most)
}

// conversation is one of the caller's tenant that somebody asked for, or none
// that exists.
func (d *driver) conversation(caller entity.Caller) uint64 {
	var own []uint64
	for _, ref := range d.groups {
		if ref.Tenant == caller.Tenant || d.w.rng.IntN(16) == 0 {
			own = append(own, ref.ID)
		}
	}
	if len(own) == 0 || d.w.rng.IntN(12) == 0 {
		return d.w.rng.Uint64N(4)
	}
	return own[d.w.rng.IntN(len(own))]
}

// content is a message that nobody has sent before.
func (d *driver) content() *pb.Content {
	d.nonce++
	text := fmt.Sprintf("%d\n", d.nonce)
	switch d.w.rng.IntN(5) {
	case 0:
		return &pb.Content{Type: &pb.Content_Custom{Custom: &pb.Custom{Type: "dice", Data: text}}}
	case 1:
		return &pb.Content{}
	default:
		return &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: text}}}
	}
}

func (d *driver) pick(from ...string) string { return from[d.w.rng.IntN(len(from))] }

func setRequestID(req proto.Message, id string) {
	m := req.ProtoReflect()
	m.Set(m.Descriptor().Fields().ByName("request_id"), protoreflect.ValueOfString(id))
}

func protoValue(m proto.Message) protoreflect.Value {
	return protoreflect.ValueOfMessage(m.ProtoReflect())
}
