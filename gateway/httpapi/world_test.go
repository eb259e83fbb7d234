package httpapi

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/pb"
	"kith/gateway/auth"
	"kith/gateway/limit"
)

// registry is that of the real server.
func registry(tb testing.TB) *entity.Registry {
	tb.Helper()
	r, err := entity.New(feature.All...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// node is a Submitter in memory. It knows what it was asked, and answers as it is
// told to.
type node struct {
	mu     sync.Mutex // guards what is below
	calls  []*entity.Call
	answer func(c *entity.Call, done func(entity.Result)) // nil: ordinary
}

func (n *node) Submit(c *entity.Call, done func(entity.Result)) {
	n.mu.Lock()
	n.calls = append(n.calls, c)
	answer := n.answer
	n.mu.Unlock()
	if answer == nil || c.Method.Name == connectName {
		answer = ordinary
	}
	answer(c, done)
}

// ordinary answers from another goroutine, as a host does.
func ordinary(c *entity.Call, done func(entity.Result)) {
	go func() {
		switch req := c.Req.(type) {
		case *pb.SendRequest:
			done(entity.Result{Reply: &pb.SendResponse{Seq: 7, At: 1_700_000_000_000}})
		case *pb.HistoryRequest:
			done(entity.Result{Reply: &pb.HistoryResponse{MoreBefore: req.GetBefore() > 0}})
		default:
			done(entity.Result{Reply: &pb.ConnectDeviceResponse{}})
		}
	}()
}

// refusing answers all calls with one error.
func refusing(e *entity.Error) func(*entity.Call, func(entity.Result)) {
	return func(_ *entity.Call, done func(entity.Result)) { go done(entity.Result{Err: e}) }
}

func (n *node) answers(f func(*entity.Call, func(entity.Result))) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer = f
}

// asked returns the calls of a method so far.
func (n *node) asked(method string) (calls []*entity.Call) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.calls {
		if c.Method.Name == method {
			calls = append(calls, c)
		}
	}
	return calls
}

// world is a Door on loopback, and what it stands on.
type world struct {
	door     *Door
	addr     string
	node     *node
	metrics  *prometheus.Registry
	requests *limit.Requests // another door would share them
	log      *syncBuffer
	key      ed25519.PrivateKey
	served   chan error // what Serve returned

	mu     sync.Mutex // guards what is below
	policy entity.Policy
	clock  time.Time
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex // guards what is below
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start serves a door until the test ends.
func start(tb testing.TB, change func(*Config)) *world {
	tb.Helper()
	w := prepare(tb, change)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	w.addr = ln.Addr().String()
	go func() { w.served <- w.door.Serve(ln) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = w.door.Shutdown(ctx) // Connections of the test may be left.
		if err := <-w.served; err != nil {
			tb.Errorf("Serve = %v, want nil", err)
		}
	})
	return w
}

// prepare makes a door that does not listen.
func prepare(tb testing.TB, change func(*Config)) *world {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		tb.Fatal(err)
	}
	dev, _ := entity.Profile("dev")
	w := &world{
		node: &node{}, metrics: prometheus.NewRegistry(), requests: limit.NewRequests(), log: &syncBuffer{}, key: key,
		served: make(chan error, 1), policy: dev, clock: time.Now(),
	}
	tenants := []auth.Tenant{
		{Name: "one", Number: 1, Keys: []auth.Key{auth.OwnKey(key)}, Policy: &dev},
		{Name: "two", Number: 2, Keys: []auth.Key{auth.OwnKey(key)}, Policy: &dev},
	}
	verifier, err := auth.NewVerifier(tenants, time.Now)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	w.door, err = New(cfg, Deps{
		Registry: registry(tb), Submitter: w.node, Tokens: auth.NewCache(verifier, auth.CacheTokens), Policy: w.policyOf,
		Requests: w.requests, Now: w.now, Metrics: w.metrics, Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

func (w *world) policyOf(entity.Tenant) *entity.Policy {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.policy
	return &p
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

// token is a token of a user on his phone.
func (w *world) token(tb testing.TB, tenant, user, device string) string {
	tb.Helper()
	now := time.Now().Unix()
	token, err := auth.Mint(w.key, auth.Claims{User: user, Tenant: tenant, Device: device, IssuedAt: now, Expires: now + 3600})
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// request is a POST of ann's, which a case may change.
func (w *world) request(tb testing.TB, method, body string) *http.Request {
	tb.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://"+w.addr+"/v1/"+method, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token(tb, "one", "ann", "phone"))
	r.Header.Set("Content-Type", "application/json")
	return r
}

// do sends a request over a connection of its own.
func do(tb testing.TB, r *http.Request) (*http.Response, []byte) {
	tb.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		tb.Fatal(err)
	}
	return resp, body
}

// wantProblem checks that an answer is a problem of its status and code, and
// returns it.
func wantProblem(tb testing.TB, resp *http.Response, body []byte, status int, code string) problem {
	tb.Helper()
	var p problem
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		tb.Fatalf("status %d, body %q is no problem: %v", resp.StatusCode, body, err)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		tb.Errorf("Content-Type = %q, want application/problem+json", got)
	}
	if resp.StatusCode != status || p.Status != status {
		tb.Errorf("status = %d, in the body %d, want %d: %s", resp.StatusCode, p.Status, status, p.Detail)
	}
	if p.Code != code || p.Type != "kith:"+code {
		tb.Errorf("code = %q, type %q, want %q: %s", p.Code, p.Type, code, p.Detail)
	}
	if p.Title == "" || p.Detail == "" || p.Instance == "" {
		tb.Errorf("problem = %+v, want a title, a detail and an instance", p)
	}
	if got := resp.Header.Get("X-Content-Type-Options"); got != "nosniff" {
		tb.Errorf("X-Content-Type-Options = %q, want nosniff", got)
	}
	return p
}

// counted is the value of a counter or gauge, or the number of observations of
// a histogram, with labels as in "method=a,code=b".
func (w *world) counted(tb testing.TB, name, labels string) float64 {
	tb.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			var has []string
			for _, l := range m.Label {
				has = append(has, l.GetName()+"="+l.GetValue())
			}
			if f.GetName() == name && strings.Join(has, ",") == labels {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}
