package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// startInternal serves an internal server until the test ends, and returns its URL.
func startInternal(tb testing.TB, log *syncBuffer, checks ...Check) string {
	tb.Helper()
	metrics := prometheus.NewRegistry()
	if _, err := newMetrics(metrics); err != nil {
		tb.Fatal(err)
	}
	i, err := NewInternal(InternalDeps{
		Checks: checks, Metrics: metrics, Admin: &desk{}, Version: "1.2.3", Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- i.Serve(ln) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := errors.Join(i.Shutdown(ctx), <-served); err != nil {
			tb.Error(err)
		}
	})
	return "http://" + ln.Addr().String()
}

// ask sends a request without a body.
func ask(tb testing.TB, method, url string) (*http.Response, string) {
	tb.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	resp, body := do(tb, r)
	return resp, string(body)
}

func TestTheInternalPages(t *testing.T) {
	url := startInternal(t, &syncBuffer{})
	cases := []struct {
		method, path string
		status       int
		want         string // a part of the answer
	}{
		{"GET", "/healthz", 200, "ok"},
		{"GET", "/readyz", 200, `"ready":true`},
		{"GET", "/version", 200, `"version":"1.2.3"`},
		{"GET", "/version", 200, `"go":"go1.`},
		{"GET", "/metrics", 200, "kith_http_panics_total 0"},
		{"GET", "/metrics", 200, "# TYPE kith_internal_connections gauge"},
		{"GET", "/debug/pprof/", 200, "goroutine"},
		{"GET", "/debug/pprof/goroutine?debug=1", 200, "goroutine profile"},
		{"GET", "/debug/pprof/cmdline", 200, "httpapi"},
		{"GET", "/debug/pprof/none", 404, ""},
		{"GET", "/", 404, "/healthz"},
		{"POST", "/healthz", 405, "GET"},
		{"GET", "/v1/Messages.Send", 404, "/healthz"},
	}
	for _, c := range cases {
		resp, body := ask(t, c.method, url+c.path)
		if resp.StatusCode != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: status %d, want %d with %q: %s", c.method, c.path, resp.StatusCode, c.status, c.want, body)
		}
	}
}

func TestReadyMeansThatEveryCheckSaysSo(t *testing.T) {
	var full atomic.Bool
	url := startInternal(t, &syncBuffer{},
		Check{"serving", func() error { return nil }},
		Check{"disk", func() error {
			if full.Load() {
				return errors.New("there are 3 % of the disk left")
			}
			return nil
		}})
	for _, c := range []struct {
		full   bool
		status int
		want   string
	}{
		{false, 200, `{"ready":true,"checks":{"disk":"ok","serving":"ok"}}`},
		{true, 503, `{"ready":false,"checks":{"disk":"there are 3 % of the disk left","serving":"ok"}}`},
		{false, 200, `{"ready":true,"checks":{"disk":"ok","serving":"ok"}}`},
	} {
		full.Store(c.full)
		resp, body := ask(t, "GET", url+"/readyz")
		if resp.StatusCode != c.status || strings.TrimSpace(body) != c.want {
			t.Errorf("full %v: status %d, %s, want %d, %s", c.full, resp.StatusCode, body, c.status, c.want)
		}
		if resp, _ := ask(t, "GET", url+"/healthz"); resp.StatusCode != 200 {
			t.Errorf("healthz = %d, want 200 whatever the disk", resp.StatusCode)
		}
	}
}

func TestACheckThatPanics(t *testing.T) {
	log := &syncBuffer{}
	url := startInternal(t, log, Check{"broken", func() error { panic("secret") }})
	resp, body := ask(t, "GET", url+"/readyz")
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil || resp.StatusCode != 500 || p.Code != "internal" {
		t.Errorf("status = %d (%v), want a problem: %s", resp.StatusCode, err, body)
	}
	if got := log.String(); !strings.Contains(got, "/readyz") || strings.Contains(got, "secret") {
		t.Errorf("log = %s, want the path and not the panic's text", got)
	}
}
