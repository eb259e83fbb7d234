package clients

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/centrifugal/centrifuge-go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
)

// nasty has what breaks protocols that are joined by newlines, or that trust
// strings: line ends of every kind, quotes, controls, markup, characters of every
// length in UTF-8.
const nasty = "one\ntwo\r\nthree\u2028four\u2029five\ttab \"quoted\" back\\slash </script> \x01\x1f\x7f é 漢 😀 \n"

// lines is what an announcement may have of it.
const lines = "one\ntwo \"quoted\" back\\slash\n漢 😀"

// contents is a message of every type, with nasty in every string.
func contents() map[string]object {
	media := object{"ref": nasty, "mime": nasty, "bytes": 123}
	units := 0
	for _, r := range nasty {
		if units++; r > 0xffff {
			units++
		}
	}
	return map[string]object{
		"text":     {"text": nasty, "entities": []object{{"type": nasty, "offset": 1, "length": units - 1, "value": nasty}}},
		"image":    {"media": media, "width": 4, "height": 3, "caption": nasty},
		"voice":    {"media": media, "duration_ms": 1500, "waveform": "AAEC/w=="},
		"video":    {"media": media, "width": 4, "height": 3, "duration_ms": 1500, "caption": nasty},
		"file":     {"media": media, "name": nasty, "caption": nasty},
		"sticker":  {"media": media, "emoji": nasty, "pack": nasty},
		"link":     {"url": nasty, "title": nasty, "description": nasty, "media": media},
		"location": {"latitude": 52.5, "longitude": -13.25, "name": nasty},
		"contact":  {"name": nasty, "phone": nasty, "user_id": nasty},
		"custom":   {"type": nasty, "data": nasty},
	}
}

// normal is an object as it would be received.
func normal(t testing.TB, o object) object {
	t.Helper()
	b, err := json.Marshal(o)
	must(t, err)
	n, err := parseObject(b)
	must(t, err)
	return n
}

func TestANewlineInEveryStringPoisonsNothing(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			pair := s.people(plain, "ann", "bob")
			ann, bob := pair[0], pair[1]
			about, err := json.Marshal(object{"model": nasty, "os": nasty, "sdk": nasty, "app": nasty, "payload": d.inside.name, "more": nasty})
			must(t, err)
			phone := ann.device(t, "phone", d, func(c *centrifuge.Config) { c.Data, c.Name, c.Version = about, nasty, nasty })
			var hears []*device
			for i, each := range dialects {
				hears = append(hears, bob.device(t, fmt.Sprintf("phone-%d", i), each))
			}
			if _, err := phone.call(within(t), "Groups.Create", object{"request_id": "no", "name": nasty}); !isRefusal(err, "invalid") {
				t.Errorf("a name of several lines: %v, want it refused as invalid", err)
			}
			id := phone.ask("Groups.Create", object{"request_id": "a\nb", "name": "\"漢\" </script>", "announcement": lines, "join_rule": "OPEN"}).number(t, "conversation_id")
			bob.post(t, "Groups.Join", object{"conversation_id": id, "request_id": "a\nb"})
			if got := phone.ask("Groups.Get", object{"conversation_id": id}); got["name"] != "\"漢\" </script>" || got["announcement"] != lines {
				t.Errorf("Groups.Get = %v", got)
			}
			if device := phone.ask("Devices.List", object{}).list("devices")[0]; device["model"] != nasty || device["app"] != nasty {
				t.Errorf("the device is %q", device)
			}
			sent := map[uint64]object{}
			for kind, content := range contents() {
				seq := phone.ask("Messages.Send", object{"conversation_id": id, "request_id": kind + "\n", "content": object{kind: content}}).number(t, "seq")
				sent[seq] = normal(t, object{kind: content})
			}
			last := phone.say(id, "and then")
			for _, dev := range append(hears, phone) {
				dev.reaches(logOf(id), last)
				for _, e := range dev.messagesOf(id) {
					if want := sent[e.Seq]; want != nil && !reflect.DeepEqual(e.Body.at("content"), map[string]any(want)) {
						t.Errorf("%s heard %q, want %q", dev, e.Body, want)
					}
				}
				if n := dev.times(); n != 1 {
					t.Errorf("%s connected %d times, want 1", dev, n)
				}
			}
			same(t, "history", bob.messages(t, id), phone.messagesOf(id))
		})
	}
}

// A type of message that this server does not know is relayed as it came, to
// clients that may.
func TestAnUnknownTypeOfMessageIsRelayed(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	pair := s.people(plain, "ann", "bob")
	ann, bob := pair[0], pair[1]
	id := ann.direct(t, bob)
	newer := protowire.AppendString(protowire.AppendTag(nil, 500, protowire.BytesType), "a poll")
	content := &pb.Content{}
	must(t, proto.Unmarshal(newer, content))
	body, err := proto.Marshal(&pb.SendRequest{ConversationId: id, Content: content})
	must(t, err)

	hears, reads := bob.device(t, "proto", speaksProto), bob.device(t, "json", speaksJSON)
	phone := ann.device(t, "phone", speaksProto)
	reply, err := phone.callBytes(within(t), "Messages.Send", body)
	must(t, err)
	seq := reply.number(t, "seq")
	hears.reaches(logOf(id), seq)
	var e pb.Event
	var sent pb.MessageSent
	must(t, proto.Unmarshal(hears.raw(logOf(id)), &e))
	must(t, proto.Unmarshal(e.Body, &sent))
	if got := sent.Content.ProtoReflect().GetUnknown(); string(got) != string(newer) {
		t.Errorf("relayed %x, want %x", got, newer)
	}
	reads.reaches(logOf(id), seq)
	reads.reaches(logOf(id), ann.say(t, id, "next"))
}

// Many at once, each near the largest there is: nobody misses one, and pages stay
// within their bounds.
func TestABurstOfLargeMessagesArrives(t *testing.T) {
	t.Parallel()
	const senders, each = 6, 30
	s := everybody.node(t)
	all := s.people(plain, "ann", "bob", "cat")
	ann, bob, cat := all[0], all[1], all[2]
	id := ann.group(t, nil, bob, cat)
	var devices []*device
	for i, p := range []*person{ann, bob, cat} {
		devices = append(devices, p.device(t, "phone", dialects[i]))
	}
	data := strings.Repeat("0123456789abcde\n", 1200) // 19 KB, 20 as JSON
	done := make(chan error, senders)
	for n := range senders {
		go func() {
			d := devices[n%len(devices)]
			for i := range each {
				content := object{"custom": object{"type": fmt.Sprintf("%d-%d", n, i), "data": data}}
				if _, err := d.insist(within(t), "Messages.Send", object{"conversation_id": id, "request_id": fmt.Sprintf("%d-%d", n, i), "content": content}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range senders {
		must(t, <-done)
	}
	last := ann.say(t, id, "last")
	history := bob.messages(t, id)
	if len(history) != senders*each+1 {
		t.Errorf("history has %d messages, want %d", len(history), senders*each+1)
	}
	for _, d := range devices {
		d.reaches(logOf(id), last)
		same(t, d.String(), d.messagesOf(id), history)
	}
}
