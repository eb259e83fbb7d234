package bench

import (
	"fmt"
	"log/slog"
	"runtime"
	"syscall"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/host"
	"kith/gateway/session"
	"kith/gateway/wire"
	"kith/loadtest/talk"
)

// BenchmarkStages takes the same path as BenchmarkMessage, a group of messages
// at a time and a stage at a time, on one thread: nobody waits for anybody, so
// each stage's time is its own.
//
//	receive  a client's frame, its command, the call, the entity's mailbox
//	step     the Step, and its outcome into the commit queue
//	take     the group out of the queues
//	commit   stamps, the batch, the log, the fsync, the new view
//	release  the reply and two publications, encoded and queued
//	flush    the queues to the connections
//
// <stage>-us/msg is what the thread used. rest-us/msg is what the process used
// beside it: Pebble's log writer, flushes and compactions, and the collection of
// garbage. What the whole path uses beyond the sum is hand-overs between
// goroutines.
func BenchmarkStages(b *testing.B) {
	for _, d := range dialects {
		for _, inFlight := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/%dInFlight", d.name, inFlight), func(b *testing.B) {
				y := newYard(b, d.Dialect)
				y.measure(b, inFlight)
			})
		}
	}
}

// stage is a part of the path.
type stage int

const (
	receiving stage = iota
	stepping
	taking
	committing
	releasing
	flushing
	stages
)

var stageNames = [stages]string{"receive", "step", "take", "commit", "release", "flush"}

// A yard is a server whose scheduler is the benchmark.
type yard struct {
	core  *host.Core
	lanes []*lane
	pairs []*talk.Conversation
	jobs  []job
	dirty []*lane

	cpu    [stages]time.Duration
	allocs [stages]uint64
	bytes  [stages]uint64
	count  bool // allocations rather than time: counting them takes long
}

type job struct {
	box *host.Box
	job *host.Job
}

// A lane is a connection of the yard.
type lane struct {
	yard    *yard
	session *session.Session
	person  *talk.Person
	frames  wire.Decoder
	in, out []byte
}

// Dirty is of session.Conn.
func (l *lane) Dirty() { l.yard.dirty = append(l.yard.dirty, l) }

// Write is of session.Conn. What was written is read later, when nobody measures.
func (l *lane) Write(b []byte) int {
	l.out = append(l.out, b...)
	return 0
}

// The yard is a host.Scheduler, a host.Clock and a session.Flusher.

func (*yard) Spawn(*host.Box)                 {}
func (*yard) Stop(*host.Box)                  {}
func (*yard) Wake()                           {}
func (*yard) Flush()                          {}
func (y *yard) Send(b *host.Box, j *host.Job) { y.jobs = append(y.jobs, job{b, j}) }
func (*yard) Query(f func()) bool             { f(); return true }
func (*yard) After(time.Duration, func())     {}
func (*yard) Now() time.Time                  { return time.Now() }
func (*yard) Elapsed() time.Duration          { return time.Since(epoch) }

var epoch = time.Now()

