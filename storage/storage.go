// Package storage keeps rows in Pebble: it commits a group of writes
// atomically and durably, and shows readers what is durable and nothing else.
// It knows nothing about what the rows mean.
//
//   - One group, one batch, one fsync. A group whose Commit returned nil
//     survives a power cut whole; any other is there whole or not at all.
//   - Readers see the durable view: the rows as of the last Commit that
//     returned. Pebble shows a batch before its fsync has ended, so a reader of
//     the bare database could tell what a power cut unsays; no such reader can
//     be written against this package.
//   - A disk that fails ends the process. Nothing is retried after a failed
//     fsync, because the kernel may have dropped the pages by then.
package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"kith/actors/entity"
)

// A DB is an ordered set of rows on one disk, held by one process. Open makes
// one, Close ends it.
//
// Any number of goroutines may read. One at a time may Commit: who commits is
// the single writer of everything, and is not locked out twice.
type DB struct {
	cfg         Config
	log         *slog.Logger
	db          *pebble.DB
	lock        *pebble.Lock
	incarnation uint64
	sheet       *metrics

	group writer // owned by the committer

	scrape sync.Mutex // held while Pebble's metrics are read, and to close; taken before viewMu

	viewMu  sync.Mutex // guards view, readers and every View's refs
	view    *View      // the durable view; nil once closed
	readers int        // calls of View without their Close

	commitBegan atomic.Int64 // when the commit under way began, in ns since born; 0: there is none
	born        time.Time    // for a clock that never jumps
	low         atomic.Bool  // less is free than the floor
	freeBytes   atomic.Uint64

	serving atomic.Bool           // Open has succeeded: from now on a fault ends the process
	fault   atomic.Pointer[error] // the first fault; nothing is committed after it
	faulted chan struct{}         // closed with the first fault
	stop    chan struct{}         // ends what follows
	workers sync.WaitGroup        // watch and upkeep
}

var _ entity.Reader = (*DB)(nil)

var (
	// ErrClosed is what Close returns the second time.
	ErrClosed = errors.New("storage: the store is closed already")
	// ErrReadOnly is what Commit returns of a store that was opened to be read.
	ErrReadOnly = errors.New("storage: the store is open for reading only")
)

// Open opens the store in cfg.Dir, or makes one. The errors that an operator
// can mend are ErrInUse, ErrForeign, ErrNewer, ErrDamaged, ErrMissing and
// ErrFull, each with a sentence that says what to do.
//
// After an error that left Pebble at work (ErrStuck, a failing disk) the
// directory stays locked until the process ends.
func Open(cfg Config) (*DB, error) {
	cfg.setDefaults()
	d := &DB{
		cfg: cfg, log: cfg.Logger, sheet: newMetrics(), born: time.Now(),
		faulted: make(chan struct{}), stop: make(chan struct{}),
	}
	dir, err := openDir(&d.cfg)
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", cfg.Dir, err)
	}
	d.lock = dir.lock
	if d.db, err = d.openPebble(dir.fresh); err == nil {
		d.incarnation = dir.found.incarnation
		if !cfg.ReadOnly {
			d.incarnation, err = dir.settle(&d.cfg)
		}
		if err == nil {
			err = d.serve()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", cfg.Dir, d.abandon(err))
	}
	return d, nil
}

// serve makes the first view and starts the two workers, which Close ends.
func (d *DB) serve() error {
	d.group.batch = d.db.NewBatch()
	d.view = newView(d)
	d.serving.Store(true)
	if fault := d.fault.Load(); fault != nil {
		return *fault
	}
	d.measureDisk()
	d.workers.Go(d.watch)
	d.workers.Go(d.upkeep)
	return nil
}

// abandon gives back what a failed Open holds, unless Pebble may still be
// writing there.
func (d *DB) abandon(err error) error {
	if errors.Is(err, ErrStuck) || d.fault.Load() != nil {
		return err
	}
	if d.db != nil {
		err = errors.Join(err, d.db.Close())
	}
	return errors.Join(err, d.lock.Close())
}

