package storage

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// fail records the first fault and ends the process by Config.Fatal. It returns
// the first fault, if it returns. While the store is being opened the fault is
// Open's error instead.
func (d *DB) fail(err error) error {
	err = fmt.Errorf("storage: %w", err)
	if !d.fault.CompareAndSwap(nil, &err) {
		return *d.fault.Load()
	}
	close(d.faulted)
	if d.serving.Load() {
		d.cfg.Fatal(err)
	}
	return err
}

// pebbleLog is Pebble's logger. Its Fatalf never returns.
type pebbleLog struct{ d *DB }

// Infof logs what Pebble does: files, flushes, compactions.
func (l pebbleLog) Infof(format string, args ...any) {
	if l.d.log.Enabled(context.Background(), slog.LevelDebug) {
		l.d.log.Debug("pebble", "said", fmt.Sprintf(format, args...))
	}
}

// Errorf logs what Pebble complains of and goes on from.
func (l pebbleLog) Errorf(format string, args ...any) {
	l.d.log.Error("pebble complains", "said", fmt.Sprintf(format, args...))
}

// Fatalf is called when Pebble must not go on: it would acknowledge what is not
// on the disk. A commit is unwound to Commit, which returns the fault; any
// other goroutine is parked for ever, with the locks it holds. Should Pebble
// one day word a failed commit otherwise, the committer is parked too, which is
// as safe.
func (l pebbleLog) Fatalf(format string, args ...any) {
	err := l.d.fail(said{fmt.Sprintf(format, args...), args})
	if strings.HasPrefix(format, "pebble: fatal commit error") {
		panic(err)
	}
	select {}
}

// said is what Pebble said last, with the errors it said it of.
type said struct {
	text string
	args []any
}

func (s said) Error() string { return s.text }

func (s said) Unwrap() (errs []error) {
	for _, arg := range s.args {
		if err, ok := arg.(error); ok {
			errs = append(errs, err)
		}
	}
	return errs
}

// backgroundError is called when a flush or a compaction failed. Pebble would
// try again at once and for ever, block writers meanwhile and tell nobody.
func (d *DB) backgroundError(err error) {
	d.sheet.backgroundErrors.Inc()
	_ = d.fail(fmt.Errorf("flush or compact: %w", err)) // there is nobody to return it to
	if !d.serving.Load() {
		select {} // Open has its error; let Pebble not spin until the process ends.
	}
}

// corruption is called when a table or a log has other bytes than were written.
// The reader gets an error besides.
func (d *DB) corruption(info pebble.DataCorruptionInfo) {
	d.sheet.corruptions.Inc()
	_ = d.fail(fmt.Errorf("%w: %s: %w", ErrDamaged, info.Path, info.Details)) // the reader gets its own
}
