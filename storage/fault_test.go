package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"kith/actors/entity"
)

// failing fails the nth operation, counted from 1, of those that match, and
// every one after it: a broken disk does not mend itself.
func failing(n int, match func(errorfs.Op) bool) (errorfs.Injector, *atomic.Int64) {
	var seen atomic.Int64
	return errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !match(op) || seen.Add(1) < int64(n) {
			return nil
		}
		return errorfs.ErrInjected
	}), &seen
}

// changes matches the operations that store bytes.
func changes(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpCreate, errorfs.OpRename:
		return true
	default:
		return false
	}
}

// numbered is a group of three rows that carry its number.
func numbered(n int) []entity.Write {
	val := []byte(fmt.Sprintf("%d %s", n, strings.Repeat("v", 700)))
	group := make([]entity.Write, 3)
	for i := range group {
		group[i] = entity.Write{Key: fmt.Appendf(nil, "%05d/%d", n, i), Val: val}
	}
	return group
}

// survivors counts the groups of a store and fails the test if one is there in
// part, or one is missing before another.
func survivors(t *testing.T, r entity.Reader) int {
	t.Helper()
	rows := 0
	err := r.Scan(nil, nil, false, func(key, val []byte) bool {
		if want := numbered(rows / 3)[rows%3]; !bytes.Equal(key, want.Key) || !bytes.Equal(val, want.Val) {
			t.Errorf("row %d is %s, want %s", rows, key, want.Key)
			return false
		}
		rows++
		return true
	})
	if err != nil {
		t.Error(err)
	}
	if rows%3 != 0 {
		t.Errorf("%d rows: a group is there in part", rows)
	}
	return rows / 3
}

func TestAFailedLogWriteIsNeverAcknowledged(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileSyncData, errorfs.OpFileSync} {
		for n := 1; n <= 100; n += 1 + n/rounds(2, 8) {
			mem := vfs.NewCrashableMem()
			injector, seen := failing(n, func(op errorfs.Op) bool {
				return op.Kind == kind && filepath.Ext(op.Path) == ".log"
			})
			toggle := &errorfs.Toggle{Injector: injector}
			cfg := small(errorfs.Wrap(mem, toggle))
			var fatal []error
			cfg.Fatal = func(err error) { fatal = append(fatal, err) }
			d := mustOpen(t, cfg)
			toggle.On()
			acked := 0
			for ; acked < 100 && d.Commit(numbered(acked)) == nil; acked++ {
			}
			if seen.Load() < int64(n) {
				mustClose(t, d)
				continue // not that many operations of this kind
			}
			toggle.Off() // the disk mends; the store must not
			if err := d.Commit(numbered(acked)); !errors.Is(err, errorfs.ErrInjected) {
				t.Errorf("op %d.%d: a commit after the fault = %v, want the fault", kind, n, err)
			}
			if err := d.Close(); !errors.Is(err, errorfs.ErrInjected) {
				t.Errorf("op %d.%d: Close after the fault = %v, want the fault", kind, n, err)
			}
			if len(fatal) != 1 || !errors.Is(fatal[0], errorfs.ErrInjected) {
				t.Errorf("op %d.%d: Fatal was called with %v, want the fault once", kind, n, fatal)
			}
			if got := survivors(t, d); got != acked {
				t.Errorf("op %d.%d: the store shows %d groups after the fault, want the %d acknowledged", kind, n, got, acked)
			}
			after := mustOpen(t, small(mem.CrashClone(vfs.CrashCloneCfg{})))
			if got := survivors(t, after); got < acked {
				t.Errorf("op %d.%d: %d groups acknowledged, %d are there", kind, n, acked, got)
			}
			mustClose(t, after)
		}
	}
}

