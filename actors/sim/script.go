// Package sim runs the server without a network, a clock or threads: scripts
// show what features do, and a crash simulation drives the real host on the
// real storage through power cuts. A seed decides everything that chance would.
package sim

import (
	"bytes"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"kith/actors/entity"
	"kith/actors/pb"
)

// RunScripts runs every file that matches glob as a dialogue with a fresh
// server, and compares what the server says with what the file says. Run with
// -rewrite to accept what it says now.
//
//	alice/phone Messages.Send req=1
//	conversation_id: $team content{text{text:"hello"}}
//	----
//	ok seq:3 at:4s
//	event $team/3 MessageSent by:alice content:{text:{text:"hello"}} → alice bob
//
// The first line is the caller, his device (phone, if it is not said) and the
// method; below it is the request as prototext, in which <N*text> stands for N
// times the text and $name for a number. Arguments:
//
//	req=ID        the request id
//	as=NAME       $NAME stands for the conversation_id or the token of the reply
//	              from now on
//	hold          the tells of this call wait for the next call without hold
//	unknown=FIELD the message in a field has a field that this server does not know
//
// The answer is the reply, then what it says to others: events with who hears
// them, tells, and tasks for the outside. A tell is delivered at once; what comes
// of it is below it.
//
// Every call takes a second. Other lines are for the world around:
//
//	advance 48h               time passes, and timers fire
//	policy baba max_invites=2 the tenant's profile, and keys that differ
//	tenant 2                  whose callers follow
//	replay bob $team after=3  what bob's device gets when it has missed events
//
// Each call is run on an entity that remembers its rows and on one that has to
// read them; they must agree.
func RunScripts(t *testing.T, glob string, features ...entity.Feature) {
	reg, err := entity.New(features...)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts match %s", glob)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			s := NewServer(reg)
			t.Cleanup(func() {
				if t.Failed() {
					t.Log("if what the server says now is right, accept it: go test ./actors/feature -run TestScripts -rewrite")
				}
			})
			datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
				answer, err := s.do(d)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				return answer
			})
		})
	}
}

// A Server runs scripts on a Model: one call after the other, everything
// durable at once.
type Server struct {
	reg      *entity.Registry
	rows     *Model
	stamp    uint64
	memories map[entity.Ref]*entity.Memory
	tells    []*entity.Tell // not delivered yet

	now    time.Time
	policy *entity.Policy
	tenant entity.Tenant
	names  map[string]string // what $name stands for
	known  map[entity.Tenant][]string
	print  printer
}

// start is when scripts begin. Answers give times relative to it.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// perCall is how long a call takes.
const perCall = time.Second

// Policy is what every tenant of the server has from now on.
func (s *Server) Policy(p entity.Policy) { s.policy = &p }

// NewServer returns a Server without any rows. It has the profile dev and the
// tenant 1.
func NewServer(reg *entity.Registry) *Server {
	policy, ok := entity.Profile("dev")
	if !ok {
		panic("sim: there is no profile dev")
	}
	return &Server{
		reg: reg, rows: NewModel(), memories: map[entity.Ref]*entity.Memory{},
		now: start, policy: &policy, tenant: 1, names: map[string]string{}, known: map[entity.Tenant][]string{},
		print: printer{conversations: map[uint64]string{}, tokens: map[string]string{}, users: map[uint64]string{}, start: start},
	}
}

// Rows is what the server has stored.
func (s *Server) Rows() *Model { return s.rows }

// do runs one directive of a script.
func (s *Server) do(d *datadriven.TestData) (answer string, err error) {
	defer s.print.Reset()
	switch {
	case len(d.CmdArgs) == 0:
		return "", fmt.Errorf("%s what?", d.Cmd)
	case d.Cmd == "advance":
		var by time.Duration
		if by, err = time.ParseDuration(d.CmdArgs[0].Key); err == nil {
			err = s.Advance(by)
		}
	case d.Cmd == "policy":
		return "", s.setPolicy(d.CmdArgs[0].Key, d.CmdArgs[1:])
	case d.Cmd == "tenant":
		n, err := strconv.ParseUint(d.CmdArgs[0].Key, 10, 32)
		s.tenant = entity.Tenant(n)
		return "", err
	case d.Cmd == "replay":
		err = s.replay(d)
	default:
		err = s.call(d)
	}
	return s.print.String(), err
}

