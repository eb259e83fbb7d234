package session

import (
	"fmt"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// presences makes a world whose kernel notes whom it is told of, and what.
func presences(t *testing.T, answer func() *entity.Error) (w *world, told func() []string) {
	w = newWorld(t)
	var all []string
	w.reply = func(c *entity.Call) entity.Result {
		req, ok := c.Req.(*pb.PresenceChangedRequest)
		if !ok || c.To != c.Caller.Ref() {
			t.Errorf("the call is %v to %v", c.Req, c.To)
			return entity.Result{}
		}
		all = append(all, fmt.Sprint(c.Caller.User, " ", req.Online))
		return entity.Result{Reply: &pb.PresenceChangedResponse{}, Err: answer()}
	}
	return w, func() []string {
		w.settle()
		out := all
		all = nil
		return out
	}
}

func always() *entity.Error { return nil }

// later lets tenths of the delay pass.
func (w *world) later(tenths int) {
	w.now = w.now.Add(time.Duration(tenths) * defaultPresenceDelay / 10)
	w.hub.Tick(w.now)
}

func TestPresence(t *testing.T) {
	t.Run("the first session makes a user come, and the last makes him go, some seconds later", func(t *testing.T) {
		ann := entity.User(1, "ann")
		w, told := presences(t, always)
		first, second := w.open(wire.JSON), w.open(wire.JSON)
		first.connect("ann")
		expect(t, told(), "ann true")
		second.connect("ann")
		first.session.Closed()
		w.later(11)
		expect(t, told())
		second.session.Disconnect(Shutdown)
		w.later(9)
		expect(t, told())
		if !w.hub.Online(ann) {
			t.Error("he is not online before anybody has been told")
		}
		w.later(1)
		expect(t, told(), "ann false")
		if w.hub.Online(ann) || w.hub.Online(entity.User(2, "ann")) || w.hub.Online(entity.Conversation(1, ann.ID)) {
			t.Error("somebody is online who is not")
		}
		w.later(100)
		expect(t, told())
		if n := len(w.hub.presence.turns); n != 0 {
			t.Errorf("%d users are remembered", n)
		}
	})
	t.Run("who comes back in time has not gone", func(t *testing.T) {
		w, told := presences(t, always)
		for range 3 {
			l := w.open(wire.JSON)
			l.connect("ann")
			l.session.Closed()
			w.later(9)
		}
		expect(t, told(), "ann true")
		w.later(1)
		expect(t, told(), "ann false")
	})
	t.Run("where nobody wants to know, nobody is told", func(t *testing.T) {
		w, told := presences(t, always)
		w.hub.presence.method = nil
		l := w.open(wire.JSON)
		l.connect("ann")
		l.session.Closed()
		w.later(9)
		if !w.hub.Online(entity.User(1, "ann")) {
			t.Error("he is not online")
		}
		w.later(1)
		expect(t, told())
		if w.hub.Online(entity.User(1, "ann")) || len(w.hub.presence.turns) != 0 {
			t.Error("he is online, or remembered")
		}
	})
}

func TestPresenceUnderLoad(t *testing.T) {
	t.Run("who goes and comes while one is told is told of in order", func(t *testing.T) {
		w, told := presences(t, always)
		l := w.open(wire.JSON)
		l.send(l.connectCommand("ann"))
		w.do() // The session is registered, and that he came is about to be told.
		l.session.Closed()
		w.later(20)
		expect(t, told(), "ann true")
		w.later(10)
		l = w.open(wire.JSON)
		l.send(l.connectCommand("ann"))
		w.work[0], w.work[1] = w.work[1], w.work[0] // He is back before his going has been heard.
		expect(t, told(), "ann false", "ann true")
	})
	t.Run("what nobody had time to hear is said once more", func(t *testing.T) {
		busy := true
		w, told := presences(t, func() *entity.Error {
			if busy {
				return entity.Errorf(entity.Overloaded, "too many wait")
			}
			return nil
		})
		l := w.open(wire.JSON)
		l.connect("ann")
		expect(t, told(), "ann true")
		w.later(9)
		expect(t, told())
		w.later(1)
		expect(t, told(), "ann true")
		w.later(100)
		expect(t, told())
		l.session.Closed()
		w.later(10)
		expect(t, told(), "ann false")
		busy = false
		w.later(10)
		expect(t, told(), "ann false")
	})
	t.Run("who has come and gone before anybody had time to hear it was never there", func(t *testing.T) {
		w, told := presences(t, func() *entity.Error { return entity.Errorf(entity.Overloaded, "too many wait") })
		l := w.open(wire.JSON)
		l.connect("ann")
		expect(t, told(), "ann true")
		l.session.Closed()
		w.later(100)
		expect(t, told())
	})
}

func TestManyWhoGoAtOnceAreToldOfOnePartAfterTheOther(t *testing.T) {
	w, told := presences(t, always)
	var all []*line
	for i := range maxPresenceCalls + 1 {
		l := w.open(wire.JSON)
		l.connect(fmt.Sprint("user", i))
		all = append(all, l)
	}
	told()
	for _, l := range all {
		l.session.Closed()
	}
	w.later(10)
	if n := len(told()); n != maxPresenceCalls {
		t.Errorf("%d are told of at once", n)
	}
	w.hub.Tick(w.now)
	if n := len(told()); n != 1 {
		t.Errorf("%d are told of after them, want 1", n)
	}
}
