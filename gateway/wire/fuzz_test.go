package wire

import (
	"encoding/binary"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
)

// More bytes never change what was said of fewer, and net/http would not read
// an agreed request otherwise.
func FuzzUpgrade(f *testing.F) {
	f.Add([]byte(request(goodLine)+"\x81\x80rest"), uint16(40))
	f.Add([]byte(request("GET /?cf_protocol=protobuf HTTP/1.1", "Sec-WebSocket-Protocol: a, centrifuge-json", "Origin: x")), uint16(100))
	f.Add([]byte("POST / HTTP/1.1\r\n\r\n"), uint16(2))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		u, n, err := ParseUpgrade(b)
		if n > len(b) || n > MaxHeaderBytes {
			t.Fatalf("%d bytes consumed of %d", n, len(b))
		}
		early, m, earlyErr := ParseUpgrade(b[:min(int(cut), len(b))])
		switch {
		case earlyErr != nil && (err == nil || err.Error() != earlyErr.Error()):
			t.Fatalf("refused early with %v, later %v", earlyErr, err)
		case m > 0 && (m != n || early != u):
			t.Fatalf("read early as %+v in %d bytes, later as %+v in %d", early, m, u, n)
		}
		if err == nil && n > 0 && (u.Path == "" || u.Path[0] != '/' || u.Host == "" || !strings.Contains(string(u.AppendResponse(nil)), "\r\n\r\n")) {
			t.Fatalf("agreed to %+v", u)
		}
	})
}

// However a stream is cut, the same messages come out of it, and the same
// error.
func FuzzDecoder(f *testing.F) {
	for _, c := range decoderCases {
		if stream := slices.Concat(c.stream...); len(stream) < 200 {
			f.Add(stream, uint8(3), uint8(1))
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte, a, b uint8) {
		whole := feed(stream, testLimit, len(stream))
		cut := feed(stream, testLimit, int(a), int(b))
		if whole.String() != cut.String() || !slices.EqualFunc(whole.messages, cut.messages, equalMessages) {
			t.Fatalf("whole %v, cut %v", whole, cut)
		}
		for _, m := range whole.messages {
			if len(m.Data) > testLimit {
				t.Fatalf("a message of %d bytes", len(m.Data))
			}
		}
	})
}

// However a stream is cut, the same frames come out of it, and the same error; each
// is one command or none, and has its length in the shortest form.
func FuzzStream(f *testing.F) {
	for _, c := range streamCases {
		if len(c.stream) < 200 {
			f.Add(c.stream, uint8(3), uint8(1))
		}
	}
	for _, c := range served {
		f.Add(append(must(appendCommand(nil, Stream, c)), 0), uint8(7), uint8(2))
	}
	f.Fuzz(func(t *testing.T, stream []byte, a, b uint8) {
		whole := takeFrames(stream, testLimit, len(stream))
		if cut := takeFrames(stream, testLimit, int(a), int(b)); !equalTaken(whole, cut) {
			t.Fatalf("whole %v, cut %v", whole, cut)
		}
		read := 0
		for _, frame := range whole.frames {
			read += len(frame)
			size, head := binary.Uvarint(frame)
			if size > testLimit || head+int(size) != len(frame) || head != len(binary.AppendUvarint(nil, size)) {
				t.Fatalf("%x is a frame", frame)
			}
			if got, err := commands(Stream, frame); err == nil && len(got) != 1 {
				t.Fatalf("%x is %d commands", frame, len(got))
			}
		}
		if rest := stream[read:]; whole.err == nil && len(rest) > 0 {
			if size, head := binary.Uvarint(rest); head > 0 && size <= uint64(len(rest)-head) {
				t.Fatalf("the frame at the front of %x was not taken", rest)
			}
		}
	})
}

