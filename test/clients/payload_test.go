package clients

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"kith/actors/pb"
)

// An object is a message of kith.v1 as a person writes it, in requests, replies
// and events, whatever encoding it travels in. Numbers that were received are
// json.Number, exactly as they stood.
type object map[string]any

// number is a number of an object, or 0.
func (o object) number(t testing.TB, name string) uint64 {
	t.Helper()
	text, ok := o[name].(json.Number)
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(text.String(), 10, 64)
	must(t, err)
	return n
}

// at returns what stands at a path of names, or nil.
func (o object) at(path ...string) any {
	var here any = map[string]any(o)
	for _, name := range path {
		below, _ := here.(map[string]any)
		here = below[name]
	}
	return here
}

// list is a list of objects.
func (o object) list(name string) []object {
	items, _ := o[name].([]any)
	all := make([]object, 0, len(items))
	for _, item := range items {
		below, _ := item.(map[string]any)
		all = append(all, below)
	}
	return all
}

// An event is what a publication carries and what history has.
type event struct {
	Type string
	Seq  uint64
	By   string
	At   json.Number
	Body object
}

func (o object) event(t testing.TB) event {
	t.Helper()
	body, ok := o["body"].(map[string]any)
	if !ok {
		t.Errorf("an event has no body: %v", o)
	}
	kind, _ := o["type"].(string)
	by, _ := o["by"].(string)
	at, _ := o["at"].(json.Number)
	return event{kind, o.number(t, "seq"), by, at, body}
}

// text is what a message says.
func (e event) text() string {
	s, _ := e.Body.at("content", "text", "text").(string)
	return s
}

func (e event) String() string { return fmt.Sprintf("%d %s by %q %v", e.Seq, e.Type, e.By, e.Body) }

// text is the content of a text message.
func text(s string) object { return object{"text": object{"text": s}} }

// A coding is how messages travel.
type coding struct {
	name  string
	proto bool
	media string // what HTTP calls it
}

var (
	asJSON  = coding{"json", false, "application/json"}
	asProto = coding{"proto", true, "application/protobuf"}
)

// encode writes a request of a method.
func (c coding) encode(method string, req object) ([]byte, error) {
	b, err := json.Marshal(req)
	if err != nil || !c.proto {
		return b, err
	}
	in, _, err := messagesOf(method)
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(b, in); err != nil {
		return nil, fmt.Errorf("request %s: %w", b, err)
	}
	return proto.Marshal(in)
}

// decode reads a reply of a method.
func (c coding) decode(method string, b []byte) (object, error) {
	if !c.proto {
		return parseObject(b)
	}
	_, out, err := messagesOf(method)
	if err != nil {
		return nil, err
	}
	return unmarshal(b, out)
}

// decodeEvent reads what a publication carries.
func (c coding) decodeEvent(b []byte) (object, error) {
	if !c.proto {
		return parseObject(b)
	}
	return unmarshal(b, &pb.Event{})
}

// parseObject reads JSON, in which the server leaves no newline.
func parseObject(b []byte) (o object, err error) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return nil, fmt.Errorf("there is a newline at byte %d of %q", i, b)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		return nil, fmt.Errorf("%q: %w", b, err)
	}
	return o, nil
}

func unmarshal(b []byte, m proto.Message) (object, error) {
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, err
	}
	return written(m.ProtoReflect())
}

// messagesOf makes an empty request and an empty reply of a method.
func messagesOf(method string) (in, out proto.Message, err error) {
	service, rpc, _ := strings.Cut(method, ".")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName("kith.v1." + service))
	if err != nil {
		return nil, nil, err
	}
	services, ok := d.(protoreflect.ServiceDescriptor)
	if !ok || services.Methods().ByName(protoreflect.Name(rpc)) == nil {
		return nil, nil, fmt.Errorf("there is no method %s", method)
	}
	m := services.Methods().ByName(protoreflect.Name(rpc))
	if in, err = newMessage(m.Input()); err != nil {
		return nil, nil, err
	}
	out, err = newMessage(m.Output())
	return in, out, err
}

func newMessage(d protoreflect.MessageDescriptor) (proto.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil, err
	}
	return t.New().Interface(), nil
}

// written is a message as the server would write it in JSON. It is made without
// the server's code, so that comparing the two proves something.
func written(m protoreflect.Message) (object, error) {
	if e, ok := m.Interface().(*pb.Event); ok {
		return writtenEvent(e)
	}
	o := object{}
	var failed error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !f.IsList() {
			o[string(f.Name())], failed = writtenValue(f, v)
			return failed == nil
		}
		var items []any
		for i := range v.List().Len() {
			item, err := writtenValue(f, v.List().Get(i))
			if err != nil {
				failed = err
				return false
			}
			items = append(items, item)
		}
		o[string(f.Name())] = items
		return true
	})
	return o, failed
}

func writtenValue(f protoreflect.FieldDescriptor, v protoreflect.Value) (any, error) {
	switch f.Kind() {
	case protoreflect.StringKind:
		return v.String(), nil
	case protoreflect.BoolKind:
		return v.Bool(), nil
	case protoreflect.BytesKind:
		return base64.StdEncoding.EncodeToString(v.Bytes()), nil
	case protoreflect.EnumKind:
		return string(f.Enum().Values().ByNumber(v.Enum()).Name()), nil
	case protoreflect.MessageKind:
		o, err := written(v.Message())
		return map[string]any(o), err
	case protoreflect.DoubleKind:
		n := v.Float()
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return nil, fmt.Errorf("%v is not a number that JSON has", n)
		}
		return json.Number(strconv.FormatFloat(n, 'f', -1, 64)), nil
	default:
		return json.Number(v.String()), nil
	}
}

// writtenEvent names the type of an event and opens its body.
func writtenEvent(e *pb.Event) (object, error) {
	t := eventTypes()[e.Type]
	if t == nil {
		return nil, fmt.Errorf("no event has the number %#x", e.Type)
	}
	body := t.New()
	if err := proto.Unmarshal(e.Body, body.Interface()); err != nil {
		return nil, err
	}
	inside, err := written(body)
	if err != nil {
		return nil, err
	}
	o := object{"type": string(t.Descriptor().Name()), "body": map[string]any(inside)}
	if e.Seq != 0 {
		o["seq"] = json.Number(strconv.FormatUint(e.Seq, 10))
	}
	if e.At != 0 {
		o["at"] = json.Number(strconv.FormatInt(e.At, 10))
	}
	if e.By != "" {
		o["by"] = e.By
	}
	return o, nil
}

// eventTypes has the types of bodies by their numbers.
var eventTypes = sync.OnceValue(func() map[uint32]protoreflect.MessageType {
	types := map[uint32]protoreflect.MessageType{}
	protoregistry.GlobalTypes.RangeMessages(func(t protoreflect.MessageType) bool {
		if o := t.Descriptor().Options(); o != nil && proto.HasExtension(o, pb.E_Event) {
			types[proto.GetExtension(o, pb.E_Event).(*pb.EventType).Number] = t
		}
		return true
	})
	return types
})
