package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"kith/actors/entity"
	"kith/actors/pb"
)

// Format prints everything that an Outcome says to anybody, on stable lines.
func Format(out entity.Outcome) string {
	var p printer
	p.outcome(out)
	return p.String()
}

// A printer prints what entities say. Its zero value prints numbers as they
// are; a script gives them names.
type printer struct {
	strings.Builder
	indent        string
	conversations map[uint64]string // names of their numbers
	users         map[uint64]string
	tokens        map[string]string // names of what a client gives back as it is
	start         time.Time         // what times are relative to; zero: they are printed as they are
}

// maxPrinted is how much of a string is worth reading.
const maxPrinted = 60

func (p *printer) line(format string, args ...any) {
	p.WriteString(strings.TrimRight(p.indent+fmt.Sprintf(format, args...), " ") + "\n")
}

func (p *printer) outcome(out entity.Outcome) {
	switch {
	case out.Panic != "":
		p.line("panic %s", out.Panic)
	case out.Heard:
		p.line("heard before")
	case out.Err != nil:
		p.line("refused %s: %s", out.Err.Code, out.Err.Msg)
	default:
		p.reply(out)
	}
	for _, e := range out.Events {
		p.line("event %s/%d %s%s%s%s", p.ref(e.Ref), e.Seq, e.Type.Name, p.by(e.By), p.fields(e.Body), p.hearers(e))
	}
	for _, e := range out.Signals {
		p.line("signal %s %s%s%s%s", p.ref(e.Ref), e.Type.Name, p.by(e.By), p.fields(e.Body), p.hearers(e))
	}
	for _, t := range out.Tells {
		p.tell(t)
	}
}

// told prints what came of a command that nobody waits for, below it.
func (p *printer) told(out entity.Outcome) {
	if out.Reply != nil && proto.Size(out.Reply) == 0 {
		out.Reply = nil
	}
	out.Tells = nil // Printed as they are delivered.
	p.indent = "  "
	p.outcome(out)
	p.indent = ""
}

func (p *printer) tell(t *entity.Tell) {
	if t.Call.To.Outside() {
		p.line("task %s%s", t.Call.Method.Name, p.fields(t.Call.Req))
		return
	}
	p.line("tell %s %s%s", p.ref(t.Call.To), t.Call.Method.Name, p.fields(t.Call.Req))
}

// reply prints a reply, and the items of its lists on lines of their own.
func (p *printer) reply(out entity.Outcome) {
	if out.Reply == nil {
		return
	}
	first := "ok"
	if out.Repeat {
		first = "ok again"
	}
	var items []string
	r := out.Reply.ProtoReflect()
	for i := range r.Descriptor().Fields().Len() {
		fd := r.Descriptor().Fields().Get(i)
		switch {
		case !r.Has(fd):
		case fd.IsList() && fd.Message() != nil:
			for j := range r.Get(fd).List().Len() {
				items = append(items, p.item(fd, r.Get(fd).List().Get(j).Message().Interface()))
			}
		default:
			first += p.value(fd, r.Get(fd))
		}
	}
	p.line("%s", first)
	for _, item := range items {
		p.line("  %s", item)
	}
}

// item prints one item of a list in a reply; an event as what it is.
func (p *printer) item(fd protoreflect.FieldDescriptor, m proto.Message) string {
	e, ok := m.(*pb.Event)
	if !ok {
		return string(fd.Name()) + p.fields(m)
	}
	name, body := openEvent(e)
	return strconv.FormatUint(e.Seq, 10) + " " + name + p.by(e.By) + p.at("at", e.At) + p.fields(body)
}

// openEvent decodes an event in a reply.
func openEvent(e *pb.Event) (name string, body proto.Message) {
	mt := eventTypes()[e.Type]
	if mt == nil {
		return fmt.Sprintf("event type %d", e.Type), nil
	}
	name, body = string(mt.Descriptor().Name()), mt.New().Interface()
	if err := proto.Unmarshal(e.Body, body); err != nil {
		return "damaged " + name, nil
	}
	return name, body
}