func newYard(b *testing.B, d wire.Dialect) *yard {
	y := &yard{}
	r := registry(b)
	hub, err := session.NewHub(session.Config{Registry: r, Version: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	hub.FlushBy(y)
	y.core, err = host.NewCore(host.Config{
		Registry: r, Storage: openStore(b), Clock: y, Scheduler: y, Listener: hub, Log: slog.New(slog.DiscardHandler),
		Tenants: map[string]*entity.Policy{tenant: benchPolicy(b)}, Fatal: func(err error) { panic(err) },
	})
	if err != nil {
		b.Fatal(err)
	}
	number, _ := y.core.Tenant(tenant)
	hub.Serve(y.core, verifier(number))
	rules := newRules(d)
	for i := range pairs {
		p := newPair(rules, i)
		y.pairs = append(y.pairs, p)
		for _, person := range p.People {
			l := &lane{yard: y, person: person}
			l.session = hub.Open(l, d.Protocol)
			y.lanes = append(y.lanes, l)
			if err := person.Greeted(); err != nil {
				b.Fatal(err)
			}
		}
	}
	for range y.lanes[0].person.Script {
		y.round(b, func(in []byte, p *talk.Person) []byte { return append(in, p.Take()...) })
	}
	y.round(b, func(in []byte, p *talk.Person) []byte { return append(in, next(b, p)...) })
	return y
}

// measure has everybody send so many messages at a time until b.N are through.
func (y *yard) measure(b *testing.B, inFlight int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	frames := func(in []byte, p *talk.Person) []byte {
		for range inFlight {
			in = append(in, next(b, p)...)
		}
		return in
	}
	rounds := max(2, b.N/(len(y.lanes)*inFlight))
	n := rounds * len(y.lanes) * inFlight
	y.cpu = [stages]time.Duration{}
	began, outside := cpuOf(b, syscall.RUSAGE_SELF), time.Duration(0)
	for i := range rounds {
		y.count = i == rounds-1 // The last one.
		outside += y.round(b, frames)
	}
	used := cpuOf(b, syscall.RUSAGE_SELF) - began - outside
	timed := n - len(y.lanes)*inFlight
	for s, name := range stageNames {
		used -= y.cpu[s]
		b.ReportMetric(micros(y.cpu[s], timed), name+"-us/msg")
		b.ReportMetric(float64(y.allocs[s])/float64(n-timed), name+"-allocs/msg")
		b.ReportMetric(float64(y.bytes[s])/float64(n-timed), name+"-B/msg")
	}
	b.ReportMetric(micros(used, n), "rest-us/msg")
	b.ReportMetric(0, "ns/op")
}

// round has everybody send something and goes on until all is quiet. It returns
// what the clients' part has used.
func (y *yard) round(b *testing.B, frames func(in []byte, p *talk.Person) []byte) (outside time.Duration) {
	began := cpuOf(b, rusageThread)
	for _, l := range y.lanes {
		l.in = frames(l.in[:0], l.person)
	}
	outside = cpuOf(b, rusageThread) - began
	y.stage(b, receiving, func() {
		for _, l := range y.lanes {
			l.receive(b)
		}
	})
	for len(y.jobs) > 0 {
		y.group(b)
	}
	began = cpuOf(b, rusageThread)
	for _, l := range y.lanes {
		if n, err := l.person.Read(l.out); err != nil || n != len(l.out) {
			b.Fatalf("%d of %d bytes were read: %v", n, len(l.out), err)
		}
		l.out = l.out[:0]
	}
	for _, p := range y.pairs {
		if err := through(p); err != nil {
			b.Fatal(err)
		}
	}
	return outside + cpuOf(b, rusageThread) - began
}

// receive does what the socket door does with bytes that came.
func (l *lane) receive(b *testing.B) {
	for in := l.in; len(in) > 0; {
		m, n, err := l.frames.Next(in, maxMessage)
		if err != nil || n == 0 {
			b.Fatalf("a client's frame was refused: %v", err)
		}
		l.session.Receive(m.Data)
		in = in[n:]
	}
}

// group takes what waits for its turn through the rest of the path.
func (y *yard) group(b *testing.B) {
	y.stage(b, stepping, func() {
		jobs := y.jobs
		y.jobs = nil
		for _, j := range jobs {
			j.box.Run(j.job)
		}
	})
	var g *host.Group
	y.stage(b, taking, func() { g = y.core.Take() })
	y.stage(b, committing, func() {
		if err := y.core.Sync(g); err != nil {
			b.Fatal(err)
		}
	})
	y.stage(b, releasing, func() { y.core.Release(g) })
	y.stage(b, flushing, func() {
		dirty := y.dirty
		y.dirty = nil
		for _, l := range dirty {
			l.session.Flush()
		}
	})
}

// stage measures one.
func (y *yard) stage(b *testing.B, s stage, run func()) {
	if y.count {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run()
		runtime.ReadMemStats(&after)
		y.allocs[s] += after.Mallocs - before.Mallocs
		y.bytes[s] += after.TotalAlloc - before.TotalAlloc
		return
	}
	began := cpuOf(b, rusageThread)
	run()
	y.cpu[s] += cpuOf(b, rusageThread) - began
}
