package storage

import (
	"crypto/rand"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ExitFault is the exit code of a process that a storage fault ended.
const ExitFault = 3

// A Config says where a store is and what it may use. Only Dir is required.
type Config struct {
	// FS is the file system. nil: the machine's, watched for slow operations.
	FS vfs.FS

	// Dir is the store's directory. It is made if it is missing and must hold
	// nothing else.
	Dir string

	// MustExist refuses to make a new store.
	MustExist bool

	// ReadOnly opens a store that exists, and changes nothing in its directory but
	// the lock: for tools that look at a store which nobody serves, or at a
	// checkpoint, whose incarnation is 0 as long as nothing was opened from it.
	ReadOnly bool

	// CacheBytes is the least that the block cache has. Default 128 MiB.
	CacheBytes int64

	// MemTableBytes is the size of the table in memory that takes the writes;
	// up to four of them exist while the disk is behind. Default 64 MiB.
	MemTableBytes int64

	// MaxOpenFiles bounds the table files that are open at a time; it comes off
	// what is left for sockets. Default DefaultMaxOpenFiles.
	MaxOpenFiles int

	// MinFreeBytes is the free space of the disk below which Low says true.
	// Default 512 MiB: the watch looks every second, and a compaction or a
	// reopening needs room too.
	MinFreeBytes uint64

	// OpenTimeout is how long Open may take, log replay included. Default 30 s.
	OpenTimeout time.Duration

	// CommitTimeout is how long one commit may take before the disk counts as
	// stuck, which is a fault. Default 30 s.
	CommitTimeout time.Duration

	// Random gives the eight bytes of an incarnation. Default crypto/rand; the
	// simulator gives a seeded one.
	Random io.Reader

	// Logger takes what an operator should know. Default slog.Default().
	Logger *slog.Logger

	// Fatal is called with the first fault: the disk failed or its content is
	// damaged, and the process must end. Default: log it and exit with
	// ExitFault. If it returns, nothing is committed any more and Close leaves
	// everything as it is.
	Fatal func(error)
}

// DefaultMaxOpenFiles is for those who count the descriptors of a process. 1,000
// table files hold some tens of gigabytes.
const DefaultMaxOpenFiles = 1000

// Defaults of Config.
const (
	defaultCacheBytes    = 128 << 20
	defaultMemTableBytes = 64 << 20
	defaultMinFreeBytes  = 512 << 20
	defaultOpenTimeout   = 30 * time.Second
	defaultCommitTimeout = 30 * time.Second
)

func (c *Config) setDefaults() {
	c.MustExist = c.MustExist || c.ReadOnly
	setDefault(&c.CacheBytes, defaultCacheBytes)
	setDefault(&c.MemTableBytes, defaultMemTableBytes)
	setDefault(&c.MaxOpenFiles, DefaultMaxOpenFiles)
	setDefault(&c.MinFreeBytes, defaultMinFreeBytes)
	setDefault(&c.OpenTimeout, defaultOpenTimeout)
	setDefault(&c.CommitTimeout, defaultCommitTimeout)
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Fatal == nil {
		logger := c.Logger
		c.Fatal = func(err error) {
			logger.Error("the store failed, this process ends", "err", err)
			os.Exit(ExitFault)
		}
	}
}

// setDefault gives *v a value if it has none.
func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Tuning for two cores and small rows. Measured on a 2-core machine with
// BenchmarkCommit, BenchmarkGet and BenchmarkScan.
const (
	memTables        = 4  // queued before writes stop: a burst outlasts a slow flush
	bloomBitsPerKey  = 10 // 1 % false positives
	l0Compaction     = 4  // sublevels of L0 that start a compaction
	l0StopWrites     = 24 // sublevels of L0 that stop writes
	compactionsLeast = 1
	compactionsMost  = 2 // both cores, when compactions fall behind
)

// pebbleOptions are Pebble's, for a store made now or an older one. Values are
// not separated from keys: for small rows that triples the cost of a read.
func (d *DB) pebbleOptions(fresh bool) *pebble.Options {
	o := &pebble.Options{
		FS:   freshLogs{d.cfg.disk()},
		Lock: d.lock,

		// Pebble takes the memory of its memtables out of the cache's. With the
		// sizes alone, two memtables would leave a cache of 128 MiB with 16 KiB,
		// and a Get of an absent key would cost 70 µs instead of 10.
		CacheSize: d.cfg.CacheBytes + memTables*d.cfg.MemTableBytes,

		MemTableSize:                uint64(d.cfg.MemTableBytes),
		MemTableStopWritesThreshold: memTables,
		MaxOpenFiles:                d.cfg.MaxOpenFiles,
		L0CompactionThreshold:       l0Compaction,
		L0StopWritesThreshold:       l0StopWrites,
		CompactionConcurrencyRange:  func() (int, int) { return compactionsLeast, compactionsMost },

		// A store keeps the format it was made with: raising it cannot be undone,
		// so it is an operator's step and not a side effect of an upgrade.
		FormatMajorVersion: pebble.FormatMinSupported,
		ErrorIfNotExists:   !fresh,
		ReadOnly:           d.cfg.ReadOnly,

		EventListener: d.listener(),
		Logger:        pebbleLog{d},
	}
	if d.cfg.FS == nil {
		o.WithFSDefaults() // watches for slow operations
	}
	if fresh {
		o.FormatMajorVersion = pebble.FormatNewest
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBitsPerKey)
	}
	return o
}
