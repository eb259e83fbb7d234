package session

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

func TestPlaces(t *testing.T) {
	t.Run("a new client has his own log, at its head, and no other", func(t *testing.T) {
		w := newWorld(t)
		w.conversation(5, 3, "ann")
		l := w.open(wire.JSON)
		expect(t, l.connect("ann"), "connected u:ann@1")
	})
	t.Run("who was away gets what he missed as ordinary pushes after the reply", func(t *testing.T) {
		for _, p := range []wire.Protocol{wire.JSON, wire.Protobuf} {
			w := newWorld(t)
			w.conversation(5, 4, "ann", "bob")
			l := w.open(p)
			expect(t, l.connect("ann", "c:5@2", "u:ann@0"), "connected c:5@2+ u:ann@0+",
				"c:5 #3 MessageSent", "c:5 #4 MessageSent", "u:ann #1 UserCreated")
		}
	})
	t.Run("what cannot be recovered stands at the head", func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.MaxRecover = 3 })
		w.conversation(5, 4, "ann")
		w.conversation(6, 4, "ann")
		w.conversation(7, 4, "ann")
		w.conversation(8, 4, "ann")
		l := w.open(wire.JSON)
		expect(t, l.connect("ann", "c:5@2/e0", "c:6@9", "c:7@0", "c:8@1"),
			"connected c:5@4 c:6@4 c:7@4 c:8@1+ u:ann@1", "c:8 #2 MessageSent", "c:8 #3 MessageSent", "c:8 #4 MessageSent")
	})
	t.Run("what he may not read is omitted, and said to be over", func(t *testing.T) {
		w := newWorld(t)
		w.conversation(5, 2, "bob")
		l := w.open(wire.JSON)
		expect(t, l.connect("ann", "c:5@1"), "connected u:ann@1", "-c:5 2000")
		expect(t, w.open(wire.JSON).connect("ann", "u:bob@1", "c:05@1", "x@1"), "connected u:ann@1")
	})
	t.Run("who has left gets what was his, and then the end", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 4, "ann")
		w.log(c).reach["ann"] = []*pb.Interval{{From: 1, Through: 3}}
		l := w.open(wire.JSON)
		expect(t, l.connect("ann", "c:5@1"), "connected c:5@1+ u:ann@1", "c:5 #2 MessageSent", "c:5 #3 MessageSent", "-c:5 2000")
		l = w.open(wire.JSON)
		expect(t, l.connect("ann", "c:5@3"), "connected u:ann@1", "-c:5 2000")
	})
	t.Run("what he may not see in between is a hole", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 6, "ann")
		w.log(c).reach["ann"] = []*pb.Interval{{From: 1, Through: 2}, {From: 5}}
		l := w.open(wire.JSON)
		expect(t, l.connect("ann", "c:5@1"), "connected c:5@1+ u:ann@1", "c:5 #2 MessageSent", "c:5 #4 Hole", "c:5 #5 MessageSent", "c:5 #6 MessageSent")
	})
}

func TestConnecting(t *testing.T) {
	t.Run("what is published while positions are read comes once", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 2, "ann")
		other := w.conversation(6, 1, "ann")
		l := w.open(wire.JSON)
		l.send(l.connectCommand("ann", "c:5@2"))
		w.do() // The device is known; the session is registered.
		w.say(c, "before the positions are read")
		w.do() // The positions are read.
		w.say(c, "after, but before the answer")
		w.say(other, "in a conversation that the client does not know yet")
		w.settle()
		expect(t, l.got(), "connected c:5@2+ u:ann@1", "+c:6 @1", "c:5 #3 MessageSent", "c:5 #4 MessageSent", "c:6 #2 MessageSent")
	})
	t.Run("a backend with no time is an error that passes", func(t *testing.T) {
		w := newWorld(t)
		l := w.open(wire.JSON)
		l.send(l.connectCommand("ann"))
		w.full = true
		w.settle()
		expect(t, l.got(), "error 503")
		if n := len(w.hub.sessions(userKey{1, entity.UserNumber(1, "ann")})); n != 0 {
			t.Errorf("%d sessions are registered, want none", n)
		}
	})
	t.Run("tokens", func(t *testing.T) {
		for token, want := range map[string][]string{
			"rubbish":        {"error 101", "close 3500"},
			"1 ann phone 0":  {"error 109"},
			"9 ann phone 10": {"error 101", "close 3500"},
		} {
			w := newWorld(t)
			l := w.open(wire.JSON)
			l.send(&protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: token}})
			w.settle()
			expect(t, l.got(), want...)
		}
	})
	t.Run("data names the device and chooses the payload", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.Protobuf)
		cmd := l.connectCommand("ann", "c:5@1")
		cmd.Connect.Name, cmd.Connect.Version = "go", "1"
		cmd.Connect.Data = []byte(`{"model":"Pixel","os":"14","payload":"proto","unknown":{"a":[1]}}`)
		l.send(cmd)
		w.settle()
		l.got()
		got := w.calls[0].Req.(*pb.ConnectDeviceRequest)
		if got.Model != "Pixel" || got.Os != "14" || got.Sdk != "go 1" {
			t.Errorf("the device is %v", got)
		}
		w.say(c, "hi")
		expect(t, l.got(), "c:5 #2 type 16")
		l.rpc("Messages.Send", "\x08\x05")
		if req, ok := w.calls[1].Req.(*pb.SendRequest); !ok || req.ConversationId != 5 {
			t.Errorf("the request is %v", w.calls[1].Req)
		}
	})
	t.Run("data that is no object, or a payload that there is not, is refused", func(t *testing.T) {
		for _, data := range []string{`7`, `{"payload":"xml"}`, `{"payload":"proto"}`, `{"os":1}`} {
			w := newWorld(t)
			l := w.open(wire.JSON)
			l.send(&protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: "1 ann phone", Data: []byte(data)}})
			expect(t, l.got(), "error 107")
		}
	})
}

