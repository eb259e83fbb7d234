package httpapi

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/gateway/limit"
)

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

func TestWhatTheOtherDoorTookIsTaken(t *testing.T) {
	w := start(t, nil)
	w.mu.Lock()
	w.policy.RequestsPerMinute, w.policy.RequestBurst = 60, 2
	policy := w.policy
	w.mu.Unlock()
	ann := limit.User{Tenant: 1, Number: entity.UserNumber(1, "ann")}
	for range 2 { // Over a socket.
		if wait := w.requests.Take(ann, &policy, w.now()); wait != 0 {
			t.Fatalf("wait = %v, want none", wait)
		}
	}
	resp, body := do(t, w.request(t, "Messages.Send", hello))
	wantProblem(t, resp, body, http.StatusTooManyRequests, "exhausted")
}
