package socket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
)

// A sdk is an unmodified Centrifuge client whose network the test can cut.
type sdk struct {
	*centrifuge.Client
	heard        chan string // "c:5 #3", "+c:5 @2", "-c:5", in order
	disconnected chan centrifuge.DisconnectedEvent

	mu   sync.Mutex // guards what is below
	conn net.Conn
}

// clients are the SDK's two protocols, each with a payload.
var clients = []struct {
	name, payload string
	new           func(string, centrifuge.Config) *centrifuge.Client
}{
	{"JSON", "json", centrifuge.NewJsonClient},
	{"protobuf", "json", centrifuge.NewProtobufClient},
	{"protobuf all through", "proto", centrifuge.NewProtobufClient},
}

func (w *world) sdk(new func(string, centrifuge.Config) *centrifuge.Client, payload, user string) *sdk {
	s := &sdk{heard: make(chan string, 1<<16), disconnected: make(chan centrifuge.DisconnectedEvent, 16)}
	s.Client = new(w.url(), centrifuge.Config{
		Token: user, Name: "test", Data: fmt.Appendf(nil, `{"payload":%q,"os":"linux"}`, payload),
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.conn = c
			return c, err
		},
	})
	s.OnSubscribed(func(e centrifuge.ServerSubscribedEvent) {
		recovered := ""
		if e.WasRecovering && !e.Recovered {
			recovered = " not recovered"
		}
		s.heard <- fmt.Sprintf("+%s @%d%s", e.Channel, e.StreamPosition.Offset, recovered)
	})
	s.OnUnsubscribed(func(e centrifuge.ServerUnsubscribedEvent) { s.heard <- "-" + e.Channel })
	s.OnPublication(func(e centrifuge.ServerPublicationEvent) {
		s.heard <- fmt.Sprintf("%s #%d %s", e.Channel, e.Offset, textOf(w.t, payload, e.Data))
	})
	s.OnDisconnected(func(e centrifuge.DisconnectedEvent) { s.disconnected <- e })
	w.t.Cleanup(s.Close)
	return s
}

var dialer net.Dialer

// textOf is the text of a message, or the type of another event.
func textOf(t testing.TB, payload string, data []byte) string {
	var body pb.MessageSent
	if payload == "proto" {
		var e pb.Event
		if err := proto.Unmarshal(data, &e); err != nil {
			t.Error(err)
		}
		if err := proto.Unmarshal(e.Body, &body); err != nil {
			t.Error(err)
		}
		return body.GetContent().GetText().GetText()
	}
	var e struct {
		Body struct {
			Content struct{ Text struct{ Text string } }
		}
	}
	if err := json.Unmarshal(data, &e); err != nil {
		t.Errorf("%q: %v", data, err)
	}
	return e.Body.Content.Text.Text
}

// next waits for what the client hears next.
func (s *sdk) next(t testing.TB) string {
	t.Helper()
	select {
	case h := <-s.heard:
		return h
	case e := <-s.disconnected:
		t.Fatalf("the client was disconnected: %d %s", e.Code, e.Reason)
	case <-time.After(patience):
		t.Fatal("the client hears nothing")
	}
	return ""
}

func (s *sdk) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conn.Close() // It may be cut already.
}

func (s *sdk) connect(t testing.TB) {
	t.Helper()
	if err := s.Connect(); err != nil {
		t.Fatal(err)
	}
}

func TestClient(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			ref := entity.Conversation(1, 5)
			w.log(ref, "ann", "bob")
			ann, bob := w.sdk(c.new, c.payload, "ann"), w.sdk(c.new, c.payload, "bob")
			ann.connect(t)
			bob.connect(t)
			for _, s := range []*sdk{ann, bob} {
				s.next(t) // His own log.
			}
			text := "line\nline \u2028 \x00"
			send := &pb.SendRequest{ConversationId: 5, RequestId: "r1", Content: textMessage(text).Content}
			data, err := proto.Marshal(send)
			if c.payload == "json" {
				data, err = json.Marshal(map[string]any{
					"conversation_id": 5, "request_id": "r1",
					"content": map[string]any{"text": map[string]any{"text": text}},
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			result, err := ann.RPC(context.Background(), "Messages.Send", data)
			if err != nil || len(result.Data) == 0 {
				t.Fatalf("the result is %q, %v", result.Data, err)
			}
			for _, s := range []*sdk{ann, bob} {
				got := []string{s.next(t), s.next(t)}
				want := []string{"+c:5 @0", "c:5 #1 " + text}
				if !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			_, err = ann.RPC(context.Background(), "No.Such", []byte(`{}`))
			var refusal *centrifuge.Error
			if !errors.As(err, &refusal) || refusal.Code != 104 {
				t.Errorf("an unknown method gave %v", err)
			}
			if _, err := ann.Publish(context.Background(), "c:5", []byte(`{}`)); !errors.As(err, &refusal) || refusal.Code != 108 {
				t.Errorf("publishing gave %v", err)
			}
		})
	}
}

func TestRecovery(t *testing.T) {
	const messages, cuts = 2000, 4
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			refs := []entity.Ref{entity.Conversation(1, 5), entity.Conversation(1, 6)}
			for _, ref := range refs {
				w.log(ref, "ann")
			}
			ann := w.sdk(c.new, c.payload, "ann")
			ann.connect(t)
			ann.next(t) // She is connected.
			say := func(n int) {
				for range n {
					for _, ref := range refs {
						w.say(ref, "hi")
					}
				}
			}
			say(1) // She knows both conversations once she has heard this.
			next := map[string]int{}
			for heard := 0; heard < len(refs)*(messages+1); {
				var channel string
				var offset int
				h := ann.next(t)
				if n, _ := fmt.Sscanf(h, "c:%s #%d", &channel, &offset); n < 2 {
					continue // A subscription.
				}
				if next[channel]++; offset != next[channel] {
					t.Fatalf("%q came, want offset %d", h, next[channel])
				}
				if heard++; heard%(len(refs)*messages/cuts) == len(refs) {
					say(messages / cuts)
					ann.cut()
				}
			}
		})
	}
}

func TestNotRecovered(t *testing.T) {
	w := newWorld(t)
	ref := entity.Conversation(1, 5)
	w.log(ref, "ann")
	ann := w.sdk(centrifuge.NewJsonClient, "json", "ann")
	ann.connect(t)
	ann.next(t) // She is connected.
	w.say(ref, "one")
	w.say(ref, "two")
	for ann.next(t) != "c:5 #2 two" {
	}
	w.mu.Lock()
	w.logs[ref].events = w.logs[ref].events[:1] // As after a restore that lost something.
	w.mu.Unlock()
	ann.cut()
	for {
		h := ann.next(t)
		if h == "+c:5 @1 not recovered" {
			break
		}
		if h[0] != '+' {
			t.Fatalf("%q came", h)
		}
	}
	w.say(ref, "other")
	for {
		if h := ann.next(t); h == "c:5 #2 other" {
			break
		} else if h[0] != '+' {
			t.Fatalf("%q came", h)
		}
	}
}

func TestTokenThatIsNoGood(t *testing.T) {
	w := newWorld(t)
	s := w.sdk(centrifuge.NewJsonClient, "json", "")
	s.connect(t)
	select {
	case e := <-s.disconnected:
		if e.Code != 101 {
			t.Errorf("the client was disconnected with %d %q, want 101", e.Code, e.Reason)
		}
	case <-time.After(patience):
		t.Error("the client goes on trying")
	}
}