// leaving is a backend that reads positions one after the other, as the host does,
// while somebody leaves.
type leaving struct {
	*world
	leave func()
}

func (b leaving) Positions(viewer entity.Caller, refs []entity.Ref, done func([]entity.Position)) {
	b.work = append(b.work, func() {
		all := make([]entity.Position, len(refs))
		for i, ref := range refs {
			all[i] = b.position(viewer, ref)
			if i == 0 {
				b.leave()
			}
		}
		done(all)
	})
}

func TestWhoLeavesWhileConnectingIsTold(t *testing.T) {
	for range 40 { // The order of channels is a map's.
		w := newWorld(t)
		c := w.conversation(5, 3, "ann", "bob")
		own := caller(1, "ann", "phone").Ref()
		w.emit(own, "ann", &pb.UserCreated{})
		w.hub.backend = leaving{w, func() {
			w.emit(c, "ann", &pb.MessageRevoked{}) // Her leaving.
			w.log(c).reach["ann"] = []*pb.Interval{{From: 1, Through: 4}}
			w.emit(own, "ann", &pb.DialogLeft{ConversationId: 5})
		}}
		got := w.open(wire.JSON).connect("ann", "c:5@3")
		if !slices.Contains(got, "-c:5 2000") {
			t.Fatalf("c:5 stays subscribed although she left: %q", got)
		}
	}
}

func TestChannelsForWhichThereIsNoRoomAreNotCalledLeft(t *testing.T) {
	w := newWorld(t)
	w.policy.MaxChannels = 2
	w.conversation(5, 1, "ann")
	w.conversation(6, 1, "ann")
	for _, line := range w.open(wire.JSON).connect("ann", "c:5@1", "c:6@1") {
		if line == "-c:5 2000" || line == "-c:6 2000" {
			t.Error("she was told that she is not in a conversation of which she is a member: " + line)
		}
	}
}

// A user's connect command takes long, and what he sends meanwhile is too large.
func TestTooMuchWhileConnectingIsNotTheEnd(t *testing.T) {
	large := &wire.Error{TooLarge: true, Msg: "too large"}
	w := newWorld(t)
	l := w.open(wire.JSON)
	l.send(l.connectCommand("ann"))
	l.session.Fail(large)
	expect(t, l.got(), "close 4009")

	l = w.open(wire.JSON)
	l.session.Fail(large)
	expect(t, l.got(), "close 3501")

	l = w.open(wire.JSON) // Too many commands in the message of connect: they would come again.
	l.session.Receive([]byte(`{"id":1,"connect":{"token":"1 ann phone"}}` + strings.Repeat("\n"+`{"id":2,"ping":{}}`, wire.MaxCommands)))
	expect(t, l.got(), "close 3501")
}

func TestTheTimeToConnectIsCountedFromTheAccept(t *testing.T) {
	w := newWorld(t)
	l := &line{w: w, protocol: wire.JSON, window: -1}
	l.session = w.hub.OpenSince(l, wire.JSON, w.now.Add(-4*time.Second))
	w.now = w.now.Add(defaultAuthTimeout - 4*time.Second)
	l.session.Tick(w.now)
	expect(t, l.got(), "close 3502")
}