// openPebble opens Pebble, within a deadline: with a full disk it may retry a
// flush for ever and never return.
func (d *DB) openPebble(fresh bool) (*pebble.DB, error) {
	type result struct {
		db  *pebble.DB
		err error
	}
	done := make(chan result, 1)
	opts := d.pebbleOptions(fresh)
	go func() {
		// A panic over damaged files is an error like any other: nothing runs yet.
		defer func() {
			if r := recover(); r != nil {
				done <- result{err: fmt.Errorf("%w: %v\n%s", ErrDamaged, r, debug.Stack())}
			}
		}()
		db, err := pebble.Open(d.cfg.Dir, opts)
		done <- result{db, err}
	}()
	deadline := time.NewTimer(d.cfg.OpenTimeout)
	defer deadline.Stop()
	select {
	case r := <-done:
		return r.db, explain(r.err)
	case <-d.faulted:
		return nil, *d.fault.Load()
	case <-deadline.C:
		return nil, fmt.Errorf("%w: it is not open after %v", ErrStuck, d.cfg.OpenTimeout)
	}
}

// explain names the errors of Pebble's Open that have a name here.
func explain(err error) error {
	switch {
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return fmt.Errorf("%w: its identity is there, its data is not: %w", ErrDamaged, err)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	default:
		return err
	}
}

// Incarnation is a number that this history of rows has for itself. A store
// made new or restored from a checkpoint has another, so what was told of the
// old one's positions is not believed of this one.
func (d *DB) Incarnation() uint64 { return d.incarnation }

// Commit stores a group of writes, all or none, and returns nil once they
// survive a power cut and every reader sees them. Later writes of a key win.
// An error is final: whether the group is stored is then unknown until the
// store is opened again, so the process must end and answer nobody.
//
// One goroutine commits at a time. Nothing of group is kept.
func (d *DB) Commit(group []entity.Write) error {
	if fault := d.fault.Load(); fault != nil {
		return *fault
	}
	if d.cfg.ReadOnly {
		return ErrReadOnly
	}
	if slices.ContainsFunc(group, isRange) {
		var err error
		if group, err = d.points(group, maxPoints); err != nil {
			return fmt.Errorf("storage: commit a group: %w", err)
		}
	}
	rows, err := d.group.fill(group)
	if err != nil {
		return fmt.Errorf("storage: commit a group: %w", err)
	}
	if rows == 0 {
		return nil // An empty group is as durable as what went before.
	}
	began := time.Since(d.born)
	d.commitBegan.Store(max(1, int64(began)))
	if err := d.apply(); err != nil {
		return err
	}
	if err := d.advance(); err != nil {
		return d.fail(err)
	}
	d.commitBegan.Store(0)
	d.sheet.committed(rows, time.Since(d.born)-began)
	return nil
}

// apply writes the batch to the log and waits for its fsync. Pebble ends a
// failed commit by a panic or by Fatalf, which ours turns into one: either is
// a fault.
func (d *DB) apply() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = d.fail(fmt.Errorf("commit a group: %v", r))
		}
	}()
	if err := d.group.batch.Commit(pebble.Sync); err != nil {
		return d.fail(fmt.Errorf("commit a group: %w", err))
	}
	return nil
}

// Checkpoint copies the store as of now into dir, which must not exist. On the
// same disk tables are hard links, so it takes milliseconds; on another they are
// copied. What is opened from the copy is a store with another incarnation, for its
// history parts from this one's. A copy that was cut short does not open.
func (d *DB) Checkpoint(dir string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = d.fail(fmt.Errorf("write a checkpoint to %s: %v", dir, r))
		}
	}()
	// The log is not flushed for it: what is committed is synced, and a second
	// writer to the log would take the meaning from what checkRecords finds.
	if err := d.db.Checkpoint(dir); err != nil {
		return fmt.Errorf("write a checkpoint to %s: %w", dir, err)
	}
	return writeIdentity(d.cfg.disk(), dir, identityFile, identity{format: FormatVersion})
}

// Close ends the store. All views must be closed and no Commit be under way;
// else it says so and the store stays open. After a fault it leaves everything
// as a dead process would and returns the fault.
func (d *DB) Close() error {
	if fault := d.fault.Load(); fault != nil {
		return *fault
	}
	d.scrape.Lock()
	defer d.scrape.Unlock()
	d.viewMu.Lock()
	view := d.view
	if view == nil {
		d.viewMu.Unlock()
		return ErrClosed
	}
	if n := d.readers; n > 0 {
		d.viewMu.Unlock()
		return fmt.Errorf("storage: close: %d views are still open", n)
	}
	d.view = nil
	d.viewMu.Unlock()

	close(d.stop)
	d.workers.Wait()
	err := errors.Join(view.drop(), d.group.batch.Close(), d.db.Close())
	if d.fault.Load() == nil {
		err = errors.Join(err, d.lock.Close())
	}
	return err
}

// disk is the file system as this package itself uses it.
func (c *Config) disk() vfs.FS {
	if c.FS == nil {
		return vfs.Default
	}
	return c.FS
}
