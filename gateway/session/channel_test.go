package session

import (
	"strings"
	"testing"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

func TestLive(t *testing.T) {
	t.Run("an event that is the next one is sent at once; a repeat is not", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.say(c, "hi")
		w.hub.Published(w.log(c).events[1])
		w.hub.Published(w.log(c).events[0])
		expect(t, l.got(), "c:5 #2 MessageSent")
	})
	t.Run("a gap is read from the log", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.log(c).events = append(w.log(c).events, event(c, 2, &pb.MessageRevoked{Seq: 1})) // Nobody published it.
		w.say(c, "hi")
		expect(t, l.got())
		w.settle()
		expect(t, l.got(), "c:5 #2 MessageRevoked", "c:5 #3 MessageSent")
		w.say(c, "hi")
		expect(t, l.got(), "c:5 #4 MessageSent")
	})
	t.Run("a channel appears just before its first event", func(t *testing.T) {
		w := newWorld(t)
		l := w.open(wire.JSON)
		l.connect("ann")
		c := w.conversation(5, 2, "bob")
		w.log(c).reach["ann"] = []*pb.Interval{{From: 3}}
		w.say(c, "welcome")
		w.say(c, "ann")
		w.settle()
		expect(t, l.got(), "+c:5 @2", "c:5 #3 MessageSent", "c:5 #4 MessageSent")
		second := w.open(wire.JSON)
		second.connect("ann")
		w.say(c, "the epoch is known by now, and nothing has to be read")
		expect(t, second.got(), "+c:5 @4", "c:5 #5 MessageSent")
		if len(w.work) != 0 {
			t.Errorf("%d reads wait, want none", len(w.work))
		}
	})
	t.Run("the sender's reply comes before his own publication", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		l.rpc("Messages.Send", `{"conversation_id":5,"request_id":"r"}`)
		w.settle()
		w.say(c, "hi")
		expect(t, l.got(), `result {"seq":1}`, "c:5 #2 MessageSent")
	})
	t.Run("two tenants never meet", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.send(&protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: "2 ann phone"}})
		w.settle()
		l.got()
		w.say(c, "hi")
		expect(t, l.got())
	})
}

func TestUnreadable(t *testing.T) {
	t.Run("an event that cannot be encoded is Unreadable at its seq", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.say(c, "\xff")
		w.say(c, "fine")
		expect(t, l.got(), "c:5 #2 Unreadable", "c:5 #3 MessageSent")
	})
}

func TestDeparture(t *testing.T) {
	t.Run("his own departure ends the channel, after its last event", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann", "bob")
		l, other := w.open(wire.JSON), w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		other.connect("bob", "c:5@1")
		w.leave(c, "ann")
		w.emit(entity.User(1, "ann"), "", &pb.DialogLeft{ConversationId: 5})
		w.say(c, "she is gone")
		expect(t, l.got(), "c:5 #2 MemberLeft", "-c:5 2000", "u:ann #2 DialogLeft")
		expect(t, other.got(), "c:5 #2 MemberLeft", "c:5 #3 MessageSent")
	})
	t.Run("a departure waits for what is missing before it", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.log(c).events = append(w.log(c).events, event(c, 2, &pb.MessageRevoked{}))
		w.leave(c, "ann")
		expect(t, l.got())
		w.settle()
		expect(t, l.got(), "c:5 #2 MessageRevoked", "c:5 #3 MemberLeft", "-c:5 2000")
	})
	t.Run("a conversation that is dissolved ends for everybody", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann", "bob")
		l, other := w.open(wire.JSON), w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		other.connect("bob")
		other.watch("c:5")
		w.log(c).large = true
		w.emit(c, "bob", &pb.GroupDissolved{}, func(e *entity.Event) { e.Leaving = entity.Everybody })
		w.say(c, "nobody hears it")
		for _, got := range [][]string{l.got(), other.got()} {
			expect(t, got, "c:5 #2 GroupDissolved", "-c:5 2000")
		}
	})
	t.Run("where nothing else has said so, his own log makes the session ask", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.log(c).reach["ann"] = []*pb.Interval{{From: 1, Through: 2}}
		w.emit(c, "bob", &pb.MemberRemoved{})
		w.emit(entity.User(1, "ann"), "", &pb.DialogLeft{ConversationId: 5})
		w.settle()
		expect(t, l.got(), "c:5 #2 MemberRemoved", "u:ann #2 DialogLeft", "-c:5 2000")
	})
	t.Run("who is back before his own log says that he had left stays", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.emit(entity.User(1, "ann"), "", &pb.DialogLeft{ConversationId: 5})
		w.say(c, "back")
		w.settle()
		expect(t, l.got(), "u:ann #2 DialogLeft", "c:5 #2 MessageSent")
	})
	t.Run("who comes back hears on from a new subscription", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.leave(c, "ann")
		w.join(c, "ann")
		expect(t, l.got(), "c:5 #2 MemberLeft", "-c:5 2000", "+c:5 @2", "c:5 #3 MemberJoined")
	})
}

