package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"kith/actors/entity"
	"kith/actors/pb"
)

// payloadTypes are all messages of kith.v1, in no order.
func payloadTypes() (all []protoreflect.MessageType) {
	protoregistry.GlobalTypes.RangeMessages(func(t protoreflect.MessageType) bool {
		if t.Descriptor().ParentFile().Package() == "kith.v1" {
			all = append(all, t)
		}
		return true
	})
	return all
}

func TestEveryMessageCanBePayload(t *testing.T) {
	types := payloadTypes()
	if len(types) < 50 {
		t.Fatalf("only %d messages are registered", len(types))
	}
	for _, mt := range types {
		if _, err := planOf(mt.Descriptor()); err != nil {
			t.Error(err)
		}
	}
}

func TestAppendJSON(t *testing.T) {
	name := "a\"b\\c\n\r\t\x00\x1f\x7f</é😀\u2028\u2029"
	for _, c := range []struct {
		m    proto.Message
		want string
	}{
		{&pb.SendResponse{}, `{}`},
		{&pb.SendResponse{Seq: 1<<53 - 1, At: -5}, `{"seq":9007199254740991,"at":-5}`},
		{&pb.SendRequest{ConversationId: 12, Content: &pb.Content{}}, `{"conversation_id":12,"content":{}}`},
		{aSend().Content, `{"text":{"text":"See you at the station at half past six, I'll bring the tickets."}}`},
		{&pb.GroupCreated{Name: name}, `{"name":"a\"b\\c\n\r\t\u0000\u001f\u007f</é😀\u2028\u2029"}`},
		{&pb.DeleteRequest{Seqs: []uint64{1, 0, 3}}, `{"seqs":[1,0,3]}`},
		{&pb.HistoryRequest{Where: &pb.HistoryRequest_Before{}}, `{"before":0}`},
		{&pb.ChangeGroupRequest{Name: proto.String("")}, `{"name":""}`},
		{&pb.RoleChanged{UserId: "bob", Role: pb.Role_OWNER}, `{"user_id":"bob","role":"OWNER"}`},
		{&pb.RoleChanged{Role: 99}, `{"role":99}`},
		{&pb.Voice{Waveform: []byte{0xfb, 0xff, 1}, DurationMs: 1 << 31}, `{"duration_ms":2147483648,"waveform":"+/8B"}`},
		{&pb.Location{Latitude: 52.25, Longitude: -1e-9}, `{"latitude":52.25,"longitude":-1e-09}`},
		{&pb.Location{Latitude: math.NaN(), Longitude: math.Inf(-1)}, `{"latitude":"NaN","longitude":"-Infinity"}`},
		{&pb.MessageSent{Content: &pb.Content{Type: &pb.Content_File{File: &pb.File{Media: &pb.Media{Bytes: 1 << 40}}}}, Revoked: true},
			`{"content":{"file":{"media":{"bytes":1099511627776}}},"revoked":true}`},
	} {
		got, err := AppendJSON([]byte("x"), c.m)
		if err != nil || string(got) != "x"+c.want {
			t.Errorf("got %s, %v, want %s", got, err, c.want)
		}
	}
}

