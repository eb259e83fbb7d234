package clients

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const (
	// patience is how long a test waits for anything that ought to happen. It is
	// generous: two busy cores run a dozen tests at a time, and a test that waits
	// for it has failed.
	patience = 40 * time.Second
	// repository is the folder of module kith, seen from here.
	repository = "../.."
)

// program is the path of the built server.
var program string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "kith-clients-")
	if err != nil {
		return 1, err
	}
	defer func() {
		if e := os.RemoveAll(dir); err == nil {
			err = e
		}
	}()
	if program, err = build(dir); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, errors.Join(everybody.stop(), chromium.stop())
}

// build builds the server, unless SERVER_BINARY names one: a build with -race, say.
func build(dir string) (string, error) {
	if path := os.Getenv("SERVER_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(dir, "kith")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/kith")
	cmd.Dir = repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return path, nil
}

// must ends a test that cannot go on.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within returns a context that is over when patience is.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// A changing is a state that tests wait for. The zero value is ready.
type changing struct {
	mu  sync.Mutex // guards what is below, and the state
	now chan struct{}
}

// change alters the state and wakes who waits.
func (c *changing) change(alter func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	alter()
	if c.now != nil {
		close(c.now)
		c.now = nil
	}
}

// await returns once the state is as it should be, or false when patience ends.
func (c *changing) await(is func() bool) bool {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		c.mu.Lock()
		if is() {
			c.mu.Unlock()
			return true
		}
		if c.now == nil {
			c.now = make(chan struct{})
		}
		changed := c.now
		c.mu.Unlock()
		select {
		case <-changed:
		case <-deadline.C:
			return false
		}
	}
}

// read looks at the state.
func (c *changing) read(look func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	look()
}