// Advance lets time pass, and timers fire.
func (s *Server) Advance(by time.Duration) error {
	s.now = s.now.Add(by)
	return s.fire()
}

// fire gives entities the commands of their timers that are due, in the order of
// their times. What the kernel sweeps is nobody's business.
func (s *Server) fire() error {
	for last := (entity.Due{}); ; {
		d, ok, err := s.due()
		switch {
		case err != nil || !ok:
			return err
		case d.Ref == last.Ref && d.At == last.At && d.Name() == last.Name():
			return fmt.Errorf("a timer of %s is not over once it has fired", d.Method())
		}
		last = d
		out, err := s.step(d.Ref, func(m *entity.Memory) entity.Outcome { return m.Fire(s.reg, &d, s.turn()) })
		if err != nil {
			return err
		}
		if d.Method() == "" {
			continue
		}
		s.print.line("timer %s %s", s.print.ref(d.Ref), d.Method())
		s.tells = append(s.tells, out.Tells...)
		s.print.told(out)
		if err := s.deliver(); err != nil {
			return err
		}
	}
}

// due is the timer that was due first.
func (s *Server) due() (first entity.Due, ok bool, err error) {
	for shard := range uint16(entity.Shards) {
		_, err = entity.DueTimers(s.rows, shard, s.now, func(d entity.Due) bool {
			if !ok || d.At < first.At {
				first, ok = d, true
			}
			return false
		})
		if err != nil {
			return first, ok, err
		}
	}
	return first, ok, nil
}

// setPolicy takes a profile and overrides keys as a configuration would, and
// fields that are no keys by their names.
func (s *Server) setPolicy(profile string, keys []datadriven.CmdArg) error {
	p, ok := entity.Profile(profile)
	if !ok {
		return fmt.Errorf("there is no profile %s", profile)
	}
	for _, key := range keys {
		field, ok := policyField(&p, key.Key)
		if !ok || len(key.Vals) != 1 {
			return fmt.Errorf("want key=value of a policy, got %s", key.Key)
		}
		if field.Kind() == reflect.Bool {
			field.SetBool(key.Vals[0] == "true")
			continue
		}
		n, err := strconv.ParseInt(key.Vals[0], 10, 64)
		if err != nil {
			return err
		}
		field.SetInt(n)
	}
	s.policy = &p
	return nil
}

