package wire

import (
	"testing"

	"github.com/centrifugal/protocol"
	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
)

// unframe takes the one message out of what a server sends.
func unframe(t *testing.T, p Protocol, b []byte) []byte {
	t.Helper()
	if p == Stream {
		if _, n, err := NextDelimited(b, 1<<20); err != nil || n != len(b) {
			t.Fatalf("%x is not one frame: %d of %d bytes, %v", b, n, len(b), err)
		}
		return b
	}
	op, size := Opcode(b[0]&opBits), 2
	switch b[1] {
	case len16:
		size = 4
	case len64:
		size = 10
	}
	if op != p.Opcode() || b[0]&finBit == 0 {
		t.Fatalf("the frame begins with %x", b[:2])
	}
	if want := appendHeader(nil, op, len(b)-size); string(want) != string(b[:size]) {
		t.Fatalf("the header is %x, want %x", b[:size], want)
	}
	return b[size:]
}

func TestFrameSaysTheSameInEveryDialect(t *testing.T) {
	e := anEvent()
	body := must(proto.Marshal(e.Body))
	var f Frame
	for range 2 { // The second time from memory that is used again.
		f.Reset("c:1", e)
		for _, d := range dialects {
			replies := decodeReplies(t, d.Protocol, unframe(t, d.Protocol, f.For(d.Dialect)))
			if len(replies) != 1 {
				t.Fatalf("%s: %d replies", d.name(), len(replies))
			}
			push := replies[0].Push
			if push.GetChannel() != "c:1" || push.GetPub().GetOffset() != e.Seq {
				t.Errorf("%s: push %v", d.name(), push)
			}
			var got pb.Event
			if err := d.Payload.Unmarshal(push.Pub.Data, &got); err != nil {
				t.Errorf("%s: %v", d.name(), err)
			}
			want := &pb.Event{Type: e.Type.Number, Seq: e.Seq, At: e.At, By: e.By, Body: body}
			if !proto.Equal(&got, want) {
				t.Errorf("%s: event %v, want %v", d.name(), &got, want)
			}
			if f.Unreadable() {
				t.Errorf("%s: it is called unreadable", d.name())
			}
		}
		first, second := f.For(dialects[0].Dialect), f.For(dialects[0].Dialect)
		if &first[0] != &second[0] {
			t.Error("a second session does not share the bytes of the first")
		}
	}
}

func TestEventThatCannotBeEncodedIsUnreadableAtItsSeq(t *testing.T) {
	sent := &entity.EventType{Number: 0x30, Name: "GroupCreated", Class: pb.Class_CHANGE}
	for name, e := range map[string]*entity.Event{
		"a row that could not be read": {Seq: 7, At: 8, By: "alice", Type: sent},
		"a body that is not UTF-8":     {Seq: 7, At: 8, By: "alice", Type: sent, Body: &pb.GroupCreated{Name: "\xff"}},
		"an author that is not UTF-8":  {Seq: 7, At: 8, By: "\xff", Type: sent, Body: &pb.GroupCreated{}},
		"an event without a type":      {Seq: 7, At: 8, By: "alice"},
	} {
		for _, d := range dialects {
			var f Frame
			f.Reset("c:1", e)
			replies := decodeReplies(t, d.Protocol, unframe(t, d.Protocol, f.For(d.Dialect)))
			var got pb.Event
			if err := d.Payload.Unmarshal(replies[0].Push.Pub.Data, &got); err != nil {
				t.Fatalf("%s, %s: %v", name, d.name(), err)
			}
			want := &pb.Event{Type: 2, Seq: 7, At: 8, By: envelope{by: e.By}.readable().by}
			if !proto.Equal(&got, want) || replies[0].Push.Pub.Offset != 7 || !f.Unreadable() {
				t.Errorf("%s, %s: %v at %d, unreadable %v", name, d.name(), &got, replies[0].Push.Pub.Offset, f.Unreadable())
			}
		}
	}
}

func TestSignalIsMessageThatSaysWhereItIsFrom(t *testing.T) {
	e := anEvent()
	e.Seq = 0
	body := must(proto.Marshal(e.Body))
	for _, d := range dialects {
		var f Frame
		f.Reset("c:1", e)
		replies := decodeReplies(t, d.Protocol, unframe(t, d.Protocol, f.For(d.Dialect)))
		push := replies[0].Push
		want := &pb.Event{Type: e.Type.Number, At: e.At, By: "alice", Body: body, Channel: "c:1"}
		var got pb.Event
		if err := d.Payload.Unmarshal(push.GetMessage().GetData(), &got); err != nil || !proto.Equal(&got, want) || push.Pub != nil {
			t.Errorf("%s: %v, %v, want %v", d.name(), push, err, want)
		}
	}
}

func TestResult(t *testing.T) {
	reply := &pb.SendResponse{Seq: 5, At: 1 << 40}
	for _, d := range dialects {
		dst := must(d.AppendResult([]byte("before"), 300, reply))
		replies := decodeReplies(t, d.Protocol, dst[len("before"):])
		var got pb.SendResponse
		if err := d.Payload.Unmarshal(replies[0].Rpc.Data, &got); err != nil || !proto.Equal(&got, reply) || replies[0].Id != 300 {
			t.Errorf("%s: %v, %v", d.name(), replies, err)
		}
		if dst, err := d.AppendResult([]byte("kept"), 1, &pb.GroupCreated{Name: "\xff"}); err == nil || string(dst) != "kept" {
			t.Errorf("%s: a reply that is not UTF-8 gives %q, %v", d.name(), dst, err)
		}
		empty := decodeReplies(t, d.Protocol, must(d.AppendResult(nil, 1, &pb.SendResponse{})))
		if !proto.Equal(empty[0], &protocol.Reply{Id: 1, Rpc: &protocol.RPCResult{Data: empty[0].GetRpc().GetData()}}) {
			t.Errorf("%s: an empty result is %v", d.name(), empty[0])
		}
	}
}

func TestDialect(t *testing.T) {
	for _, c := range []struct {
		p       Protocol
		payload string
		want    Dialect
		ok      bool
	}{
		{JSON, "", Dialect{JSON, JSONPayload}, true},
		{JSON, "json", Dialect{JSON, JSONPayload}, true},
		{JSON, "proto", Dialect{}, false},
		{Protobuf, "", Dialect{Protobuf, JSONPayload}, true},
		{Protobuf, "proto", Dialect{Protobuf, ProtoPayload}, true},
		{Protobuf, "xml", Dialect{}, false},
		{Stream, "", Dialect{Stream, JSONPayload}, true},
		{Stream, "proto", Dialect{Stream, ProtoPayload}, true},
	} {
		if got, err := c.p.Dialect(c.payload); got != c.want || (err == nil) != c.ok {
			t.Errorf("%v with %q: %v, %v, want %v", c.p, c.payload, got, err, c.want)
		}
	}
}

func TestFanOutAllocatesNothing(t *testing.T) {
	var f Frame
	var out []byte
	e, reply := anEvent(), &pb.SendResponse{Seq: 5, At: 6}
	for _, d := range dialects {
		send := func() {
			out = must(d.AppendResult(d.Protocol.Open(out[:0]), 7, reply))
			out = d.Protocol.Close(out, 0)
			f.Reset("c:1", e)
			out = append(out, f.For(d.Dialect)...)
		}
		send()
		if n := testing.AllocsPerRun(100, send); n != 0 {
			t.Errorf("%s: a reply and a publication cost %v allocations", d.name(), n)
		}
	}
}
