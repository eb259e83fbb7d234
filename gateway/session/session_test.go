package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

func TestConnect(t *testing.T) {
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
	t.Run("what is published while positions are read comes once", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 2, "ann")
		other := w.conversation(6, 1, "ann")
		l := w.open(wire.JSON)
		l.send(l.connectCommand("ann", "c:5@2"))
		w.do() // The device is known; the session is registered.
		w.say(c, "before the positions are read")
		positions := w.work[0]
		w.work = w.work[1:]
		read := func() { w.say(c, "after"); w.say(other, "in a conversation he does not know yet") }
		w.work = append(w.work, func() { positions(); read() })
		w.settle()
		expect(t, l.got(), "connected c:5@2+ u:ann@1", "c:5 #3 MessageSent", "c:5 #4 MessageSent", "+c:6 @1", "c:6 #2 MessageSent")
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
	t.Run("an event that cannot be encoded is Unreadable at its seq", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.say(c, "\xff")
		w.say(c, "fine")
		expect(t, l.got(), "c:5 #2 Unreadable", "c:5 #3 MessageSent")
	})
	t.Run("his own departure ends the channel, after its last event", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.log(c).reach["ann"] = []*pb.Interval{{From: 1, Through: 2}}
		w.emit(c, "bob", &pb.MemberRemoved{UserId: "ann"})
		w.emit(entity.User(1, "ann"), "", &pb.DialogLeft{ConversationId: 5})
		w.say(c, "he is gone")
		expect(t, l.got(), "c:5 #2 MemberRemoved", "u:ann #2 DialogLeft", "-c:5 2000")
	})
	t.Run("a departure waits for what is missing before it", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.log(c).events = append(w.log(c).events, event(c, 2, &pb.MessageRevoked{}))
		w.log(c).reach["ann"] = []*pb.Interval{{From: 1, Through: 3}}
		w.emit(c, "bob", &pb.MemberRemoved{UserId: "ann"})
		w.emit(entity.User(1, "ann"), "", &pb.DialogLeft{ConversationId: 5})
		expect(t, l.got(), "u:ann #2 DialogLeft")
		w.settle()
		expect(t, l.got(), "c:5 #2 MessageRevoked", "c:5 #3 MemberRemoved", "-c:5 2000")
	})
	t.Run("who comes back hears on from a new subscription", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		own := entity.User(1, "ann")
		w.emit(own, "", &pb.DialogLeft{ConversationId: 5})
		w.emit(own, "", &pb.DialogJoined{ConversationId: 5})
		w.say(c, "back")
		expect(t, l.got(), "u:ann #2 DialogLeft", "-c:5 2000", "u:ann #3 DialogJoined", "+c:5 @1", "c:5 #2 MessageSent")
	})
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
	w := newWorld(t)
	w.policy.OutQueueBytes = 64 << 10
	c := w.conversation(5, 1, "ann")
	l := w.open(wire.JSON)
	l.connect("ann")
	w.signal(c)
	expect(t, l.got()) // The client does not have the channel.
	w.say(c, "hi")
	w.signal(c)
	w.settle()
	l.got()
	w.signal(c)
	expect(t, l.got(), "signal MessageRevoked")
	w.say(c, strings.Repeat("x", 33<<10))
	w.signal(c)
	w.say(c, "hi")
	expect(t, l.got(), "c:5 #3 MessageSent", "c:5 #4 MessageSent") // The signal was dropped first.
}

