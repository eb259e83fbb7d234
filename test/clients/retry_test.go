package clients

import (
	"errors"
	"net/http"
	"testing"
)

// A reply is lost on the way, and the client asks again with the same request id.
func TestARequestWhoseAnswerWasLostIsDoneOnce(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			pair := s.people(plain, "ann", "bob")
			ann, bob := pair[0], pair[1]
			id := ann.direct(t, bob)
			l := linkTo(t, s)
			phone, his := ann.by(t, l, "phone", d), bob.device(t, "phone", d)
			req := object{"conversation_id": id, "request_id": "once", "content": text("once")}

			l.pause(down, true)
			lost := make(chan error, 1)
			go func() {
				_, err := phone.call(within(t), "Messages.Send", req)
				lost <- err
			}()
			seq := his.hears(logOf(id), "the message", func(e event) bool { return e.text() == "once" }).Seq
			l.cut(rst)
			l.pause(down, false)
			if err := <-lost; err == nil {
				t.Error("the first answer arrived")
			}
			phone.connected(2)
			for range 2 {
				if again := phone.ask("Messages.Send", req).number(t, "seq"); again != seq {
					t.Errorf("sent again it is at %d, want %d", again, seq)
				}
			}
			if got := texts(bob.messages(t, id)); got != "once" {
				t.Errorf("history = %q, want %q", got, "once")
			}
			req["content"] = text("twice")
			var r *refusal
			if reply, err := phone.call(within(t), "Messages.Send", req); !errors.As(err, &r) || r.Code != "conflict" {
				t.Errorf("another message with the same request id: %v, %v, want a conflict", reply, err)
			}
		})
	}
}

func TestRequestIdsAreOfADevice(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	pair := s.people(plain, "ann", "bob")
	ann, bob := pair[0], pair[1]
	id := ann.direct(t, bob)
	phone, desktop := ann.device(t, "phone", speaksJSON), ann.device(t, "desktop", speaksProto)
	send := object{"conversation_id": id, "request_id": "r", "content": text("hi")}
	first := phone.ask("Messages.Send", send).number(t, "seq")
	if second := desktop.ask("Messages.Send", send).number(t, "seq"); second == first {
		t.Errorf("another device's request with the same id has the answer of the first, %d", first)
	}
	// The same device over HTTP is the same.
	again, err := s.post(ann.token(t, "phone"), "Messages.Send", send, asProto)
	must(t, err)
	if seq := again.number(t, "seq"); seq != first {
		t.Errorf("over HTTP it is at %d, want %d", seq, first)
	}
	keyed := func(key, words string) (object, error) {
		body, err := asJSON.encode("Messages.Send", object{"conversation_id": id, "content": text(words)})
		must(t, err)
		return s.postBytes(ann.token(t, "phone"), "Messages.Send", body, asJSON, http.Header{"Idempotency-Key": {key}})
	}
	header, err := keyed("r", "hi")
	must(t, err)
	if seq := header.number(t, "seq"); seq != first {
		t.Errorf("with Idempotency-Key it is at %d, want %d", seq, first)
	}
	if _, err := keyed("r", "other"); !isRefusal(err, "conflict") {
		t.Errorf("another message with the same Idempotency-Key: %v, want a conflict", err)
	}
	if got := texts(bob.messages(t, id)); got != "hi hi" {
		t.Errorf("history = %q, want %q", got, "hi hi")
	}
}

func TestARetriedCreateMakesOneGroup(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	ann := s.people(plain, "ann")[0]
	phone := ann.device(t, "phone", speaksProto)
	create := object{"request_id": "mine", "name": "one"}
	id := phone.ask("Groups.Create", create).number(t, "conversation_id")
	if again := phone.ask("Groups.Create", create).number(t, "conversation_id"); again != id {
		t.Errorf("created again it is %d, want %d", again, id)
	}
	if dialogs := ann.post(t, "Dialogs.List", object{}).list("dialogs"); len(dialogs) != 1 {
		t.Errorf("dialogs = %v, want one", dialogs)
	}
}

// What was refused was not done, so it is not remembered.
func TestARefusalIsForgotten(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	pair := s.people(plain, "ann", "bob")
	ann, bob := pair[0], pair[1]
	id := ann.group(t, nil)
	send := object{"conversation_id": id, "request_id": "r", "content": text("hi")}
	bob.refused(t, "not_found", "Messages.Send", send)
	bob.post(t, "Groups.Join", object{"conversation_id": id})
	bob.post(t, "Messages.Send", send)
	bob.post(t, "Messages.Send", send)
	if got := texts(ann.messages(t, id)); got != "hi" {
		t.Errorf("history = %q, want %q", got, "hi")
	}
}
