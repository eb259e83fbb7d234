package main

import (
	"testing"
	"testing/fstest"
)

func TestMemoryIsTheCgroupsOrElseTheMachines(t *testing.T) {
	const machine = "MemTotal:       16384 kB\nMemFree:         1024 kB\n"
	cases := []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing is known", nil, 0},
		{"the machine's", map[string]string{"proc/meminfo": machine}, 16 << 20},
		{"a cgroup's", map[string]string{"proc/meminfo": machine, "sys/fs/cgroup/memory.max": "4194304\n"}, 4 << 20},
		{"a cgroup without a limit", map[string]string{"proc/meminfo": machine, "sys/fs/cgroup/memory.max": "max\n"}, 16 << 20},
		{"an old cgroup's", map[string]string{"proc/meminfo": machine, "sys/fs/cgroup/memory/memory.limit_in_bytes": "2097152\n"}, 2 << 20},
		{"an old cgroup without a limit", map[string]string{"proc/meminfo": machine, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 16 << 20},
		{"nonsense", map[string]string{"proc/meminfo": "MemTotal: many kB\n", "sys/fs/cgroup/memory.max": "-1\n"}, 0},
	}
	for _, c := range cases {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memoryOf(root); got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.name, got, c.want)
		}
	}
}

func TestMemoryIsGivenBackOnceAfterEachBusyTime(t *testing.T) {
	const busy, quiet = 100 << 20, 1 << 10
	var c calm
	allocated := uint64(0)
	for i, step := range []struct {
		allocates uint64
		want      bool
	}{
		{busy, false},  // The rush.
		{busy, false},  // It goes on.
		{quiet, false}, // It may be a pause.
		{quiet, true},  // It is over.
		{quiet, false}, // There is nothing to give back.
		{quiet, false},
		{busyBytes, false}, // Another one.
		{quiet, false},
		{busy, false}, // It was a pause.
		{quiet, false},
		{quiet, true},
	} {
		allocated += step.allocates
		if got := c.look(allocated); got != step.want {
			t.Errorf("at look %d: %v, want %v", i, got, step.want)
		}
	}
}
