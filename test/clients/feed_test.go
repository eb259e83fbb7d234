package clients

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A day on IRC, in all the shapes that lines have; some bytes are not UTF-8.
const chatLog = `[09:00] <guzu> good morning
=== sangria [n=jaime@host]  has joined #ubuntu
[09:01] <sangria> guzu: hello
[09:01]  * guzu waves
=== mode/#ubuntu [-o mdz]  by ChanServ
=== sangria is now known as wine
[09:02] <wine> still me, caf` + "\xe9" + `
[09:02] <a|b[c]> 
=== guzu [n=guzu@host]  has left #ubuntu ["Leaving"]
[09:03] <wine> gone?
=== guzu [n=guzu@host]  has joined #ubuntu
[09:04] <guzu> no
`

// People come, go, come back and talk through sockets of their own, and the
// history that is read back equals the file.
func TestAFeedIsReadBackAsItWas(t *testing.T) {
	t.Parallel()
	s := start(t)
	log := filepath.Join(t.TempDir(), "day.txt")
	must(t, os.WriteFile(log, []byte(chatLog), 0o600))
	websocket, _, _ := s.address()
	websocket = "ws://" + websocket + "/connection/websocket"
	out := feed(t, s, websocket, log)
	if !strings.Contains(out, "7 messages by 4 people; the history equals the log") {
		t.Errorf("kith feed said %q", out)
	}
	if again := feed(t, s, websocket, log, "--limit", "2"); !strings.Contains(again, "2 messages by 2 people") {
		t.Errorf("kith feed --limit 2 said %q", again)
	}
}

// A feed without a server ends with an error that says so.
func TestAFeedWithoutAServerFails(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "day.txt")
	must(t, os.WriteFile(log, []byte(chatLog), 0o600))
	for _, url := range []string{"ws://127.0.0.1:1/connection/websocket", "127.0.0.1:8000", ""} {
		cmd := exec.CommandContext(within(t), program, "feed", log, "--data-dir", t.TempDir(), "--url", url)
		cmd.Env = environment()
		if out, err := cmd.CombinedOutput(); err == nil || !bytes.HasPrefix(out, []byte("kith:")) {
			t.Errorf("with %q it ended with %v and said %q", url, err, out)
		}
	}
}

func feed(t *testing.T, s *server, websocket, log string, more ...string) string {
	t.Helper()
	args := append([]string{"feed", log, "--config", filepath.Join(s.dir, "kith.toml"), "--data-dir", s.data(), "--tenant", "plain", "--url", websocket}, more...)
	cmd := exec.CommandContext(within(t), program, args...)
	cmd.Env = environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("kith feed: %v\n%s", err, out)
	}
	return string(out)
}
