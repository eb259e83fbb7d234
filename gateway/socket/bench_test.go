package socket

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"

	"kith/actors/entity"
	"kith/gateway/wire"
)

// BenchmarkIdleConnection is what a connected, silent user costs the gateway in
// memory: gnet's connection, ours and the session. One door at a time gives the
// truer figure of the process: the second begins with what the first has left.
func BenchmarkIdleConnection(b *testing.B) {
	for _, door := range []struct {
		name  string
		addrs func(*Server) []net.Addr
		hello func(user string) []byte
	}{
		{"websocket", (*Server).Addrs, func(user string) []byte {
			return append([]byte(request+"\r\n"), frame(wire.Text, fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, user))...)
		}},
		{"tcp", (*Server).TCPAddrs, func(user string) []byte { return encoded(connectAs(user)) }},
	} {
		b.Run(door.name, func(b *testing.B) {
			const connections, users = 4000, 100
			w := newWorld(b, rawTCP)
			w.policy.MaxSessions = connections
			for i := range users {
				w.welcome(fmt.Sprint("user", i), "")
			}
			heap, resident := memory(b)
			for i := range connections {
				// Without package net, whose connections would weigh as much.
				idle(b, door.addrs(w.server)[0].(*net.TCPAddr), door.hello(fmt.Sprint("user", i%users)))
			}
			if n := w.count("sessions_connected_total"); n != connections+users {
				b.Fatalf("%v are connected, want %d", n, connections+users)
			}
			heapThen, residentThen := memory(b)
			for b.Loop() { // There is nothing to repeat; the loop forgets earlier metrics.
			}
			b.ReportMetric(float64(heapThen-heap)/connections, "heap-B/conn")
			b.ReportMetric(float64(residentThen-resident)/connections, "rss-B/conn")
		})
	}
}

// memory returns the bytes of the heap and of the process.
func memory(b *testing.B) (heap, resident int64) {
	b.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("there is no /proc here")
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return int64(m.HeapAlloc), pages * int64(os.Getpagesize())
}

// idle connects and stays.
func idle(b *testing.B, addr *net.TCPAddr, hello []byte) {
	b.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = syscall.Close(fd) }) // The process ends anyway.
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: addr.Port, Addr: addr.AddrPort().Addr().As4()}); err != nil {
		b.Fatal(err)
	}
	if _, err := syscall.Write(fd, hello); err != nil {
		b.Fatal(err)
	}
	var got []byte
	for !bytes.Contains(got, []byte("u:user")) { // The channel that the reply to connect names.
		var buf [4096]byte
		n, err := syscall.Read(fd, buf[:])
		if err != nil || n == 0 {
			b.Fatalf("connecting failed: %v after %q", err, got)
		}
		got = append(got, buf[:n]...)
	}
}

// BenchmarkFanOut is what a message costs that 200 connections hear, from the
// publication to the last socket.
func BenchmarkFanOut(b *testing.B) {
	const members = 200
	w := newWorld(b)
	ref := entity.Conversation(1, 5)
	var names []string
	for i := range members {
		names = append(names, fmt.Sprint("user", i))
	}
	w.log(ref, names...)
	var all []*raw
	for _, name := range names {
		all = append(all, w.welcome(name, `,"subs":{"c:5":{"recover":true,"epoch":"e1","offset":0}}`))
	}
	b.ReportAllocs()
	for b.Loop() {
		w.say(ref, "See you at eight, in front of the station?")
		for _, r := range all {
			r.frame()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/members, "ns/delivery")
}