func TestCatchUp(t *testing.T) {
	t.Run("each lagging channel gets a page before any gets a second", func(t *testing.T) {
		w := newWorld(t)
		w.conversation(5, 2*maxPage, "ann")
		w.conversation(6, maxPage+1, "ann")
		l := w.open(wire.JSON)
		var order []string
		for _, line := range l.connect("ann", "c:5@0", "c:6@0")[1:] {
			if name, _, _ := strings.Cut(line, " "); len(order) == 0 || order[len(order)-1] != name {
				order = append(order, name)
			}
		}
		expect(t, order, "c:5", "c:6", "c:5", "c:6")
	})
	t.Run("it stops at half the budget and goes on when the socket has drained", func(t *testing.T) {
		w := newWorld(t)
		w.policy.OutQueueBytes = 64 << 10
		c := w.conversation(5, 0, "ann")
		for range 40 {
			w.say(c, strings.Repeat("x", 10<<10))
		}
		l := w.open(wire.JSON)
		l.send(l.connectCommand("ann", "c:5@0"))
		var offsets []string
		for range 100 {
			w.settle()
			if n := l.session.out.pending(); n > 64<<10 {
				t.Fatalf("%d bytes wait, more than the budget", n)
			}
			got := l.got()
			if len(got) == 0 {
				break
			}
			offsets = append(offsets, got...)
		}
		if len(offsets) != 41 {
			t.Fatalf("%d frames came, want the reply and 40 events", len(offsets))
		}
		for i, line := range offsets[1:] {
			if want := fmt.Sprintf("c:5 #%d MessageSent", i+1); line != want {
				t.Fatalf("frame %d is %q, want %q", i+1, line, want)
			}
		}
	})
	t.Run("a backend with no time is asked again", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		w.full = true
		w.log(c).events = append(w.log(c).events, event(c, 2, &pb.MessageRevoked{}))
		w.say(c, "hi")
		w.settle()
		w.full = false
		expect(t, l.got())
		w.now = w.now.Add(retryAfter)
		l.session.Tick(w.now)
		w.settle()
		expect(t, l.got(), "c:5 #2 MessageRevoked", "c:5 #3 MessageSent")
	})
	t.Run("a burst that the loop had no time to write waits in the log", func(t *testing.T) {
		w := newWorld(t)
		w.policy.OutQueueBytes = 64 << 10
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		for range 20 {
			w.say(c, strings.Repeat("x", 10<<10))
		}
		var got []string
		for range 20 {
			got = append(got, l.got()...)
			w.settle()
		}
		if len(got) != 20 || got[19] != "c:5 #21 MessageSent" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("an event that is not for him does not keep him reading", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		e := event(c, 7, &pb.MessageRevoked{})
		e.Audience = &entity.Audience{Users: []uint64{entity.UserNumber(1, "ann")}}
		w.hub.Published(e) // It is in no log.
		w.settle()
		expect(t, l.got())
	})
	t.Run("a log that cannot be read ends its channel and no other", func(t *testing.T) {
		w := newWorld(t)
		c, d := w.conversation(5, 1, "ann"), w.conversation(6, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1", "c:6@1")
		e := event(c, 7, &pb.MessageRevoked{})
		e.Audience = &entity.Audience{Users: []uint64{entity.UserNumber(1, "ann")}}
		delete(w.log(c).reach, "ann")
		w.hub.Published(e)
		w.settle()
		w.say(d, "hi")
		expect(t, l.got(), "-c:5 2002", "c:6 #2 MessageSent")
	})
}

func TestSlow(t *testing.T) {
	w := newWorld(t)
	w.policy.OutQueueBytes = 64 << 10
	c := w.conversation(5, 1, "ann", "bob")
	slow, fast := w.open(wire.JSON), w.open(wire.JSON)
	slow.connect("ann", "c:5@1")
	fast.connect("bob", "c:5@1")
	slow.window = 1000
	heard := 0
	for range 20 {
		w.say(c, strings.Repeat("x", 10<<10))
		slow.session.Flush()
		heard += len(fast.got())
		if n := slow.session.out.pending(); n > 64<<10 {
			t.Fatalf("%d bytes wait, more than the budget", n)
		}
	}
	if heard != 20 {
		t.Errorf("the other client heard %d events, want 20", heard)
	}
	if slow.session.state != closed || slow.session.out.buf != nil {
		t.Error("the slow session is not closed, or holds a buffer")
	}
	slow.window = -1
	slow.session.Flush()
	got := slow.read()
	if got[len(got)-1] != "close 3008" {
		t.Errorf("the last frame is %q, want the close", got[len(got)-1])
	}
	again := w.open(wire.JSON)
	again.connect("ann", fmt.Sprintf("c:5@%d", 1+len(got)-1))
	for range 20 {
		w.settle()
		got = append(got, again.got()...)
	}
	if last := got[len(got)-1]; last != "c:5 #21 MessageSent" {
		t.Errorf("after it connected again, the last event is %q", last)
	}
}

func TestCommands(t *testing.T) {
	connected := func(t *testing.T) (*world, *line) {
		w := newWorld(t)
		l := w.open(wire.JSON)
		l.connect("ann")
		return w, l
	}
	t.Run("what is not offered is error 108", func(t *testing.T) {
		_, l := connected(t)
		for _, cmd := range []*protocol.Command{
			{Publish: &protocol.PublishRequest{}}, {Presence: &protocol.PresenceRequest{}},
			{PresenceStats: &protocol.PresenceStatsRequest{}}, {History: &protocol.HistoryRequest{}},
			{SubRefresh: &protocol.SubRefreshRequest{}}, {Subscribe: &protocol.SubscribeRequest{Channel: "c:5"}},
		} {
			cmd.Id = l.next()
			l.send(cmd)
			expect(t, l.got(), "error 108")
		}
	})
	t.Run("rpc errors", func(t *testing.T) {
		w, l := connected(t)
		for _, c := range []struct{ method, data, want string }{
			{"No.Such", `{}`, "error 104"},
			{"Devices.Connect", `{}`, "error 104"}, // Internal: only the gateway calls it.
			{"Messages.Send", `{"nonsense":1}`, "error 107"},
			{"Messages.Send", `{}`, "error 107"},
			{"Messages.Send", `{"conversation_id":5}`, "error 103"},
		} {
			w.reply = func(*entity.Call) entity.Result {
				return entity.Result{Err: entity.Errorf(entity.Denied, "you may not")}
			}
			l.rpc(c.method, c.data)
			w.settle()
			expect(t, l.got(), c.want)
		}
	})
	t.Run("a reply that is too large is an error", func(t *testing.T) {
		w, l := connected(t)
		w.reply = func(*entity.Call) entity.Result {
			return entity.Result{Reply: &pb.ListDialogsResponse{Cursor: strings.Repeat("x", maxReplyBytes)}}
		}
		l.rpc("Dialogs.List", `{}`)
		w.settle()
		expect(t, l.got(), "error 413")
	})
	t.Run("to unsubscribe from nothing succeeds, and a ping is answered", func(t *testing.T) {
		_, l := connected(t)
		l.send(&protocol.Command{Id: 2, Unsubscribe: &protocol.UnsubscribeRequest{Channel: "c:5"}}, &protocol.Command{Id: 3, Ping: &protocol.PingRequest{}})
		expect(t, l.got(), "unsubscribed", "pinged")
	})
	t.Run("what breaks the protocol ends the session", func(t *testing.T) {
		for name, c := range map[string]struct {
			message string
			want    string
		}{
			"not JSON":                    {"{", "close 3501"},
			"nothing":                     {"", "close 3501"},
			"no id":                       {`{"rpc":{"method":"Messages.Send"}}`, "close 3501"},
			"connect twice":               {`{"id":9,"connect":{}}`, "close 3501"},
			"a message outside of an rpc": {`{"send":{"data":{}}}`, "close 3508"},
			"too many commands":           {strings.Repeat(`{"id":1,"ping":{}}`+"\n", wire.MaxCommands) + `{"id":1,"ping":{}}`, "close 4009"},
		} {
			_, l := connected(t)
			l.session.Receive([]byte(c.message))
			got := l.got()
			if got[len(got)-1] != c.want {
				t.Errorf("%s: got %q, want %q", name, got[len(got)-1], c.want)
			}
		}
	})
	t.Run("before connect there is nothing but connect", func(t *testing.T) {
		w := newWorld(t)
		l := w.open(wire.JSON)
		l.rpc("Messages.Send", `{}`)
		expect(t, l.got(), "close 3501")
	})
	t.Run("what is sent along with connect is run after it, in order", func(t *testing.T) {
		w := newWorld(t)
		l := w.open(wire.JSON)
		l.send(l.connectCommand("ann"), &protocol.Command{Id: 7, Subscribe: &protocol.SubscribeRequest{Channel: "c:5"}}, &protocol.Command{Id: 8, Ping: &protocol.PingRequest{}})
		expect(t, l.got())
		w.settle()
		expect(t, l.got(), "connected u:ann@1", "error 108", "pinged")
	})
	t.Run("too many requests are refused, and too many refusals end it", func(t *testing.T) {
		w := newWorld(t)
		w.policy.RequestsPerMinute, w.policy.RequestBurst = 60, 3
		l := w.open(wire.JSON)
		l.connect("ann")
		ping := func(n int) (granted, refused int) {
			for range n {
				l.send(&protocol.Command{Id: l.next(), Ping: &protocol.PingRequest{}})
				for _, line := range l.got() {
					switch line {
					case "pinged":
						granted++
					case "error 111":
						refused++
					}
				}
			}
			return granted, refused
		}
		if granted, refused := ping(10); granted != 3 || refused != 7 {
			t.Errorf("of 10 requests %d were granted and %d refused, want 3 and 7", granted, refused)
		}
		w.now = w.now.Add(2 * time.Second)
		if granted, _ := ping(10); granted != 2 {
			t.Errorf("after two seconds %d were granted, want 2", granted)
		}
		ping(maxRefusals)
		if l.session.state != closed {
			t.Error("the session goes on for ever")
		}
	})
}

func TestTime(t *testing.T) {
	after := func(w *world, l *line, d time.Duration) []string {
		w.now = w.now.Add(d)
		l.session.Tick(w.now)
		return l.got()
	}
	t.Run("who does not connect is stale", func(t *testing.T) {
		w := newWorld(t)
		l := w.open(wire.JSON)
		expect(t, after(w, l, defaultAuthTimeout-1e6))
		expect(t, after(w, l, 1e6), "close 3502")
	})
	t.Run("the server's own time does not count", func(t *testing.T) {
		w := newWorld(t)
		l := w.open(wire.JSON)
		l.send(l.connectCommand("ann"))
		expect(t, after(w, l, time.Minute))
		w.settle()
		expect(t, l.got(), "connected u:ann@1")
	})
	t.Run("who was refused and stays is stale", func(t *testing.T) {
		w := newWorld(t)
		l := w.open(wire.JSON)
		l.send(&protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: "1 ann phone 0"}})
		l.got()
		expect(t, after(w, l, defaultAuthTimeout), "close 3502")
	})
	t.Run("a ping that is answered is followed by the next", func(t *testing.T) {
		w := newWorld(t)
		l := w.open(wire.JSON)
		l.connect("ann")
		expect(t, after(w, l, w.policy.PingEvery), "ping")
		l.send(&protocol.Command{})
		expect(t, after(w, l, w.policy.PongTimeout))
		expect(t, after(w, l, w.policy.PingEvery), "ping")
		expect(t, after(w, l, w.policy.PongTimeout), "close 3012")
	})
	t.Run("a token that expires ends the session, unless it is refreshed", func(t *testing.T) {
		w := newWorld(t)
		w.policy.PingEvery = time.Hour
		l := w.open(wire.JSON)
		l.send(&protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: "1 ann phone 60"}})
		w.settle()
		l.got()
		expect(t, after(w, l, time.Minute))
		refresh := func(token string) []string {
			l.send(&protocol.Command{Id: 2, Refresh: &protocol.RefreshRequest{Token: token}})
			return l.got()
		}
		expect(t, refresh("1 ann phone 0"), "error 109")
		expect(t, refresh("1 ann phone 90"), "refreshed 90")
		expect(t, after(w, l, 90*time.Second))
		expect(t, after(w, l, w.policy.TokenLeeway), "close 3005")
	})
	t.Run("a token of somebody else, or of another device, is no refresh", func(t *testing.T) {
		for _, token := range []string{"1 bob phone", "1 ann tablet", "2 ann phone"} {
			w := newWorld(t)
			l := w.open(wire.JSON)
			l.connect("ann")
			l.send(&protocol.Command{Id: 2, Refresh: &protocol.RefreshRequest{Token: token}})
			expect(t, l.got(), "error 101", "close 3500")
		}
	})
}

