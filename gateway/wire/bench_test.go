package wire

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
)

// The message that benchmarks carry: a sentence, as people send it.
func sentence() *pb.Content {
	return &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: "See you at the station at half past six, I'll bring the tickets."}}}
}

func aSend() *pb.SendRequest {
	return &pb.SendRequest{ConversationId: 3141592653589793, RequestId: "0198c5a2-7e1b-7cc3-98a1-5f0e8d3c2b1a", Content: sentence()}
}

func anEvent() *entity.Event {
	return &entity.Event{
		Seq: 271828, At: 1765432100123, By: "alice",
		Type: &entity.EventType{Number: 0x10, Name: "MessageSent", Class: pb.Class_HISTORY},
		Body: &pb.MessageSent{Content: sentence()},
	}
}

func BenchmarkDecodeRPC(b *testing.B) {
	for _, d := range dialects {
		b.Run(d.name(), func(b *testing.B) {
			data := must(d.Payload.Append(nil, aSend()))
			message := must(appendCommand(nil, d.Protocol, rpc(7, "Messages.Send", data)))
			frame := sent(d.Protocol, message)
			received := make([]byte, len(frame))
			b.ReportAllocs()
			for b.Loop() {
				copy(received, frame)
				message, err := arrived(d.Protocol, received)
				if err != nil {
					b.Fatal(err)
				}
				for cmd, err := range d.Protocol.Commands(message) {
					if err != nil {
						b.Fatal(err)
					}
					var req pb.SendRequest
					if err := d.Payload.Unmarshal(cmd.Rpc.Data, &req); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkFraming is what a command and a reply of 120 bytes cost beside what they
// say: a WebSocket's headers and its mask, or the length of a frame.
func BenchmarkFraming(b *testing.B) {
	for _, p := range []Protocol{Protobuf, Stream} {
		b.Run(p.String(), func(b *testing.B) {
			message := must(appendCommand(nil, p, rpc(7, "Messages.Send", make([]byte, 96))))
			frame := sent(p, message)
			received := make([]byte, len(frame))
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				copy(received, frame)
				got, err := arrived(p, received)
				if err != nil {
					b.Fatal(err)
				}
				out = p.Close(append(p.Open(out[:0]), got...), 0)
			}
			b.ReportMetric(float64(len(frame)-len(message)), "in-B/frame")
			b.ReportMetric(float64(len(out)-len(message)), "out-B/frame")
		})
	}
}

func BenchmarkReplyAndPublication(b *testing.B) {
	for _, d := range dialects {
		b.Run(d.name(), func(b *testing.B) {
			var out []byte
			var f Frame
			e, reply := anEvent(), &pb.SendResponse{Seq: 271828, At: 1765432100123}
			b.ReportAllocs()
			for b.Loop() {
				out = d.Protocol.Open(out[:0])
				out, _ = d.AppendResult(out, 7, reply)
				out = d.Protocol.Close(out, 0)
				f.Reset("c:3141592653589793", e)
				out = append(out, f.For(d.Dialect)...)
			}
		})
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	m := anEvent().Body
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out, _ = AppendJSON(out[:0], m)
	}
}

func BenchmarkAppendProtojson(b *testing.B) {
	m := anEvent().Body
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out, _ = protojson.MarshalOptions{UseProtoNames: true}.MarshalAppend(out[:0], m)
	}
}

func BenchmarkUnmarshalJSON(b *testing.B) {
	text := must(AppendJSON(nil, aSend()))
	b.ReportAllocs()
	for b.Loop() {
		if err := UnmarshalJSON(text, new(pb.SendRequest)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshalProtojson(b *testing.B) {
	text := must(AppendJSON(nil, aSend()))
	b.ReportAllocs()
	for b.Loop() {
		if err := protojson.Unmarshal(text, new(pb.SendRequest)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshalProto(b *testing.B) {
	bytes := must(proto.Marshal(aSend()))
	b.ReportAllocs()
	for b.Loop() {
		if err := UnmarshalProto(bytes, new(pb.SendRequest)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMask(b *testing.B) {
	data := make([]byte, 200)
	b.SetBytes(200)
	for b.Loop() {
		mask(data, 0xdeadbeef)
	}
}