// eventTypes is every message with an (event) option, by its number.
var eventTypes = sync.OnceValue(func() map[uint32]protoreflect.MessageType {
	all := map[uint32]protoreflect.MessageType{}
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		if opt, ok := proto.GetExtension(mt.Descriptor().Options(), pb.E_Event).(*pb.EventType); ok && opt != nil {
			all[opt.Number] = mt
		}
		return true
	})
	return all
})

func (p *printer) by(user string) string {
	if user == "" {
		return ""
	}
	return " by:" + user
}

// hearers prints who hears an event, and who of them hears no more after it.
func (p *printer) hearers(e *entity.Event) string {
	if e.Audience == nil {
		return ""
	}
	names := make([]string, 0, len(e.Audience.Users))
	for _, u := range e.Audience.Users {
		names = append(names, p.user(u))
	}
	slices.Sort(names)
	if e.Audience.Watchers {
		names = append(names, "whoever watches")
	}
	last := ""
	switch e.Leaving {
	case 0:
	case entity.Everybody:
		last = ", the last for all"
	default:
		last = ", the last for " + p.user(e.Leaving)
	}
	return " → " + strings.Join(names, " ") + last
}

func (p *printer) ref(r entity.Ref) string {
	if r.Kind == pb.Kind_USER {
		return p.user(r.ID)
	}
	return p.conversation(r.ID)
}

func (p *printer) user(n uint64) string {
	if name, ok := p.users[n]; ok {
		return name
	}
	return strconv.FormatUint(n, 10)
}

func (p *printer) conversation(n uint64) string {
	if name, ok := p.conversations[n]; ok {
		return name
	}
	return strconv.FormatUint(n, 10)
}

// fields prints a message as " name:value name:value", in the order of the
// .proto.
func (p *printer) fields(m proto.Message) string {
	if m == nil {
		return ""
	}
	var b strings.Builder
	r := m.ProtoReflect()
	for i := range r.Descriptor().Fields().Len() {
		if fd := r.Descriptor().Fields().Get(i); r.Has(fd) {
			b.WriteString(p.value(fd, r.Get(fd)))
		}
	}
	if n := len(r.GetUnknown()); n > 0 {
		fmt.Fprintf(&b, " (%d bytes unknown)", n)
	}
	return b.String()
}

// value prints a field, or each value of a repeated one.
func (p *printer) value(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if !fd.IsList() {
		return p.single(fd, v)
	}
	var b strings.Builder
	for i := range v.List().Len() {
		b.WriteString(p.single(fd, v.List().Get(i)))
	}
	return b.String()
}

func (p *printer) single(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	name := string(fd.Name())
	switch fd.Kind() {
	case protoreflect.MessageKind:
		if _, ok := v.Message().Interface().(*pb.Event); ok {
			return " " + name + ":{" + p.item(fd, v.Message().Interface()) + "}"
		}
		return " " + name + ":{" + strings.TrimSpace(p.fields(v.Message().Interface())) + "}"
	case protoreflect.StringKind:
		if token, ok := p.tokens[v.String()]; ok {
			return " " + name + ":" + token
		}
		return " " + name + ":" + quote(v.String())
	case protoreflect.BytesKind:
		return " " + name + ":" + quote(string(v.Bytes()))
	case protoreflect.EnumKind:
		if value := fd.Enum().Values().ByNumber(v.Enum()); value != nil {
			return " " + name + ":" + string(value.Name())
		}
	case protoreflect.Int64Kind:
		return p.at(name, v.Int())
	case protoreflect.Uint64Kind:
		return " " + name + ":" + p.conversation(v.Uint())
	}
	return fmt.Sprintf(" %s:%v", name, v)
}

// at prints a time: every int64 of the contract is one, in milliseconds.
func (p *printer) at(name string, ms int64) string {
	switch {
	case ms == 0:
		return ""
	case p.start.IsZero():
		return fmt.Sprintf(" %s:%d", name, ms)
	}
	return fmt.Sprintf(" %s:%v", name, time.UnixMilli(ms).Sub(p.start))
}

// quote shortens what is too long to read.
func quote(s string) string {
	if len(s) <= maxPrinted {
		return strconv.Quote(s)
	}
	return fmt.Sprintf("%q…(%d bytes)", strings.ToValidUTF8(s[:maxPrinted/2], ""), len(s))
}
