package entity_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
	"kith/actors/pb"
)

func TestACallIsAddressedByItsRequest(t *testing.T) {
	reg, err := Registry()
	if err != nil {
		t.Fatal(err)
	}
	other := ann
	other.Tenant = 2
	for _, c := range []struct {
		method string
		by     entity.Caller
		req    entity.Message
		want   entity.Ref
		id     string
	}{
		{"Counters.Do", ann, &DoRequest{CounterId: 7, RequestId: "r"}, entity.Conversation(1, 7), "r"},
		{"Counters.Do", ann, &DoRequest{CounterId: 1<<entity.NumberBits - 1}, entity.Conversation(1, 1<<entity.NumberBits-1), ""},
		{"Counters.Do", other, &DoRequest{CounterId: 7}, entity.Conversation(2, 7), ""},
		{"Counters.Mine", ann, &MineRequest{}, entity.User(1, "ann"), ""},
		{"Counters.Visit", ann, &VisitRequest{UserId: "bob"}, entity.User(1, "bob"), ""},
		{"Counters.Visit", other, &VisitRequest{UserId: "bob"}, entity.User(2, "bob"), ""},
		{"Counters.Pair", ann, &PairRequest{UserId: "bob"}, entity.Conversation(1, entity.DirectNumber(1, "ann", "bob")), ""},
		{"Counters.Pair", bob, &PairRequest{UserId: "ann"}, entity.Conversation(1, entity.DirectNumber(1, "ann", "bob")), ""},
		{"Counters.Make", ann, &MakeRequest{RequestId: "r"}, entity.Conversation(1, entity.CreatedNumber(1, "ann", "phone", "r")), "r"},
		{"Counters.Look", ann, &LookRequest{CounterId: 7}, entity.Conversation(1, 7), ""},
	} {
		call, err := reg.NewCall(reg.ByName(c.method), c.by, c.req)
		if err != nil {
			t.Errorf("%s %v: %v", c.method, c.req, err)
			continue
		}
		if call.To != c.want || call.RequestID != c.id || call.Caller != c.by || call.Req != proto.Message(c.req) || call.Method.Name != c.method {
			t.Errorf("%s %v: to %v by id %q, want %v %q", c.method, c.req, call.To, call.RequestID, c.want, c.id)
		}
	}
}

func TestWhatNamesNoEntityIsRefused(t *testing.T) {
	reg, err := Registry()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method string
		req    entity.Message
		code   entity.Code
	}{
		{"Counters.Told", &ToldRequest{}, entity.Unsupported},
		{"Counters.Do", &DoRequest{}, entity.Invalid},
		{"Counters.Do", &DoRequest{CounterId: 1 << entity.NumberBits}, entity.Invalid},
		{"Counters.Do", &DoRequest{CounterId: 1, RequestId: strings.Repeat("r", 65)}, entity.Invalid},
		{"Counters.Do", &DoRequest{CounterId: 1, RequestId: "a\x00b"}, entity.Invalid},
		{"Counters.Do", &DoRequest{CounterId: 1, RequestId: "\xff"}, entity.Invalid},
		{"Counters.Visit", &VisitRequest{}, entity.Invalid},
		{"Counters.Visit", &VisitRequest{UserId: "a b"}, entity.Invalid},
		{"Counters.Visit", &VisitRequest{UserId: strings.Repeat("u", 65)}, entity.Invalid},
		{"Counters.Pair", &PairRequest{}, entity.Invalid},
		{"Counters.Pair", &PairRequest{UserId: "a:b"}, entity.Invalid},
		{"Counters.Make", &MakeRequest{}, entity.Invalid},
		{"Counters.Look", &LookRequest{}, entity.Invalid},
	} {
		_, err := reg.NewCall(reg.ByName(c.method), ann, c.req)
		wantCode(t, err, c.code)
	}
}

