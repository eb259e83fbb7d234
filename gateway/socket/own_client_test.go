package socket

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/client"
)

// An own is Kith's own client, and what it has heard.
type own struct {
	*client.Client
	heard chan string // "c:5 #3 hello", "signal 99 of c:5", "gap c:5", "over 3001", in order
}

// doors are the two ways in which it connects.
var doors = map[string]func(*world) string{
	"WebSocket": func(w *world) string { return w.url() },
	"raw TCP":   func(w *world) string { return w.tcp() },
}

func (w *world) tcp() string { return "tcp://" + w.server.TCPAddrs()[0].String() }

func (w *world) own(t testing.TB, url, user string, known map[string]client.Position) *own {
	t.Helper()
	o := &own{heard: make(chan string, 1<<12)}
	c, err := client.Dial(patient(t), client.Config{
		URL: url, Token: user, App: `a "test"`, Known: known,
		Event: func(channel string, e *pb.Event) {
			body := &pb.MessageSent{}
			if err := body.UnmarshalVT(e.Body); err != nil {
				t.Error(err)
			}
			o.heard <- fmt.Sprintf("%s #%d %s", channel, e.Seq, body.GetContent().GetText().GetText())
		},
		Signal:       func(e *pb.Event) { o.heard <- fmt.Sprintf("signal %d of %s", e.Type, e.Channel) },
		Gap:          func(channel string) { o.heard <- "gap " + channel },
		Disconnected: func(code uint32, _ string) { o.heard <- fmt.Sprint("over ", code) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	o.Client = c
	return o
}

func (o *own) hears(t testing.TB, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-o.heard:
			if got != w {
				t.Fatalf("heard %q, want %q", got, w)
			}
		case <-time.After(patience):
			t.Fatalf("%q is never heard", w)
		}
	}
}

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestOurClientHearsAndSaysTheSameAtBothDoors(t *testing.T) {
	for name, url := range doors {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, rawTCP)
			ref := entity.Conversation(1, 5)
			w.log(ref, "ann", "bob")
			ann, bob := w.own(t, url(w), "ann", nil), w.own(t, url(w), "bob", nil)
			send := &pb.SendRequest{ConversationId: 5, RequestId: "r1", Content: textMessage("one").Content}
			reply := &pb.SendResponse{}
			if err := ann.Call(patient(t), "Messages.Send", send, reply); err != nil || reply.Seq != 1 {
				t.Fatalf("the reply is %v, %v", reply, err)
			}
			got, err := bob.CallJSON(patient(t), "Messages.Send", []byte(`{"conversation_id":5,"content":{"text":{"text":"two"}}}`))
			if err != nil || string(got) != `{"seq":2,"at":1}` {
				t.Fatalf("the reply in JSON is %s, %v", got, err)
			}
			for _, o := range []*own{ann, bob} {
				o.hears(t, "c:5 #1 one", "c:5 #2 two")
			}
			w.turns <- func() {
				e := &entity.Event{Ref: ref, Type: &entity.EventType{Number: 99, Name: "Typing"}, Body: &pb.MessageRevoked{}, Audience: &entity.Audience{Users: w.logs[ref].members}}
				w.hub.Published(e)
				w.hub.Released()
			}
			bob.hears(t, "signal 99 of c:5")
			var refusal *client.Error
			if err := ann.Call(patient(t), "Messages.History", &pb.HistoryRequest{ConversationId: 5}, &pb.HistoryResponse{}); !errors.As(err, &refusal) || refusal.Code != 103 || refusal.Msg != "you may not" {
				t.Errorf("what is denied gave %v", err)
			}
			if err := ann.Call(patient(t), "No.Such", &pb.HistoryRequest{}, &pb.HistoryResponse{}); !errors.As(err, &refusal) || refusal.Code != 104 {
				t.Errorf("an unknown method gave %v", err)
			}
			for method, request := range map[string]string{"No.Such": `{}`, "Messages": `{}`, "MessageSent": `{}`, "Messages.Send": `{"x":1}`} {
				if _, err := ann.CallJSON(patient(t), method, []byte(request)); !errors.As(err, &refusal) {
					t.Errorf("%s %s gave %v", method, request, err)
				}
			}
			if err := ann.Subscribe(patient(t), "no such channel"); !errors.As(err, &refusal) {
				t.Errorf("subscribing to nothing gave %v", err)
			}
			over, cancel := context.WithCancel(context.Background())
			cancel()
			if err := ann.Call(over, "Messages.Send", send, reply); !errors.Is(err, context.Canceled) {
				t.Errorf("a call that nobody waits for gave %v", err)
			}
		})
	}
}

