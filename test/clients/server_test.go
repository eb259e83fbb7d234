package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Tenants of every server that the tests start. Each is there for what its
// policy makes visible within seconds.
const (
	plain  = "plain"  // no limits of rate: most tests
	other  = "other"  // the same, next door
	brief  = "brief"  // tokens end when they say so, pings come every two seconds, messages may go after one
	narrow = "narrow" // few channels, sessions and requests, and a short queue
	packed = "packed" // conversations are large above five members, and small again below four
)

// tenants is their part of the configuration.
const tenants = `
[tenants.plain]
profile = "bench"

[tenants.other]
profile = "bench"

[tenants.brief]
profile = "bench"
[tenants.brief.policy]
token_leeway = "2s"
ping_every = "2s"
pong_timeout = "1s"
auto_delete_step = "1s"

[tenants.packed]
profile = "bench"
[tenants.packed.policy]
large_above = 5
small_below = 4

[tenants.narrow]
profile = "bench"
[tenants.narrow.policy]
max_channels = 4
max_sessions = 2
out_queue_bytes = "64KiB"
requests_per_minute = 60
request_burst = 50
`

// startPatience is how long a server may take to be ready: it opens its store.
const startPatience = 30 * time.Second

// A ready is what `kith serve --json` prints when it is.
type ready struct {
	WebSocket string            `json:"websocket"`
	HTTP      string            `json:"http"`
	Internal  string            `json:"internal"`
	Tokens    map[string]string `json:"tokens"`
}

// A server is a node: a data folder, addresses, and the process of the moment.
type server struct {
	dir     string // has the configuration, and the data in data
	listen  [3]string
	origins []string // of the pages that may connect
	more    string   // configuration besides that of every server
	log     logFile

	mu    sync.Mutex // guards what is below
	ready ready
	cmd   *exec.Cmd
	over  chan struct{} // closed when cmd has ended
	lines []string      // that it printed besides the first
}

// hosts counts servers, so that each has an IP address of its own. A port that is
// free again there stays so: connections of clients start from 127.0.0.1.
var hosts atomic.Uint32

func loopback() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1" // The others have no more.
	}
	pid, n := os.Getpid(), hosts.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 16+pid%200, 1+pid/200%250, 1+n%250)
}

// newServer prepares a node in a new folder.
func newServer(dir string, origins ...string) (*server, error) {
	host := loopback()
	s := &server{dir: dir, listen: [3]string{host + ":0", host + ":0", host + ":0"}, origins: origins}
	return s, s.log.open(filepath.Join(dir, "log"))
}

// start starts a node of a test's own, which ends with it.
func start(t testing.TB, origins ...string) *server {
	t.Helper()
	s, err := newServer(t.TempDir(), origins...)
	must(t, err)
	must(t, s.run())
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the server's log ends:\n%s", s.log.tail())
		}
	})
	return s
}

// everybody is the node of the tests that need none of their own.
var everybody shared

type shared struct {
	once   sync.Once
	server *server
	dir    string
	err    error
}

// node returns it. Tests share it by using people of their own.
func (s *shared) node(t testing.TB) *server {
	t.Helper()
	s.once.Do(func() {
		if s.dir, s.err = os.MkdirTemp("", "kith-node-"); s.err != nil {
			return
		}
		if s.server, s.err = newServer(s.dir); s.err == nil {
			s.err = s.server.run()
		}
	})
	must(t, s.err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of the shared server ends:\n%s", s.server.log.tail())
		}
	})
	return s.server
}

func (s *shared) stop() error {
	if s.server == nil {
		return nil
	}
	return errors.Join(s.server.stop(), os.RemoveAll(s.dir))
}

// data is the folder of the store and the keys.
func (s *server) data() string { return filepath.Join(s.dir, "data") }

// configure writes the configuration and returns its path.
func (s *server) configure() (string, error) {
	path := filepath.Join(s.dir, "kith.toml")
	origins, err := json.Marshal(append([]string{}, s.origins...)) // A list, also when there is none.
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("data_dir = %q\norigins = %s\nshutdown_timeout = \"5s\"\n[listen]\nws = %q\nhttp = %q\ninternal = %q\n"+
		"[storage]\ncache_bytes = \"16MiB\"\nmem_table_bytes = \"8MiB\"\nmin_free_bytes = 0\n%s",
		s.data(), origins, s.listen[0], s.listen[1], s.listen[2], tenants+s.more)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// run starts the process and waits until it is ready. Once it has run, it has
// the same addresses for ever.
func (s *server) run() error {
	config, err := s.configure()
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "serve", "--config", config, "--json")
	cmd.Env, cmd.Stderr = environment(), &s.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	over := make(chan struct{})
	first := make(chan string, 1)
	go func() {
		s.drain(out, first)
		_ = cmd.Wait() // How it ended is in cmd.ProcessState.
		close(over)
	}()
	s.mu.Lock()
	s.cmd, s.over = cmd, over
	s.mu.Unlock()
	return s.awaitReady(first)
}

