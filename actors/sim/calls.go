package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

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

// A driver makes random calls of every method. As a rule they make sense: a
// member of a conversation does something there; now and then they do not.
type driver struct {
	w     *world
	sent  []*entity.Call // commands with a request id, to be repeated
	nonce int

	talk *talk // the conversation that the next call is about, if there is one
}

const (
	// maxSent bounds what a driver may repeat.
	maxSent = 64
	// maxGroups is how many groups a driver makes: few, so that much happens in
	// each.
	maxGroups = 4
)

// next returns a call: a new one, or one that was sent before, or one that was
// sent before with another body; nil if a door would refuse it.
func (d *driver) next() *entity.Call {
	if len(d.sent) > 0 && d.one(6) {
		return d.again(d.sent[d.w.rng.IntN(len(d.sent))])
	}
	methods := d.w.reg.Methods()
	m := methods[d.w.rng.IntN(len(methods))]
	groups := d.talks(true)
	if d.one(4) || m.Name == "Groups.Create" && len(groups) >= maxGroups {
		m = d.w.reg.ByName("Messages.Send")
	}
	d.talk = nil
	if all := d.talks(strings.HasPrefix(m.Name, "Groups.")); len(all) > 0 && !d.one(16) {
		d.talk = all[d.w.rng.IntN(len(all))]
	}
	caller := d.caller()
	if m.Name == "Devices.Connect" { // The doors call it when a token was verified.
		return &entity.Call{Method: m, To: caller.Ref(), Caller: caller, Req: &pb.ConnectDeviceRequest{Os: d.pick("linux", "ios")}}
	}
	req := m.New()
	d.fill(req.ProtoReflect())
	c, err := d.w.reg.NewCall(m, caller, req)
	if err != nil {
		return nil
	}
	if c.RequestID != "" {
		d.sent = append(d.sent, c)
		d.sent = d.sent[max(0, len(d.sent)-maxSent):]
	}
	return c
}

// again repeats a call, or abuses its request id for another.
func (d *driver) again(old *entity.Call) *entity.Call {
	c := *old
	if d.one(5) {
		c.Req = proto.Clone(old.Req)
		d.fill(c.Req.ProtoReflect())
		m := c.Req.ProtoReflect()
		m.Set(m.Descriptor().Fields().ByName("request_id"), protoreflect.ValueOfString(old.RequestID))
	}
	return &c
}

// talks are the conversations that durably exist, or the groups among them, in
// a stable order.
func (d *driver) talks(groups bool) []*talk {
	all := slices.Collect(maps.Values(d.w.check.oracle.conversations))
	all = slices.DeleteFunc(all, func(t *talk) bool { return len(t.members) == 0 || groups && !t.group })
	slices.SortFunc(all, func(a, b *talk) int {
		return cmp.Or(cmp.Compare(a.ref.Tenant, b.ref.Tenant), cmp.Compare(a.ref.ID, b.ref.ID))
	})
	return all
}

// caller is as a rule somebody in the conversation that the call is about.
func (d *driver) caller() entity.Caller {
	t, ok := d.w.core.Tenant(d.pick("east", "west"))
	if !ok {
		panic("sim: a tenant is missing")
	}
	user := d.pick(people...)
	if d.talk != nil {
		if !d.one(20) {
			t = d.talk.ref.Tenant
		}
		in := slices.DeleteFunc(slices.Clone(people), func(user string) bool { return !d.talk.present(user) })
		if len(in) > 0 && !d.one(4) {
			user = d.pick(in...)
		}
	}
	return entity.Caller{Tenant: t, User: user, Number: entity.UserNumber(t, user), Device: d.pick(devices...)}
}

// fill sets the fields of a request by name, from small pools.
func (d *driver) fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.ContainingOneof() != nil && d.one(3) || fd.HasOptionalKeyword() && d.one(2) {
			continue
		}
		switch {
		case fd.Name() == "content":
			m.Set(fd, protoValue(d.content()))
		case fd.IsList():
			list := m.NewField(fd).List()
			for range d.w.rng.IntN(3) {
				list.Append(d.scalar(fd))
			}
			m.Set(fd, protoreflect.ValueOfList(list))
		case fd.Message() != nil:
			if d.one(4) {
				d.fill(m.Mutable(fd).Message())
			}
		default:
			m.Set(fd, d.scalar(fd))
		}
	}
}

func (d *driver) scalar(fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch name := fd.Name(); {
	case name == "conversation_id":
		return protoreflect.ValueOfUint64(d.conversation())
	case name == "via":
		return protoreflect.ValueOfUint64(d.via())
	case name == "user_id" || name == "user_ids":
		return protoreflect.ValueOfString(d.pick(people...))
	case name == "request_id":
		d.nonce++
		return protoreflect.ValueOfString(fmt.Sprintf("r%d", d.nonce))
	case name == "cursor" && !d.one(8):
		return protoreflect.ValueOfString("")
	case fd.Kind() == protoreflect.StringKind:
		return protoreflect.ValueOfString(d.pick("", "a", "town square", "news\nhere", "👍"))
	case fd.Kind() == protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(d.seq())
	case fd.Kind() == protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(d.w.rng.Uint32N(12))
	case fd.Kind() == protoreflect.BoolKind:
		return protoreflect.ValueOfBool(d.one(2))
	case fd.Kind() == protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(d.w.rng.IntN(fd.Enum().Values().Len() + 1)))
	default:
		panic("sim: no value for " + string(fd.FullName()))
	}
}

// seq is as a rule one that the conversation has.
func (d *driver) seq() uint64 {
	most := uint64(2)
	if d.talk != nil {
		most += d.w.check.oracle.logs[d.talk.ref]
	}
	return d.w.rng.Uint64N(most)
}

func (d *driver) conversation() uint64 {
	if d.talk == nil || d.one(24) {
		return d.w.rng.Uint64N(4) // No such conversation.
	}
	return d.talk.ref.ID
}

// via is a conversation that may be shared with somebody, or the default.
func (d *driver) via() uint64 {
	all := d.talks(false)
	if len(all) == 0 || d.one(2) {
		return 0
	}
	return all[d.w.rng.IntN(len(all))].ref.ID
}

// content is a message that nobody has sent before, or an empty one.
func (d *driver) content() *pb.Content {
	d.nonce++
	text := fmt.Sprintf("%d\n", d.nonce)
	switch d.w.rng.IntN(12) {
	case 0:
		return &pb.Content{}
	case 1, 2:
		return &pb.Content{Type: &pb.Content_Custom{Custom: &pb.Custom{Type: "dice", Data: text}}}
	default:
		return &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: text}}}
	}
}

func (d *driver) pick(from ...string) string { return from[d.w.rng.IntN(len(from))] }

// one is true once in n times.
func (d *driver) one(n int) bool { return d.w.rng.IntN(n) == 0 }

func protoValue(m proto.Message) protoreflect.Value {
	return protoreflect.ValueOfMessage(m.ProtoReflect())
}
