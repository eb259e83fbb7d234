package session

import (
	"fmt"
	"slices"
	"testing"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// large makes a large conversation.
func (w *world) large(id uint64, messages int, members ...string) entity.Ref {
	ref := w.conversation(id, messages, members...)
	w.log(ref).large = true
	return ref
}

func TestWatching(t *testing.T) {
	t.Run("who may read a conversation watches it from its head, and hears its signals", func(t *testing.T) {
		for _, p := range []wire.Protocol{wire.JSON, wire.Protobuf} {
			w := newWorld(t)
			c := w.large(5, 3, "ann", "bob")
			l, other := w.open(p), w.open(p)
			l.connect("ann")
			other.connect("bob")
			expect(t, l.watch("c:5"), "watching c:5@3")
			w.say(c, "hi")
			w.signalTo(c)
			expect(t, l.got(), "c:5 #4 MessageSent", "signal MessageRevoked c:5")
			expect(t, other.got())
		}
	})
	t.Run("who may not is refused, in the same words as if there were no such conversation", func(t *testing.T) {
		w := newWorld(t)
		w.large(5, 1, "bob")
		c := w.large(6, 1, "ann")
		w.leave(c, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		var words []*protocol.Error
		for _, name := range []string{"c:5", "c:6", "c:7", "c:05", "c:", "c:x", "c:99999999999999999999"} {
			l.send(l.watchCommand(name))
			w.settle()
			l.session.Flush()
			reply, _, _ := l.frame()
			words = append(words, reply.GetError())
		}
		for _, e := range words {
			if e.GetCode() != 103 || e.GetTemporary() || e.GetMessage() != words[0].GetMessage() {
				t.Errorf("a stranger is told %v, others %v", words[0], e)
			}
		}
		if len(l.session.channels) != 0 {
			t.Errorf("the session has %d channels", len(l.session.channels))
		}
	})
	t.Run("other channels are refused, and so is one that the session has", func(t *testing.T) {
		w := newWorld(t)
		w.conversation(5, 1, "ann")
		w.large(6, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		l.watch("c:6")
		for name, code := range map[string]int{"u:ann": 105, "c:5": 105, "c:6": 105, "u:bob": 102, "news": 102} {
			expect(t, append(l.watch(name), name), fmt.Sprintf("refused %s %d", name, code), name)
		}
	})
	t.Run("a subscription under way is had already, and not told twice", func(t *testing.T) {
		w := newWorld(t)
		w.large(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		l.send(l.watchCommand("c:5"), l.watchCommand("c:5"))
		w.settle()
		expect(t, l.got(), "refused c:5 105", "watching c:5@1")
	})
	t.Run("a backend with no time is an error that passes", func(t *testing.T) {
		w := newWorld(t)
		w.large(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		w.full = true
		expect(t, l.watch("c:5"), "refused c:5 503")
		w.full = false
		expect(t, l.watch("c:5"), "watching c:5@1")
	})
}

func TestRecoveryOfAWatch(t *testing.T) {
	t.Run("what was missed follows", func(t *testing.T) {
		w := newWorld(t)
		w.large(5, 4, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		expect(t, l.watch("c:5@2"), "watching c:5@2+", "c:5 #3 MessageSent", "c:5 #4 MessageSent")
	})
	t.Run("what cannot be recovered stands at the head", func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.MaxRecover = 3 })
		w.large(5, 4, "ann")
		w.large(6, 4, "ann")
		w.large(7, 4, "ann")
		w.log(w.large(8, 4, "ann")).floor = 3
		l := w.open(wire.JSON)
		l.connect("ann")
		expect(t, l.watch("c:5@2/e0"), "watching c:5@4")
		expect(t, l.watch("c:6@9"), "watching c:6@4")
		expect(t, l.watch("c:7@0"), "watching c:7@4")
		expect(t, l.watch("c:8@1"), "watching c:8@4") // Event 2 is below the floor.
		l.unwatch("c:8")
		expect(t, l.watch("c:8@2"), "watching c:8@2+", "c:8 #3 MessageSent", "c:8 #4 MessageSent")
	})
	t.Run("what a lagging watch has missed for ever makes the client subscribe again", func(t *testing.T) {
		w := newWorld(t)
		c := w.large(5, 4, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		l.send(l.watchCommand("c:5@1"))
		w.do() // The position is read.
		w.log(c).floor = 4
		w.settle()
		expect(t, l.got(), "watching c:5@1+", "-c:5 2500")
		expect(t, l.watch("c:5@1"), "watching c:5@4")
	})
	t.Run("commands that come along with connect are run after it", func(t *testing.T) {
		w := newWorld(t)
		c := w.large(5, 4, "ann")
		w.large(6, 4, "ann")
		l := w.open(wire.JSON)
		l.send(l.connectCommand("ann"), l.watchCommand("c:5@2"), l.watchCommand("c:6"), l.watchCommand("c:7"))
		w.do()
		w.say(c, "while it connects")
		w.settle()
		got := l.got()
		slices.Sort(got)
		expect(t, got, "c:5 #3 MessageSent", "c:5 #4 MessageSent", "c:5 #5 MessageSent",
			"connected u:ann@1", "refused c:7 103", "watching c:5@2+", "watching c:6@4")
	})
	t.Run("the server's subscription, which came first, gives way to one that recovers", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 4, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		w.say(c, "the client has missed what is before")
		w.settle()
		expect(t, l.got(), "+c:5 @4", "c:5 #5 MessageSent")
		l.send(l.watchCommand("c:5@2"))
		w.say(c, "while its position is read")
		w.settle()
		expect(t, l.got(), "-c:5 2501", "watching c:5@2+",
			"c:5 #3 MessageSent", "c:5 #4 MessageSent", "c:5 #5 MessageSent", "c:5 #6 MessageSent")
	})
}

func TestUnwatching(t *testing.T) {
	t.Run("who unsubscribes hears no more", func(t *testing.T) {
		w := newWorld(t)
		c := w.large(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		l.watch("c:5")
		expect(t, l.unwatch("c:5"), "unsubscribed")
		w.say(c, "hi")
		w.settle()
		expect(t, l.got())
		expect(t, l.watch("c:5"), "watching c:5@2")
	})
	t.Run("a channel that the server subscribed the session to stays", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		expect(t, l.unwatch("c:5"), "unsubscribed")
		w.say(c, "hi")
		expect(t, l.got(), "c:5 #2 MessageSent")
	})
	t.Run("who changes his mind before he is answered gets what he asked for last", func(t *testing.T) {
		w := newWorld(t)
		w.large(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		l.send(l.watchCommand("c:5"), l.unwatchCommand("c:5"), l.watchCommand("c:5"))
		w.settle()
		expect(t, l.got(), "unsubscribed", "refused c:5 409", "watching c:5@1")
		if c := l.session.channels; len(c) != 1 || !c[0].watched || c[0].stage != known {
			t.Errorf("the channels are %+v", c)
		}
	})
	t.Run("the least recently active channel makes room, whoever subscribed to it", func(t *testing.T) {
		w := newWorld(t)
		w.policy.MaxChannels = 3
		a, b := w.large(5, 1, "ann"), w.conversation(6, 1, "ann")
		w.large(7, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann", "c:6@1")
		l.watch("c:5")
		w.say(b, "hi")
		l.got()
		expect(t, l.watch("c:7"), "-c:5 2001", "watching c:7@1")
		w.say(a, "nobody hears it")
		expect(t, l.watch("c:5"), "-c:6 2001", "watching c:5@2")
	})
	t.Run("what is under way does not make room", func(t *testing.T) {
		w := newWorld(t)
		w.policy.MaxChannels = 2
		w.large(5, 1, "ann")
		w.large(6, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		l.send(l.watchCommand("c:5"), l.watchCommand("c:6"))
		w.settle()
		expect(t, l.got(), "refused c:6 106", "watching c:5@1")
	})
}

// A client may hear nothing more after an `unsubscribe` with a code below 2500, and
// would come back for ever after another one.
func TestSDKsComeBackOnlyWhereThatHeals(t *testing.T) {
	for code := range unsubscribedReason {
		if again := code >= 2500; again != (code == unsubscribedExpired || code == unsubscribedMoved) {
			t.Errorf("after %d SDKs subscribe again: %v", code, again)
		}
	}
}

func TestWatchersAndUsers(t *testing.T) {
	t.Run("who is named and watches hears once", func(t *testing.T) {
		w := newWorld(t)
		c := w.large(5, 1, "ann", "bob")
		l, other := w.open(wire.JSON), w.open(wire.JSON)
		l.connect("ann")
		other.connect("bob")
		l.watch("c:5")
		w.emit(c, "bob", &pb.MessageSent{}, naming("ann"), naming("bob"))
		signal := event(c, 0, &pb.MessageRevoked{})
		signal.Audience = &entity.Audience{Users: []uint64{entity.UserNumber(1, "ann")}, Watchers: true}
		w.hub.Published(signal)
		expect(t, l.got(), "c:5 #2 MessageSent", "signal MessageRevoked c:5")
		expect(t, other.got(), "+c:5 @1", "c:5 #2 MessageSent", "signal MessageRevoked c:5")
	})
	t.Run("who has the channel of a conversation that grows keeps it", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann", "bob")
		l, fresh := w.open(wire.JSON), w.open(wire.JSON)
		l.connect("ann", "c:5@1")
		fresh.connect("bob")
		w.log(c).large = true
		w.say(c, "large")
		w.log(c).large = false
		w.say(c, "small")
		w.settle()
		w.log(c).large = true
		w.say(c, "large again")
		expect(t, l.got(), "c:5 #2 MessageSent", "c:5 #3 MessageSent", "c:5 #4 MessageSent")
		expect(t, fresh.got(), "+c:5 @2", "c:5 #3 MessageSent", "c:5 #4 MessageSent")
	})
	t.Run("who connects while it grows misses nothing", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann")
		l := w.open(wire.JSON)
		l.send(l.connectCommand("ann", "c:5@1"))
		w.do() // The device is known; the session is registered.
		w.say(c, "small")
		w.do() // The positions are read.
		w.log(c).large = true
		w.say(c, "large")
		w.settle()
		expect(t, l.got(), "connected c:5@1+ u:ann@1", "c:5 #2 MessageSent", "c:5 #3 MessageSent")
	})
	t.Run("who begins to watch misses nothing, and has a watch where it has become small", func(t *testing.T) {
		w := newWorld(t)
		c := w.large(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		l.send(l.watchCommand("c:5"))
		w.do() // The position is read.
		w.say(c, "large")
		w.log(c).large = false
		w.say(c, "small")
		w.settle()
		w.say(c, "small")
		expect(t, l.got(), "watching c:5@1", "c:5 #2 MessageSent", "c:5 #3 MessageSent", "c:5 #4 MessageSent")
	})
}

func TestWatchersWhoComeAndGo(t *testing.T) {
	t.Run("who joins while he is refused gets the channel from the server", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "bob")
		l := w.open(wire.JSON)
		l.connect("ann")
		l.send(l.watchCommand("c:5"))
		w.do() // The position is read: she is a stranger.
		w.join(c, "ann")
		w.settle()
		expect(t, l.got(), "refused c:5 103", "+c:5 @1", "c:5 #2 MemberJoined")
	})
	t.Run("who comes back while his position is read, which says that he has left, has a watch", func(t *testing.T) {
		w := newWorld(t)
		c := w.conversation(5, 1, "ann", "bob")
		w.leave(c, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		l.send(l.watchCommand("c:5"))
		w.do() // The position is read.
		w.join(c, "ann")
		w.settle()
		w.say(c, "hi")
		expect(t, l.got(), "watching c:5@2", "c:5 #3 MemberJoined", "c:5 #4 MessageSent")
	})
	t.Run("who has left and asks is refused, whatever is said to others meanwhile", func(t *testing.T) {
		w := newWorld(t)
		c := w.large(5, 1, "ann", "bob")
		w.leave(c, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		l.send(l.watchCommand("c:5"))
		w.say(c, "not for her")
		w.settle()
		expect(t, l.got(), "refused c:5 103")
	})
	t.Run("nobody watches: the event costs nobody", func(t *testing.T) {
		w := newWorld(t)
		c := w.large(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		w.say(c, "hi")
		w.settle()
		expect(t, l.got())
	})
}

func TestLeavingALargeConversation(t *testing.T) {
	start := func(t *testing.T) (*world, entity.Ref, *line) {
		w := newWorld(t)
		c := w.large(5, 1, "ann", "bob")
		l := w.open(wire.JSON)
		l.connect("ann")
		l.watch("c:5")
		return w, c, l
	}
	t.Run("a watcher who leaves hears his leaving last", func(t *testing.T) {
		w, c, l := start(t)
		w.leave(c, "ann")
		w.say(c, "she is gone")
		w.signalTo(c)
		expect(t, l.got(), "c:5 #2 MemberLeft", "-c:5 2000")
	})
	t.Run("also where it comes while he catches up", func(t *testing.T) {
		w, c, l := start(t)
		w.log(c).events = append(w.log(c).events, event(c, 2, &pb.MessageRevoked{})) // Nobody published it.
		w.leave(c, "ann")
		w.say(c, "she is gone")
		w.signalTo(c)
		w.settle()
		expect(t, l.got(), "c:5 #2 MessageRevoked", "c:5 #3 MemberLeft", "-c:5 2000")
	})
	t.Run("also where he had just begun to watch", func(t *testing.T) {
		w, c, l := start(t)
		l.unwatch("c:5")
		l.send(l.watchCommand("c:5@1"))
		w.do() // The position is read.
		w.leave(c, "ann")
		w.say(c, "she is gone")
		w.settle()
		expect(t, l.got(), "watching c:5@1+", "c:5 #2 MemberLeft", "-c:5 2000")
	})
	t.Run("and not where the position that was read knows that he is back", func(t *testing.T) {
		w, c, l := start(t)
		l.unwatch("c:5")
		l.send(l.watchCommand("c:5@1"))
		w.leave(c, "ann")
		w.join(c, "ann")
		w.say(c, "welcome back")
		w.settle()
		w.say(c, "hi")
		expect(t, l.got(), "watching c:5@1+", "c:5 #2 MemberLeft", "c:5 #3 MessageSent", "c:5 #4 MessageSent")
	})
	t.Run("until his own log is heard, in doubt nothing is sent", func(t *testing.T) {
		w, c, l := start(t)
		w.log(c).reach["ann"] = []*pb.Interval{{From: 1, Through: 1}} // The log does not say so.
		w.emit(entity.User(1, "ann"), "", &pb.DialogLeft{ConversationId: 5})
		w.say(c, "not for her")
		w.signalTo(c)
		w.settle()
		expect(t, l.got(), "u:ann #2 DialogLeft", "-c:5 2000")
	})
}

func TestTheIndexOfHolders(t *testing.T) {
	t.Run("small conversations are not in it, and of large ones nobody who has gone", func(t *testing.T) {
		w := newWorld(t)
		small, c := w.conversation(5, 1, "ann", "bob"), w.large(6, 1, "ann", "bob")
		lines := []*line{w.open(wire.JSON), w.open(wire.JSON)}
		for i, l := range lines {
			l.connect([]string{"ann", "bob"}[i], "c:5@1", "c:6@1")
		}
		w.say(small, "hi")
		w.say(c, "hi")
		if n := len(w.hub.holders.shard(small).of[small]); n != 0 {
			t.Errorf("%d sessions hold the small one", n)
		}
		if n := len(w.hub.holders.shard(c).of[c]); n != 2 {
			t.Errorf("%d sessions hold the large one, want 2", n)
		}
		lines[0].session.Closed()
		lines[1].session.Disconnect(Shutdown)
		if n := len(w.hub.holders.shard(c).of[c]); n != 0 {
			t.Errorf("%d sessions hold it that have ended", n)
		}
		for _, s := range w.hub.watchers[:cap(w.hub.watchers)] {
			if s != nil {
				t.Error("a session that has ended is kept")
			}
		}
	})
	t.Run("it is bounded, and what it has forgotten is looked for again", func(t *testing.T) {
		w := newWorld(t)
		c := w.large(5, 1, "ann")
		l := w.open(wire.JSON)
		l.connect("ann")
		l.watch("c:5")
		for i := range uint64(2 * maxHolders) {
			w.say(w.large(5+holderShards*(i+1), 0), "hi")
		}
		if n := len(w.hub.holders.shard(c).of); n != maxHolders {
			t.Errorf("a shard knows %d conversations, want %d", n, maxHolders)
		}
		delete(w.hub.holders.shard(c).of, c)
		w.say(c, "hi")
		expect(t, l.got(), "c:5 #2 MessageSent")
	})
}
