package clients

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What the README's run command prints is for copying into a shell. This does as a
// new user would: every curl line and every client, in the order of the page.
func TestThePrintedLinesWorkAsPrinted(t *testing.T) {
	t.Parallel()
	requireTools(t, "curl")
	requireNode(t)
	curls := 0
	var clients []*printed
	for _, command := range servePage(t) {
		if strings.HasPrefix(command, "node ") {
			// A person goes on when it says that it is connected.
			c := runShell(t, command)
			c.says("connected")
			clients = append(clients, c)
			continue
		}
		curls++
		out, err := shell(command).CombinedOutput()
		if err != nil || !bytes.HasPrefix(out, []byte(`{"`)) || bytes.Contains(out, []byte(`"status":`)) {
			t.Errorf("%s\nprinted %s (%v), want a reply", command, out, err)
		}
	}
	if curls < 2 || len(clients) != 1 {
		t.Fatalf("the page has %d curl lines and %d clients, want two at least and one", curls, len(clients))
	}
	clients[0].says("MessageSent")
	clients[0].says("seq:") // The client answered, and shows the reply.
}

// servePage runs the command of the README, on ports of its own, and returns the
// commands that it prints.
func servePage(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command(program, "serve", "--data-dir", filepath.Join(t.TempDir(), "data"),
		"--listen-ws", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-internal", "127.0.0.1:0")
	var log bytes.Buffer
	cmd.Env, cmd.Stderr = environment(), &log
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, cmd.Process.Signal(syscall.SIGTERM))
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, &log)
		}
	})
	commands, err := readPage(out)
	must(t, err)
	return commands
}

// lastWords begin the last line of the page.
const lastWords = "Stop with "

// readPage finds the commands of a page: lines that begin with curl, and what is
// fed to node from `node …<<'EOF'` to EOF.
func readPage(page io.Reader) (commands []string, err error) {
	var block []string
	lines := bufio.NewScanner(page)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, lastWords):
			return commands, nil
		case strings.HasPrefix(line, "node "), len(block) > 0:
			if block = append(block, line); line == "EOF" {
				commands, block = append(commands, strings.Join(block, "\n")), nil
			}
		case strings.HasPrefix(line, "curl "):
			commands = append(commands, line)
		}
	}
	return nil, fmt.Errorf("the page ended without %q: %w", lastWords, lines.Err())
}

// shell is a command as a person gives it, in this folder: the npm packages are
// here.
func shell(command string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", command)
	cmd.Env = environment()
	return cmd
}

// A printed is what a command that runs has printed.
type printed struct {
	t testing.TB
	changing
	text []byte
}

// runShell runs a command until the test ends.
func runShell(t testing.TB, command string) *printed {
	t.Helper()
	p := &printed{t: t}
	cmd := shell(command)
	cmd.Stdout, cmd.Stderr = p, p
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // It ends with all that it started.
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
		_ = cmd.Wait() // It was killed.
	})
	return p
}

func (p *printed) Write(b []byte) (int, error) {
	p.change(func() { p.text = append(p.text, b...) })
	return len(b), nil
}

// says waits until something was printed.
func (p *printed) says(words string) {
	p.t.Helper()
	if !p.await(func() bool { return bytes.Contains(p.text, []byte(words)) }) {
		p.t.Fatalf("%q was not printed within %v, but this:\n%s", words, patience, p.text)
	}
}