func TestAppendJSONOfEvents(t *testing.T) {
	body := must(proto.Marshal(&pb.MessageRevoked{Seq: 4}))
	for _, c := range []struct {
		e    *pb.Event
		want string
	}{
		{&pb.Event{Type: 0x12, Seq: 5, At: 6, By: "al\"ice", Body: body}, `{"type":"MessageRevoked","seq":5,"at":6,"by":"al\"ice","body":{"seq":4}}`},
		{&pb.Event{Type: 0x12, Seq: 5}, `{"type":"MessageRevoked","seq":5,"body":{}}`},
		{&pb.Event{Type: 0xffff, Seq: 5, By: "a"}, `{"type":"Unreadable","seq":5,"by":"a","body":{}}`},
		{&pb.Event{Type: 0x12, Seq: 5, Body: []byte{0xff}}, `{"type":"Unreadable","seq":5,"body":{}}`},
		{&pb.Event{Type: 0x31, Seq: 5, By: "\xff", Body: []byte("\x0a\x01\xff")}, `{"type":"Unreadable","seq":5,"body":{}}`},
	} {
		page := &pb.HistoryResponse{Events: []*pb.Event{c.e}, MoreBefore: true}
		got, err := AppendJSON(nil, page)
		if want := `{"events":[` + c.want + `],"more_before":true}`; err != nil || string(got) != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
	page := &pb.HistoryResponse{Events: []*pb.Event{{Type: 0x12, Seq: 5, At: 6, By: "a", Body: body}, {Type: 0x12, Seq: 6}}}
	var back pb.HistoryResponse
	if err := UnmarshalJSON(must(AppendJSON(nil, page)), &back); err != nil || !proto.Equal(page, &back) {
		t.Errorf("read back as %v, %v, want %v", &back, err, page)
	}
}

func TestAppendJSONRefuses(t *testing.T) {
	for name, m := range map[string]proto.Message{
		"invalid UTF-8":        &pb.GroupCreated{Name: "a\xffb"},
		"half a surrogate":     &pb.GroupCreated{Name: "\xed\xa0\x80"},
		"invalid UTF-8 within": &pb.OpenDirectRequest{UserId: "ok", RequestId: "\xc0\x80"},
	} {
		if got, err := AppendJSON([]byte("kept"), m); err == nil || string(got) != "kept" {
			t.Errorf("%s: got %q, %v, want an error", name, got, err)
		}
	}
}

// randomMessage fills a message with what is likely to break an encoder.
func randomMessage(r *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case r.IntN(3) == 0 || f.Message() != nil && depth == 0:
		case f.IsList():
			for range r.IntN(4) {
				v := m.Mutable(f).List().NewElement()
				if f.Message() != nil {
					randomMessage(r, v.Message(), depth-1)
				} else {
					v = randomScalar(r, f)
				}
				m.Mutable(f).List().Append(v)
			}
		case f.Message() != nil:
			randomMessage(r, m.Mutable(f).Message(), depth-1)
		default:
			m.Set(f, randomScalar(r, f))
		}
	}
}

func randomScalar(r *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	bits := r.Uint64() >> r.IntN(64)
	switch f.Kind() {
	case protoreflect.StringKind:
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteRune([]rune{'a', '"', '\\', '\n', 0, 0x1f, 0x7f, 'é', '\u2028', '\u2029', '\ufffd', '😀', rune(r.IntN(0x3000))}[r.IntN(13)])
		}
		return protoreflect.ValueOfString(b.String())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{byte(bits), byte(bits >> 8)}[:r.IntN(3)])
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(bits&1 == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(r.IntN(6)))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(math.Float32frombits(uint32(bits)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64([]float64{math.Float64frombits(bits), r.NormFloat64(), 1e21, 1e-7, math.Inf(1)}[r.IntN(5)])
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(bits))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(bits))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(bits))
	}
	return protoreflect.ValueOfUint64(bits)
}

// hasEvent reports whether a type is an Event or has one within: those are not
// written as protojson does.
func hasEvent(d protoreflect.MessageDescriptor) bool {
	if d.Name() == "Event" {
		return true
	}
	for i := range d.Fields().Len() {
		if m := d.Fields().Get(i).Message(); m != nil && m != d && hasEvent(m) {
			return true
		}
	}
	return false
}

func TestAppendJSONIsReadByAll(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, mt := range payloadTypes() {
		for range 50 {
			m := mt.New()
			randomMessage(r, m, 4)
			text, err := AppendJSON(nil, m.Interface())
			if err != nil {
				t.Fatalf("%v: %v", m, err)
			}
			if !json.Valid(text) {
				t.Fatalf("%s is not JSON", text)
			}
			if !utf8.Valid(text) || bytes.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\u2028' || c == '\u2029' }) {
				t.Fatalf("%q has a character that must be escaped", text)
			}
			if hasEvent(mt.Descriptor()) {
				continue
			}
			back := mt.New().Interface()
			if err := protojson.Unmarshal(text, back); err != nil || !proto.Equal(back, m.Interface()) {
				t.Fatalf("protojson reads %s as %v, %v, want %v", text, back, err, m)
			}
			if err := UnmarshalJSON(text, back); err != nil || !proto.Equal(back, m.Interface()) {
				t.Fatalf("we read %s as %v, %v, want %v", text, back, err, m)
			}
		}
	}
}