func policyField(p *entity.Policy, key string) (reflect.Value, bool) {
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if tag := f.Tag.Get("koanf"); tag == key || tag == "-" && strings.EqualFold(f.Name, key) {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// caller is who "alice/phone" is.
func (s *Server) caller(name string) entity.Caller {
	user, device, ok := strings.Cut(name, "/")
	if !ok {
		device = "phone"
	}
	s.know(user)
	return entity.Caller{Tenant: s.tenant, User: user, Number: entity.UserNumber(s.tenant, user), Device: device}
}

// call runs a method, and delivers what it tells.
func (s *Server) call(d *datadriven.TestData) error {
	m := s.reg.ByName(d.CmdArgs[0].Key)
	if m == nil {
		return fmt.Errorf("there is no method %s", d.CmdArgs[0].Key)
	}
	req := m.New()
	if err := s.parse(d, req); err != nil {
		return err
	}
	caller := s.caller(d.Cmd)
	s.meet(req.ProtoReflect())
	c, refused := s.address(m, caller, req)
	if refused != nil {
		s.print.outcome(entity.Outcome{Err: refused})
		return nil
	}
	out, err := s.run(c)
	if err != nil {
		return err
	}
	s.learn(d, out.Reply)
	s.tells = append(s.tells, out.Tells...)
	if !d.HasArg("hold") {
		out.Tells = nil // Printed as they are delivered.
	}
	s.print.outcome(out)
	if d.HasArg("hold") {
		return nil
	}
	if err := s.deliver(); err != nil {
		return err
	}
	return s.fire()
}

// address makes the call that a door would make. What only entities and the
// gateway may call is called on the caller himself.
func (s *Server) address(m *entity.Method, caller entity.Caller, req proto.Message) (*entity.Call, *entity.Error) {
	if m.Internal && m.On == pb.Kind_USER {
		return &entity.Call{Method: m, To: caller.Ref(), Caller: caller, Req: req}, nil
	}
	return s.reg.NewCall(m, caller, req)
}

var (
	variable = regexp.MustCompile(`\$[a-z0-9_]+`)
	times    = regexp.MustCompile(`<(\d+)\*([^<>]*)>`)
)

// parse fills in a request from a directive.
func (s *Server) parse(d *datadriven.TestData, req proto.Message) error {
	var unknown error
	text := variable.ReplaceAllStringFunc(repeated(d.Input), func(name string) string {
		value, ok := s.names[name]
		if !ok {
			unknown = fmt.Errorf("nothing is called %s", name)
		}
		return value
	})
	if unknown != nil {
		return unknown
	}
	if err := prototext.Unmarshal([]byte(text), req); err != nil {
		return err
	}
	r := req.ProtoReflect()
	if id, ok := d.Arg("req"); ok {
		r.Set(r.Descriptor().Fields().ByName("request_id"), protoreflect.ValueOfString(repeated(id.Vals[0])))
	}
	if field, ok := d.Arg("unknown"); ok {
		fd := r.Descriptor().Fields().ByName(protoreflect.Name(field.Vals[0]))
		r.Mutable(fd).Message().SetUnknown(protoreflect.RawFields{0xd2, 0x7d, 1, 'x'}) // Field 2010, one byte.
	}
	return nil
}

// repeated expands <N*text>.
func repeated(s string) string {
	return times.ReplaceAllStringFunc(s, func(macro string) string {
		parts := times.FindStringSubmatch(macro)
		n, err := strconv.Atoi(parts[1])
		if err != nil {
			return macro // Too many digits; nothing good will come of it.
		}
		return strings.Repeat(parts[2], n)
	})
}

// meet gets to know the users that a request names.
func (s *Server) meet(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Name() == "user_id":
			s.know(v.String())
		case fd.Name() == "user_ids":
			for i := range v.List().Len() {
				s.know(v.List().Get(i).String())
			}
		}
		return true
	})
}

// know remembers a user, so that his number can be printed as his name and
// those of his direct conversations as "alice+bob".
func (s *Server) know(user string) {
	n := entity.UserNumber(s.tenant, user)
	if s.print.users[n] != "" {
		return
	}
	for _, other := range s.known[s.tenant] {
		s.print.conversations[entity.DirectNumber(s.tenant, user, other)] = min(user, other) + "+" + max(user, other)
	}
	s.known[s.tenant] = append(s.known[s.tenant], user)
	s.print.users[n] = user
}

// learn gives the conversation or the token in a reply the name that the script
// wants.
func (s *Server) learn(d *datadriven.TestData, reply proto.Message) {
	name, ok := d.Arg("as")
	if r, has := reply.(interface{ GetConversationId() uint64 }); ok && has {
		s.names["$"+name.Vals[0]] = strconv.FormatUint(r.GetConversationId(), 10)
		s.print.conversations[r.GetConversationId()] = "$" + name.Vals[0]
	}
	if r, has := reply.(interface{ GetToken() string }); ok && has {
		s.names["$"+name.Vals[0]] = r.GetToken()
		s.print.tokens[r.GetToken()] = "$" + name.Vals[0]
	}
}

func (s *Server) turn() entity.Turn { return entity.Turn{Now: s.now, Policy: s.policy, Incarnation: 1} }

// Call runs a call, makes it durable and delivers what it tells.
func (s *Server) Call(c *entity.Call) (entity.Outcome, error) {
	out, err := s.run(c)
	if err != nil {
		return out, err
	}
	s.tells = append(s.tells, out.Tells...)
	return out, s.deliver()
}

// run runs a call and makes it durable.
func (s *Server) run(c *entity.Call) (entity.Outcome, error) {
	s.now = s.now.Add(perCall)
	if c.Method.ReadOnly() {
		return s.reg.Query(s.rows, c, s.turn()), nil
	}
	return s.step(c.To, func(m *entity.Memory) entity.Outcome { return m.Step(s.reg, c, s.turn()) })
}

