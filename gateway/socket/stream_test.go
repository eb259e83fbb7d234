package socket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/gateway/limit"
	"kith/gateway/wire"
)

// rawTCP opens the door for raw TCP.
func rawTCP(c *Config) { c.ListenTCP = []string{"127.0.0.1:0"} }

// stream connects over raw TCP.
func (w *world) stream() *raw {
	w.t.Helper()
	return w.dialAt(w.server.TCPAddrs()[0])
}

// welcomeStream connects as a user over raw TCP, with what he wants to recover.
func (w *world) welcomeStream(user string, subs map[string]*protocol.SubscribeRequest) *raw {
	w.t.Helper()
	r := w.stream()
	r.command(&protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: user, Subs: subs}})
	if reply := r.reply(); reply.Id != 1 || reply.Connect == nil {
		w.t.Fatalf("connecting was answered with %v", reply)
	}
	return r
}

// encoded is commands as clients send them over raw TCP.
func encoded(all ...*protocol.Command) (b []byte) {
	for _, c := range all {
		frame, err := protocol.NewProtobufCommandEncoder().Encode(c)
		if err != nil {
			panic(err)
		}
		b = append(b, frame...)
	}
	return b
}

func connectAs(user string) *protocol.Command {
	return &protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: user}}
}

func pingOf(id uint32) *protocol.Command {
	return &protocol.Command{Id: id, Ping: &protocol.PingRequest{}}
}

func (r *raw) command(all ...*protocol.Command) {
	r.t.Helper()
	r.write(encoded(all...))
}

// reply reads a frame of the server over raw TCP; the empty one is a ping.
func (r *raw) reply() *protocol.Reply {
	r.t.Helper()
	reply, err := r.tryReply()
	if err != nil {
		r.t.Fatal(err)
	}
	return reply
}

func (r *raw) tryReply() (*protocol.Reply, error) {
	size, err := binary.ReadUvarint(r.in)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r.in, b); err != nil {
		return nil, err
	}
	reply := &protocol.Reply{}
	return reply, reply.UnmarshalVT(b)
}

// farewell reads until the disconnect push, which must be the last that comes
// before the end of the stream, and returns its code.
func (r *raw) farewell() uint32 {
	r.t.Helper()
	for {
		reply, err := r.tryReply()
		if err != nil {
			r.t.Fatalf("the connection ended without a reason: %v", err)
		}
		if end := reply.Push.GetDisconnect(); end != nil {
			if end.Reason == "" {
				r.t.Error("the server gives no reason")
			}
			if b, err := r.in.ReadByte(); err != io.EOF {
				r.t.Errorf("after the last frame there is %x, %v, want the end", b, err)
			}
			return end.Code
		}
	}
}

func TestStreamBytes(t *testing.T) {
	w := newWorld(t, rawTCP)
	t.Run("a byte at a time is as good as all at once", func(t *testing.T) {
		r := w.stream()
		for _, b := range encoded(connectAs("ann"), pingOf(2)) {
			r.write([]byte{b})
		}
		if reply := r.reply(); reply.Connect == nil {
			t.Errorf("got %v", reply)
		}
		if reply := r.reply(); reply.Id != 2 {
			t.Errorf("got %v", reply)
		}
	})
	t.Run("many commands in one segment are answered in order", func(t *testing.T) {
		all := []*protocol.Command{connectAs("bob")}
		for i := range 50 {
			all = append(all, pingOf(uint32(i+2)))
		}
		r := w.stream()
		r.command(all...)
		for id := range uint32(51) {
			if reply := r.reply(); reply.Id != id+1 {
				t.Fatalf("got %v, want reply %d", reply, id+1)
			}
		}
	})
	t.Run("64 KiB are taken, however they come", func(t *testing.T) {
		r := w.welcomeStream("cat", nil)
		rest := encoded(&protocol.Command{Id: 2, Rpc: &protocol.RPCRequest{Method: "No.Such", Data: make([]byte, maxMessageBytes-100)}}, pingOf(3))
		for len(rest) > 0 {
			n := min(1000, len(rest))
			r.write(rest[:n])
			rest = rest[n:]
		}
		for id := uint32(2); id <= 3; id++ {
			if reply := r.reply(); reply.Id != id {
				t.Errorf("got %v, want reply %d", reply, id)
			}
		}
	})
	t.Run("a client that hangs up is gone", func(t *testing.T) {
		before := w.server.Connections()
		r := w.welcomeStream("dan", nil)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		until(t, "the end of the connection", func() bool { return w.server.Connections() == before })
	})
}

