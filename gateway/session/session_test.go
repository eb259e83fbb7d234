package session

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/limit"
	"kith/gateway/wire"
)

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
	if n := l.dirty.Load(); n == 0 || n > 3 {
		t.Errorf("the connection was called dirty %d times", n)
	}
}

func TestAPhoneThatComesAndGoesLeavesTheLaptopConnected(t *testing.T) {
	w := newWorld(t)
	w.policy.MaxSessions = 3
	laptop := w.open(wire.JSON)
	cmd := laptop.connectCommand("ann")
	cmd.Connect.Token = "1 ann laptop"
	laptop.send(cmd)
	w.settle()
	laptop.got()
	for range 3 {
		w.open(wire.JSON).connect("ann")
		w.settle()
	}
	expect(t, laptop.got())
}

func TestAPanicEndsItsSessionAlone(t *testing.T) {
	cases := map[string]func(w *world, l *line){
		"in a result": func(w *world, l *line) {
			w.reply = func(*entity.Call) entity.Result { return entity.Result{} } // No reply and no error.
			l.rpc("Dialogs.List", `{}`)
			w.settle()
		},
		"in a position": func(w *world, l *line) {
			l.session.channels = []channel{{id: 5, stage: fresh}}
			l.session.conn = nil // Whom to tell.
			l.session.positioned([]entity.Position{{Ref: entity.Conversation(1, 5), Epoch: "e"}})
			l.session.conn = l
		},
		"in a page": func(_ *world, l *line) {
			l.session.replayed(read{ref: l.session.caller.Ref()}, entity.Page{Events: []*entity.Event{nil}})
		},
		"in a publication": func(w *world, l *line) {
			l.session.channels = []channel{{id: 5}}
			l.session.conn = nil
			e := event(entity.Conversation(1, 5), 1, &pb.MessageSent{})
			e.Audience = &entity.Audience{Users: []uint64{l.session.caller.Number}}
			w.hub.Published(e)
			l.session.conn = l
		},
	}
	for name, panics := range cases {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			w := newWorld(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			l, other := w.open(wire.JSON), w.open(wire.JSON)
			l.connect("ann")
			other.connect("bob")
			panics(w, l)
			if got := l.got(); len(got) == 0 || got[len(got)-1] != "close 3004" {
				t.Errorf("got %q, want close 3004", got)
			}
			if !strings.Contains(log.String(), "a session panicked") {
				t.Errorf("log = %q, want the panic", log.String())
			}
			if other.session.state != connected {
				t.Error("another session ended, too")
			}
		})
	}
}

func TestAUserHasOneBudgetForAllHisSessions(t *testing.T) {
	requests := limit.NewRequests()
	w := newWorld(t, func(c *Config) { c.Requests = requests })
	w.policy.RequestsPerMinute, w.policy.RequestBurst = 60, 3
	phone, laptop := w.open(wire.JSON), w.open(wire.JSON)
	phone.connect("ann")
	laptop.connect("ann")
	ping := func(l *line) []string {
		l.send(&protocol.Command{Id: l.next(), Ping: &protocol.PingRequest{}})
		return l.got()
	}
	expect(t, ping(phone), "pinged")
	expect(t, ping(laptop), "pinged")
	// The third comes through another door.
	if wait := requests.Take(limit.UserOf(phone.session.caller), &w.policy, w.now); wait != 0 {
		t.Errorf("wait = %v, want none", wait)
	}
	expect(t, ping(phone), "error 111")
	expect(t, ping(laptop), "error 111")
}
