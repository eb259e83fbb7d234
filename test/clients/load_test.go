package clients

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// reportKeys are what programs read in a report of `kith load`.
const reportKeys = "sent acked delivered lost duplicated reordered rate ack_p50_ms ack_p99_ms e2e_p50_ms e2e_p99_ms " +
	"server_cpu_us_per_message server_cpu_us_per_delivery server_rss_bytes bytes_per_connection fsyncs parameters versions"

// Every load starts a server of its own, measures it, reads the history back, and
// leaves nothing behind.
func TestALoadMeasuresAServerThatItStarts(t *testing.T) {
	t.Parallel()
	talking := strings.Fields("rate ack_p99_ms e2e_p99_ms server_cpu_us_per_message server_rss_bytes fsyncs")
	for _, c := range []struct {
		args string
		has  []string // of what may be null
	}{
		{"direct --users 20 --duration 1s --warmup 0s --echo", talking},
		{"direct --users 20 --duration 1s --warmup 0s --raw", talking},
		{"direct --users 20 --duration 1s --warmup 0s --protocol json", talking},
		{"group --members 30 --senders 3 --duration 1s --warmup 0s", talking},
		{"idle --connections 60 --warmup 100ms", []string{"server_rss_bytes", "bytes_per_connection"}},
	} {
		dir := t.TempDir()
		args := append(append([]string{"load"}, strings.Fields(c.args)...), "--spawn", "--dir", dir, "--json", "-")
		var said bytes.Buffer
		cmd := exec.CommandContext(within(t), program, args...)
		cmd.Env, cmd.Stderr = environment(), &said
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("kith load %s: %v: %s", c.args, err, said.Bytes())
			continue
		}
		var report map[string]any
		must(t, json.Unmarshal(out, &report))
		for _, key := range strings.Fields(reportKeys) {
			if _, ok := report[key]; !ok {
				t.Errorf("kith load %s: its report has no %s", c.args, key)
			}
		}
		for _, key := range c.has {
			if report[key] == nil {
				t.Errorf("kith load %s: %s is null", c.args, key)
			}
		}
		if report["sent"] != report["acked"] || report["lost"] != 0.0 || strings.HasPrefix(c.args, "idle") != (report["sent"] == 0.0) {
			t.Errorf("kith load %s: %v", c.args, report)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
			t.Errorf("kith load %s left %v, %v", c.args, left, err)
		}
	}
}

// A load on a server that runs already takes its tokens from the data folder.
func TestALoadMeasuresARunningServer(t *testing.T) {
	t.Parallel()
	s := start(t)
	websocket, _, internal := s.address()
	cmd := exec.CommandContext(within(t), program, "load", "direct", "--users", "10", "--duration", "1s", "--warmup", "0s",
		"--addr", websocket, "--internal", internal, "--data-dir", s.data(), "--config", filepath.Join(s.dir, "kith.toml"), "--tenant", plain)
	cmd.Env = environment()
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("lost 0, duplicated 0, reordered 0")) || !bytes.Contains(out, []byte("server CPU")) {
		t.Errorf("it ended with %v and said %s", err, out)
	}
}

// A load that cannot be ends with an error that says why.
func TestALoadThatCannotBeSaysWhy(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"direct --addr 127.0.0.1:1":            "connect",
		"direct --users 7 --spawn":             "no pairs",
		"direct --inflight 0 --spawn":          "--inflight",
		"idle --connections 20000 --spawn":     "descriptors",
		"group --spawn --addr 127.0.0.1:8000":  "--spawn",
		"direct --spawn --dir /nowhere/at/all": "folder",
	} {
		cmd := exec.CommandContext(within(t), program, append([]string{"load"}, strings.Fields(args)...)...)
		cmd.Env, cmd.Dir = environment(), t.TempDir()
		out, err := cmd.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("kith: ")) || !bytes.Contains(out, []byte(says)) {
			t.Errorf("kith load %s ended with %v and said %s", args, err, out)
		}
	}
}
