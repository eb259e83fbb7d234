package storage

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kith/actors/entity"
)

// The benchmarks write rows like those of messages: 150 bytes under 24-byte
// keys that rise within each of 20,000 conversations, on the disk of $TMPDIR.
const (
	benchConversations = 20_000
	benchValueBytes    = 150
)

// messages makes the rows of one message after another, in random conversations.
type messages struct {
	rng  *rand.Rand
	text []byte
	next [benchConversations]uint64
}

func newMessages() *messages {
	m := &messages{rng: rand.New(rand.NewPCG(1, 2)), text: make([]byte, 1<<20)}
	for i := range m.text { // words of few letters: as compressible as text
		m.text[i] = "etaoin shrdlu"[m.rng.IntN(13)]
	}
	return m
}

func messageKey(conversation, seq uint64) []byte {
	k := make([]byte, 24)
	binary.BigEndian.PutUint16(k, uint16(conversation%entity.Shards))
	binary.BigEndian.PutUint64(k[7:], conversation)
	k[15] = 1
	binary.BigEndian.PutUint64(k[16:], seq)
	return k
}

func (m *messages) write() entity.Write {
	c := m.rng.Uint64N(benchConversations)
	m.next[c]++
	at := m.rng.IntN(len(m.text) - benchValueBytes)
	return entity.Write{Key: messageKey(c, m.next[c]), Val: m.text[at : at+benchValueBytes]}
}

func (m *messages) group(n int) []entity.Write {
	group := make([]entity.Write, n)
	for i := range group {
		group[i] = m.write()
	}
	return group
}

func openBench(b *testing.B) *DB {
	b.Helper()
	d, err := Open(Config{Dir: b.TempDir(), Fatal: func(err error) { panic(err) }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	return d
}

// cpu is what this process has used, user and system, flushes and compactions
// included.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCommit commits one group per iteration. Run it with enough
// iterations for flushes and compactions to take part: 20000x or more. The 0.1 µs
// that making a write takes is in the figures.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1, 10, 50, 200} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d, m := openBench(b), newMessages()
			group := make([]entity.Write, size)
			b.ReportAllocs()
			began := cpu(b)
			b.ResetTimer()
			for range b.N {
				for i := range group {
					group[i] = m.write()
				}
				if err := d.Commit(group); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu(b)-began).Microseconds())/float64(b.N*size), "cpu-us/write")
		})
	}
}

// loaded is a store of a million messages.
func loaded(b *testing.B) (*DB, *messages) {
	b.Helper()
	d, m := openBench(b), newMessages()
	for range 1000 {
		if err := d.Commit(m.group(1000)); err != nil {
			b.Fatal(err)
		}
	}
	for busy := true; busy; {
		p := d.db.Metrics()
		busy = p.Flush.NumInProgress > 0 || p.Compact.NumInProgress > 0
	}
	return d, m
}

func BenchmarkGet(b *testing.B) {
	d, m := loaded(b)
	run := func(name string, key func() []byte, want bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok, err := d.Get(key()); err != nil || ok != want {
					b.Fatal(ok, err)
				}
			}
		})
	}
	run("present", func() []byte {
		c := m.rng.Uint64N(benchConversations)
		return messageKey(c, 1+m.rng.Uint64N(m.next[c]))
	}, true)
	run("present/one", func() []byte { return messageKey(7, 1) }, true)
	run("absent", func() []byte { return append(messageKey(m.rng.Uint64N(benchConversations), 1), 0) }, false)
	run("absent/one", func() []byte { return append(messageKey(7, 1), 0) }, false)
}

// BenchmarkScan reads the newest rows of a conversation.
func BenchmarkScan(b *testing.B) {
	d, m := loaded(b)
	run := func(name string, conversation func() uint64, rows int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c := conversation()
				n := 0
				err := d.Scan(messageKey(c, 0), messageKey(c, 1<<62), true, func(_, _ []byte) bool {
					n++
					return n < rows
				})
				if err != nil || n != rows {
					b.Fatal(n, err)
				}
			}
		})
	}
	random := func() uint64 { return m.rng.Uint64N(benchConversations) }
	one := func() uint64 { return 7 }
	run("newest", random, 1)
	run("newest/one", one, 1)
	run("newest20", random, 20)
	run("newest20/one", one, 20)
}

// BenchmarkView is what a reader pays for the durable view itself.
func BenchmarkView(b *testing.B) {
	d := openBench(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := d.View().Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen reopens a small store in memory, as the crash simulation does.
func BenchmarkOpen(b *testing.B) {
	fs := vfs.NewMem()
	cfg := Config{FS: fs, Dir: "db"}
	b.ReportAllocs()
	for b.Loop() {
		d, err := Open(cfg)
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