func TestSessionsOfAUser(t *testing.T) {
	w := newWorld(t)
	w.policy.MaxSessions = 2
	c := w.conversation(5, 1, "ann")
	lines := []*line{w.open(wire.JSON), w.open(wire.Protobuf), w.open(wire.JSON)}
	for _, l := range lines {
		l.connect("ann", "c:5@1")
	}
	expect(t, lines[0].got(), "close 3504")
	w.say(c, "hi")
	expect(t, lines[1].got(), "c:5 #2 MessageSent")
	expect(t, lines[2].got(), "c:5 #2 MessageSent")
	for _, l := range lines {
		l.session.Closed()
	}
	for i := range w.hub.users {
		if n := len(w.hub.users[i].sessions); n != 0 {
			t.Errorf("%d users are left in the index", n)
		}
	}
	lines[1].session.answer(1, nil, entity.Result{Err: errExpired}) // A late result finds nobody.
	expect(t, lines[1].got())
}

func TestDisconnects(t *testing.T) {
	codes := map[uint16]string{}
	for _, d := range disconnects {
		terminal := d.Code >= 3500 && d.Code < 4000 || d.Code >= 4500 && d.Code < 5000
		if terminal != d.Terminal {
			t.Errorf("%s: SDKs take %d for terminal = %v, the table says %v", d.Name, d.Code, terminal, d.Terminal)
		}
		if d.Code == 1009 || codes[d.Code] != "" {
			t.Errorf("%s: the code %d is never sent, or is %s's", d.Name, d.Code, codes[d.Code])
		}
		codes[d.Code] = d.Name
	}
}