// environment is that of the tests without what would configure a server.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.HasPrefix(pair, "KITH_") })
}

// drain reads what the process prints until it ends: one line when it is ready,
// and nothing else ever.
func (s *server) drain(out io.Reader, first chan<- string) {
	defer close(first)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); n++ {
		if n == 0 {
			first <- lines.Text()
			continue
		}
		s.mu.Lock()
		s.lines = append(s.lines, lines.Text())
		s.mu.Unlock()
	}
}

func (s *server) awaitReady(first <-chan string) error {
	select {
	case line, ok := <-first:
		if !ok {
			<-s.over
			return fmt.Errorf("the server ended before it was ready: %v\n%s", s.cmd.ProcessState, s.log.tail())
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := json.Unmarshal([]byte(line), &s.ready); err != nil {
			return fmt.Errorf("the server printed %q: %w", line, err)
		}
		return s.keepAddresses()
	case <-time.After(startPatience):
		return errors.Join(fmt.Errorf("the server is not ready after %v\n%s", startPatience, s.log.tail()), s.kill())
	}
}

// keepAddresses makes the addresses that the system picked those of the next
// start. The caller holds mu.
func (s *server) keepAddresses() error {
	for i, address := range []string{s.ready.WebSocket, s.ready.HTTP, s.ready.Internal} {
		u, err := url.Parse(address)
		if err != nil || u.Port() == "" || u.Port() == "0" {
			return fmt.Errorf("the server says that it is at %q: %v", address, err)
		}
		s.listen[i] = u.Host
	}
	return nil
}

// stop ends the process as an operator does, and reports if it did not end well.
func (s *server) stop() error {
	if err := s.end(syscall.SIGTERM); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lines) > 0 {
		return fmt.Errorf("the server printed more than one line: %q", s.lines)
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("after SIGTERM the server ended with %v, want exit code 0\n%s", s.cmd.ProcessState, s.log.tail())
	}
	return nil
}

// kill ends the process as a crash does.
func (s *server) kill() error { return s.end(syscall.SIGKILL) }

// end sends a signal and waits for the end. A process that ended is left alone.
func (s *server) end(signal syscall.Signal) error {
	s.mu.Lock()
	cmd, over := s.cmd, s.over
	s.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-over:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("the server still runs %v after %v", patience, signal), cmd.Process.Kill())
	}
}

// address is where a door of the server is: host and port.
func (s *server) address() (websocket, http, internal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listen[0], s.listen[1], s.listen[2]
}

// url is a URL of the HTTP door.
func (s *server) url(path string) string {
	_, http, _ := s.address()
	return "http://" + http + path
}

// webSocket is the address for clients by way of a host and port.
func (s *server) webSocket(by string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Replace(s.ready.WebSocket, s.listen[0], by, 1)
}

// metric is the sum of the samples of a metric whose labels hold a text.
func (s *server) metric(t testing.TB, name, label string) float64 {
	t.Helper()
	_, _, internal := s.address()
	status, _, body := get(t, "http://"+internal+"/metrics")
	if status != 200 {
		t.Fatalf("metrics: status %d\n%s", status, body)
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(body)) {
		sample, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		family, labels, _ := strings.Cut(sample, "{")
		if !ok || family != name || !strings.Contains(labels, label) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		must(t, err)
		sum, found = sum+n, true
	}
	if !found {
		t.Fatalf("there is no metric %s with %s", name, label)
	}
	return sum
}

// A logFile takes what a server writes to standard error, over its restarts.
type logFile struct {
	mu   sync.Mutex
	file *os.File
	last bytes.Buffer // what tail shows
}

// maxTail is how much of a log a failed test shows, in bytes.
const maxTail = 8 << 10

func (l *logFile) open(path string) (err error) {
	l.file, err = os.Create(path)
	return err
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last.Write(b)
	if over := l.last.Len() - maxTail; over > 0 {
		l.last.Next(over)
	}
	return l.file.Write(b)
}

func (l *logFile) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.String()
}