func TestARegistryKnowsItsMethods(t *testing.T) {
	reg, err := Registry()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range reg.Methods() {
		names = append(names, m.Name)
		if reg.ByName(m.Name) != m || m.Feature != "counters" ||
			m.ReadOnly() != slices.Contains([]string{"Counters.Look", "Counters.Sum"}, m.Name) ||
			m.Internal != slices.Contains([]string{"Counters.Told", "Counters.Sum", "Counters.Run"}, m.Name) {
			t.Errorf("%+v", m)
		}
		if _, err := reg.NewCall(m, ann, m.New()); err == nil && m.Name != "Counters.Mine" {
			t.Errorf("%s takes an empty request", m.Name)
		}
	}
	want := []string{"Do", "Look", "Make", "Mine", "Pair", "Redo", "Run", "Sum", "Told", "Visit"}
	for i := range want {
		want[i] = "Counters." + want[i]
	}
	if !slices.Equal(names, want) {
		t.Errorf("methods = %q, want %q", names, want)
	}
	if reg.ByName("Counters.Nothing") != nil || reg.ByName("") != nil {
		t.Error("there is a method that nobody declared")
	}
}

// The methods of tests are none of the server's.
func TestTheServerHasNoTestMethods(t *testing.T) {
	_, err := entity.New(Feature())
	if err == nil || !strings.Contains(err.Error(), "counters: no rpc takes DoRequest") {
		t.Errorf("err = %v", err)
	}
}