func TestChannelNames(t *testing.T) {
	ann := caller(1, "ann", "phone")
	for name, want := range map[string]entity.Ref{
		"u:ann": ann.Ref(), "c:1": entity.Conversation(1, 1), "c:4503599627370495": entity.Conversation(1, 1<<52-1),
	} {
		if ref, ok := parseChannel(name, ann); !ok || ref != want || channelName(ref, "ann") != name {
			t.Errorf("%q is %v, %v", name, ref, ok)
		}
	}
	for _, name := range []string{"", "u:", "u:bob", "c:", "c:0", "c:01", "c:+1", "c:-1", "c:1 ", "c:4503599627370496", "c:x", "x:1", "ann"} {
		if ref, ok := parseChannel(name, ann); ok {
			t.Errorf("%q is %v, want nothing", name, ref)
		}
	}
}

// A session that has nothing to do must cost little: there are a great many.
func TestSizeOfAnIdleSession(t *testing.T) {
	w := newWorld(t)
	l := w.open(wire.JSON)
	l.connect("ann", "c:5@1")
	if l.session.out.buf != nil || l.session.channels != nil || l.session.waiting != nil {
		t.Error("an idle session holds a buffer, channels or commands")
	}
	if l.dirty == 0 || l.dirty > 3 {
		t.Errorf("the connection was called dirty %d times", l.dirty)
	}
}
