package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"
	"google.golang.org/protobuf/proto"
)

var bothProtocols = []Protocol{JSON, Protobuf}

// commands decodes a message and stops at the first error.
func commands(p Protocol, message []byte) (all []*protocol.Command, err error) {
	for c, err := range p.Commands(message) {
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	return all, nil
}

// served is a command of each kind, with every field that Kith reads.
var served = []*protocol.Command{
	{},
	{Id: 1, Connect: &protocol.ConnectRequest{
		Token: "a.b.c", Data: []byte(`{"payload":"json","device":"a\nb"}`), Name: "js", Version: "5.8.0",
		Subs: map[string]*protocol.SubscribeRequest{
			"u:alice": {Recover: true, Epoch: "e1", Offset: 7},
			"c:12":    {Recover: true, Epoch: "\"e\"", Offset: 1<<53 - 1},
		},
	}},
	{Id: 2, Rpc: rpc(2, "Messages.Send", []byte(`{"conversation_id":12,"content":{"text":{"text":"é"}}}`)).Rpc},
	{Id: 3, Rpc: &protocol.RPCRequest{Method: "Dialogs.List"}},
	{Id: 4, Subscribe: &protocol.SubscribeRequest{Channel: "c:9", Token: "t", Recover: true, Epoch: "e", Offset: 3, Data: []byte(`1`), Positioned: true, Recoverable: true}},
	{Id: 5, Unsubscribe: &protocol.UnsubscribeRequest{Channel: "c:9"}},
	{Id: 6, Refresh: &protocol.RefreshRequest{Token: "new"}},
	{Send: &protocol.SendRequest{Data: []byte(`[]`)}},
	{Id: 1<<32 - 1, Ping: &protocol.PingRequest{}},
}

func TestCommandsOfSDKs(t *testing.T) {
	for _, p := range bothProtocols {
		for _, want := range served {
			got, err := commands(p, must(appendCommand(nil, p, want)))
			if err != nil || len(got) != 1 || !proto.Equal(got[0], want) {
				t.Errorf("%v: got %v, %v, want %v", p, got, err, want)
			}
		}
		var message []byte
		for i, c := range served {
			if i > 0 {
				message = p.Join(message)
			}
			message = must(appendCommand(message, p, c))
		}
		got, err := commands(p, message)
		if err != nil || !slices.EqualFunc(got, served, func(a, b *protocol.Command) bool { return proto.Equal(a, b) }) {
			t.Errorf("%v: joined: got %v, %v", p, got, err)
		}
	}
}

func TestCommandOwnsItsMemory(t *testing.T) {
	for _, p := range bothProtocols {
		message := must(appendCommand(nil, p, served[1]))
		got := must(commands(p, message))
		clear(message)
		if !proto.Equal(got[0], served[1]) {
			t.Errorf("%v: a command changed with the bytes that it came from: %v", p, got[0])
		}
	}
}

func TestUnservedCommands(t *testing.T) {
	for _, want := range []*protocol.Command{
		{Id: 1, Publish: &protocol.PublishRequest{Channel: "c:1", Data: []byte(`{}`)}},
		{Id: 1, Presence: &protocol.PresenceRequest{Channel: "c:1"}},
		{Id: 1, PresenceStats: &protocol.PresenceStatsRequest{Channel: "c:1"}},
		{Id: 1, History: &protocol.HistoryRequest{Channel: "c:1", Limit: 5, Since: &protocol.StreamPosition{Offset: 1}}},
		{Id: 1, SubRefresh: &protocol.SubRefreshRequest{Channel: "c:1"}},
	} {
		for _, p := range bothProtocols {
			got, err := commands(p, must(appendCommand(nil, p, want)))
			if err != nil || len(got) != 1 || !Unserved(got[0]) || IsPong(got[0]) || got[0].Id != 1 {
				t.Errorf("%v %v: got %v, %v", p, want, got, err)
			}
		}
	}
	for _, c := range served {
		if Unserved(c) {
			t.Errorf("%v is served", c)
		}
		if pong := c == served[0]; IsPong(c) != pong {
			t.Errorf("IsPong(%v) = %v", c, !pong)
		}
	}
}

// What SDKs really send: centrifuge 5.8.0 and centrifuge-go 0.10.10.
func TestJSONCommandsAsSent(t *testing.T) {
	for in, want := range map[string]*protocol.Command{
		`{"connect":{"token":"t","name":"js"},"id":1}`:                       {Id: 1, Connect: &protocol.ConnectRequest{Token: "t", Name: "js"}},
		`{"id":1,"connect":{"token":"","data":null,"flag":3,"headers":{}}}`:  {Id: 1, Connect: &protocol.ConnectRequest{}},
		`{"rpc":{"method":"A.B","data":{"x":[1, 2]}},"id":2}`:                {Id: 2, Rpc: &protocol.RPCRequest{Method: "A.B", Data: []byte(`{"x":[1, 2]}`)}},
		` { "id" : 3 , "unsubscribe" : { "channel" : "c:\u0031" } } `:        {Id: 3, Unsubscribe: &protocol.UnsubscribeRequest{Channel: "c:1"}},
		`{"id":4,"subscribe":{"channel":"c:1","flag":1,"tf":{"key":[{}]}}}`:  {Id: 4, Subscribe: &protocol.SubscribeRequest{Channel: "c:1"}},
		`{"id":5,"rpc":{"method":"A.B"},"from":"a newer SDK","with":[1,{}]}`: {Id: 5, Rpc: &protocol.RPCRequest{Method: "A.B"}},
		`{}`:   {},
		"{}\n": {},
	} {
		got, err := commands(JSON, []byte(in))
		if err != nil || len(got) != 1 || !proto.Equal(got[0], want) {
			t.Errorf("%s: got %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestMalformedCommands(t *testing.T) {
	for _, in := range []string{
		"", "\n", "{}\n\n{}", "x", "{", "[]", "null", `{"id":-1}`, `{"id":4294967296}`, `{"id":1.5}`, `{"id":"1"}`, `{"id":01}`,
		`{"id":1}}`, `{"id":1} {}`, `{"id":1,}`, `{id:1}`, `{"rpc":[]}`, `{"rpc":{"method":1}}`, `{"rpc":{"method":"x","data":}}`,
		`{"rpc":{"data":{"a":1,}}}`, `{"rpc":{"data":[1 2]}}`, `{"rpc":{"data":"` + "\t" + `"}}`, `{"rpc":{"data":nul}}`, `{"rpc":{"data":"\x"}}`,
		`{"rpc":{"data":"\ud800"}}`, `{"rpc":{"data":tru}}`, `{"rpc":{"data":1.}}`, `{"rpc":{"data":-}}`, `{"rpc":{"data":1e}}`,
		"{\"rpc\":{\"method\":\"\xff\"}}", `{"connect":{"subs":{"c:1":null}}}`,
		`{"rpc":{"data":` + strings.Repeat("[", maxCommandDepth) + strings.Repeat("]", maxCommandDepth) + `}}`,
	} {
		var bad *Error
		if _, err := commands(JSON, []byte(in)); !errors.As(err, &bad) || bad.Code != badCommand {
			t.Errorf("JSON %q: %v, want a bad command", in, err)
		}
	}
	for _, in := range []string{"", "\x05", "\x02\x08", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x80", "\x01\x08", "\x03\x6a\x05x", // half a message
		"\x02\x0b\x0c",             // a group
		"\x02\x22\x01\x0a",         // a connect that is none
		"\x02\x20\x01",             // a connect that is a number
		"\x05\x32\x03\x0a\x01\xff", // a channel that is not UTF-8
	} {
		var bad *Error
		if _, err := commands(Protobuf, []byte(in)); !errors.As(err, &bad) || bad.Code != badCommand {
			t.Errorf("protobuf %x: %v, want a bad command", in, err)
		}
	}
}

func TestCommandLimits(t *testing.T) {
	subs := map[string]*protocol.SubscribeRequest{}
	for i := range MaxSubs + 1 {
		subs[fmt.Sprint("c:", i)] = &protocol.SubscribeRequest{}
	}
	for _, p := range bothProtocols {
		one := must(appendCommand(nil, p, rpc(1, "A.B", []byte(`{}`))))
		var many []byte
		for range MaxCommands {
			many = p.Join(append(many, one...))
		}
		if got, err := commands(p, many); err != nil || len(got) != MaxCommands {
			t.Errorf("%v: %d commands, %v, want %d", p, len(got), err, MaxCommands)
		}
		var large *Error
		if got, err := commands(p, append(many, one...)); !errors.As(err, &large) || !large.TooLarge || len(got) != MaxCommands {
			t.Errorf("%v: one command more: %d, %v, want too large", p, len(got), err)
		}
		message := must(appendCommand(nil, p, &protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Subs: subs}}))
		if _, err := commands(p, message); !errors.As(err, &large) || !large.TooLarge {
			t.Errorf("%v: %d channels: %v, want too large", p, len(subs), err)
		}
	}
}

// decodeReplies reads a message as the SDKs do.
func decodeReplies(t *testing.T, p Protocol, message []byte) (all []*protocol.Reply) {
	t.Helper()
	if p == JSON {
		// The SDK for JavaScript splits at newlines before it parses.
		for _, line := range bytes.Split(message, []byte{'\n'}) {
			r, err := protocol.NewJSONReplyDecoder(line).Decode()
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			all = append(all, r)
		}
		return all
	}
	for len(message) > 0 {
		size, n := binary.Uvarint(message)
		r := new(protocol.Reply)
		if err := proto.Unmarshal(message[n:n+int(size)], r); err != nil {
			t.Fatalf("%x: %v", message, err)
		}
		all, message = append(all, r), message[n+int(size):]
	}
	return all
}

func TestReplies(t *testing.T) {
	big := []byte(`"` + strings.Repeat("x", 70_000) + `"`)
	data := []byte(`{"seq":5}`)
	cases := []struct {
		name   string
		append func(Protocol, []byte) []byte
		want   *protocol.Reply
	}{
		{"ping", func(p Protocol, dst []byte) []byte { return p.AppendPing(dst) }, &protocol.Reply{}},
		{"result", func(p Protocol, dst []byte) []byte { return p.AppendResult(dst, 300, data) },
			&protocol.Reply{Id: 300, Rpc: &protocol.RPCResult{Data: data}}},
		{"a big result", func(p Protocol, dst []byte) []byte { return p.AppendResult(dst, 1, big) },
			&protocol.Reply{Id: 1, Rpc: &protocol.RPCResult{Data: big}}},
		{"error", func(p Protocol, dst []byte) []byte {
			return p.AppendError(dst, 7, 404, false, "there is no \"x\"\nhere")
		},
			&protocol.Reply{Id: 7, Error: &protocol.Error{Code: 404, Message: "there is no \"x\"\nhere"}}},
		{"temporary error", func(p Protocol, dst []byte) []byte { return p.AppendError(dst, 8, 503, true, "later") },
			&protocol.Reply{Id: 8, Error: &protocol.Error{Code: 503, Message: "later", Temporary: true}}},
		{"publication", func(p Protocol, dst []byte) []byte { return p.AppendPublication(dst, "c:12", 1<<40, data) },
			&protocol.Reply{Push: &protocol.Push{Channel: "c:12", Pub: &protocol.Publication{Data: data, Offset: 1 << 40}}}},
		{"a big publication", func(p Protocol, dst []byte) []byte { return p.AppendPublication(dst, "u:\"\n", 1, big) },
			&protocol.Reply{Push: &protocol.Push{Channel: "u:\"\n", Pub: &protocol.Publication{Data: big, Offset: 1}}}},
		{"message", func(p Protocol, dst []byte) []byte { return p.AppendMessage(dst, data) },
			&protocol.Reply{Push: &protocol.Push{Message: &protocol.Message{Data: data}}}},
	}
	for _, reply := range coldReplies {
		cases = append(cases, struct {
			name   string
			append func(Protocol, []byte) []byte
			want   *protocol.Reply
		}{reply.String(), func(p Protocol, dst []byte) []byte { return must(p.AppendReply(dst, reply)) }, reply})
	}
	for _, p := range bothProtocols {
		var joined []byte
		var all []*protocol.Reply
		for i, c := range cases {
			one := c.append(p, nil)
			if got := decodeReplies(t, p, one); len(got) != 1 || !proto.Equal(got[0], c.want) {
				t.Errorf("%v %s: got %v, want %v", p, c.name, got, c.want)
			}
			if i > 0 {
				joined = p.Join(joined)
			}
			joined, all = c.append(p, joined), append(all, c.want)
		}
		if got := decodeReplies(t, p, joined); !slices.EqualFunc(got, all, func(a, b *protocol.Reply) bool { return proto.Equal(a, b) }) {
			t.Errorf("%v: joined replies are read as %v", p, got)
		}
	}
}

// coldReplies are those that are sent once in a connection or seldom.
var coldReplies = []*protocol.Reply{
	{Id: 1, Connect: &protocol.ConnectResult{
		Client: "c1", Version: "kith", Expires: true, Ttl: 600, Ping: 25, Pong: true, Data: []byte(`{"user":"alice"}`),
		Subs: map[string]*protocol.SubscribeResult{
			"u:alice": {Recoverable: true, Epoch: "e", Recovered: true, Offset: 9, Positioned: true, WasRecovering: true},
			"c:1":     {Recoverable: true, Epoch: "f", Offset: 3, Positioned: true, WasRecovering: true},
		},
	}},
	{Id: 2, Subscribe: &protocol.SubscribeResult{Recoverable: true, Epoch: "e", Offset: 4}},
	{Id: 3, Unsubscribe: &protocol.UnsubscribeResult{}},
	{Id: 4, Refresh: &protocol.RefreshResult{Client: "c1", Expires: true, Ttl: 60}},
	{Push: &protocol.Push{Channel: "c:1", Subscribe: &protocol.Subscribe{Recoverable: true, Epoch: "e", Offset: 3, Positioned: true}}},
	{Push: &protocol.Push{Channel: "c:1", Unsubscribe: &protocol.Unsubscribe{Code: 2000, Reason: "you left"}}},
	{Push: &protocol.Push{Disconnect: &protocol.Disconnect{Code: 3000, Reason: "restart", Reconnect: true}}},
}

// The protobuf that is written by hand has the size that the library gives it:
// nothing is written twice or for nothing.
func TestRepliesHaveTheLibrarysSize(t *testing.T) {
	data := []byte(`{}`)
	for _, c := range []struct {
		got  []byte
		want *protocol.Reply
	}{
		{Protobuf.AppendResult(nil, 5, data), &protocol.Reply{Id: 5, Rpc: &protocol.RPCResult{Data: data}}},
		{Protobuf.AppendPublication(nil, "c:1", 2, data), &protocol.Reply{Push: &protocol.Push{Channel: "c:1", Pub: &protocol.Publication{Data: data, Offset: 2}}}},
		{Protobuf.AppendError(nil, 5, 404, true, "no"), &protocol.Reply{Id: 5, Error: &protocol.Error{Code: 404, Message: "no", Temporary: true}}},
		{Protobuf.AppendMessage(nil, data), &protocol.Reply{Push: &protocol.Push{Message: &protocol.Message{Data: data}}}},
	} {
		if want := must(Protobuf.AppendReply(nil, c.want)); len(c.got) != len(want) {
			t.Errorf("%x has %d bytes, the library's %x %d", c.got, len(c.got), want, len(want))
		}
	}
}