func TestStreamPings(t *testing.T) {
	w := newWorld(t, rawTCP)
	w.policy.PingEvery, w.policy.PongTimeout = 10*time.Minute, time.Minute // Tokens live for an hour.
	r := w.welcomeStream("ann", nil)
	ping := func(r *raw) {
		t.Helper()
		w.shift.Add(int64(w.policy.PingEvery))
		if b, err := r.in.ReadByte(); err != nil || b != 0 {
			t.Fatalf("a ping is %x, %v, want 00", b, err)
		}
		if n := r.in.Buffered(); n != 0 {
			t.Fatalf("%d more bytes came with the ping", n)
		}
	}
	for id := range uint32(3) {
		ping(r)
		r.write(append([]byte{0}, encoded(pingOf(id+2))...)) // The reply says that the answer was read.
		if reply := r.reply(); reply.Id != id+2 {
			t.Fatalf("got %v", reply)
		}
	}
	ping(r)
	w.shift.Add(int64(w.policy.PongTimeout))
	if code := r.farewell(); code != 3012 {
		t.Errorf("who does not answer is closed with %d, want 3012", code)
	}
}

func TestBadStreams(t *testing.T) {
	w := newWorld(t, rawTCP)
	w.policy.PingEvery = time.Hour
	good := w.welcomeStream("good", nil)
	tooLarge := binary.AppendUvarint(nil, maxMessageBytes+1)
	overlong := []byte{0x80, 0}
	for name, c := range map[string]struct {
		bytes         []byte
		before, after uint32 // the codes before connecting and after
	}{
		"64 KiB and 1":              {tooLarge, 3501, 4009},
		"the largest varint":        {binary.AppendUvarint(nil, 1<<64-1), 3501, 4009},
		"a varint without end":      {bytes.Repeat([]byte{0xff}, 20), 3501, 4009},
		"an overlong varint":        {overlong, 3501, 3501},
		"no protobuf":               {append([]byte{10}, "0123456789"...), 3501, 3501},
		"an HTTP request":           {[]byte(request + "\r\n"), 3501, 3501},
		"noise after what is wrong": {append(overlong, bytes.Repeat([]byte{0xff}, 100<<10)...), 3501, 3501},
		"a second connect":          {encoded(connectAs("x"), connectAs("x")), 3501, 3501},
		"a command without an id":   {encoded(pingOf(0)), 3501, 3501},
		"a message to the server":   {encoded(&protocol.Command{Send: &protocol.SendRequest{}}), 3501, 3508},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.stream()
			r.t = t
			r.write(c.bytes)
			if code := r.farewell(); code != c.before {
				t.Errorf("before connecting the code is %d, want %d", code, c.before)
			}
			r = w.welcomeStream("bad", nil)
			r.t = t
			r.write(c.bytes)
			if code := r.farewell(); code != c.after {
				t.Errorf("after connecting the code is %d, want %d", code, c.after)
			}
		})
	}
	t.Run("the first frame is connect", func(t *testing.T) {
		for _, first := range [][]byte{encoded(pingOf(1)), {0}, encoded(&protocol.Command{Id: 1, Rpc: &protocol.RPCRequest{Method: "Messages.Send"}})} {
			r := w.stream()
			r.write(first)
			if code := r.farewell(); code != 3501 {
				t.Errorf("the code is %d, want 3501", code)
			}
		}
	})
	t.Run("who answers pings that nobody sent is stopped", func(t *testing.T) {
		w := newWorld(t, rawTCP)
		w.policy.RequestsPerMinute, w.policy.RequestBurst = 60, 3
		r := w.welcomeStream("eager", nil)
		r.write(make([]byte, 64<<10))
		if code := r.farewell(); code != 3509 {
			t.Errorf("the code is %d, want 3509", code)
		}
	})
	t.Run("a token that is no good", func(t *testing.T) {
		r := w.stream()
		r.command(connectAs(""))
		if reply := r.reply(); reply.Error.GetCode() != 101 {
			t.Errorf("got %v, want error 101", reply)
		}
		if code := r.farewell(); code != 3500 {
			t.Errorf("the code is %d, want 3500", code)
		}
	})
	good.command(pingOf(7))
	if reply := good.reply(); reply.Id != 7 {
		t.Errorf("the other client got %v", reply)
	}
}

