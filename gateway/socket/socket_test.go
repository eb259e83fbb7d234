package socket

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/gateway/wire"
)

func TestHandshake(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Origins = []string{"https://good.example"} })
	header := func(h string) string { return request + h + "\r\n\r\n" }
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"no browser":           {request + "\r\n", 101},
		"a listed origin":      {header("Origin: https://good.example"), 101},
		"its own page":         {header("Origin: http://example.com"), 101},
		"a foreign page":       {header("Origin: https://evil.example"), 403},
		"another path":         {strings.Replace(request, defaultPath, "/", 1) + "\r\n", 404},
		"no upgrade":           {"GET " + defaultPath + " HTTP/1.1\r\nHost: example.com\r\n\r\n", 426},
		"another method":       {"POST / HTTP/1.1\r\n\r\n", 405},
		"no HTTP":              {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 405},
		"a header without end": {request + "X: " + strings.Repeat("x", wire.MaxHeaderBytes), 431},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.dial()
			r.t = t
			r.write([]byte(c.request))
			if status := r.response(); status != c.status {
				t.Errorf("the status is %d, want %d", status, c.status)
			}
			if c.status != 101 {
				w.shift.Add(int64(2 * time.Second))
				r.ends()
			}
		})
	}
}

func TestBytes(t *testing.T) {
	w := newWorld(t)
	connect := frame(wire.Text, `{"id":1,"connect":{"token":"ann"}}`)
	t.Run("frames that come with the handshake are not lost", func(t *testing.T) {
		r := w.dial()
		r.write(append([]byte(request+"\r\n"), connect...))
		r.response()
		if _, b := r.frame(); !bytes.Contains(b, []byte(`"connect"`)) {
			t.Errorf("got %q", b)
		}
	})
	t.Run("a byte at a time is as good as all at once", func(t *testing.T) {
		r := w.dial()
		for _, b := range append([]byte(request+"\r\n"), connect...) {
			r.write([]byte{b})
		}
		r.response()
		if _, b := r.frame(); !bytes.Contains(b, []byte(`"connect"`)) {
			t.Errorf("got %q", b)
		}
	})
	t.Run("fragments make a message, with a ping in between", func(t *testing.T) {
		r := w.upgrade()
		first, second := frame(wire.Text, `{"id":1,"connect":`), frame(wire.Continuation, `{"token":"ann"}}`)
		first[0] &^= 0x80
		r.write(bytes.Join([][]byte{first, frame(wire.Ping, "hello"), second}, nil))
		if op, b := r.frame(); op != wire.Pong || string(b) != "hello" {
			t.Errorf("the ping was answered with %d %q", op, b)
		}
		if _, b := r.frame(); !bytes.Contains(b, []byte(`"connect"`)) {
			t.Errorf("got %q", b)
		}
	})
	t.Run("many commands in many frames are answered in order", func(t *testing.T) {
		r := w.welcome("ann", "")
		var all []byte
		for i := range 2000 {
			all = append(all, frame(wire.Text, fmt.Sprintf(`{"id":%d,"ping":{}}`, i+1))...)
		}
		r.write(all)
		for i := range 2000 {
			if _, b := r.frame(); string(b) != fmt.Sprintf(`{"id":%d,"ping":{}}`, i+1) {
				t.Fatalf("reply %d is %q", i+1, b)
			}
		}
	})
	t.Run("a client that closes is answered", func(t *testing.T) {
		r := w.welcome("ann", "")
		r.write(frame(wire.Close, "\x03\xe8"))
		if code := r.closing(); code != 1000 {
			t.Errorf("the answer is %d, want 1000", code)
		}
		r.ends()
	})
}

func TestBadFrames(t *testing.T) {
	w := newWorld(t)
	w.policy.PingEvery = time.Hour // The clock is moved, and nobody is to be pinged.
	good := w.welcome("good", "")
	unmasked := wire.AppendFrame(nil, wire.Text, []byte(`{}`))
	reserved := frame(wire.Text, `{}`)
	reserved[0] |= 0x40
	huge := frame(wire.Text, "")
	huge = append([]byte{huge[0], 0xff, 0, 0, 0, 0, 0, 1, 0, 1}, 1, 2, 3, 4)
	long := frame(wire.Ping, strings.Repeat("x", 126))
	for name, c := range map[string]struct {
		bytes []byte
		code  uint16
	}{
		"not masked":                 {unmasked, 1002},
		"a reserved bit":             {reserved, 1002},
		"a reserved opcode":          {frame(3, ""), 1002},
		"a control frame too long":   {long, 1002},
		"a continuation of nothing":  {frame(wire.Continuation, "{}"), 1002},
		"a close code of nobody":     {frame(wire.Close, "\x03\xec"), 1002},
		"text that is not UTF-8":     {frame(wire.Text, "\xff"), 1007},
		"binary where text is":       {frame(wire.Binary, "{}"), 1003},
		"a message of 64 KiB and 1":  {huge, 4009},
		"no command":                 {frame(wire.Text, "nonsense"), 3501},
		"an empty message":           {frame(wire.Text, ""), 3501},
		"a command without an id":    {frame(wire.Text, `{"rpc":{"method":"Messages.Send"}}`), 3501},
		"brackets without end":       {frame(wire.Text, strings.Repeat(`{"rpc":`, 9000)), 3501},
		"garbage after a bad frame":  {append(unmasked, bytes.Repeat([]byte{0xff}, 100<<10)...), 1002},
		"a second connect":           {frame(wire.Text, `{"id":2,"connect":{"token":"x"}}`), 3501},
		"close, and then some":       {append(frame(wire.Close, "\x03\xe8"), frame(wire.Text, "{}")...), 1000},
		"a message to the server":    {frame(wire.Text, `{"send":{"data":{}}}`), 3508},
		"a token that is no refresh": {frame(wire.Text, `{"id":2,"refresh":{"token":"other"}}`), 3500},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.welcome("bad", "")
			r.t = t
			r.write(c.bytes)
			if code := r.closing(); code != c.code {
				t.Errorf("the close code is %d, want %d", code, c.code)
			}
			w.shift.Add(int64(2 * time.Second)) // What closeGrace leaves is over.
			r.ends()
		})
	}
	t.Run("before connect, too large a message is terminal", func(t *testing.T) {
		r := w.upgrade()
		r.write(huge)
		if code := r.closing(); code != 3501 {
			t.Errorf("the close code is %d, want 3501", code)
		}
	})
	good.write(frame(wire.Text, `{"id":7,"ping":{}}`))
	if _, b := good.frame(); string(b) != `{"id":7,"ping":{}}` {
		t.Errorf("the other client got %q", b)
	}
}