func TestUnmarshalJSONTakes(t *testing.T) {
	for in, want := range map[string]proto.Message{
		`{"conversation_id":"12","requestId":"r"}`:                       &pb.SendRequest{ConversationId: 12, RequestId: "r"},
		`{"conversationId":12.000,"content":null}`:                       &pb.SendRequest{ConversationId: 12},
		` { "content" : { "text" : { "text" : "\ud83d\ude00\/\n" } } } `: &pb.SendRequest{Content: &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: "😀/\n"}}}},
		`{"content":{"voice":{"waveform":"-_8","duration_ms":"5"}}}`:     &pb.SendRequest{Content: &pb.Content{Type: &pb.Content_Voice{Voice: &pb.Voice{Waveform: []byte{0xfb, 0xff}, DurationMs: 5}}}},
		`{"content":{"text":null,"custom":{}}}`:                          &pb.SendRequest{Content: &pb.Content{Type: &pb.Content_Custom{Custom: &pb.Custom{}}}},
		`{"role":"ADMIN"}`:                                               &pb.SetRoleRequest{Role: pb.Role_ADMIN},
		`{"role":2}`:                                                     &pb.SetRoleRequest{Role: 2},
		`{"seqs":[1,"2"]}`:                                               &pb.DeleteRequest{Seqs: []uint64{1, 2}},
		`{"latitude":"1e2","longitude":-0.5}`:                            &pb.Location{Latitude: 100, Longitude: -0.5},
		`{"latitude":"Infinity"}`:                                        &pb.Location{Latitude: math.Inf(1)},
		`{"after":0}`:                                                    &pb.HistoryRequest{Where: &pb.HistoryRequest_After{}},
		`{}`:                                                             &pb.SendRequest{},
		`{"name":"","history_hidden":false}`:                             &pb.ChangeGroupRequest{Name: proto.String(""), HistoryHidden: proto.Bool(false)},
		`{"content":{"text":{"entities":[{},{"offset":1}]}}}`:            &pb.SendRequest{Content: &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Entities: []*pb.TextEntity{{}, {Offset: 1}}}}}},
	} {
		got := want.ProtoReflect().New().Interface()
		randomMessage(rand.New(rand.NewPCG(3, 4)), got.ProtoReflect(), 2)
		if err := UnmarshalJSON([]byte(in), got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestUnmarshalJSONRefuses(t *testing.T) {
	for in, want := range map[string]string{
		``:                                 `there must be a JSON object`,
		`[]`:                               `the request must be an object`,
		`null`:                             `the request must be an object`,
		`{"txt":1}`:                        `there is no field "txt"`,
		`{"content":{"text":{"txt":"x"}}}`: `there is no field "content.text.txt"`,
		`{"content":{"text":{"text":5}}}`:  `content.text.text must be a string`,
		`{"content":5}`:                    `content must be an object`,
		`{"conversation_id":-1}`:           `conversation_id must be a whole number from 0 to 18446744073709551615`,
		`{"conversation_id":1.5}`:          `conversation_id must be a whole number from 0 to 18446744073709551615`,
		`{"conversation_id":"x"}`:          `conversation_id must be a whole number`,
		`{"conversation_id":true}`:         `conversation_id must be a whole number`,
		`{"conversation_id":1,"conversationId":2}`:      `conversation_id is there twice`,
		`{"content":{"text":{},"link":{}}}`:             `content.text and content.link exclude each other`,
		`{"content":{"image":{"width":4294967296}}}`:    `content.image.width must be a whole number from 0 to 4294967295`,
		`{"content":{"voice":{"waveform":"%"}}}`:        `content.voice.waveform must be bytes in base64`,
		`{"content":{"location":{"latitude":"north"}}}`: `content.location.latitude must be a number`,
		`{"content":{"location":{"latitude":1e999}}}`:   `content.location.latitude must be a number of 64 bits`,
		`{"content":{"text":{"entities":{}}}}`:          `content.text.entities must be an array`,
		`{"content":{"text":{"entities":[null]}}}`:      `content.text.entities must be an object`,
		`{"request_id":"` + "\n" + `"}`:                 `the JSON is malformed at byte 15: a control character must be escaped`,
		"{\"request_id\":\"\xff\"}":                     `the JSON is malformed at byte 14: a string is not valid UTF-8`,
		`{"request_id":"\udc00"}`:                       `the JSON is malformed at byte 15: an escape is malformed`,
		`{"request_id":"x"`:                             `the JSON is malformed at byte 17: a comma or '}' must stand here`,
		`{"request_id":"x"} x`:                          `the JSON is malformed at byte 19: there is something after the value`,
		`{"content":` + strings.Repeat("[", MaxDepth):   `content must be an object`,
		`{"` + strings.Repeat("long", 100) + `":1}`:     `there is no field "` + strings.Repeat("long", 16) + `"`,
	} {
		err := UnmarshalJSON([]byte(in), new(pb.SendRequest))
		var refusal *entity.Error
		if !errors.As(err, &refusal) || refusal.Code != entity.Invalid || refusal.Msg != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
	err := UnmarshalJSON([]byte(`{"role":"KING"}`), new(pb.SetRoleRequest))
	if err == nil || !strings.HasPrefix(err.Error(), "role must be one of ") || !strings.Contains(err.Error(), "OWNER") {
		t.Errorf("an unknown role: %v", err)
	}
	deep := `{"events":[{"type":"MessageSent","body":` + strings.Repeat(`{"content":`, MaxDepth)
	if err := UnmarshalJSON([]byte(deep), new(pb.HistoryResponse)); err == nil || !strings.Contains(err.Error(), "nested too deep") {
		t.Errorf("deep nesting: %v", err)
	}
	var refusal *entity.Error
	if err := UnmarshalJSON(make([]byte, MaxPayloadBytes+1), new(pb.SendRequest)); !errors.As(err, &refusal) || refusal.Code != entity.TooLarge {
		t.Errorf("a payload above the limit: %v", err)
	}
}

func TestUnmarshalProtoRefuses(t *testing.T) {
	var refusal *entity.Error
	for name, in := range map[string][]byte{
		"half a field":  {0x08},
		"invalid UTF-8": must(appendUnchecked(&pb.OpenDirectRequest{UserId: "\xff"})),
	} {
		if err := UnmarshalProto(in, new(pb.OpenDirectRequest)); !errors.As(err, &refusal) || refusal.Code != entity.Invalid {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	if err := UnmarshalProto(make([]byte, MaxPayloadBytes+1), new(pb.SendRequest)); !errors.As(err, &refusal) || refusal.Code != entity.TooLarge {
		t.Errorf("a payload above the limit: %v", err)
	}
}

// appendUnchecked encodes without a look at the strings.
func appendUnchecked(m interface{ MarshalVT() ([]byte, error) }) ([]byte, error) {
	return m.MarshalVT()
}

func TestPayloadsSayTheSame(t *testing.T) {
	for _, p := range []Payload{JSONPayload, ProtoPayload} {
		var got pb.SendRequest
		if err := p.Unmarshal(must(p.Append(nil, aSend())), &got); err != nil || !proto.Equal(&got, aSend()) {
			t.Errorf("%v: %v, %v", p, &got, err)
		}
		if err := p.Unmarshal(nil, &got); err != nil || !proto.Equal(&got, new(pb.SendRequest)) {
			t.Errorf("%v: nothing is read as %v, %v", p, &got, err)
		}
		if got, err := p.Append([]byte("kept"), &pb.GroupCreated{Name: "\xff"}); err == nil || string(got) != "kept" {
			t.Errorf("%v: invalid UTF-8 gives %q, %v", p, got, err)
		}
	}
}
