package storage

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"kith/actors/entity"
)

// held is a store whose log syncs wait, once arm is set.
type held struct {
	arm     bool
	syncing chan struct{} // gets a value when a sync begins to wait
	release chan struct{} // lets it go on
}

func holdSyncs(fs vfs.FS) (*held, vfs.FS) {
	h := &held{syncing: make(chan struct{}), release: make(chan struct{})}
	return h, SyncHook(fs, func() {
		if h.arm {
			h.syncing <- struct{}{}
			<-h.release
		}
	})
}

func TestNobodySeesAGroupBeforeItsCommitReturned(t *testing.T) {
	h, fs := holdSyncs(vfs.NewMem())
	d := mustOpen(t, small(fs))
	mustCommit(t, d, row("a", "1"), row("b", "1"))
	h.arm = true
	committed := make(chan error)
	go func() { committed <- d.Commit([]entity.Write{row("a", "2"), gone("b"), row("c", "2")}) }()

	<-h.syncing
	// Pebble itself shows the group by now, or will before the sync ends; what a
	// bare read of it gives is what no reader of this package may get.
	for bareShows := false; !bareShows; {
		val, closer, err := d.db.Get([]byte("c"))
		if bareShows = err == nil; bareShows {
			if string(val) != "2" {
				t.Errorf("bare read = %q", val)
			}
			if err := closer.Close(); err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, pebble.ErrNotFound) {
			t.Fatal(err)
		}
	}
	v := d.View()
	if got, want := dump(t, v), "a=1 b=1 "; got != want {
		t.Errorf("a view during a commit = %q, want %q", got, want)
	}
	if got, want := dump(t, d), "a=1 b=1 "; got != want {
		t.Errorf("the store during a commit = %q, want %q", got, want)
	}
	if _, ok, err := d.Get([]byte("c")); ok || err != nil {
		t.Errorf("Get of an undurable row = %v, %v, want none", ok, err)
	}
	h.arm = false
	h.release <- struct{}{}
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	if got, want := dump(t, v), "a=1 b=1 "; got != want {
		t.Errorf("the view after the commit = %q, want %q as before", got, want)
	}
	if got, want := dump(t, d), "a=2 c=2 "; got != want {
		t.Errorf("the store after the commit = %q, want %q", got, want)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	mustClose(t, d)
}

// Groups write their number into every row, so a reader that sees two numbers
// saw parts of two groups.
func TestReadersSeeWholeGroupsInOrderWhileOthersCommit(t *testing.T) {
	const rows, groups, readers = 50, 100, 3
	d := mustOpen(t, small(vfs.NewMem()))
	group := func(n uint64) []entity.Write {
		g := make([]entity.Write, rows)
		for i := range g {
			g[i] = entity.Write{Key: []byte{byte(i)}, Val: binary.BigEndian.AppendUint64(make([]byte, 500), n)}
		}
		return g
	}
	mustCommit(t, d, group(0)...)
	done := make(chan struct{})
	var wait sync.WaitGroup
	for r := range readers {
		wait.Go(func() {
			for last := uint64(0); ; {
				n, ok := readGroup(t, d, r%2 == 0, rows)
				if !ok || n < last {
					t.Errorf("a reader saw group %d after %d (whole: %v)", n, last, ok)
					return
				}
				last = n
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for n := range uint64(groups) {
		if err := d.Commit(group(n)); err != nil {
			t.Error(err)
		}
		if got, ok := readGroup(t, d, false, rows); got != n || !ok {
			t.Errorf("the committer reads group %d (whole: %v), want its own, %d", got, ok, n)
		}
	}
	close(done)
	wait.Wait()
	mustClose(t, d)
}

// readGroup reads every row twice, by Scan and by Get, from one view.
func readGroup(t *testing.T, d *DB, reverse bool, rows int) (n uint64, whole bool) {
	v := d.View()
	defer func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}()
	seen := 0
	whole = true
	err := v.Scan(nil, nil, reverse, func(_, val []byte) bool {
		m := binary.BigEndian.Uint64(val[len(val)-8:])
		whole = whole && (seen == 0 || m == n)
		n = m
		seen++
		return true
	})
	if err != nil {
		t.Error(err)
	}
	for i := range rows {
		val, ok, err := v.Get([]byte{byte(i)})
		if err != nil || !ok || binary.BigEndian.Uint64(val[len(val)-8:]) != n {
			return n, false
		}
	}
	return n, whole && seen == rows
}

func TestAnOldViewLastsThroughFlushesAndCompactions(t *testing.T) {
	d := mustOpen(t, small(vfs.NewMem()))
	mustCommit(t, d, row("a", "first"), row("b", "first"))
	v := d.View()
	for range 40 {
		mustCommit(t, d, row("a", strings.Repeat("x", 50_000)), goneRange("b", "c"))
	}
	if err := d.db.Compact(t.Context(), []byte("a"), []byte("z"), false); err != nil {
		t.Fatal(err)
	}
	if got, want := dump(t, v), "a=first b=first "; got != want {
		t.Errorf("the old view = %q, want %q", got, want)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	mustClose(t, d)
}

func TestCloseRefusesWhileAViewIsOpen(t *testing.T) {
	d := mustOpen(t, small(vfs.NewMem()))
	v := d.View()
	mustCommit(t, d, row("a", "1"))
	w := d.View()
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "2 views") {
		t.Errorf("Close = %v, want a refusal that counts the views", err)
	}
	if err := errors.Join(v.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	mustClose(t, d)
}

func TestClosingAViewTwiceIsABug(t *testing.T) {
	d := mustOpen(t, small(vfs.NewMem()))
	v := d.View()
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	defer mustClose(t, d)
	defer func() {
		if recover() == nil {
			t.Error("the second Close did not panic")
		}
		d.readers = 0
	}()
	_ = v.Close() // panics
}

// Close fails if an iterator or a snapshot was left open.
func TestScansLeaveNoIteratorsOpen(t *testing.T) {
	d := mustOpen(t, small(vfs.NewMem()))
	mustCommit(t, d, row("a", "1"), row("b", "2"))
	// More scans at once than a view keeps iterators for.
	nestScans(t, d, 2*maxIdle)
	func() {
		defer func() {
			if got := recover(); got != "yield" {
				t.Errorf("recovered %v, want yield's own panic", got)
			}
		}()
		err := d.Scan(nil, nil, false, func(_, _ []byte) bool { panic("yield") })
		t.Errorf("Scan returned %v, want yield's panic", err)
	}()
	mustClose(t, d)
}

func nestScans(t *testing.T, d *DB, depth int) {
	if depth == 0 {
		return
	}
	err := d.Scan(nil, nil, false, func(_, _ []byte) bool {
		nestScans(t, d, depth-1)
		return false
	})
	if err != nil {
		t.Error(err)
	}
}

func TestGetGivesTheCallersOwnCopy(t *testing.T) {
	d := mustOpen(t, small(vfs.NewMem()))
	mustCommit(t, d, row("a", "1"), row("e", ""))
	a, _, err := d.Get([]byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	a[0] = 'x'
	if again, _, err := d.Get([]byte("a")); string(again) != "1" || err != nil {
		t.Errorf("Get = %q, %v, want 1", again, err)
	}
	if e, ok, err := d.Get([]byte("e")); e == nil || len(e) != 0 || !ok || err != nil {
		t.Errorf("Get of an empty row = %#v, %v, %v, want an empty value", e, ok, err)
	}
	mustClose(t, d)
}
