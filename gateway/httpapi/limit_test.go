package httpapi

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"kith/actors/entity"
)

func TestARateIsKept(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	p := &entity.Policy{RequestsPerMinute: 60, RequestBurst: 3} // One a second.
	steps := []struct {
		at   time.Duration
		user uint64
		wait time.Duration
	}{
		{0, 1, 0}, {0, 1, 0}, {0, 1, 0},
		{0, 1, time.Second},
		{0, 2, 0}, // Another has a bucket of his own.
		{400 * time.Millisecond, 1, 600 * time.Millisecond},
		{time.Second, 1, 0},
		{time.Second, 1, time.Second},
		{time.Hour, 1, 0}, {time.Hour, 1, 0}, {time.Hour, 1, 0}, // Never more than the burst.
		{time.Hour, 1, time.Second},
	}
	l := newLimiter()
	for i, s := range steps {
		if got := l.take(user{1, s.user}, p, start.Add(s.at)); got != s.wait {
			t.Errorf("step %d: wait = %v, want %v", i, got, s.wait)
		}
	}
	for range 100 {
		if got := l.take(user{1, 3}, &entity.Policy{}, start); got != 0 {
			t.Fatalf("wait = %v without a limit, want 0", got)
		}
	}
}

func TestWhoCallsTooOftenIsTold(t *testing.T) {
	w := start(t, nil)
	w.mu.Lock()
	w.policy.RequestsPerMinute, w.policy.RequestBurst = 30, 1
	w.mu.Unlock()
	if resp, body := do(t, w.request(t, "Messages.Send", hello)); resp.StatusCode != http.StatusOK {
		t.Fatalf("status = %d, want 200: %s", resp.StatusCode, body)
	}
	resp, body := do(t, w.request(t, "Messages.Send", hello))
	p := wantProblem(t, resp, body, http.StatusTooManyRequests, "exhausted")
	if p.Limit != 30 || resp.Header.Get("Retry-After") != "2" {
		t.Errorf("limit = %d, Retry-After %q, want 30 and 2", p.Limit, resp.Header.Get("Retry-After"))
	}
	w.mu.Lock()
	w.clock = w.clock.Add(2 * time.Second)
	w.mu.Unlock()
	if resp, body := do(t, w.request(t, "Messages.Send", hello)); resp.StatusCode != http.StatusOK {
		t.Errorf("status = %d after the wait, want 200: %s", resp.StatusCode, body)
	}
}

func TestRecentIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	r := newRecent[int, int](100)
	r.put(-1, 7)
	for i := range 10_000 {
		r.put(i, i)
		if got := r.get(-1); got != 7 {
			t.Fatalf("after %d: get(-1) = %d, want 7: it is used all the time", i, got)
		}
		if got := len(r.young) + len(r.old); got > 100 {
			t.Fatalf("after %d: %d keys, want at most 100", i, got)
		}
	}
	if got := r.get(0); got != 0 {
		t.Errorf("get(0) = %d, want it forgotten", got)
	}
	if got := r.get(9_999); got != 9_999 {
		t.Errorf("get(9999) = %d, want 9999", got)
	}
}

// get asks for the index on a connection and keeps it open.
func get(tb testing.TB, c net.Conn, field string) {
	tb.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n"+field+"\r\n"); err != nil {
		tb.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		tb.Fatalf("no answer: %v", err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	limits := map[string]func(*Config){
		"from one address": func(c *Config) { c.MaxConnsPerIP = 2 },
		"in all":           func(c *Config) { c.MaxConns = 2 },
	}
	for name, change := range limits {
		t.Run(name, func(t *testing.T) {
			w := start(t, change)
			first, second := w.dial(t), w.dial(t)
			get(t, first, "")
			get(t, second, "")
			if _, err := io.ReadAll(w.dial(t)); err != nil {
				t.Logf("the third was reset: %v", err) // As good as an end.
			}
			if got := w.counted(t, "kith_http_turned_away_total", ""); got != 1 {
				t.Errorf("kith_http_turned_away_total = %v, want 1", got)
			}
			if got := w.counted(t, "kith_http_connections", ""); got != 2 {
				t.Errorf("kith_http_connections = %v, want 2", got)
			}
			get(t, first, "Connection: close\r\n")
			if _, err := io.ReadAll(first); err != nil {
				t.Fatal(err)
			}
			get(t, w.dial(t), "") // There is room again.
		})
	}
}

func TestWhatConnectionsAreCountedBy(t *testing.T) {
	cases := map[string]string{
		"192.0.2.7:80":             "192.0.2.7/32",
		"[::ffff:192.0.2.7]:80":    "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:80":   "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::]:80": "2001:db8:1:2::/64",
		"[fe80::1%lo]:80":          "fe80::/64",
	}
	for address, want := range cases {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := prefixOf(a).String(); got != want {
			t.Errorf("prefixOf(%s) = %s, want %s", address, got, want)
		}
	}
	if got := prefixOf(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("prefixOf(unix) = %v, want none", got)
	}
}

func TestConfigsThatAreRefused(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	good := DefaultConfig()
	good.Origins = []string{"*", "https://a.example", "http://localhost:3000"}
	if err := good.Validate(); err != nil {
		t.Errorf("origins: %v", err)
	}
	bad := map[string]func(*Config){
		"no limit of bodies":  func(c *Config) { c.MaxBodyBytes = 0 },
		"bodies beyond JSON":  func(c *Config) { c.MaxBodyBytes = 2 << 20 },
		"no header":           func(c *Config) { c.MaxHeaderBytes = 10 },
		"no header timeout":   func(c *Config) { c.HeaderTimeout = 0 },
		"no body timeout":     func(c *Config) { c.BodyTimeout = 0 },
		"no idle timeout":     func(c *Config) { c.IdleTimeout = 0 },
		"no write timeout":    func(c *Config) { c.WriteTimeout = -1 },
		"an hour for a call":  func(c *Config) { c.CallTimeout = time.Hour },
		"no connections":      func(c *Config) { c.MaxConns = 0 },
		"none from an IP":     func(c *Config) { c.MaxConnsPerIP = 0 },
		"a host is no origin": func(c *Config) { c.Origins = []string{"a.example"} },
		"nor is a page":       func(c *Config) { c.Origins = []string{"https://a.example/"} },
	}
	for name, change := range bad {
		c := DefaultConfig()
		if change(&c); c.Validate() == nil {
			t.Errorf("%s: Validate = nil, want an error", name)
		}
	}
}
