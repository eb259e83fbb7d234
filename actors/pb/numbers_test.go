package pb_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"kith/actors/pb"
)

const golden = "testdata/numbers.golden"

var rewrite = flag.Bool("rewrite", false, "write "+golden+" anew instead of comparing with it")

// contract is what the .proto files declare, in no order.
type contract struct {
	tables, events []protoreflect.MessageDescriptor
	methods        []protoreflect.MethodDescriptor
}

func (c *contract) add(f protoreflect.FileDescriptor) {
	for i := range f.Messages().Len() {
		c.addMessage(f.Messages().Get(i))
	}
	for i := range f.Services().Len() {
		methods := f.Services().Get(i).Methods()
		for j := range methods.Len() {
			c.methods = append(c.methods, methods.Get(j))
		}
	}
}

func (c *contract) addMessage(m protoreflect.MessageDescriptor) {
	if proto.HasExtension(m.Options(), pb.E_Table) {
		c.tables = append(c.tables, m)
	}
	if proto.HasExtension(m.Options(), pb.E_Event) {
		c.events = append(c.events, m)
	}
	for i := range m.Messages().Len() {
		c.addMessage(m.Messages().Get(i))
	}
}

func table(m protoreflect.MessageDescriptor) *pb.Table {
	return proto.GetExtension(m.Options(), pb.E_Table).(*pb.Table)
}

func event(m protoreflect.MessageDescriptor) *pb.EventType {
	return proto.GetExtension(m.Options(), pb.E_Event).(*pb.EventType)
}

// faults lists what no golden file could make right.
func (c *contract) faults() []string {
	var faults []string
	say := func(m protoreflect.MessageDescriptor, format string, args ...any) {
		faults = append(faults, string(m.Name())+" "+fmt.Sprintf(format, args...))
	}
	tables, events := map[uint32]protoreflect.Name{}, map[uint32]protoreflect.Name{}
	for _, m := range c.tables {
		t := table(m)
		if other, ok := tables[t.Number]; ok {
			say(m, "has the table number %#02x of %s", t.Number, other)
		}
		tables[t.Number] = m.Name()
		for i, fields := 0, t.ProtoReflect().Descriptor().Fields(); i < fields.Len(); i++ {
			if fields.Get(i).Name() != "stamped" && !t.ProtoReflect().Has(fields.Get(i)) {
				say(m, "is a table without %q", fields.Get(i).Name())
			}
		}
	}
	for _, m := range c.events {
		e := event(m)
		if other, ok := events[e.Number]; ok {
			say(m, "has the event number %#02x of %s", e.Number, other)
		}
		events[e.Number] = m.Name()
		if e.Number == 0 || e.Class == pb.Class_CLASS_UNSPECIFIED {
			say(m, "is an event without a number or a class")
		}
	}
	slices.Sort(faults)
	return faults
}

// lines is the golden file: first the numbers, then the shape of every message
// and enum that is stored, directly or inside another.
func (c *contract) lines() []string {
	var numbers []string
	stored := stored{}
	stored.enum(pb.Kind(0).Descriptor()) // Part of every key.
	for _, m := range c.tables {
		numbers = append(numbers, fmt.Sprintf("table %#02x %s", table(m).Number, m.Name()))
		stored.message(m)
	}
	for _, m := range c.events {
		numbers = append(numbers, fmt.Sprintf("event %#02x %s %s", event(m).Number, m.Name(), event(m).Class))
		stored.message(m)
	}
	for _, m := range c.methods {
		numbers = append(numbers, fmt.Sprintf("method %s.%s", m.Parent().Name(), m.Name()))
	}
	slices.Sort(numbers)
	for _, name := range slices.Sorted(maps.Keys(stored)) {
		numbers = append(numbers, stored[name]...)
	}
	return numbers
}

// stored has the lines of each stored message and enum by its full name.
type stored map[protoreflect.FullName][]string