// Processes of their own, because a fault ends one, wherever in Pebble it is
// met. Each opens what the one before it left.
func TestAFailingDiskEndsTheProcessAndLosesNothing(t *testing.T) {
	if dir := os.Getenv("KITH_STORAGE_FAIL_DIR"); dir != "" {
		commitUntilTheDiskFails(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "db")
	acked, refused, ended, whole := 0, 0, 0, 0
	for n := 1; whole == 0; n += 1 + n/rounds(4, 10) {
		child := exec.Command(os.Args[0], "-test.run=^TestAFailingDiskEndsTheProcessAndLosesNothing$")
		child.Env = append(os.Environ(), "KITH_STORAGE_FAIL_DIR="+dir,
			"KITH_STORAGE_FAIL_AT="+strconv.Itoa(n), "KITH_STORAGE_FIRST="+strconv.Itoa(acked))
		var stderr bytes.Buffer
		child.Stderr = &stderr
		out, _ := child.Output() // its exit code is looked at below
		code := child.ProcessState.ExitCode()
		opened := bytes.Contains(out, []byte("opened\n"))
		switch injected := bytes.Contains(out, []byte("injected\n")); {
		case injected && code == 0:
			t.Errorf("op %d: the process went on after the fault", n)
		case !injected && code != 0:
			t.Errorf("op %d: exit code %d without a fault\n%s%s", n, code, out, stderr.Bytes())
		case !injected:
			whole++
		case opened:
			ended++
		default:
			refused++
		}
		acked += bytes.Count(out, []byte("acked\n"))
		if acked == 0 {
			continue // There may be no store yet.
		}
		d := mustOpen(t, Config{Dir: dir, MustExist: true, MemTableBytes: 256 << 10})
		got := survivors(t, d)
		mustClose(t, d)
		if got < acked {
			t.Fatalf("op %d: %d groups acknowledged, %d are there", n, acked, got)
		}
		acked = got
	}
	if refused < 3 || ended < 10 {
		t.Errorf("%d processes could not open and %d ended later, want more of both", refused, ended)
	}
}

func commitUntilTheDiskFails(t *testing.T, dir string) {
	n, err := strconv.Atoi(os.Getenv("KITH_STORAGE_FAIL_AT"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := strconv.Atoi(os.Getenv("KITH_STORAGE_FIRST"))
	if err != nil {
		t.Fatal(err)
	}
	injector, _ := failing(n, changes)
	var once sync.Once
	told := errorfs.InjectorFunc(func(op errorfs.Op) error {
		err := injector.MaybeError(op)
		if err != nil {
			once.Do(func() { fmt.Println("injected") })
		}
		return err
	})
	d, err := Open(Config{FS: errorfs.Wrap(vfs.Default, told), Dir: dir, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("opened")
	for i := range 250 {
		if err := d.Commit(numbered(first + i)); err != nil {
			t.Fatal(err)
		}
		fmt.Println("acked")
	}
	mustClose(t, d)
}

// damages are what happens to a file: what each does, and what it leaves.
var damages = []struct {
	name string
	do   func(b []byte, at int)
}{
	{"a flipped bit", func(b []byte, at int) { b[at] ^= 1 << (at % 8) }},
	{"four bytes overwritten", func(b []byte, at int) { copy(b[at:], "\x13\x57\x9b\xdf") }},
	{"64 bytes zeroed", func(b []byte, at int) { clear(b[at:min(len(b), at+longestDamage)]) }},
}

func TestADamagedFileIsNoticedOrHarmless(t *testing.T) {
	mem := vfs.NewCrashableMem()
	d := mustOpen(t, small(mem))
	for i := range damagedGroups {
		mustCommit(t, d, numbered(i)...)
		if i%80 == 79 && i < 250 {
			if err := d.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole := mem.CrashClone(vfs.CrashCloneCfg{})
	mustClose(t, d)
	names, err := whole.List("db")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	rng := rand.New(rand.NewPCG(11, 12))
	noticed := map[string]int{}
	for _, name := range names {
		b := read(t, whole, "db/"+name)
		if ext := filepath.Ext(name); len(b) == 0 || ext != ".sst" && ext != ".log" && !strings.HasPrefix(name, "MANIFEST") {
			continue
		}
		for i := range 3 * len(damages) {
			clone := whole.CrashClone(vfs.CrashCloneCfg{})
			damage, at, bad := damages[i%len(damages)], rng.IntN(len(b)), bytes.Clone(b)
			damage.do(bad, at)
			write(t, clone, "db/"+name, bad)
			may := mayMiss(t, name, b, at)
			if readsDamage(t, clone, may, fmt.Sprintf("%s, %s at %d of %d", name, damage.name, at, len(b))) {
				noticed[filepath.Ext(name)]++
			}
		}
	}
	if noticed[".sst"] == 0 || noticed[".log"] == 0 || noticed[""] == 0 {
		t.Errorf("damage was noticed in %v, want some in tables, logs and the manifest", noticed)
	}
}

const damagedGroups = 300

// mayMiss is how many rows may be missing without an error when a file is
// damaged at at, because the damage looks like a write that a power cut tore: of
// a log the last group, of a manifest the last flush. A damaged header can hide
// what comes after it in its block; followLog says when, and
// TestABadRecordBeforeAnotherIsNoticed when it must not.
func mayMiss(t *testing.T, name string, b []byte, at int) int {
	t.Helper()
	switch {
	case strings.HasPrefix(name, "MANIFEST"):
		return 3 * 80
	case filepath.Ext(name) != ".log":
		return 0
	}
	log, err := strconv.ParseUint(strings.TrimSuffix(name, ".log"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range chunksOf(t, b, uint32(log)) {
		if at < place+logHeader && place < at+longestDamage {
			return 3 * recordBlock / 2_100 // of the groups that numbered makes
		}
	}
	return 3
}

// longestDamage is what damages overwrite at most, in bytes.
const longestDamage = 64

// readsDamage opens a damaged store and reads all of it: it gives an error or
// what was written, but for as many rows as may be missing.
func readsDamage(t *testing.T, fs vfs.FS, may int, what string) (noticed bool) {
	t.Helper()
	cfg := small(fs)
	var fatal atomic.Int64
	cfg.Fatal = func(error) { fatal.Add(1) }
	d, err := Open(cfg)
	if err != nil {
		return true
	}
	next, missing := 0, 0
	err = d.Scan(nil, nil, false, func(key, val []byte) bool {
		var n, i int
		if _, err := fmt.Sscanf(string(key), "%05d/%d", &n, &i); err != nil || !bytes.Equal(val, numbered(n)[i].Val) {
			t.Errorf("%s: row %q is not what was written", what, key)
		}
		missing += 3*n + i - next
		next = 3*n + i + 1
		return true
	})
	missing += 3*damagedGroups - next
	if err == nil && (missing > may || missing%3 != 0) {
		t.Errorf("%s: %d rows are missing without an error", what, missing)
	}
	if err != nil && fatal.Load() == 0 {
		t.Errorf("%s: a reader got %v and nobody else knows", what, err)
	}
	if fatal.Load() == 0 {
		mustClose(t, d)
	}
	return err != nil
}

func TestACommitThatDoesNotEndIsAFault(t *testing.T) {
	h, fs := holdSyncs(vfs.NewMem())
	cfg := small(fs)
	failed := make(chan error, 1)
	cfg.Fatal = func(err error) { failed <- err }
	d := mustOpen(t, cfg)
	d.checkCommit(1 << 62) // none is under way
	mustCommit(t, d, row("a", "1"))
	d.checkCommit(1 << 62)
	h.arm = true
	committed := make(chan error)
	go func() { committed <- d.Commit([]entity.Write{row("a", "2")}) }()
	<-h.syncing
	late := time.Duration(d.commitBegan.Load()) + defaultCommitTimeout
	d.checkCommit(late)
	if len(failed) > 0 {
		t.Errorf("a commit within its time: %v", <-failed)
	}
	d.checkCommit(late + 1)
	if err := <-failed; !errors.Is(err, ErrStuck) {
		t.Errorf("the fault is %v, want ErrStuck", err)
	}
	h.arm = false
	h.release <- struct{}{}
	<-committed // it may have been stored; nobody may tell
	if err := d.Commit([]entity.Write{row("a", "3")}); !errors.Is(err, ErrStuck) {
		t.Errorf("the next commit = %v, want ErrStuck", err)
	}
}

func TestLowFollowsTheFreeSpace(t *testing.T) {
	fs := vfs.NewMem()
	cfg := small(fs)
	cfg.MinFreeBytes = 100 << 20
	d := mustOpen(t, cfg)
	for _, c := range []struct {
		free uint64
		low  bool
	}{{0, false}, {200 << 20, false}, {99 << 20, true}, {100 << 20, false}} {
		if c.free > 0 { // else the file system cannot tell
			fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: c.free, TotalBytes: 1 << 30})
		}
		d.measureDisk()
		if got := d.Low(); got != c.low {
			t.Errorf("Low with %d bytes free = %v, want %v", c.free, got, c.low)
		}
	}
	mustClose(t, d)
}