// step runs the same step cold and warm, and stores what the warm one wrote.
func (s *Server) step(ref entity.Ref, step func(*entity.Memory) entity.Outcome) (entity.Outcome, error) {
	warm := s.memories[ref]
	if warm == nil {
		warm = s.memory(ref)
		s.memories[ref] = warm
	}
	want := step(s.memory(ref))
	out := step(warm)
	if got, want := Format(out), Format(want); got != want {
		return out, fmt.Errorf("with its rows in memory the entity says\n%swithout\n%s", got, want)
	}
	if !sameRows(out.Writes, want.Writes) {
		return out, fmt.Errorf("with its rows in memory the entity writes other rows than without")
	}
	if err := warm.CheckFrozen(); err != nil {
		return out, err
	}
	s.commit(out.Writes)
	warm.Durable(out.Version)
	return out, nil
}

func (s *Server) memory(ref entity.Ref) *entity.Memory {
	return entity.NewMemory(ref, func() (entity.Reader, func()) { return s.rows, func() {} }, entity.NoBug)
}

// sameRows compares what was written, but for ranges: what is swept and when
// may depend on what is in memory.
func sameRows(a, b []entity.Write) bool {
	rows := func(writes []entity.Write) (all []byte) {
		for _, w := range writes {
			if w.End == nil {
				all = append(append(append(append(all, w.Key...), '='), w.Val...), 0)
			}
		}
		return all
	}
	return bytes.Equal(rows(a), rows(b))
}

// commit gives writes the next stamp and stores them.
func (s *Server) commit(writes []entity.Write) {
	s.stamp++
	for i := range writes {
		writes[i].Stamp(s.stamp)
	}
	s.rows.Commit(append(slices.Clone(writes), entity.StampRow(s.stamp, s.now)))
}

// deliver delivers tells until there are none, and prints what comes of them.
func (s *Server) deliver() error {
	for len(s.tells) > 0 {
		t := s.tells[0]
		s.tells = s.tells[1:]
		s.print.tell(t)
		if t.Call.To.Outside() { // Somebody out there does it.
			s.commit(t.Done())
			continue
		}
		out, err := s.step(t.Call.To, func(m *entity.Memory) entity.Outcome { return m.Hear(s.reg, t, s.turn()) })
		if err != nil {
			return err
		}
		s.tells = append(s.tells, out.Tells...)
		s.print.told(out)
		s.commit(t.Done())
		if _, err := s.step(t.Call.To, func(m *entity.Memory) entity.Outcome { return m.ForgetHeard(s.reg, t, s.turn()) }); err != nil {
			return err
		}
	}
	return nil
}

// replayLimit is more events than a script has.
const replayLimit = 1000

// replay prints what a device gets that has missed events.
func (s *Server) replay(d *datadriven.TestData) error {
	if len(d.CmdArgs) < 2 {
		return fmt.Errorf("want: replay USER LOG [after=SEQ]")
	}
	viewer := s.caller(d.CmdArgs[0].Key)
	ref := entity.User(s.tenant, d.CmdArgs[1].Key)
	if name, ok := s.names[d.CmdArgs[1].Key]; ok {
		id, err := strconv.ParseUint(name, 10, entity.NumberBits)
		if err != nil {
			return err
		}
		ref = entity.Conversation(s.tenant, id)
	}
	var after uint64
	if arg, ok := d.Arg("after"); ok {
		n, err := strconv.ParseUint(arg.Vals[0], 10, 64)
		if err != nil {
			return err
		}
		after = n
	}
	position := s.reg.Position(s.rows, ref, viewer, s.policy, 1)
	if position.Err != nil {
		s.print.outcome(entity.Outcome{Err: position.Err})
		return nil
	}
	page := s.reg.Replay(s.rows, ref, viewer, s.policy, after, replayLimit)
	if page.Err != nil {
		s.print.outcome(entity.Outcome{Err: page.Err})
		return nil
	}
	for _, e := range page.Events {
		s.print.line("%d %s%s%s", e.Seq, e.Type.Name, s.print.by(e.By), s.print.fields(e.Body))
	}
	s.print.line("head %d", position.Head)
	return nil
}
