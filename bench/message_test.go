package bench

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
	"kith/loadtest/talk"
)

// dialects are the two ways in which nearly everybody talks to a server: SDKs in
// protobuf all through, and browsers in JSON.
var dialects = []struct {
	name string
	wire.Dialect
}{
	{"protobuf", wire.Dialect{Protocol: wire.Protobuf, Payload: wire.ProtoPayload}},
	{"json", wire.Dialect{Protocol: wire.JSON, Payload: wire.JSONPayload}},
}

func BenchmarkMessage1InFlight(b *testing.B) { benchmarkMessage(b, 1) }
func BenchmarkMessage8InFlight(b *testing.B) { benchmarkMessage(b, 8) }

// benchmarkMessage is the whole path of a message but for the kernel's sockets:
// frame, command, Step, commit with fsync, reply, two publications. cpu-us/msg
// is what the process used, without the clients' part, which client-us/msg
// says. B/op and allocs/op are per message.
func benchmarkMessage(b *testing.B, inFlight int) {
	for _, d := range dialects {
		b.Run(d.name, func(b *testing.B) {
			w := newWorld(b, d.Dialect, runtime.GOMAXPROCS(0))
			client := clientCost(b, d.Dialect)
			commits := w.store.commits.Load()
			b.ReportAllocs()
			began := cpuOf(b, syscall.RUSAGE_SELF)
			b.ResetTimer()
			w.send(b.N, inFlight)
			b.StopTimer()
			used := cpuOf(b, syscall.RUSAGE_SELF) - began
			w.verify()
			b.ReportMetric(micros(used, b.N)-client, "cpu-us/msg")
			b.ReportMetric(client, "client-us/msg")
			b.ReportMetric(float64(b.N)/float64(w.store.commits.Load()-commits), "msg/fsync")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func micros(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(n) }

// clientCost is what the clients of one message use: a frame made, a reply and
// two publications read.
func clientCost(b *testing.B, d wire.Dialect) float64 {
	const messages = 20_000
	rules := newRules(d)
	p, author := newPair(rules, 0), newPair(rules, 0)
	p.Is(1 << 51)
	author.Is(1 << 51)
	frames := make([][]byte, messages)
	replies := make([]int, messages)
	for i := range frames {
		req := &pb.SendRequest{}
		if err := decode(d, next(b, author.People[0]), req); err != nil {
			b.Fatal(err)
		}
		frames[i], replies[i] = serverFrames(b, d, uint64(i), req.Content)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := cpuOf(b, rusageThread)
	var in []byte
	me, other := p.People[0], p.People[1]
	for i, f := range frames {
		in = append(in[:0], next(b, me)...)
		if _, err := me.Read(f); err != nil {
			b.Fatal(err)
		}
		if _, err := other.Read(f[replies[i]:]); err != nil {
			b.Fatal(err)
		}
	}
	used := cpuOf(b, rusageThread) - began
	if err := through(p); err != nil {
		b.Fatal(err)
	}
	return micros(used, messages)
}

// next is the frame of a person's next message.
func next(b *testing.B, p *talk.Person) []byte {
	frame, err := p.Next(0)
	if err != nil {
		b.Fatal(err)
	}
	return frame
}

// serverFrames are a reply and a publication as the server writes them, and the
// size of the reply.
func serverFrames(b *testing.B, d wire.Dialect, n uint64, content *pb.Content) (both []byte, reply int) {
	out, err := d.AppendResult(wire.OpenFrame(nil), uint32(talk.FirstID+n), &pb.SendResponse{Seq: n + 2, At: 1765432100123})
	if err != nil {
		b.Fatal(err)
	}
	out = wire.CloseFrame(out, 0, d.Protocol.Opcode())
	var f wire.Frame
	f.Reset(fmt.Sprint("c:", uint64(1)<<51), &entity.Event{
		Seq: n + 2, At: 1765432100123, By: "user-0001",
		Type: &entity.EventType{Number: 0x10, Name: "MessageSent", Class: pb.Class_HISTORY},
		Body: &pb.MessageSent{Content: content},
	})
	return append(out, f.For(d)...), len(out)
}