// What is read is written back by the library, and read as the same.
func FuzzJSONCommands(f *testing.F) {
	for _, c := range served {
		f.Add(must(appendCommand(nil, JSON, c)))
	}
	f.Add([]byte("{}\n{\"id\":1,\"publish\":{\"channel\":\"x\",\"data\":{}}}\n"))
	f.Add([]byte(`{"id":1,"rpc":{"data":[1.5e-3,{"a":null},"\ud83d\ude00"],"method":"A.B"}}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		got, err := commands(JSON, message)
		if err != nil {
			return
		}
		for _, c := range got {
			again := must(commands(JSON, must(appendCommand(nil, JSON, c))))
			if len(again) != 1 || !proto.Equal(again[0], c) {
				t.Fatalf("%q is read as %v, which is read back as %v", message, c, again)
			}
			if c.Rpc != nil && len(c.Rpc.Data) > 0 && !json.Valid(c.Rpc.Data) {
				t.Fatalf("%q has data that is not JSON: %q", message, c.Rpc.Data)
			}
		}
	})
}

func FuzzProtobufCommands(f *testing.F) {
	var all []byte
	for _, c := range served {
		all = must(appendCommand(all, Protobuf, c))
		f.Add(must(appendCommand(nil, Protobuf, c)))
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, message []byte) {
		got, err := commands(Protobuf, message)
		if err != nil {
			return
		}
		for _, c := range got {
			again := must(commands(Protobuf, must(appendCommand(nil, Protobuf, c))))
			if len(again) != 1 || !proto.Equal(again[0], c) {
				t.Fatalf("%x is read as %v, which is read back as %v", message, c, again)
			}
		}
	})
}

var exponent = regexp.MustCompile(`[0-9][eE]`)

// What we read, protojson reads, and as the same. What we refuse, it refuses,
// but for what UnmarshalJSON documents.
func FuzzUnmarshalJSON(f *testing.F) {
	types := []proto.Message{
		&pb.SendRequest{}, &pb.HistoryRequest{}, &pb.ChangeGroupRequest{}, &pb.CreateGroupRequest{}, &pb.DeleteRequest{}, &pb.HistoryResponse{},
	}
	f.Add([]byte(`{"conversation_id":"12","requestId":"r","content":{"text":{"text":"\ud83d\ude00","entities":[{"offset":1,"type":null}]}}}`), uint8(0))
	f.Add([]byte(`{"content":{"voice":{"waveform":"-_8","durationMs":"5"}}}`), uint8(0))
	f.Add([]byte(`{"content":{"location":{"latitude":"-Infinity","longitude":1.5e-7}}}`), uint8(0))
	f.Add([]byte(`{"before":0,"limit":50.0}`), uint8(1))
	f.Add([]byte(`{"name":"","join_rule":"OPEN","permissions":{}}`), uint8(2))
	f.Add([]byte(`{"user_ids":["a","b"],"join_rule":1}`), uint8(3))
	f.Add([]byte(`{"seqs":[1,"2",3]}`), uint8(4))
	f.Add([]byte(`{"events":[{"body":{"seq":3},"seq":4,"type":"MessageRevoked","by":"x"}],"more_after":true}`), uint8(5))
	f.Fuzz(func(t *testing.T, text []byte, which uint8) {
		m := types[int(which)%len(types)].ProtoReflect().New().Interface()
		other := m.ProtoReflect().New().Interface()
		err := UnmarshalJSON(text, m)
		if !hasEvent(m.ProtoReflect().Descriptor()) {
			otherErr := protojson.Unmarshal(text, other)
			switch {
			case err == nil && (otherErr != nil || !proto.Equal(m, other)):
				t.Fatalf("%q is read as %v, by protojson as %v, %v", text, m, other, otherErr)
			case err != nil && otherErr == nil && !exponent.Match(text) && !strings.Contains(err.Error(), "too deep"):
				t.Fatalf("%q is refused with %q, protojson reads %v", text, err, other)
			}
		}
		if err != nil {
			return
		}
		again, err := AppendJSON(nil, m)
		if err != nil || !json.Valid(again) {
			t.Fatalf("%v is written as %s, %v", m, again, err)
		}
		if err := UnmarshalJSON(again, other); err != nil || !proto.Equal(m, other) {
			t.Fatalf("%s is read back as %v, %v, want %v", again, other, err, m)
		}
	})
}