func TestOurClientIsRefusedWithAReason(t *testing.T) {
	w := newWorld(t, rawTCP)
	for name, url := range doors {
		if _, err := client.Dial(patient(t), client.Config{URL: url(w)}); err == nil || err.Error() != "the server refused the connection: there is no token (code 101)" {
			t.Errorf("over %s a connection without a token gave %v", name, err)
		}
	}
	for _, url := range []string{"", "127.0.0.1:8003", "tcp://127.0.0.1", w.tcp() + "/path", "http://127.0.0.1:1", "ws://"} {
		if _, err := client.Dial(patient(t), client.Config{URL: url}); err == nil {
			t.Errorf("%q is an address", url)
		}
	}
	if _, err := client.Dial(patient(t), client.Config{URL: w.url(), Known: map[string]client.Position{}}); err == nil {
		t.Error("positions are taken for a WebSocket, which cannot use them")
	}
}

func TestOurClientRecoversOverRawTCP(t *testing.T) {
	w := newWorld(t, rawTCP)
	refs := []entity.Ref{entity.Conversation(1, 5), entity.Conversation(1, 6)}
	for _, ref := range refs {
		w.log(ref, "ann")
	}
	first := w.own(t, w.tcp(), "ann", nil)
	w.say(refs[0], "one")
	w.say(refs[1], "two")
	first.hears(t, "c:5 #1 one", "c:6 #1 two")
	until(t, "both positions", func() bool { return len(first.Positions()) == 3 })
	known := first.Positions()
	want := map[string]client.Position{"u:ann": {Epoch: "e1", Seq: 1}, "c:5": {Epoch: "e1", Seq: 1}, "c:6": {Epoch: "e1", Seq: 1}}
	if !maps.Equal(known, want) {
		t.Errorf("the positions are %v, want %v", known, want)
	}
	first.Close()
	first.hears(t, "over 0")
	until(t, "the end of the first", func() bool { return w.server.Connections() == 0 })
	for i := range 100 {
		w.say(refs[0], fmt.Sprint("missed ", i))
	}
	known["c:6"] = client.Position{Epoch: "of another store", Seq: 1}
	second := w.own(t, w.tcp(), "ann", known)
	second.hears(t, "gap c:6")
	for i := range 100 {
		second.hears(t, fmt.Sprintf("c:5 #%d missed %d", i+2, i))
	}
	w.say(refs[1], "three")
	second.hears(t, "c:6 #2 three")
}

func TestOurClientAnswersPings(t *testing.T) {
	w := newWorld(t, rawTCP)
	w.policy.PingEvery, w.policy.PongTimeout = 10*time.Minute, time.Minute // Tokens live for an hour.
	c := w.own(t, w.tcp(), "ann", nil)
	answered := func() float64 { return w.count("frames_in_total") }
	for range 3 {
		before := answered()
		w.shift.Add(int64(w.policy.PingEvery))
		until(t, "the answer to a ping", func() bool { return answered() > before })
	}
	w.log(entity.Conversation(1, 5), "ann")
	if err := c.Call(patient(t), "Messages.Send", &pb.SendRequest{ConversationId: 5}, &pb.SendResponse{}); err != nil {
		t.Error(err)
	}
}

func TestOurClientHearsWhyItWasSentAway(t *testing.T) {
	w := newWorld(t, rawTCP)
	c := w.own(t, w.tcp(), "ann", nil)
	drained := make(chan error, 1)
	go func() { drained <- w.server.Drain(drainContext(t)) }()
	c.hears(t, "over 3001")
	if err := c.Call(patient(t), "Messages.Send", &pb.SendRequest{}, &pb.SendResponse{}); err == nil {
		t.Error("a call succeeds after the end")
	}
	if err := errors.Join(<-drained, <-w.ended); err != nil {
		t.Error(err)
	}
	w.ended <- nil
}
