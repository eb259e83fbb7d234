package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kith/actors/entity"
)

// newestLog is the path and the number of the log that a store of fs writes.
func newestLog(t *testing.T, fs vfs.FS) (path string, number uint32) {
	t.Helper()
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		stem, isLog := strings.CutSuffix(name, ".log")
		if n, err := strconv.ParseUint(stem, 10, 32); isLog && err == nil && uint32(n) >= number {
			path, number = "db/"+name, uint32(n)
		}
	}
	return path, number
}

// forgedChunk is a whole record of a log as Pebble writes one, with a byte in it.
func forgedChunk(log uint32) []byte {
	b := make([]byte, logHeader+chunkOffBytes+1)
	binary.LittleEndian.PutUint16(b[4:], 1)
	b[6] = 9
	binary.LittleEndian.PutUint32(b[chunkHeader:], log)
	binary.LittleEndian.PutUint64(b[logHeader:], 1<<40)
	binary.LittleEndian.PutUint32(b, chunkSum(b[6:]))
	return b
}

// tornLog is a store whose last group, a message of forged chunks, is being
// committed: before is its log without that group, after with it.
func tornLog(t *testing.T, first, message int) (fs *vfs.MemFS, path string, before, after []byte) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	d := mustOpen(t, small(mem))
	path, log := newestLog(t, mem)
	mustCommit(t, d, row("a", strings.Repeat("v", first)))
	before = read(t, mem, path)
	mustCommit(t, d, entity.Write{Key: []byte("b"), Val: bytes.Repeat(forgedChunk(log), message/20)})
	fs = mem.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, d)
	return fs, path, before, read(t, fs, path)
}

// tear gives a log as a power cut leaves it: each sector has what it had before
// a write or after it.
func tear(before, after []byte, landed func(sector int) bool) []byte {
	b := make([]byte, len(after))
	copy(b, before)
	for at := 0; at < len(b); at += sector {
		if landed(at / sector) {
			end := min(at+sector, len(b))
			copy(b[at:end], after[at:end])
		}
	}
	return b
}

func TestNoMessageMakesATornLogLookDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	for first := range 20 { // each place that a forged chunk can have in its block
		if first%5 != 0 && !*long {
			continue
		}
		for _, message := range []int{3_000, 31_000, 100_000} {
			fs, path, before, after := tornLog(t, 300+first, message)
			check := func(what string, landed func(sector int) bool) {
				t.Helper()
				write(t, fs, path, tear(before, after, landed))
				if err := checkRecords(fs, "db"); err != nil {
					t.Fatalf("a message of %d after %d bytes, %s: %v", message, 300+first, what, err)
				}
			}
			from, to := len(before)/sector, len(after)/sector
			check("whole", func(int) bool { return true })
			for _, n := range []int{from, from + 1, 31, 32, 63, 64, 65, 128, 129, rng.IntN(to + 1)} {
				check(fmt.Sprintf("sector %d is lost", n), func(s int) bool { return s != n })
				check(fmt.Sprintf("sectors from %d on are lost", n), func(s int) bool { return s < n })
				check(fmt.Sprintf("sectors up to %d are lost", n), func(s int) bool { return s > n })
			}
			lost := make([]bool, to+1)
			for i := range lost {
				lost[i] = rng.IntN(2) == 0
			}
			check("half is lost", func(s int) bool { return !lost[s] })
			if message > 3_000 {
				continue // Pebble would try every bit of it.
			}
			d := mustOpen(t, small(fs))
			if val, _, err := d.Get([]byte("a")); len(val) != 300+first || err != nil {
				t.Errorf("the group before the torn one has %d bytes, %v", len(val), err)
			}
			mustClose(t, d)
		}
	}
}

// Where a record goes over a block's end, the next header has its place in the
// middle of the message.
func TestAForgedChunkInTheMiddleOfARecordIsTextWhereverItLies(t *testing.T) {
	fs, path, before, after := tornLog(t, 300, 100_000)
	_, log := newestLog(t, fs)
	forged := forgedChunk(log)
	for _, at := range []int{
		len(before) + logHeader + chunkOffBytes,   // right behind the record's header
		len(before) + sector,                      // about where the next sector begins
		recordBlock - len(forged),                 // at the end of a block
		recordBlock + logHeader + chunkOffBytes,   // right behind the next header
		2*recordBlock + logHeader + chunkOffBytes, //
		2*recordBlock + 2*sector - len(forged)/2,  // over the end of a sector
		len(after) - len(forged),                  // at the record's end
	} {
		b := bytes.Clone(after)
		copy(b[at:], forged)
		for n := len(before)/sector + 1; n <= len(after)/sector; n += rounds(3, 1) {
			write(t, fs, path, tear(before, b, func(s int) bool { return s != n }))
			if err := checkRecords(fs, "db"); err != nil {
				t.Fatalf("a chunk at %d, sector %d lost: %v", at, n, err)
			}
		}
	}
}

// chunksOf gives the places of the headers of a whole log.
func chunksOf(t *testing.T, b []byte, log uint32) (places []int) {
	t.Helper()
	for at := 0; at+logHeader <= len(b); {
		c, ok := parseLogChunk(b[at:min(len(b), at-at%recordBlock+recordBlock)], log)
		if c.trailer {
			break
		}
		if !ok || !c.sumsUp {
			t.Fatalf("no chunk at %d of %d", at, len(b))
		}
		places = append(places, at)
		at += c.size
		if left := recordBlock - at%recordBlock; left < logHeader+chunkOffBytes {
			at += left
		}
	}
	return places
}

func TestABadRecordBeforeAnotherIsNoticed(t *testing.T) {
	mem := vfs.NewCrashableMem()
	d := mustOpen(t, small(mem))
	for i := range 40 {
		mustCommit(t, d, numbered(i)...)
	}
	whole := mem.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, d)
	path, log := newestLog(t, whole)
	b := read(t, whole, path)
	places := chunksOf(t, b, log)
	for _, at := range places[:len(places)-1] {
		for _, in := range []int{0, 3, 6, 7, 10, 11, 18, 19, 40, 200} {
			for bit := at % 3; bit < 8; bit += rounds(5, 1) {
				bad := bytes.Clone(b)
				bad[at+in] ^= 1 << bit
				write(t, whole, path, bad)
				if err := checkRecords(whole, "db"); !errors.Is(err, ErrDamaged) {
					t.Errorf("bit %d of byte %d of the chunk at %d flipped: %v, want ErrDamaged", bit, in, at, err)
				}
			}
		}
	}
}

func TestALogBeginsWithoutTheBytesOfAnOlderOne(t *testing.T) {
	disk := &reuses{FS: vfs.NewMem()}
	d := mustOpen(t, small(disk))
	path, _ := newestLog(t, disk)
	logs := 1
	for i := 0; logs < 20; i++ {
		mustCommit(t, d, numbered(i)...)
		newest, log := newestLog(t, disk)
		if newest == path {
			continue
		}
		path = newest
		logs++
		chunksOf(t, read(t, disk, path), log) // fails over other bytes
		if err := d.db.Flush(); err != nil {  // so that the older ones can be written over
			t.Fatal(err)
		}
	}
	if n := disk.count.Load(); n > 0 {
		t.Errorf("%d logs were written over older ones", n)
	}
	mustClose(t, d)
}

// reuses counts the files that are written over.
type reuses struct {
	vfs.FS
	count atomic.Int64
}

func (r *reuses) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	r.count.Add(1)
	return r.FS.ReuseForWrite(oldname, newname, category)
}
