package main

import (
	"bytes"
	"io/fs"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"
)

const (
	// gcPercent is how much garbage the collector lets grow, in percent of what is
	// alive. A message leaves 2.5 KB of garbage, and what is alive is small: with
	// Go's 100 the collector takes a sixth of a busy server's CPU. 18 → 15 µs a
	// message, kith load direct --spawn; 400 gains nothing more.
	gcPercent = 200
	// goShare is the part of the machine's memory, as a divisor, within which the
	// collector works as hard as it must. The other half is for what it does not
	// see: the store's cache and tables, the kernel's files and sockets.
	goShare = 2
)

// tuneMemory sets how the collector works, but for what the operator has set
// himself by Go's own variables.
func tuneMemory(getenv func(string) string, root fs.FS) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if memory := memoryOf(root); getenv("GOMEMLIMIT") == "" && memory > 0 {
		debug.SetMemoryLimit(memory / goShare)
	}
}

const (
	// calmEvery is how often it is looked whether the server is calm, calmTicks how
	// often in a row it must be. 5 s in all: what a rush has woken has been put away
	// by then.
	calmEvery = 2500 * time.Millisecond
	calmTicks = 2
	// calmBytes is how much a calm server allocates from one look to the next. 2 MiB:
	// the pings of 10,000 silent clients, or some hundred messages.
	calmBytes = 2 << 20
	// busyBytes is how much must have been allocated since the last collection for
	// another one to be worth its while: 16 MiB.
	busyBytes = 16 << 20
)

// A calm gives memory back after a busy time. Go collects when the heap has grown
// threefold and else every two minutes, so a rush (everybody connects again) leaves
// garbage behind, just when there is the most to keep: 15,000 silent connections
// took 4.3 to 5.7 KiB each, and 2.7 to 3.0 with it; kith load idle --spawn.
type calm struct {
	allocated, collected uint64 // bytes ever allocated: at the last look, at the last collection
	ticks                int    // looks in a row at which it was calm
}

// look takes how much was ever allocated, and reports whether it is time to
// collect.
func (c *calm) look(allocated uint64) bool {
	if allocated-c.allocated > calmBytes {
		c.ticks = 0
	} else {
		c.ticks++
	}
	c.allocated = allocated
	if c.ticks < calmTicks || allocated-c.collected < busyBytes {
		return false
	}
	c.collected = allocated
	return true
}

// giveBack looks until stop is closed.
func giveBack(stop <-chan struct{}) {
	tick := time.NewTicker(calmEvery)
	defer tick.Stop()
	allocs := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	for c := (calm{}); ; {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if metrics.Read(allocs); c.look(allocs[0].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}

// memoryOf is the memory that the process may use, in bytes: that of its cgroup
// or else of the machine. 0: it is not known.
func memoryOf(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	for _, name := range []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if text, err := fs.ReadFile(root, name); err == nil {
			if n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil && n > 0 {
				least = min(least, n) // Else it is "max".
			}
		}
	}
	if text, err := fs.ReadFile(root, "proc/meminfo"); err == nil {
		for line := range bytes.Lines(text) {
			if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "MemTotal:" {
				if kib, err := strconv.ParseInt(string(f[1]), 10, 64); err == nil && kib > 0 {
					least = min(least, kib<<10)
				}
			}
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}