func (s stored) message(m protoreflect.MessageDescriptor) {
	if _, ok := s[m.FullName()]; ok {
		return
	}
	s[m.FullName()] = nil
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		kind := f.Kind().String()
		switch {
		case f.Message() != nil:
			kind = string(f.Message().FullName())
			s.message(f.Message())
		case f.Enum() != nil:
			kind = string(f.Enum().FullName())
			s.enum(f.Enum())
		}
		s[m.FullName()] = append(s[m.FullName()],
			fmt.Sprintf("field %s %d %s %s %s", m.FullName(), f.Number(), f.Name(), f.Cardinality(), kind))
	}
}

func (s stored) enum(e protoreflect.EnumDescriptor) {
	s[e.FullName()] = nil
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		s[e.FullName()] = append(s[e.FullName()], fmt.Sprintf("value %s %d %s", e.FullName(), v.Number(), v.Name()))
	}
}

func all() *contract {
	var c contract
	protoregistry.GlobalFiles.RangeFilesByPackage("kith.v1", func(f protoreflect.FileDescriptor) bool {
		c.add(f)
		return true
	})
	return &c
}

func TestNumbersAreForEver(t *testing.T) {
	got := all().lines()
	if *rewrite {
		if err := os.WriteFile(golden, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("gone: %s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("new:  %s", line)
		}
	}
	if !t.Failed() {
		return
	}
	t.Errorf("the numbers differ from %s: append, reserve, never reuse. "+
		"If rows and clients that exist can still be read, run go test ./actors/pb -rewrite and commit the file", golden)
}

func TestEveryNumberIsUsedOnceAndEveryTableHasItsDataClass(t *testing.T) {
	for _, f := range all().faults() {
		t.Error(f)
	}
}

func TestTheCheckSeesPlantedFaults(t *testing.T) {
	whole := &pb.Table{Number: 1, Whose: "w", Purpose: "p", Retention: "r", Export: "e", Erase: pb.Erase_KEEP}
	bare := proto.CloneOf(whole)
	bare.Number, bare.Retention, bare.Erase = 2, "", pb.Erase_ERASE_UNSPECIFIED
	one := &pb.EventType{Number: 1, Class: pb.Class_CHANGE}
	cases := []struct {
		name     string
		messages []*descriptorpb.DescriptorProto
		want     []string
	}{
		{"nothing wrong", []*descriptorpb.DescriptorProto{
			declare("A", pb.E_Table, whole), declare("B", pb.E_Event, one)}, nil},
		{"one table number twice", []*descriptorpb.DescriptorProto{
			declare("A", pb.E_Table, whole), declare("B", pb.E_Table, whole)},
			[]string{"B has the table number 0x01 of A"}},
		{"one event number twice", []*descriptorpb.DescriptorProto{
			declare("A", pb.E_Event, one), declare("B", pb.E_Event, one)},
			[]string{"B has the event number 0x01 of A"}},
		{"a table without retention and erasure", []*descriptorpb.DescriptorProto{declare("A", pb.E_Table, bare)},
			[]string{`A is a table without "erase"`, `A is a table without "retention"`}},
		{"an event without a class", []*descriptorpb.DescriptorProto{declare("A", pb.E_Event, &pb.EventType{Number: 1})},
			[]string{"A is an event without a number or a class"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
				Name: proto.String("planted.proto"), Package: proto.String("planted"), MessageType: c.messages,
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var planted contract
			planted.add(f)
			if got := planted.faults(); !slices.Equal(got, c.want) {
				t.Errorf("faults = %q, want %q", got, c.want)
			}
		})
	}
}

// declare makes an empty message with one of our options.
func declare(name string, option protoreflect.ExtensionType, value proto.Message) *descriptorpb.DescriptorProto {
	options := &descriptorpb.MessageOptions{}
	proto.SetExtension(options, option, value)
	return &descriptorpb.DescriptorProto{Name: proto.String(name), Options: options}
}