func TestChannelCap(t *testing.T) {
	t.Run("the least recently active channel makes room", func(t *testing.T) {
		w := newWorld(t)
		w.policy.MaxChannels = 3
		a, b, c := w.conversation(5, 1, "ann"), w.conversation(6, 1, "ann"), w.conversation(7, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1", "c:6@1")
		w.say(b, "hi")
		w.say(a, "hi")
		w.say(c, "hi")
		w.settle()
		expect(t, l.got(), "c:6 #2 MessageSent", "c:5 #2 MessageSent", "-c:6 2001", "+c:7 @1", "c:7 #2 MessageSent")
		w.say(b, "hi")
		w.settle()
		expect(t, l.got(), "-c:5 2001", "+c:6 @2", "c:6 #3 MessageSent")
		l = w.open(wire.JSON)
		got := l.connect("ann", "c:5@2", "c:6@3", "c:7@2")
		if n := strings.Count(got[0], "c:"); n != 2 || len(got) != 2 {
			t.Errorf("with room for 2 conversations, connecting with 3 gave %q", got)
		}
	})
}

func TestSignals(t *testing.T) {
	t.Run("to users they come whether the client has the channel or not, and say where they are from", func(t *testing.T) {
		for _, payload := range []string{"json", "proto"} {
			w := newWorld(t)
			c := w.conversation(5, 1, "ann")
			l, other := w.open(wire.Protobuf), w.open(wire.Protobuf)
			cmd := l.connectCommand("ann")
			cmd.Connect.Data = []byte(`{"payload":"` + payload + `"}`)
			l.send(cmd)
			other.connect("bob")
			l.got()
			w.signal(c)
			w.signalTo(entity.User(1, "cid"), "ann") // Who he is, the body says.
			if got := l.got(); len(got) != 2 || !strings.HasSuffix(got[0], " c:5") || strings.Contains(got[1], ":") {
				t.Errorf("%s: got %q, want two signals, the first of c:5", payload, got)
			}
			expect(t, other.got())
		}
	})
	t.Run("to watchers they come where the client has the channel", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann", "bob")
		l, other := w.open(wire.JSON), w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		other.connect("bob")
		w.signalTo(c)
		expect(t, l.got(), "signal MessageRevoked c:5")
		expect(t, other.got())
	})
	t.Run("they are dropped first", func(t *testing.T) {
		w := newWorld(t)
		w.policy.OutQueueBytes = 64 << 10
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.say(c, strings.Repeat("x", 33<<10))
		w.signal(c)
		w.say(c, "hi")
		expect(t, l.got(), "c:5 #2 MessageSent", "c:5 #3 MessageSent")
	})
}

func TestWhoLeftAndCameBackOnTheNextPageIsStillThere(t *testing.T) {
	w := newWorld(t)
	w.conversation(5, 3, "ann")
	own := caller(1, "ann", "phone").Ref()
	w.emit(own, "ann", &pb.UserCreated{})
	for range maxPage - 1 {
		w.emit(own, "ann", &pb.MessagesHidden{ConversationId: 9})
	}
	w.emit(own, "ann", &pb.DialogLeft{ConversationId: 5})   // The last of the first page.
	w.emit(own, "ann", &pb.DialogJoined{ConversationId: 5}) // The first of the second.
	l := w.open(wire.JSON)
	for _, line := range l.connect("ann", "u:ann@1", "c:5@3") {
		if line == "-c:5 2000" {
			t.Error("she was told that she is not in c:5 any more, of which she is a member")
		}
	}
}
