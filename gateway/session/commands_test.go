package session

import (
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// signedIn is a session that is connected, as ann.
func signedIn(t *testing.T) (*world, *line) {
	w := newWorld(t)
	l := w.open(wire.JSON)
	l.connect("ann")
	return w, l
}

func TestCommands(t *testing.T) {
	t.Run("what is not offered is error 108", func(t *testing.T) {
		_, l := signedIn(t)
		for _, cmd := range []*protocol.Command{
			{Publish: &protocol.PublishRequest{}}, {Presence: &protocol.PresenceRequest{}},
			{PresenceStats: &protocol.PresenceStatsRequest{}}, {History: &protocol.HistoryRequest{}},
			{SubRefresh: &protocol.SubRefreshRequest{}},
		} {
			cmd.Id = l.next()
			l.send(cmd)
			expect(t, l.got(), "error 108")
		}
	})
	t.Run("rpc errors", func(t *testing.T) {
		w, l := signedIn(t)
		for _, c := range []struct{ method, data, want string }{
			{"No.Such", `{}`, "error 104"},
			{"Devices.Connect", `{}`, "error 104"},             // Internal: only the gateway calls it.
			{"Devices.Connect", `{"nonsense":1}`, "error 104"}, // Nobody looks at what it is asked with.
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
		w, l := signedIn(t)
		w.reply = func(*entity.Call) entity.Result {
			return entity.Result{Reply: &pb.ListDialogsResponse{Cursor: strings.Repeat("x", maxReplyBytes)}}
		}
		l.rpc("Dialogs.List", `{}`)
		w.settle()
		expect(t, l.got(), "error 413")
	})
	t.Run("to unsubscribe from nothing succeeds, and a ping is answered", func(t *testing.T) {
		_, l := signedIn(t)
		l.send(&protocol.Command{Id: 2, Unsubscribe: &protocol.UnsubscribeRequest{Channel: "c:5"}}, &protocol.Command{Id: 3, Ping: &protocol.PingRequest{}})
		expect(t, l.got(), "unsubscribed", "pinged")
	})
}

func TestMisuse(t *testing.T) {
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
			_, l := signedIn(t)
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
		l.send(l.connectCommand("ann"), &protocol.Command{Id: 7, History: &protocol.HistoryRequest{}}, &protocol.Command{Id: 8, Ping: &protocol.PingRequest{}})
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

// Who asks and does not read is closed before his replies fill the memory.
func TestSlowAsker(t *testing.T) {
	w := newWorld(t)
	w.policy.OutQueueBytes = 64 << 10
	l := w.open(wire.JSON)
	l.connect("ann")
	l.window = 0
	for i := 0; l.session.state == connected; i++ {
		l.send(&protocol.Command{Id: l.next(), Ping: &protocol.PingRequest{}})
		l.session.Flush()
		if n := l.session.out.pending(); n > 512<<10 {
			t.Fatalf("%d bytes wait after %d requests", n, i)
		}
	}
}