func TestWhoWasToldToGoIsCutOff(t *testing.T) {
	w := newWorld(t, rawTCP)
	r := w.welcomeStream("ann", nil)
	r.command(pingOf(0))
	if code := r.farewell(); code != 3501 {
		t.Errorf("the code is %d, want 3501", code)
	}
	if n := w.server.Connections(); n != 1 {
		t.Fatalf("%d connections are open, want the one that was told", n)
	}
	r.command(pingOf(1)) // It has not noticed.
	w.shift.Add(int64(closeGrace))
	until(t, "the end of the connection", func() bool { return w.server.Connections() == 0 })
}

func TestStreamSilence(t *testing.T) {
	w := newWorld(t, rawTCP)
	silent, half := w.stream(), w.stream()
	half.write(encoded(connectAs("ann"))[:3])
	until(t, "both", func() bool { return w.server.Connections() == 2 })
	w.shift.Add(int64(5 * time.Second))
	for _, r := range []*raw{silent, half} {
		if code := r.farewell(); code != 3502 {
			t.Errorf("who never connected is closed with %d, want 3502", code)
		}
	}
}

func TestSlowStream(t *testing.T) {
	w := newWorld(t, rawTCP, func(c *Config) { c.SendBufferBytes = 8 << 10 })
	w.policy.OutQueueBytes = 64 << 10
	ref := entity.Conversation(1, 5)
	w.log(ref, "slow", "fast")
	subs := map[string]*protocol.SubscribeRequest{"c:5": {Recover: true, Epoch: "e1"}}
	slow, fast := w.welcomeStream("slow", subs), w.welcomeStream("fast", subs)
	if err := slow.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	const messages, size = 1000, 10 << 10 // 10 MB
	for i := range messages {
		w.say(ref, strings.Repeat("x", size))
		for {
			if p := fast.reply().Push; p.GetChannel() == "c:5" && p.Pub.GetOffset() == uint64(i+1) {
				break
			}
		}
	}
	if n := w.count("writes_stalled_total"); n == 0 {
		t.Error("no write stalled: the test tests nothing")
	}
	slow.ends()
	if n := w.server.Connections(); n != 1 {
		t.Errorf("%d connections are open, want the fast one", n)
	}
}

func TestBothDoorsShareTheirCaps(t *testing.T) {
	t.Run("in all", func(t *testing.T) {
		w := newWorld(t, rawTCP, func(c *Config) { c.MaxConnections = 2 })
		w.welcome("ann", "")
		w.welcomeStream("bob", nil)
		w.stream().ends()
		w.dial().ends()
		if n := w.count("connections_refused_total"); n != 2 {
			t.Errorf("%v connections were refused, want 2", n)
		}
	})
	t.Run("of one address", func(t *testing.T) {
		w := newWorld(t, rawTCP, func(c *Config) { c.MaxPerAddress, c.addressOf = 2, limit.AddressOf })
		w.welcome("ann", "")
		w.welcomeStream("bob", nil)
		w.stream().ends()
		w.dial().ends()
	})
	t.Run("of strangers", func(t *testing.T) {
		w := newWorld(t, rawTCP, func(c *Config) { c.MaxStrangers = 2 })
		for i := range 4 {
			w.welcomeStream(fmt.Sprint("user", i), nil) // Who is known is no stranger any more.
		}
		first := w.stream()
		w.upgrade()
		until(t, "two strangers", func() bool { return w.server.strangers.Load() == 2 })
		w.stream().ends()
		first.command(connectAs("ann"))
		if reply := first.reply(); reply.Connect == nil {
			t.Errorf("got %v", reply)
		}
		w.welcomeStream("bob", nil)
	})
	t.Run("of the bytes of strangers", func(t *testing.T) {
		w := newWorld(t, rawTCP, func(c *Config) { c.MaxStrangerBytes = 10 << 10 })
		long := connectAs("ann")
		long.Connect.Data = fmt.Appendf(nil, `{"app":%q}`, strings.Repeat("x", crowdedBytes))
		hoarder := w.stream()
		hoarder.write(append(binary.AppendUvarint(nil, 20<<10), make([]byte, 15<<10)...))
		until(t, "what the hoarder sent", func() bool { return w.server.strangerBytes.Load() > 10<<10 })
		w.welcomeStream("small", nil)
		refused := w.stream()
		refused.command(long)
		if code := refused.farewell(); code != 4010 {
			t.Errorf("the code is %d, want 4010", code)
		}
		if err := hoarder.Close(); err != nil {
			t.Fatal(err)
		}
		until(t, "an empty budget", func() bool { return w.server.strangerBytes.Load() == 0 })
		again := w.stream()
		again.command(long)
		if reply := again.reply(); reply.Connect == nil {
			t.Errorf("when there is room again, got %v", reply)
		}
	})
}