func TestSilence(t *testing.T) {
	w := newWorld(t)
	silent, upgraded := w.dial(), w.upgrade()
	half := w.dial()
	half.write([]byte(request))
	w.shift.Add(int64(defaultHandshakeTimeout))
	if code := upgraded.closing(); code != 3502 {
		t.Errorf("who never connected is closed with %d, want 3502", code)
	}
	silent.ends()
	half.ends()
	if n := w.count("handshakes_timed_out_total"); n != 2 {
		t.Errorf("%v handshakes timed out, want 2", n)
	}
}

func TestSlowReader(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.SendBufferBytes = 8 << 10 })
	w.policy.OutQueueBytes = 64 << 10
	ref := entity.Conversation(1, 5)
	w.log(ref, "slow", "fast")
	sub := `,"subs":{"c:5":{"recover":true,"epoch":"e1","offset":0}}`
	slow, fast := w.welcome("slow", sub), w.welcome("fast", sub)
	if err := slow.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	const messages, size = 1000, 10 << 10 // 10 MB
	for i := range messages {
		w.say(ref, strings.Repeat("x", size))
		for {
			if _, b := fast.frame(); bytes.Contains(b, fmt.Appendf(nil, `"offset":%d}`, i+1)) {
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

func TestConnectionCap(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxConnections = 2 })
	w.welcome("ann", "")
	b := w.welcome("bob", "")
	w.dial().ends()
	if n := w.count("connections_refused_total"); n != 1 {
		t.Errorf("%v connections were refused, want 1", n)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for { // Until the server has noticed.
		r := w.dial()
		if _, err := r.Write([]byte(request + "\r\n")); err != nil {
			continue
		}
		if _, err := r.in.Peek(1); err == nil {
			break
		}
	}
}

func TestConfig(t *testing.T) {
	if n, err := capConnections(0, 100); err != nil || n < 1 {
		t.Errorf("by default %d connections are possible: %v", n, err)
	}
	for _, c := range []struct{ wanted, reserve int }{{1 << 31, 100}, {0, 1 << 31}} {
		if n, err := capConnections(c.wanted, c.reserve); err == nil {
			t.Errorf("%d connections with a reserve of %d are possible: %d", c.wanted, c.reserve, n)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a server without a hub was made")
	}
}

func TestRun(t *testing.T) {
	t.Run("an engine that stops without being asked is an error", func(t *testing.T) {
		w := newWorld(t)
		w.welcome("ann", "")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = w.server.engine.Stop(ctx) // As gnet does when there are too many open files.
		if err := <-w.ended; err == nil {
			t.Error("Run returned nil")
		}
		w.ended <- nil
	})
	t.Run("an address that is taken is an error", func(t *testing.T) {
		w := newWorld(t)
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = taken.Close() }() // Nobody connected.
		s, err := New(Config{Hub: w.hub, Listen: []string{taken.Addr().String()}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(); err == nil {
			t.Error("Run returned nil")
		}
		w.hub.FlushBy(w.server)
	})
	t.Run("two addresses are two listeners", func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Listen = []string{"127.0.0.1:0", "127.0.0.2:0"} })
		if n := len(w.server.Addrs()); n != 2 {
			t.Fatalf("there are %d addresses, want 2", n)
		}
		c, err := net.Dial("tcp", w.server.Addrs()[1].String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close() // It was only to be opened.
	})
}

func TestDrain(t *testing.T) {
	w := newWorld(t)
	var all []*raw
	for i := range 20 {
		all = append(all, w.welcome(fmt.Sprint("user", i), ""))
	}
	silent := w.upgrade()
	drained := make(chan error)
	go func() { drained <- w.server.Drain(drainContext(t)) }()
	for _, r := range all {
		if code := r.closing(); code != 3001 {
			t.Errorf("the close code is %d, want 3001", code)
		}
		r.write(frame(wire.Close, "\x0b\xb9"))
		r.ends()
	}
	if code := silent.closing(); code != 3001 {
		t.Errorf("the close code is %d, want 3001", code)
	}
	_ = silent.Close() // It has seen the end.
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if err := <-w.ended; err != nil {
		t.Error(err)
	}
	w.ended <- nil
}
