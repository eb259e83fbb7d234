package storage

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"kith/actors/entity"
)

// long is for a night: every test in more places and for more rounds.
var long = flag.Bool("long", false, "test more places and rounds")

// rounds is few, or many if the tests may take long.
func rounds(few, many int) int {
	if *long {
		return many
	}
	return few
}

// small is a store that costs little to open, on fs.
func small(fs vfs.FS) Config {
	return Config{FS: fs, Dir: "db", CacheBytes: 1 << 20, MemTableBytes: 256 << 10,
		Random: bytes.NewReader([]byte("incarnation bytes for a few stores....."))}
}

func mustOpen(t testing.TB, cfg Config) *DB {
	t.Helper()
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustClose(t testing.TB, d *DB) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustCommit(t testing.TB, d *DB, group ...entity.Write) {
	t.Helper()
	if err := d.Commit(group); err != nil {
		t.Fatal(err)
	}
}

func row(key, val string) entity.Write { return entity.Write{Key: []byte(key), Val: []byte(val)} }

func gone(key string) entity.Write { return entity.Write{Key: []byte(key)} }

func goneRange(key, end string) entity.Write {
	return entity.Write{Key: []byte(key), End: []byte(end)}
}

// dump is every row of r as "key=val " in order.
func dump(t testing.TB, r entity.Reader) string {
	t.Helper()
	var b strings.Builder
	err := r.Scan(nil, nil, false, func(key, val []byte) bool {
		b.WriteString(string(key) + "=" + string(val) + " ")
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func write(t testing.TB, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Clone(b)); err != nil { // it may change what it is given
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAStoreKeepsItsRowsAndItsIncarnation(t *testing.T) {
	fs := vfs.NewMem()
	d := mustOpen(t, small(fs))
	born := d.Incarnation()
	if born == 0 {
		t.Error("Incarnation = 0, want a number that was drawn")
	}
	mustCommit(t, d, row("a", "1"), row("b", ""))
	mustClose(t, d)
	d = mustOpen(t, small(fs))
	if got := d.Incarnation(); got != born {
		t.Errorf("Incarnation after reopening = %x, want %x", got, born)
	}
	if got, want := dump(t, d), "a=1 b= "; got != want {
		t.Errorf("rows after reopening = %q, want %q", got, want)
	}
	mustClose(t, d)
	if err := d.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close = %v, want ErrClosed", err)
	}
}

func TestTheIncarnationComesFromRandom(t *testing.T) {
	draw := func(seed string) uint64 {
		cfg := small(vfs.NewMem())
		cfg.Random = strings.NewReader(seed)
		d := mustOpen(t, cfg)
		defer mustClose(t, d)
		return d.Incarnation()
	}
	if a, b, c := draw("seed one"), draw("seed one"), draw("seed two"); a != b || a == c {
		t.Errorf("incarnations of seeds 1, 1, 2 = %x, %x, %x", a, b, c)
	}
	cfg := small(vfs.NewMem())
	cfg.Random = strings.NewReader("short")
	if _, err := Open(cfg); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Open with too little randomness = %v, want an error", err)
	}
}

func TestASecondOpeningIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	d := mustOpen(t, small(fs))
	if _, err := Open(small(fs)); !errors.Is(err, ErrInUse) {
		t.Errorf("Open of an open store = %v, want ErrInUse", err)
	}
	mustClose(t, d)
	mustClose(t, mustOpen(t, small(fs)))
}

func TestASecondOpeningByAnotherNameIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, Config{Dir: dir})
	for _, name := range []string{dir, dir + "/../db", link} {
		if _, err := Open(Config{Dir: name}); !errors.Is(err, ErrInUse) {
			t.Errorf("Open(%s) = %v, want ErrInUse", name, err)
		}
	}
	mustClose(t, d)
}

func TestASecondProcessIsRefused(t *testing.T) {
	if dir := os.Getenv("KITH_STORAGE_OPEN"); dir != "" {
		_, err := Open(Config{Dir: dir})
		if errors.Is(err, ErrInUse) {
			os.Exit(7)
		}
		t.Fatalf("Open = %v, want ErrInUse", err)
	}
	dir := t.TempDir()
	d := mustOpen(t, Config{Dir: dir})
	defer mustClose(t, d)
	other := exec.Command(os.Args[0], "-test.run=^TestASecondProcessIsRefused$")
	other.Env = append(os.Environ(), "KITH_STORAGE_OPEN="+dir)
	out, err := other.CombinedOutput()
	if code := other.ProcessState.ExitCode(); code != 7 {
		t.Errorf("the second process: %v\n%s", err, out)
	}
}

func TestANewerFormatIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	mustClose(t, mustOpen(t, small(fs)))
	newer := identity{format: FormatVersion + 1, incarnation: 1}.encode()
	write(t, fs, "db/KITH", newer)
	_, err := Open(small(fs))
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("Open = %v, want ErrNewer with the format", err)
	}
	if got := read(t, fs, "db/KITH"); !bytes.Equal(got, newer) {
		t.Errorf("the identity became %q", got)
	}
}

func TestADamagedIdentityIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	mustClose(t, mustOpen(t, small(fs)))
	whole := read(t, fs, "db/KITH")
	for bit := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		write(t, fs, "db/KITH", b)
		if _, err := Open(small(fs)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("Open with bit %d flipped = %v, want ErrDamaged", bit, err)
		}
	}
	for n := range len(whole) {
		write(t, fs, "db/KITH", whole[:n])
		if _, err := Open(small(fs)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("Open with %d bytes of identity = %v, want ErrDamaged", n, err)
		}
	}
	write(t, fs, "db/KITH", whole)
	mustClose(t, mustOpen(t, small(fs)))
}

func TestAStoreThatLostItsDataIsNotTakenForNew(t *testing.T) {
	fs := vfs.NewMem()
	d := mustOpen(t, small(fs))
	mustCommit(t, d, row("a", "1"))
	mustClose(t, d)
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name != identityFile {
			if err := fs.Remove("db/" + name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := Open(small(fs)); !errors.Is(err, ErrDamaged) {
		t.Errorf("Open = %v, want ErrDamaged", err)
	}
}

func TestAForeignDirectoryIsRefusedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST-000001"), []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Config{Dir: dir})
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "MANIFEST-000001") {
		t.Errorf("Open = %v, want ErrForeign with the file's name", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("the directory has %v (%v), want what it had", names, err)
	}
}

func TestAMissingStoreIsMadeOnlyIfAsked(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{dir, filepath.Join(dir, "deeper", "db")} {
		if _, err := Open(Config{Dir: name, MustExist: true}); !errors.Is(err, ErrMissing) {
			t.Errorf("Open(%s) = %v, want ErrMissing", name, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("the directory has %v (%v), want nothing", names, err)
	}
	d := mustOpen(t, Config{Dir: filepath.Join(dir, "deeper", "db")})
	mustClose(t, d)
	mustClose(t, mustOpen(t, Config{Dir: filepath.Join(dir, "deeper", "db"), MustExist: true}))
}

func TestAFullDiskIsRefusedAtOnce(t *testing.T) {
	fs := vfs.NewMem()
	mustClose(t, mustOpen(t, small(fs)))
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 100, TotalBytes: 1 << 30})
	if _, err := Open(small(fs)); !errors.Is(err, ErrFull) {
		t.Errorf("Open = %v, want ErrFull", err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 29, TotalBytes: 1 << 30})
	mustClose(t, mustOpen(t, small(fs)))
}

func TestACheckpointIsAnotherIncarnation(t *testing.T) {
	fs := vfs.NewMem()
	d := mustOpen(t, small(fs))
	mustCommit(t, d, row("a", "1"))
	if err := d.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, d, row("a", "2"))
	if err := d.Checkpoint("copy"); err == nil {
		t.Error("a checkpoint over another one: no error")
	}
	cfg := small(fs)
	cfg.Dir, cfg.Random = "copy", strings.NewReader("another incarnation")
	c := mustOpen(t, cfg)
	if got, want := dump(t, c), "a=1 "; got != want {
		t.Errorf("rows of the copy = %q, want %q", got, want)
	}
	if c.Incarnation() == d.Incarnation() {
		t.Errorf("the copy has the store's incarnation %x", d.Incarnation())
	}
	drawn := c.Incarnation()
	mustClose(t, c)
	c = mustOpen(t, cfg)
	if got := c.Incarnation(); got != drawn {
		t.Errorf("the copy's incarnation became %x, want %x", got, drawn)
	}
	mustClose(t, c)
	mustClose(t, d)
}

// everySync calls hook before each sync of any file or directory.
type everySync struct{ hook func() }

func (e everySync) String() string { return "everySync" }

func (e everySync) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpRename:
		e.hook()
	}
	return nil
}

func TestAStoreCutShortWhileItIsMadeIsMadeAgain(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 3 {
		var clones []*vfs.MemFS
		mem := vfs.NewCrashableMem()
		if err := mem.MkdirAll("data", 0o700); err != nil {
			t.Fatal(err)
		}
		cfg := small(errorfs.Wrap(mem, everySync{func() {
			clones = append(clones, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 40 * round, RNG: rng}))
		}}))
		cfg.Dir = "data/db"
		d := mustOpen(t, cfg)
		made := len(clones)
		mustClose(t, d)
		if made < 8 {
			t.Fatalf("%d crash points while a store is made, want more", made)
		}
		for i, clone := range clones {
			cfg.FS, cfg.Random = clone, strings.NewReader("12345678")
			d, err := Open(cfg)
			if err != nil {
				t.Fatalf("round %d, crash point %d of %d: %v", round, i, made, err)
			}
			if got := dump(t, d); got != "" {
				t.Errorf("round %d, crash point %d: rows %q in a new store", round, i, got)
			}
			mustCommit(t, d, row("a", "1"))
			mustClose(t, d)
		}
	}
}
