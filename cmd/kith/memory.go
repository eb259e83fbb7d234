package main

import (
	"bytes"
	"io/fs"
	"math"
	"runtime/debug"
	"strconv"
)

const (
	// gcPercent is how much garbage the collector lets grow, in percent of what is
	// alive. A message leaves 2.5 KB of garbage, and what is alive is small: with
	// Go's 100 the collector takes a sixth of a busy server's CPU. 18 → 15 µs a
	// message, go run ./bench/sockets; 400 gains nothing more.
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
