package sim

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

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

	talk    *talk          // the conversation that the next call is about, if there is one
	planned []*entity.Call // what comes next, now and then with something else between
	item    uint64         // the scheduled message that the next call is about; 0: any
}

const (
	// maxSent bounds what a driver may repeat.
	maxSent = 64
	// maxGroups is how many groups and channels a driver makes: few, so that much
	// happens in each.
	maxGroups = 4
)

// next returns a call: a new one, or one that was sent before, or one that was
// sent before with another body; nil if a door would refuse it.
func (d *driver) next() *entity.Call {
	if len(d.planned) > 0 && !d.one(4) {
		c := d.planned[0]
		d.planned = d.planned[1:]
		return c
	}
	if len(d.planned) == 0 && d.one(50) {
		d.gather()
	}
	if len(d.sent) > 0 && d.one(6) {
		return d.again(d.sent[d.w.rng.IntN(len(d.sent))])
	}
	m := d.method()
	d.talk = nil
	if all := d.about(m.Name); len(all) > 0 && !d.one(16) {
		d.talk = all[d.w.rng.IntN(len(all))]
	}
	caller := d.caller(m.Name == "Groups.Join")
	d.regret(m.Name, &caller)
	if m.Name == "Devices.Connect" { // The doors call it when a token was verified.
		return &entity.Call{Method: m, To: caller.Ref(), Caller: caller, Req: &pb.ConnectDeviceRequest{Os: d.pick("linux", "ios")}}
	}
	req := m.New()
	d.fill(req.ProtoReflect(), 0)
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
		d.fill(c.Req.ProtoReflect(), 0)
		m := c.Req.ProtoReflect()
		m.Set(m.Descriptor().Fields().ByName("request_id"), protoreflect.ValueOfString(old.RequestID))
	}
	return &c
}

// method is any, but often one that sends a message, or by which people come and go:
// that decides who hears and reads all the rest.
func (d *driver) method() *entity.Method {
	methods := d.w.reg.Methods()
	if d.one(3) {
		methods = slices.DeleteFunc(methods, func(m *entity.Method) bool { return m.Feature != "groups" })
	}
	m := methods[d.w.rng.IntN(len(methods))]
	switch {
	case d.one(4) || d.enough(m.Name):
		return d.w.reg.ByName("Messages.Send")
	case d.one(16): // What happens later takes several calls that meet.
		return d.w.reg.ByName(d.pick("Timers.Schedule", "Timers.ChangeScheduled", "Timers.CancelScheduled", "Timers.SetAutoDelete"))
	case d.one(8): // What is sent is read, deleted and regretted.
		return d.w.reg.ByName(d.pick("Receipts.MarkRead", "Receipts.MarkDelivered", "Messages.Delete", "Messages.Revoke"))
	}
	return m
}

// enough reports whether of what a method does there is enough: a driver makes few
// groups and channels, and lets most of them be.
func (d *driver) enough(method string) bool {
	switch method {
	case "Groups.Create":
		return len(d.about("Groups.")) >= maxGroups
	case "Channels.Create":
		return len(d.about("Channels.")) >= maxGroups/2
	case "Groups.Dissolve":
		return !d.one(3)
	default:
		return false
	}
}

// about is the conversations that a method can do something with.
func (d *driver) about(method string) []*talk {
	return slices.DeleteFunc(d.talks(), func(t *talk) bool {
		switch service, _, _ := strings.Cut(method, "."); service {
		case "Groups":
			return !t.group
		case "Channels":
			return !t.channel
		default:
			return false
		}
	})
}

// talks are the conversations that durably exist, in a stable order. Of those that
// everybody has left there are few: not much happens there.
func (d *driver) talks() []*talk {
	all := slices.Collect(maps.Values(d.w.check.oracle.conversations))
	slices.SortFunc(all, func(a, b *talk) int {
		return cmp.Or(cmp.Compare(a.ref.Tenant, b.ref.Tenant), cmp.Compare(a.ref.ID, b.ref.ID))
	})
	return slices.DeleteFunc(all, func(t *talk) bool { return len(t.members) == 0 || t.empty() && !d.one(16) })
}

// caller is as a rule somebody in the conversation that the call is about, or, if
// it is to join, an outsider.
func (d *driver) caller(joins bool) entity.Caller {
	t, ok := d.w.core.Tenant(d.pick("east", "west"))
	if !ok {
		panic("sim: a tenant is missing")
	}
	user := d.pick(people...)
	if d.talk != nil {
		if !d.one(20) {
			t = d.talk.ref.Tenant
		}
		in := slices.DeleteFunc(slices.Clone(people), func(user string) bool { return d.talk.present(user) == joins })
		if len(in) > 0 && !d.one(4) {
			user = d.pick(in...)
		}
	}
	return entity.Caller{Tenant: t, User: user, Number: entity.UserNumber(t, user), Device: d.pick(devices...)}
}

