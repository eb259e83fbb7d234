package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// A browser is Debian's Chromium without a window. It is driven by its DevTools
// protocol over two pipes, each message JSON and a zero byte, and ends when they
// are closed: also when the tests are killed.
type browser struct {
	cmd *exec.Cmd
	dir string // its profile and its log
	log logFile
	to  *os.File // what it is told

	mu      sync.Mutex // guards what is below, and writes
	last    uint64     // id of a request
	waiting map[uint64]chan message
	tabs    map[string]*tab // by session
	over    error           // why nothing comes from it any more
}

// A message is a request, the reply to one, or an event.
type message struct {
	ID      uint64          `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// chromium is the browser of all tests that need one.
var chromium sharedBrowser

type sharedBrowser struct {
	once    sync.Once
	browser *browser
	err     error
}

// open returns a new tab of the browser. It has nothing of what others stored.
func (s *sharedBrowser) open(t testing.TB) *tab {
	t.Helper()
	requireTools(t, chromiumProgram)
	s.once.Do(func() { s.browser, s.err = startBrowser() })
	must(t, s.err)
	tab, err := s.browser.open(within(t))
	must(t, err)
	t.Cleanup(func() {
		tab.read(func() {
			if t.Failed() && len(tab.console) > 0 {
				t.Logf("the console of the page:\n%s", strings.Join(tab.console, "\n"))
			}
		})
		// The context of a test is over when it cleans up.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		must(t, tab.close(ctx))
	})
	return tab
}

func (s *sharedBrowser) stop() error {
	if s.browser == nil {
		return nil
	}
	return s.browser.stop()
}

// chromiumProgram is what Debian calls it.
const chromiumProgram = "chromium"

// chromiumFlags make it quiet on the network, and as quick in a tab that nobody
// looks at as in others.
var chromiumFlags = []string{
	"--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage",
	"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
	"--disable-quic", "--disable-breakpad", "--disable-extensions",
	"--disable-background-timer-throttling", "--disable-renderer-backgrounding",
}

func startBrowser() (b *browser, err error) {
	b = &browser{waiting: map[uint64]chan message{}, tabs: map[string]*tab{}}
	if b.dir, err = os.MkdirTemp("", "kith-chromium-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(b.dir))
		}
	}()
	if err = b.log.open(b.dir + "/log"); err != nil {
		return nil, err
	}
	hears, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	from, says, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	flags := append([]string{"--user-data-dir=" + b.dir + "/profile"}, chromiumFlags...)
	if os.Geteuid() == 0 {
		flags = append(flags, "--no-sandbox") // It does not start for root otherwise.
	}
	b.to, b.cmd = to, exec.Command(chromiumProgram, flags...)
	b.cmd.ExtraFiles = []*os.File{hears, says} // Its 3 and 4.
	b.cmd.Env = append(environment(), "HOME="+b.dir)
	// All of its processes have this open, so that Wait returns after the last.
	b.cmd.Stdout, b.cmd.Stderr, b.cmd.WaitDelay = &b.log, &b.log, patience
	if err = b.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", chromiumProgram, err)
	}
	go b.listen(from)
	return b, errors.Join(hears.Close(), says.Close())
}

// stop ends the browser and removes what it stored.
func (b *browser) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.call(ctx, "", "Browser.close", nil, nil); err != nil {
		return errors.Join(err, b.cmd.Process.Kill(), b.cmd.Wait(), os.RemoveAll(b.dir))
	}
	if err := b.cmd.Wait(); err != nil {
		return errors.Join(fmt.Errorf("%s: %w\n%s", chromiumProgram, err, b.log.tail()), os.RemoveAll(b.dir))
	}
	return errors.Join(b.to.Close(), b.log.file.Close(), os.RemoveAll(b.dir))
}

// call tells the browser, or the page of a session, to do something, and reads
// what comes of it into result.
func (b *browser) call(ctx context.Context, session, method string, params, result any) error {
	request := message{Session: session, Method: method}
	reply := make(chan message, 1) // There is one.
	var err error
	if request.Params, err = json.Marshal(params); err != nil {
		return err
	}
	if params == nil {
		request.Params = nil
	}
	if err := b.tell(&request, reply); err != nil {
		return fmt.Errorf("%s: %w\n%s", method, err, b.log.tail())
	}
	select {
	case m, ok := <-reply:
		switch {
		case !ok:
			return fmt.Errorf("%s: the browser ended\n%s", method, b.log.tail())
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		case result != nil:
			return json.Unmarshal(m.Result, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// tell writes a request, whose reply goes to a channel.
func (b *browser) tell(request *message, reply chan message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over != nil {
		return b.over
	}
	b.last++
	request.ID = b.last
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	b.waiting[request.ID] = reply
	_, err = b.to.Write(append(text, 0))
	return err
}

// listen hears what the browser says until it ends.
func (b *browser) listen(from *os.File) {
	lines := bufio.NewReader(from)
	for {
		text, err := lines.ReadBytes(0)
		if err != nil {
			b.ended(errors.Join(err, from.Close()))
			return
		}
		var m message
		if err := json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m); err != nil {
			b.ended(fmt.Errorf("the browser said %q: %w", text, err))
			return
		}
		b.mu.Lock()
		reply, tab := b.waiting[m.ID], b.tabs[m.Session]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		switch {
		case reply != nil:
			reply <- m
		case tab != nil:
			tab.hear(m)
		}
	}
}

// ended lets go who waits for replies.
func (b *browser) ended(why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = why
	for id, reply := range b.waiting {
		close(reply)
		delete(b.waiting, id)
	}
}
