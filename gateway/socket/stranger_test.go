package socket

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"kith/gateway/limit"
	"kith/gateway/wire"
)

// until waits for what another goroutine is about to do.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("this never comes: " + what)
		}
	}
}

func TestEachLoopAcceptsItsOwnConnections(t *testing.T) {
	const loops, connections = 2, 200
	w := newWorld(t, func(c *Config) { c.Loops = loops })
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Skip("there is no /proc here")
	}
	port := w.server.Addrs()[0].(*net.TCPAddr).Port
	if n := strings.Count(string(table), fmt.Sprintf("0100007F:%04X 00000000:0000 0A", port)); n != loops {
		t.Errorf("%d sockets listen, want one for each of %d loops", n, loops)
	}
	for range connections {
		w.upgrade()
	}
	for _, l := range *w.server.loops.Load() {
		if n := l.count.Load(); n < connections/loops/2 {
			t.Errorf("a loop has %d of %d connections", n, connections)
		}
	}
}

func TestAnAddressThatAnotherServerHasIsAnError(t *testing.T) {
	w := newWorld(t)
	s, err := New(Config{Hub: w.hub, Listen: []string{w.addr()}}) // Its sockets would share theirs.
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err == nil || !strings.Contains(err.Error(), w.addr()) {
		t.Errorf("Run = %v, want an error that names %s", err, w.addr())
	}
	w.hub.FlushBy(w.server)
}

func TestEveryKindOfAddressCanBeListenedOn(t *testing.T) {
	for listen, dial := range map[string]string{":0": "127.0.0.1", "0.0.0.0:0": "127.0.0.1", "localhost:0": "localhost", "[::1]:0": "::1"} {
		if ln, err := net.Listen("tcp", net.JoinHostPort(dial, "0")); err != nil {
			t.Logf("%s: there is no such address here: %v", dial, err)
			continue
		} else if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, func(c *Config) { c.Listen = []string{listen} })
		_, port, err := net.SplitHostPort(w.addr())
		if err != nil || port == "0" {
			t.Fatalf("the address of %s is %s", listen, w.addr())
		}
		c, err := net.Dial("tcp", net.JoinHostPort(dial, port))
		if err != nil {
			t.Errorf("%s: %v", listen, err)
			continue
		}
		_ = c.Close() // It was only to be opened.
	}
}

func TestOneAddressDoesNotTakeTheDoor(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxPerAddress, c.addressOf = 2, limit.AddressOf })
	w.welcome("ann", "")
	second := w.welcome("ann", "")
	w.dial().ends()
	if n := w.count("connections_refused_total"); n != 1 {
		t.Errorf("%v connections were refused, want 1", n)
	}
	other, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}).Dial("tcp", w.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }() // Nothing was written that could be lost.
	until(t, "a third connection, of another address", func() bool { return w.server.Connections() == 3 })
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the second", func() bool { return w.server.Connections() == 2 })
	w.welcome("ann", "")
}

func TestLoopbackIsNoAddress(t *testing.T) {
	for ip, want := range map[string]netip.Prefix{
		"127.0.0.1": {}, "127.1.2.3": {}, "::1": {},
		"192.0.2.7": netip.MustParsePrefix("192.0.2.7/32"), "2001:db8::7": netip.MustParsePrefix("2001:db8::/64"),
	} {
		if got := addressOf(&net.TCPAddr{IP: net.ParseIP(ip)}); got != want {
			t.Errorf("%s is counted by %v, want %v", ip, got, want)
		}
	}
}

func TestStrangersLeaveRoomForThoseWhoAreKnown(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxStrangers = 2 })
	for i := range 4 {
		w.welcome(fmt.Sprint("user", i), "") // Who is known is no stranger any more.
	}
	silent, half := w.dial(), w.upgrade()
	until(t, "two strangers", func() bool { return w.server.strangers.Load() == 2 })
	w.dial().ends()
	half.write(frame(wire.Text, `{"id":1,"connect":{"token":"ann"}}`))
	if _, b := half.frame(); !bytes.Contains(b, []byte(`"connect"`)) {
		t.Errorf("got %q", b)
	}
	w.welcome("bob", "")
	if err := silent.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "no strangers", func() bool { return w.server.strangers.Load() == 0 })
}

func TestStrangersShareABudgetOfBytes(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxStrangerBytes = 10 << 10 })
	long := fmt.Sprintf(`{"id":1,"connect":{"token":"ann","data":{"app":%q}}}`, strings.Repeat("x", crowdedBytes))
	known := w.welcome("known", "")
	hoarder := w.upgrade()
	hoarder.write(frame(wire.Text, strings.Repeat("x", 20<<10))[:15<<10])
	until(t, "what the hoarder sent", func() bool { return w.server.strangerBytes.Load() > 10<<10 })
	w.welcome("small", "")
	refused := w.upgrade()
	refused.write(frame(wire.Text, long))
	if code := refused.closing(); code != 4010 {
		t.Errorf("the close code is %d, want 4010", code)
	}
	known.write(frame(wire.Text, `{"id":2,"rpc":{"method":"No.Such","data":{"x":"`+strings.Repeat("x", 2*crowdedBytes)+`"}}}`))
	if _, b := known.frame(); !bytes.Contains(b, []byte(`"error"`)) {
		t.Errorf("who is known got %q, want an answer", b)
	}
	if err := hoarder.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "an empty budget", func() bool { return w.server.strangerBytes.Load() == 0 })
	again := w.upgrade()
	again.write(frame(wire.Text, long))
	if _, b := again.frame(); !bytes.Contains(b, []byte(`"connect"`)) {
		t.Errorf("when there is room again, got %q", b)
	}
	// Fragments that the decoder keeps count, too.
	part := frame(wire.Text, strings.Repeat("x", 15<<10))
	part[0] &^= 0x80
	fragments := w.upgrade()
	fragments.write(part)
	until(t, "what the fragments hold", func() bool { return w.server.strangerBytes.Load() >= 15<<10 })
}

func TestPings(t *testing.T) {
	w := newWorld(t)
	w.policy.PingEvery = time.Hour // The clock is moved, and nobody is to be pinged.
	t.Run("of those that come at once the last is answered", func(t *testing.T) {
		r := w.welcome("ann", "")
		var all []byte
		for i := range 50 {
			all = append(all, frame(wire.Ping, fmt.Sprint(i))...)
		}
		r.write(append(all, frame(wire.Text, `{"id":2,"ping":{}}`)...))
		pongs := 0
		for {
			op, b := r.frame()
			if op == wire.Text {
				break
			}
			if pongs++; op != wire.Pong {
				t.Fatalf("got %d %q, want a pong", op, b)
			}
		}
		if pongs > 5 { // As many as there were reads.
			t.Errorf("there were %d pongs", pongs)
		}
	})
	t.Run("who goes on and on is sent away, and may come back", func(t *testing.T) {
		r := w.welcome("ann", "")
		r.write(bytes.Repeat(frame(wire.Ping, ""), 300))
		if code := r.closing(); code != 4011 {
			t.Errorf("the close code is %d, want 4011", code)
		}
	})
	t.Run("ten a second are welcome", func(t *testing.T) {
		r := w.welcome("ann", "")
		for range 200 {
			w.shift.Add(int64(pingEvery))
			r.write(frame(wire.Ping, ""))
			if op, b := r.frame(); op != wire.Pong {
				t.Fatalf("got %d %q, want a pong", op, b)
			}
		}
	})
}
