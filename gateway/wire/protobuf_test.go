package wire

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
)

// Whatever the bytes are, the library would have read the same, or refused
// them; and would write the same.
func FuzzProto(f *testing.F) {
	types := []proto.Message{&pb.SendRequest{}, &pb.HistoryRequest{}, &pb.CreateGroupRequest{}, &pb.DeleteRequest{}, &pb.HistoryResponse{}, &pb.MessageEdited{}}
	for i, text := range protoCases() {
		f.Add([]byte(text), uint8(i))
	}
	f.Add(must(proto.Marshal(aSend())), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, which uint8) {
		got := types[int(which)%len(types)].ProtoReflect().New().Interface()
		want := got.ProtoReflect().New().Interface()
		err := parseProto(b, got)
		wantErr := (proto.UnmarshalOptions{RecursionLimit: MaxDepth}).Unmarshal(b, want)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%x: %v, the library: %v", b, err, wantErr)
		}
		if err != nil {
			return
		}
		if !proto.Equal(got, want) {
			t.Fatalf("%x is read as %v, by the library as %v", b, got, want)
		}
		out, err := appendProto([]byte("x"), got)
		library, libraryErr := proto.Marshal(want)
		if err != nil || libraryErr != nil || string(out) != "x"+string(library) {
			t.Fatalf("%v is written as %x, %v; by the library as %x, %v", got, out, err, library, libraryErr)
		}
	})
}

// protoCases are SendRequests that generated code alone would read differently
// from the library, or that come close.
func protoCases() map[int]string {
	tag := func(n protowire.Number, kind protowire.Type) string { return string(protowire.AppendTag(nil, n, kind)) }
	text := func(n protowire.Number, s string) string {
		return tag(n, protowire.BytesType) + string(protowire.AppendString(nil, s))
	}
	deep := text(1, "x")
	for range 2 * MaxDepth {
		deep = text(1, deep)
	}
	return map[int]string{
		0:  text(2, "r\xff"),
		6:  text(3, text(1, text(1, "\xff"))),
		12: tag(2, protowire.VarintType) + "\x01",
		18: text(1, "seq"),
		24: string(protowire.AppendVarint(nil, (1<<32+1)<<3)) + "\x05",
		30: string(protowire.AppendVarint(nil, uint64(protowire.MaxValidNumber+1)<<3)) + "\x05",
		36: tag(9, protowire.StartGroupType) + tag(9, protowire.EndGroupType),
		42: tag(9, protowire.EndGroupType),
		48: text(3, text(1, text(1, "a"))+text(1, text(1, "b"))+text(2, "")),
		54: text(77, "\xff") + text(3, deep),
		60: tag(1, protowire.VarintType) + strings.Repeat("\xff", 10),
		5:  text(2, deep),
	}
}

func TestTextsThatAreNotUTF8AreNeitherReadNorWritten(t *testing.T) {
	bad := aSend()
	bad.RequestId = "r\xff"
	if out, err := appendProto(nil, bad); err == nil {
		t.Errorf("it is written as %x", out)
	}
	b := must(bad.MarshalVT())
	if err := UnmarshalProto(b, &pb.SendRequest{}); err == nil {
		t.Error("it is read")
	}
}