func TestEachLoopListensAtBothDoors(t *testing.T) {
	const loops = 2
	w := newWorld(t, rawTCP, func(c *Config) { c.Loops = loops })
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Skip("there is no /proc here")
	}
	for _, addr := range []net.Addr{w.server.Addrs()[0], w.server.TCPAddrs()[0]} {
		if n := strings.Count(string(table), fmt.Sprintf("0100007F:%04X 00000000:0000 0A", addr.(*net.TCPAddr).Port)); n != loops {
			t.Errorf("%d sockets listen at %v, want one for each of %d loops", n, addr, loops)
		}
	}
}

func TestADoorIsKnownByItsAddressHoweverThatIsWritten(t *testing.T) {
	for listen, dial := range map[string]string{
		"127.0.0.1:0": "127.0.0.1", "localhost:0": "localhost", ":0": "127.0.0.1", "0.0.0.0:0": "127.0.0.1", "[::1]:0": "::1",
	} {
		if ln, err := net.Listen("tcp", listen); err != nil {
			continue // This machine does not have it.
		} else if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, func(c *Config) { c.Listen, c.ListenTCP = []string{listen}, []string{listen} })
		port := func(addr net.Addr) string { return fmt.Sprint(addr.(*net.TCPAddr).Port) }
		c, err := net.Dial("tcp", net.JoinHostPort(dial, port(w.server.TCPAddrs()[0])))
		if err != nil {
			t.Errorf("%s: %v", listen, err)
			continue
		}
		if _, err := c.Write(encoded(pingOf(1))); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if _, n, _ := wire.NextDelimited(b, 1<<10); err != nil || n == 0 || n != len(b) {
			t.Errorf("%s answers with %q, %v, want one frame", listen, b, err)
		}
		_ = c.Close() // The server has said all.
		ws, err := net.Dial("tcp", net.JoinHostPort(dial, port(w.server.Addrs()[0])))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ws.Write([]byte("POST / HTTP/1.1\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		var head [12]byte
		if _, err := io.ReadFull(ws, head[:]); err != nil || string(head[:]) != "HTTP/1.1 405" {
			t.Errorf("the other door of %s answers with %q, %v", listen, head, err)
		}
		_ = ws.Close() // It was refused.
	}
}

func TestDrainOfStreams(t *testing.T) {
	w := newWorld(t, rawTCP)
	var all []*raw
	for i := range 20 {
		all = append(all, w.welcomeStream(fmt.Sprint("user", i), nil))
	}
	all = append(all, w.stream())
	until(t, "everybody", func() bool { return w.server.Connections() == len(all) })
	drained := make(chan error)
	go func() { drained <- w.server.Drain(drainContext(t)) }()
	for _, r := range all {
		if code := r.farewell(); code != 3001 {
			t.Errorf("the code is %d, want 3001", code)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if err := <-w.ended; err != nil {
		t.Error(err)
	}
	w.ended <- nil
}
