package wire

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"kith/actors/pb"
)

// A plan is what there is to know about a message type to write it as JSON and
// to read it. It is made once per type.
type plan struct {
	name   string
	fields []*field          // in the order of their declaration
	turns  []*field          // fields, but a oneof takes one turn: its first member's
	byName map[string]*field // by proto name and by lowerCamelCase
	event  bool              // pb.Event, whose type and body are written for people
}

// field is a field of a message.
type field struct {
	desc   protoreflect.FieldDescriptor
	number protoreflect.FieldNumber
	name   string
	key    string // `"name":`
	tag    uint64 // before each value in protobuf; lists are written unpacked
	bit    uint64 // of this field among those of its message
	rivals uint64 // bits of the other members of its oneof
	kind   protoreflect.Kind
	list   bool
	text   bool                         // a string, or a list of them
	plan   *plan                        // of a message
	enum   protoreflect.EnumDescriptor  // of an enum
	oneof  protoreflect.OneofDescriptor // nil: it is not a member of one
}

// maxFields bounds the fields of a message, so that those seen fit in a word.
const maxFields = 64

// plans are shared by everybody and never change once stored.
var plans sync.Map // protoreflect.MessageDescriptor → *plan

func planOf(d protoreflect.MessageDescriptor) (*plan, error) {
	if p, ok := plans.Load(d); ok {
		return p.(*plan), nil
	}
	made := planner{}
	p, err := made.plan(d)
	if err != nil {
		return nil, err
	}
	for d, p := range made {
		plans.Store(d, p)
	}
	return p, nil
}

// planner holds the plans in the making, for types may contain each other.
type planner map[protoreflect.MessageDescriptor]*plan

func (made planner) plan(d protoreflect.MessageDescriptor) (*plan, error) {
	if p := made[d]; p != nil {
		return p, nil
	}
	all := d.Fields()
	if all.Len() > maxFields {
		return nil, fmt.Errorf("%s has more than %d fields", d.FullName(), maxFields)
	}
	p := &plan{name: string(d.Name()), byName: make(map[string]*field, 2*all.Len())}
	p.event = d == (*pb.Event)(nil).ProtoReflect().Descriptor()
	made[d] = p
	members := map[protoreflect.OneofDescriptor]uint64{}
	for i := range all.Len() {
		f, err := made.field(all.Get(i))
		if err != nil {
			return nil, err
		}
		f.bit = 1 << i
		p.fields = append(p.fields, f)
		p.byName[f.name], p.byName[f.desc.JSONName()] = f, f
		if f.oneof == nil || members[f.oneof] == 0 {
			p.turns = append(p.turns, f)
		}
		if f.oneof != nil {
			members[f.oneof] |= f.bit
		}
	}
	for _, f := range p.fields {
		f.rivals = members[f.oneof] &^ f.bit
	}
	return p, nil
}

func (made planner) field(d protoreflect.FieldDescriptor) (*field, error) {
	if d.IsMap() || d.Kind() == protoreflect.GroupKind {
		return nil, fmt.Errorf("%s is a map or a group, which payloads do not have", d.FullName())
	}
	f := &field{desc: d, number: d.Number(), name: string(d.Name()), kind: d.Kind(), list: d.IsList(), enum: d.Enum()}
	f.text = f.kind == protoreflect.StringKind
	f.key = `"` + f.name + `":`
	f.tag = protowire.EncodeTag(d.Number(), wireType(d.Kind()))
	if o := d.ContainingOneof(); o != nil && !o.IsSynthetic() {
		f.oneof = o
	}
	var err error
	if d.Message() != nil {
		f.plan, err = made.plan(d.Message())
	}
	return f, err
}

func wireType(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	}
	return protowire.VarintType
}

// member is the field to which f's turn falls: itself, or the member of its
// oneof that is set. nil: none is.
func (p *plan) member(f *field, m protoreflect.Message) *field {
	if f.oneof != nil {
		if set := m.WhichOneof(f.oneof); set != nil {
			return p.fields[set.Index()]
		}
		return nil
	}
	if m.Has(f.desc) {
		return f
	}
	return nil
}

// bodies finds the type of an event's body by its (event) number and by name.
var bodies = sync.OnceValue(func() (b struct {
	byNumber map[uint32]protoreflect.MessageType
	byName   map[string]uint32
}) {
	b.byNumber, b.byName = map[uint32]protoreflect.MessageType{}, map[string]uint32{}
	protoregistry.GlobalTypes.RangeMessages(func(t protoreflect.MessageType) bool {
		if o := t.Descriptor().Options(); o != nil && proto.HasExtension(o, pb.E_Event) {
			n := proto.GetExtension(o, pb.E_Event).(*pb.EventType).Number
			b.byNumber[n], b.byName[string(t.Descriptor().Name())] = t, n
		}
		return true
	})
	return b
})
