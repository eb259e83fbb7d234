package session

import (
	"fmt"
	"strings"
	"testing"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

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
}

func TestCatchUpUnderStress(t *testing.T) {
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

func TestAReplyComesBeforeItsPublicationAlsoWhereAnEventIsMissing(t *testing.T) {
	w := newWorld(t)
	c := w.conversation(5, 3, "ann")
	l := w.open(wire.JSON)
	l.connect("ann", "c:5@3")
	w.reply = func(*entity.Call) entity.Result { return entity.Result{Reply: &pb.SendResponse{Seq: 6}} }
	lg := w.log(c)
	lg.events = append(lg.events, event(c, 4, &pb.MessageRevoked{})) // Not heard: a gap.
	l.rpc("Messages.Send", `{"conversation_id":5,"request_id":"r","content":{"text":{"text":"x"}}}`)
	submit := w.work
	w.work = nil
	e5, e6 := event(c, 5, &pb.MessageSent{}), event(c, 6, &pb.MessageSent{})
	e5.Audience = &entity.Audience{Users: []uint64{entity.UserNumber(1, "ann")}}
	e6.Audience = e5.Audience
	lg.events = append(lg.events, e5, e6) // 5's group is released; 6's is durable and waits for its release.
	w.hub.Published(e5)
	w.settle()
	w.work = submit
	w.settle() // The reply of 6.
	w.hub.Published(e6)
	expect(t, l.got(), "c:5 #4 MessageRevoked", "c:5 #5 MessageSent", `result {"seq":6}`, "c:5 #6 MessageSent")
}
