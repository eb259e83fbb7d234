package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"kith/actors/entity"
	"kith/gateway/auth"
)

// tenant is the only one of the measured server, whose number is therefore 1.
const (
	tenant       = "bench"
	tenantNumber = 1
)

func direct(a, b string) uint64 { return entity.DirectNumber(tenantNumber, a, b) }

// A server is the measured process.
type server struct {
	process *exec.Cmd
	started time.Time
	address string // of its WebSockets
	key     ed25519.PrivateKey
}

// start runs a server on an empty store and waits until it is ready.
func start(binary, dataDir string) (*server, error) {
	cmd := exec.Command(binary, "serve", "--json", "--data-dir", dataDir, "--log-level", "error",
		"--listen-ws", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-internal", "127.0.0.1:0",
		"--set", "tenants."+tenant+".profile=bench")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("read what the server says: %w", err)
	}
	s := &server{process: cmd, started: time.Now()}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run the server: %w", err)
	}
	var ready struct{ WebSocket string }
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		return nil, fmt.Errorf("the server did not say that it is ready: %w", err)
	}
	s.address = ready.WebSocket
	s.key, err = auth.ReadOwnKey(auth.OwnKeyPath(dataDir, tenant))
	return s, err
}

// token is what a user connects with.
func (s *server) token(user string) (string, error) {
	now := time.Now()
	return auth.Mint(s.key, auth.Claims{
		User: user, Tenant: tenant, Device: "phone", IssuedAt: now.Unix(), Expires: now.Add(time.Hour).Unix(),
	})
}

// stop ends the server and waits for its end.
func (s *server) stop() error {
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the server: %w", err)
	}
	if err := s.process.Wait(); err != nil {
		return fmt.Errorf("the server ended badly: %w", err)
	}
	return nil
}

// clockTick is the unit of /proc/*/stat: USER_HZ, which is 100 everywhere.
const clockTick = 10 * time.Millisecond

// cpu is what the server's process has used.
func (s *server) cpu() (user, system time.Duration, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.Process.Pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read the server's CPU time: %w", err)
	}
	// The second field is a name in brackets; utime and stime are the 14th and 15th.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3
	for i, to := range map[int]*time.Duration{utime: &user, stime: &system} {
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read the server's CPU time: %w", err)
		}
		*to = time.Duration(n) * clockTick
	}
	return user, system, nil
}
