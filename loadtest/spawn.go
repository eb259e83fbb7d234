package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"kith/gateway/auth"
)

const (
	// tenant is the only one of a server that we start.
	tenant = "bench"
	// tokenLife is how long a token of ours is valid: longer than any run.
	tokenLife = 24 * time.Hour
	// stopTimeout is how long a child may take to end before it is killed.
	stopTimeout = 20 * time.Second
	// otherFiles is how many connections we leave to a child's HTTP door, which has
	// none.
	otherFiles = 16
)

// A Child is a server that we have started. Stop ends it.
type Child struct {
	Server
	process *exec.Cmd
	input   io.Closer
	dir     string // of its store, which goes with it
}

// start runs a program of ours and reads the line that says it is ready.
func start(ctx context.Context, ready any, program string, args ...string) (c *Child, err error) {
	// Not CommandContext: the child is asked to stop, and waited for.
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us; we stop it.
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c = &Child{process: cmd, input: input}
	c.PID = cmd.Process.Pid
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // What fails then is the reading.
	defer stop()
	if err := json.NewDecoder(out).Decode(ready); err != nil {
		return nil, errors.Join(fmt.Errorf("it did not say that it is ready: %w", err), c.Stop())
	}
	return c, nil
}

// Spawn starts `program serve` with a durable store of its own in a folder below
// dir (empty: the system's for temporary files) and room for so many connections.
// raw says that they are not WebSockets.
func Spawn(ctx context.Context, program, dir string, connections int, raw bool) (c *Child, err error) {
	dir, err = os.MkdirTemp(dir, "kith-load-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the server's store: %w", err)
	}
	c = &Child{}
	c.Restart = func(ctx context.Context) error {
		if err := c.end(); err != nil {
			return err
		}
		return c.serve(ctx, program, connections, raw)
	}
	c.dir = dir
	if err := c.serve(ctx, program, connections, raw); err != nil {
		return nil, errors.Join(fmt.Errorf("start a server: %w", err), os.RemoveAll(dir))
	}
	return c, nil
}

// serve starts the server on its store.
func (c *Child) serve(ctx context.Context, program string, connections int, raw bool) error {
	data := filepath.Join(c.dir, "data")
	var ready struct{ WebSocket, TCP, Internal string }
	args := []string{"serve", "--json", "--data-dir", data, "--log-level", "error",
		"--listen-ws", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-internal", "127.0.0.1:0",
		"--set", "tenants." + tenant + ".profile=bench",
		"--set", fmt.Sprint("max_connections=", connections), "--set", fmt.Sprint("max_unauthenticated=", connections),
		"--set", fmt.Sprint("http.max_conns=", otherFiles)}
	if raw {
		args = append(args, "--listen-tcp", "127.0.0.1:0")
	}
	started, err := start(ctx, &ready, program, args...)
	if err != nil {
		return err
	}
	c.process, c.input, c.PID = started.process, started.input, started.PID
	c.URL, c.Internal = ready.WebSocket, ready.Internal
	at := ready.WebSocket
	if raw {
		at = ready.TCP
	}
	if err := c.reach(at, data); err != nil {
		return errors.Join(err, c.end())
	}
	return nil
}

// reach finds out how to connect to a server with this URL and data folder.
func (c *Child) reach(where, data string) error {
	at, err := url.Parse(where)
	if err != nil {
		return fmt.Errorf("the server's address: %w", err)
	}
	c.Address = at.Host
	key, err := auth.ReadOwnKey(auth.OwnKeyPath(data, tenant))
	if err != nil {
		return err
	}
	c.Token = func(user string) (string, error) {
		now := time.Now()
		return auth.Mint(key, auth.Claims{
			User: user, Tenant: tenant, Device: "load", IssuedAt: now.Unix(), Expires: now.Add(tokenLife).Unix(),
		})
	}
	return nil
}

// SpawnEcho starts an echo server, by `program load echo-server`.
func SpawnEcho(ctx context.Context, program string) (*Child, error) {
	var ready struct{ Address string }
	c, err := start(ctx, &ready, program, "load", "echo-server")
	if err != nil {
		return nil, fmt.Errorf("start an echo server: %w", err)
	}
	c.Address = ready.Address
	return c, nil
}

// Stop ends the server, waits for its end, and removes its store.
func (c *Child) Stop() error {
	err := c.end()
	if c.dir != "" {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}

// end ends the server and waits for its end.
func (c *Child) end() error {
	killer := time.AfterFunc(stopTimeout, func() { _ = c.process.Process.Kill() }) // It may be gone.
	defer killer.Stop()
	err := errors.Join(c.input.Close(), c.process.Process.Signal(syscall.SIGTERM))
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	if ended := c.process.Wait(); ended != nil && !strings.Contains(ended.Error(), "terminated") {
		err = errors.Join(err, fmt.Errorf("the server ended badly: %w", ended))
	}
	return err
}