func TestEveryDisagreementWithTheProtoIsReported(t *testing.T) {
	do := func(*entity.Tx, *DoRequest) (*DoResponse, error) { return nil, nil }
	feature := Feature()
	var parts []entity.Part // Without Do and the logs of users.
	parts = append(parts, feature.Parts[1:len(feature.Parts)-1]...)
	logs := feature.Parts[len(feature.Parts)-1]
	with := func(more ...entity.Part) []entity.Part { return append(slices.Clone(parts), more...) }
	for _, c := range []struct {
		name  string
		parts []entity.Part
		want  string
	}{
		{"an rpc without a handler", with(logs), "Counters.Do has no handler: list entity.Command(…) or entity.Query(…) of DoRequest in a feature's Parts, and the feature in actors/feature/feature.go"},
		{"a handler without an rpc", with(logs, entity.Command(do), entity.Command(func(*entity.Tx, *Said) (*DoResponse, error) { return nil, nil })), "no rpc takes Said"},
		{"two handlers", with(logs, entity.Command(do), entity.Command(do)), "no rpc takes DoRequest"},
		{"another reply", with(logs, entity.Command(func(*entity.Tx, *DoRequest) (*LookResponse, error) { return nil, nil })), "the handler returns LookResponse, the .proto says DoResponse"},
		{"a query that is a command", with(logs, entity.Query(func(*entity.View, *DoRequest) (*DoResponse, error) { return nil, nil })), "Counters.Do is a Query, so its rpc needs option idempotency_level = NO_SIDE_EFFECTS"},
		{"a hook before a query", with(logs, entity.Command(do), entity.Before(func(*entity.Tx, *LookRequest) error { return nil })), "Before(kith.test.LookRequest): there is no such command"},
		{"a hook before nothing", with(logs, entity.Command(do), entity.Before(func(*entity.Tx, *Said) error { return nil })), "there is no such command"},
		{"a hook after no event", with(logs, entity.Command(do), entity.After(func(*entity.Tx, *DoRequest) error { return nil })), "After(kith.test.DoRequest): it is no event"},
		{"logs without rules", with(entity.Command(do)), "Counters.Mine: the logs of USER have no rules"},
		{"logs with rules twice", with(logs, logs, entity.Command(do)), "the logs of USER have rules already"},
	} {
		_, err := entity.NewIn(Package, entity.Feature{Name: "x", Parts: c.parts})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestAnRPCWithAMistakeIsReported(t *testing.T) {
	_, err := entity.NewIn(Faulty, entity.Feature{Name: "faulty", Parts: []entity.Part{
		entity.Command(func(*entity.Tx, *HomelessRequest) (*FaultyResponse, error) { return nil, nil }),
		entity.Command(func(*entity.Tx, *LostRequest) (*FaultyResponse, error) { return nil, nil }),
		entity.Command(func(*entity.Tx, *LonelyRequest) (*FaultyResponse, error) { return nil, nil }),
		entity.Command(func(*entity.Tx, *OnceRequest) (*FaultyResponse, error) { return nil, nil }),
		entity.Command(func(*entity.Tx, *NamelessRequest) (*FaultyResponse, error) { return nil, nil }),
		entity.Command(func(*entity.Tx, *WordedRequest) (*FaultyResponse, error) { return nil, nil }),
		entity.Command(func(*entity.Tx, *NumberedRequest) (*FaultyResponse, error) { return nil, nil }),
		entity.Command(func(*entity.Tx, *SilentRequest) (*FaultyResponse, error) { return nil, nil }),
		entity.Command(func(*entity.Tx, *UnorderedRequest) (*FaultyResponse, error) { return nil, nil }),
	}})
	if err == nil {
		t.Fatal("nothing was reported")
	}
	for _, want := range []string{
		"Faulty.Homeless: no (op) option",
		`Faulty.Lost: LostRequest has no field "nowhere"`,
		`Faulty.Lonely: LonelyRequest has no string field "counter_id"`,
		"Faulty.Once: the request of a command needs a request_id",
		"Faulty.Nameless: nothing in the request names the entity",
		"Faulty.Worded: counter_id must be a uint64",
		"Faulty.Numbered: user_id must be a string",
		"Faulty.Silent is a Command, so its rpc must not have option idempotency_level = NO_SIDE_EFFECTS",
		"Faulty.Unordered: its request or reply has a map, which has no order of bytes",
		"Faulty.Unheard has no handler: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}

// declare adds an empty message with one of our options to a file.
func declare(f *descriptorpb.FileDescriptorProto, name string, option protoreflect.ExtensionType, value proto.Message, fields ...*descriptorpb.FieldDescriptorProto) {
	options := &descriptorpb.MessageOptions{}
	proto.SetExtension(options, option, value)
	f.MessageType = append(f.MessageType, &descriptorpb.DescriptorProto{Name: proto.String(name), Options: options, Field: fields})
}

// checked declares messages in a file of their own and checks them.
func checked(t *testing.T, declare func(*descriptorpb.FileDescriptorProto)) (tables, events string) {
	t.Helper()
	f := &descriptorpb.FileDescriptorProto{Name: proto.String("planted.proto"), Package: proto.String("planted")}
	declare(f)
	file, err := protodesc.NewFile(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	types := &protoregistry.Types{}
	for i := range file.Messages().Len() {
		if err := types.RegisterMessage(dynamicpb.NewMessageType(file.Messages().Get(i))); err != nil {
			t.Fatal(err)
		}
	}
	tableErr, eventErr := entity.CheckTypes(types)
	say := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	return say(tableErr), say(eventErr)
}

func TestATableOrAnEventThatIsNotWholeStartsNoServer(t *testing.T) {
	whole := func(number uint32) *pb.Table {
		return &pb.Table{Number: number, Whose: "w", Purpose: "p", Retention: "r", Export: "e", Erase: pb.Erase_KEEP}
	}
	for _, c := range []struct {
		name   string
		change func(*pb.Table)
		want   string
	}{
		{"whole", func(*pb.Table) {}, ""},
		{"number 0", func(b *pb.Table) { b.Number = 0 }, "table Second has the number 0x00"},
		{"a number that is taken", func(b *pb.Table) { b.Number = 1 }, "table number 0x01 is taken by First and Second: the next free number is 0x02, the next free block begins at 0x10"},
		{"a number too large for a key", func(b *pb.Table) { b.Number = 0x8000 }, "table Second has the number 0x8000; it must be from 1 to 0x7fff"},
		{"without whose", func(b *pb.Table) { b.Whose = "" }, `table Second has no "whose" in its option`},
		{"without purpose", func(b *pb.Table) { b.Purpose = "" }, `table Second has no "purpose" in its option`},
		{"without retention", func(b *pb.Table) { b.Retention = "" }, `table Second has no "retention" in its option`},
		{"without export", func(b *pb.Table) { b.Export = "" }, `table Second has no "export" in its option`},
		{"without erasure", func(b *pb.Table) { b.Erase = pb.Erase_ERASE_UNSPECIFIED }, `table Second has no "erase" in its option`},
	} {
		second := whole(2)
		c.change(second)
		got, _ := checked(t, func(f *descriptorpb.FileDescriptorProto) {
			declare(f, "First", pb.E_Table, whole(1))
			declare(f, "Second", pb.E_Table, second)
		})
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("a table %s: %q, want %q", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		name   string
		number uint32
		class  pb.Class
		want   string
	}{
		{"whole", 2, pb.Class_CHANGE, ""}, {"with number 0", 0, pb.Class_CHANGE, "event Second has no number"},
		{"with a number that is taken", 1, pb.Class_CHANGE, "event number 0x01 is taken by First and Second"},
		{"without a class", 2, 0, "event Second has no class"},
	} {
		_, got := checked(t, func(f *descriptorpb.FileDescriptorProto) {
			declare(f, "First", pb.E_Event, &pb.EventType{Number: 1, Class: pb.Class_HISTORY})
			declare(f, "Second", pb.E_Event, &pb.EventType{Number: c.number, Class: c.class})
		})
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("an event %s: %q, want %q", c.name, got, c.want)
		}
	}
}

// The bytes of a map differ from one time to the next.
func TestATableOrAnEventWithAMapStartsNoServer(t *testing.T) {
	text := descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
	optional := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()
	entry := &descriptorpb.DescriptorProto{
		Name: proto.String("WordsEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
		Field: []*descriptorpb.FieldDescriptorProto{
			{Name: proto.String("key"), Number: proto.Int32(1), Type: text, Label: optional},
			{Name: proto.String("value"), Number: proto.Int32(2), Type: text, Label: optional},
		},
	}
	words := &descriptorpb.FieldDescriptorProto{
		Name: proto.String("words"), Number: proto.Int32(1), TypeName: proto.String(".planted.Inner.WordsEntry"),
		Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum(),
	}
	inner := &descriptorpb.FieldDescriptorProto{
		Name: proto.String("inner"), Number: proto.Int32(1), TypeName: proto.String(".planted.Inner"),
		Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), Label: optional,
	}
	tables, events := checked(t, func(f *descriptorpb.FileDescriptorProto) {
		f.MessageType = append(f.MessageType, &descriptorpb.DescriptorProto{
			Name: proto.String("Inner"), Field: []*descriptorpb.FieldDescriptorProto{words}, NestedType: []*descriptorpb.DescriptorProto{entry},
		})
		declare(f, "Row", pb.E_Table, &pb.Table{Number: 1, Whose: "w", Purpose: "p", Retention: "r", Export: "e", Erase: pb.Erase_KEEP}, inner)
		declare(f, "Fact", pb.E_Event, &pb.EventType{Number: 1, Class: pb.Class_CHANGE}, inner)
	})
	for what, got := range map[string]string{"Row": tables, "Fact": events} {
		if !strings.Contains(got, what+" has a map") {
			t.Errorf("%s: %q", what, got)
		}
	}
}

func TestAFieldIsJoinedByASeq(t *testing.T) {
	number := &descriptorpb.FieldDescriptorProto{
		Name: proto.String("seq"), Number: proto.Int32(1),
		Type: descriptorpb.FieldDescriptorProto_TYPE_UINT64.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
	}
	for _, by := range []string{"seq", "nothing", "said"} {
		options := &descriptorpb.FieldOptions{}
		proto.SetExtension(options, pb.E_Joined, by)
		said := &descriptorpb.FieldDescriptorProto{
			Name: proto.String("said"), Number: proto.Int32(2), TypeName: proto.String(".planted.First"), Options: options,
			Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
		_, got := checked(t, func(f *descriptorpb.FileDescriptorProto) {
			declare(f, "First", pb.E_Event, &pb.EventType{Number: 1, Class: pb.Class_HISTORY})
			declare(f, "Second", pb.E_Event, &pb.EventType{Number: 2, Class: pb.Class_CHANGE}, number, said)
		})
		if (by == "seq") != (got == "") {
			t.Errorf("joined by %s: %q", by, got)
		}
	}
}

func TestATypeWithoutATableOptionIsNoTable(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it is")
		}
	}()
	entity.NewTable[Said]()
}

// Numbers are taken in blocks; the sentence about a clash says which are free.
func TestAClashSaysWhatIsFree(t *testing.T) {
	_, got := checked(t, func(f *descriptorpb.FileDescriptorProto) {
		for name, number := range map[string]uint32{"Old": 0x30, "New": 0x30, "Beside": 0x31, "Above": 0x4F} {
			declare(f, name, pb.E_Event, &pb.EventType{Number: number, Class: pb.Class_CHANGE})
		}
	})
	want := "event number 0x30 is taken by New and Old: the next free number is 0x32, the next free block begins at 0x50"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