// maxDepth bounds messages within messages: a request may be a tree.
const maxDepth = 4

// fill sets the fields of a request by name and by kind, from small pools.
func (d *driver) fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.ContainingOneof() != nil && d.one(3) || fd.HasOptionalKeyword() && d.one(2) {
			continue
		}
		switch {
		case fd.IsList():
			list := m.NewField(fd).List()
			for range d.w.rng.IntN(3) {
				if fd.Message() == nil {
					list.Append(d.scalar(fd))
				} else if item := list.NewElement(); depth < maxDepth {
					d.fill(item.Message(), depth+1)
					list.Append(item)
				}
			}
			m.Set(fd, protoreflect.ValueOfList(list))
		case fd.Message() == nil:
			m.Set(fd, d.scalar(fd))
		case fd.Message() == contents:
			m.Set(fd, protoValue(d.content()))
		case depth < maxDepth && d.one(4):
			d.fill(m.Mutable(fd).Message(), depth+1)
		}
	}
}

var contents = (&pb.Content{}).ProtoReflect().Descriptor()

// scalar is a value of a field that is no message.
func (d *driver) scalar(fd protoreflect.FieldDescriptor) protoreflect.Value {
	small := int32(d.w.rng.IntN(16) - 4)
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(d.text(fd.Name()))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(d.pick("", "\x00", "bytes", "\xff\xfe")))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(d.number(fd.Name()))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		if fd.Name() == "seconds" {
			return protoreflect.ValueOfUint32(spans[d.w.rng.IntN(len(spans))])
		}
		return protoreflect.ValueOfUint32(d.w.rng.Uint32N(12))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		if fd.Name() == "at" && !d.one(8) || d.one(2) { // A time, as a rule: some minutes from now.
			return protoreflect.ValueOfInt64(d.w.now.Add(time.Duration(small) * time.Minute).UnixMilli())
		}
		return protoreflect.ValueOfInt64(int64(small))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(small)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(d.float(small))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(d.float(small)))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(d.one(2))
	case protoreflect.EnumKind:
		if fd.Name() == "join_rule" && !d.one(3) { // A group in which nobody is shows little.
			return protoreflect.ValueOfEnum(pb.JoinRule_OPEN.Number())
		}
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(d.w.rng.IntN(fd.Enum().Values().Len() + 1)))
	default:
		panic("sim: no value for " + string(fd.FullName()))
	}
}

// text is a value of a string field.
func (d *driver) text(field protoreflect.Name) string {
	switch {
	case field == "user_id" || field == "user_ids":
		return d.pick(people...)
	case field == "request_id":
		d.nonce++
		return fmt.Sprintf("r%d", d.nonce)
	case field == "cursor" && !d.one(8):
		return ""
	case field == "username" && !d.one(8):
		return d.pick("garden_ann", "Garden_Ann", "bobby", "dan_the_man")
	default:
		return d.pick("", "a", "town square", "news\nhere", "👍")
	}
}

// number is a value of a field with an id or a seq.
func (d *driver) number(field protoreflect.Name) uint64 {
	switch field {
	case "conversation_id":
		return d.conversation()
	case "via":
		return d.via()
	case "id":
		return cmp.Or(d.item, d.w.rng.Uint64N(4))
	default:
		return d.seq()
	}
}

// float is a small number and a half, or what is none.
func (d *driver) float(small int32) float64 {
	if d.one(8) {
		return math.NaN()
	}
	return float64(small) + 0.5
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
	all := d.talks()
	if len(all) == 0 || d.one(2) {
		return 0
	}
	return all[d.w.rng.IntN(len(all))].ref.ID
}

// spans are for how long messages are kept and a status lasts, in seconds: often for
// good, and else such that some of it is over before the end.
var spans = []uint32{0, 0, 0, 1, 12, 20, 60, 600, 7200}

// content is a message that nobody has sent before, or an empty one.
func (d *driver) content() *pb.Content {
	d.nonce++
	text := fmt.Sprintf("word%d\n", d.nonce)
	switch d.w.rng.IntN(12) {
	case 0:
		return &pb.Content{}
	case 1, 2:
		return &pb.Content{Type: &pb.Content_Custom{Custom: &pb.Custom{Type: "dice", Data: text}}}
	case 3, 4, 5:
		part := &pb.TextEntity{Type: "mention", Length: 1, Value: d.pick(people...)}
		return &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: text, Entities: []*pb.TextEntity{part}}}}
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
