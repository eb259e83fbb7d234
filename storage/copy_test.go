package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// onDisk is a store on the machine's disk that costs little to open.
func onDisk(dir string) Config {
	return Config{Dir: dir, CacheBytes: 1 << 20, MemTableBytes: 256 << 10}
}

func TestAStoreThatIsOpenToBeReadIsNotChanged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	d := mustOpen(t, onDisk(dir))
	mustCommit(t, d, row("a", "1"))
	checkpoint := filepath.Join(filepath.Dir(dir), "copy")
	if err := d.Checkpoint(checkpoint); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, d, row("b", "2"))
	born := d.Incarnation()
	cfg := onDisk(dir)
	cfg.ReadOnly = true
	if _, err := Open(cfg); !errors.Is(err, ErrInUse) {
		t.Errorf("a store that is served was opened to be read: %v, want ErrInUse", err)
	}
	mustClose(t, d)
	for _, c := range []struct {
		dir, rows   string
		incarnation uint64
	}{{dir, "a=1 b=2 ", born}, {checkpoint, "a=1 ", 0}} {
		cfg.Dir = c.dir
		before := files(t, c.dir)
		for range 2 {
			d := mustOpen(t, cfg)
			if got := dump(t, d); got != c.rows || d.Incarnation() != c.incarnation {
				t.Errorf("%s: rows %q and incarnation %x, want %q and %x", c.dir, got, d.Incarnation(), c.rows, c.incarnation)
			}
			if err := d.Commit(nil); !errors.Is(err, ErrReadOnly) {
				t.Errorf("Commit = %v, want ErrReadOnly", err)
			}
			mustClose(t, d)
		}
		if after := files(t, c.dir); after != before {
			t.Errorf("%s changed: it had\n%s\nand has\n%s", c.dir, before, after)
		}
	}
	cfg.Dir = filepath.Join(t.TempDir(), "none")
	if _, err := Open(cfg); !errors.Is(err, ErrMissing) {
		t.Errorf("a store that is not there: %v, want ErrMissing", err)
	}
}

// files is every file of a directory but the lock, with its content.
func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		if e.Name() == "LOCK" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(e.Name() + " " + string(text) + "\n")
	}
	return b.String()
}

func TestACopyIsAnotherStoreWithTheSameRows(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "db"), filepath.Join(t.TempDir(), "deep", "copy")
	d := mustOpen(t, onDisk(from))
	mustCommit(t, d, row("a", "1"))
	if _, err := Copy(from, to, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a store that is served was copied: %v, want ErrInUse", err)
	}
	born := d.Incarnation()
	mustClose(t, d)
	calls := 0
	done, err := Copy(from, to, func(Copied) { calls++ })
	if err != nil || done.Files == 0 || done.Bytes == 0 || calls != done.Files {
		t.Fatalf("copied %+v with %d calls: %v", done, calls, err)
	}
	if _, err := Copy(from, to, nil); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a second copy into the same directory: %v", err)
	}
	copied := mustOpen(t, onDisk(to))
	if got := dump(t, copied); got != "a=1 " || copied.Incarnation() == born || copied.Incarnation() == 0 {
		t.Errorf("the copy has %q and the incarnation %x of %x", got, copied.Incarnation(), born)
	}
	mustCommit(t, copied, row("a", "2"))
	mustClose(t, copied)
	d = mustOpen(t, onDisk(from))
	if got := dump(t, d); got != "a=1 " || d.Incarnation() != born {
		t.Errorf("the original has %q and the incarnation %x, want it as it was", got, d.Incarnation())
	}
	mustClose(t, d)
}

// A copy without its identity, which comes last, is no store.
func TestACopyThatWasCutShortDoesNotOpen(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "db"), filepath.Join(t.TempDir(), "copy")
	mustClose(t, mustOpen(t, onDisk(from)))
	if _, err := Copy(from, to, nil); err != nil {
		t.Fatal(err)
	}
	if is, err := IsStore(to); !is || err != nil {
		t.Errorf("IsStore of a copy = %v, %v", is, err)
	}
	if err := os.Remove(filepath.Join(to, identityFile)); err != nil {
		t.Fatal(err)
	}
	if is, err := IsStore(to); is || err != nil {
		t.Errorf("IsStore of half a copy = %v, %v", is, err)
	}
	if _, err := Open(onDisk(to)); !errors.Is(err, ErrForeign) {
		t.Errorf("half a copy was opened: %v, want ErrForeign", err)
	}
}
