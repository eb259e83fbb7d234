package outbound

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kith/actors/entity"
)

// A gate is an endpoint that answers when it is told to.
type gate struct {
	came   chan struct{} // one for each request
	answer chan int      // the status of the next answer
}

func newGate(t testing.TB) (*gate, string) {
	g := &gate{came: make(chan struct{}, 1000), answer: make(chan int)}
	s, _ := endpointOf(t, func(rw http.ResponseWriter, r *http.Request) {
		g.came <- struct{}{}
		select {
		case code := <-g.answer:
			rw.WriteHeader(code)
		case <-r.Context().Done():
		}
	})
	return g, s.URL
}

// underWay is how many attempts of a tenant there are.
func (w *world) underWay(t entity.Tenant) int {
	w.Worker.mu.Lock()
	defer w.Worker.mu.Unlock()
	return w.lines[t].inFlight
}

// One tenant's endpoint hangs, and thousands of his events wait. The others have
// their turns all the same.
func TestAnEndpointThatHangsHoldsUpNobodyElse(t *testing.T) {
	hangs, url := newGate(t)
	good, _ := endpointOf(t, status(200))
	w := newWorld(t, map[string]Webhook{"acme": local(url), "bolt": local(good.URL), "core": local(good.URL)})
	for seq := range uint64(100) {
		w.says(seq, "hello")
	}
	var hung []<-chan error
	for seq := range uint64(100) {
		hung = append(hung, w.begin(1, seq))
	}
	w.serve()
	for range maxInFlightPerTenant {
		wait(t, hangs.came)
	}
	for seq := range uint64(100) {
		for _, tenant := range []entity.Tenant{2, 3} {
			if err := w.perform(tenant, seq); err != nil {
				t.Fatalf("tenant %d: %v", tenant, err)
			}
		}
	}
	if n := w.underWay(1); n != maxInFlightPerTenant || len(hangs.came) > 0 {
		t.Errorf("%d attempts of the tenant whose endpoint hangs are under way, want %d", n, maxInFlightPerTenant)
	}
	go func() {
		for range hung {
			hangs.answer <- 200
		}
	}()
	for _, how := range hung {
		if err := wait(t, how); err != nil {
			t.Error(err)
		}
	}
}

// When there is room for one attempt only, tenants take turns, however many tasks
// one of them has.
func TestTenantsTakeTurns(t *testing.T) {
	good, got := endpointOf(t, status(200))
	w := newWorld(t, map[string]Webhook{"acme": local(good.URL), "bolt": local(good.URL)})
	w.maxInFlight = 1
	var hows []<-chan error
	for _, tenant := range []entity.Tenant{1, 1, 1, 1, 1, 1, 2, 2} {
		w.says(1, "hello")
		hows = append(hows, w.begin(tenant, 1))
	}
	w.serve()
	var order []string
	for range hows {
		_, rest, _ := strings.Cut(wait(t, got).body, `"tenant":"`)
		tenant, _, _ := strings.Cut(rest, `"`)
		order = append(order, tenant)
	}
	if want := "acme bolt acme bolt acme acme acme acme"; strings.Join(order, " ") != want {
		t.Errorf("order = %q, want %q", order, want)
	}
	for _, how := range hows {
		if err := wait(t, how); err != nil {
			t.Error(err)
		}
	}
}

func TestAnEndpointThatFailsIsAskedOneThingAtATime(t *testing.T) {
	g, url := newGate(t)
	w := serving(t, map[string]Webhook{"acme": local(url)})
	w.says(1, "hello")
	for range maxInFlightPerTenant {
		how := w.begin(1, 1)
		wait(t, g.came)
		g.answer <- 500
		if wait(t, how) == nil {
			t.Fatal("it was delivered")
		}
	}
	var hows []<-chan error
	for range 2 * maxInFlightPerTenant {
		hows = append(hows, w.begin(1, 1))
	}
	wait(t, g.came)
	if n := w.underWay(1); n != 1 {
		t.Errorf("%d attempts are under way after %d failures, want 1", n, maxInFlightPerTenant)
	}
	// The first success opens the way for all.
	g.answer <- 200
	for range maxInFlightPerTenant {
		wait(t, g.came)
	}
	go func() {
		for range hows[1:] {
			g.answer <- 200
		}
	}()
	for _, how := range hows {
		if err := wait(t, how); err != nil {
			t.Error(err)
		}
	}
	log := w.log.String()
	if fails, wells := strings.Count(log, "fails"), strings.Count(log, "well again"); fails != 1 || wells != 1 {
		t.Errorf("the log says %d times that it fails and %d times that it is well again, want once each:\n%s", fails, wells, log)
	}
}

// A dead endpoint is left alone: tasks fail at once, with its last reason, so that
// the host can give up those that are too old. Now and then one of them is tried.
func TestADeadEndpointIsLeftAlone(t *testing.T) {
	var code atomic.Int32
	code.Store(http.StatusBadGateway)
	s, got := endpointOf(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(int(code.Load())) })
	w := serving(t, map[string]Webhook{"acme": local(s.URL)})
	now := time.Now()
	w.now = func() time.Time { return now }
	w.says(1, "hello")
	requests := 0
	perform := func(sent bool) error {
		t.Helper()
		err := w.perform(1, 1)
		if sent {
			requests++
		}
		if len(got) != requests {
			t.Fatalf("%d requests, want %d", len(got), requests)
		}
		return err
	}
	for range breakAfter {
		perform(true)
	}
	for hold := holdFirst; hold < 100*holdMost; hold *= 2 {
		for _, after := range []time.Duration{0, min(hold, holdMost) - 1} {
			now = now.Add(after)
			if err := perform(false); err == nil || !strings.Contains(err.Error(), "502") {
				t.Fatalf("error = %v, want the last one", err)
			}
		}
		now = now.Add(1)
		perform(true)
	}
	now = now.Add(holdMost)
	code.Store(http.StatusOK)
	for range 2 {
		if err := perform(true); err != nil {
			t.Errorf("error = %v; the endpoint is well again", err)
		}
	}
	if n := w.counted("acme", held); n == 0 {
		t.Error("what was not tried is not counted")
	}
}

func TestWhatIsTooMuchGoesBack(t *testing.T) {
	g, url := newGate(t)
	w := newWorld(t, map[string]Webhook{"acme": local(url)})
	w.maxWaiting = 2
	w.says(1, "hello")
	first, second := w.begin(1, 1), w.begin(1, 1)
	if err := wait(t, w.begin(1, 1)); !errors.Is(err, errCrowded) {
		t.Errorf("error = %v, want %v", err, errCrowded)
	}
	w.serve()
	g.answer <- 200
	g.answer <- 200
	for _, how := range []<-chan error{first, second} {
		if err := wait(t, how); err != nil {
			t.Error(err)
		}
	}
}

func TestAStopLeavesNothingUndecided(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // After the endpoint is closed.
	g, url := newGate(t)
	w := serving(t, map[string]Webhook{"acme": local(url)})
	w.says(1, "hello")
	var hows []<-chan error
	for range 3 * maxInFlightPerTenant {
		hows = append(hows, w.begin(1, 1))
	}
	for range maxInFlightPerTenant {
		wait(t, g.came)
	}
	g.answer <- 200 // One that ends by itself; another takes its place.
	wait(t, g.came)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	w.Stop(over)
	done := 0
	for i, how := range hows {
		select {
		case err := <-how:
			switch {
			case err == nil:
				done++
			case !errors.Is(err, errStopping):
				t.Errorf("task %d: error = %v, want %v", i, err, errStopping)
			}
		default:
			t.Fatalf("nobody was told of task %d", i)
		}
	}
	if done != 1 {
		t.Errorf("%d were delivered, want 1", done)
	}
	if err := wait(t, w.begin(1, 1)); !errors.Is(err, errStopping) {
		t.Errorf("after the stop: error = %v, want %v", err, errStopping)
	}
}

func TestAnAttemptUnderWayMayEnd(t *testing.T) {
	g, url := newGate(t)
	w := serving(t, map[string]Webhook{"acme": local(url)})
	w.says(1, "hello")
	how := w.begin(1, 1)
	wait(t, g.came)
	stopped := make(chan struct{})
	go func() {
		w.Stop(context.Background())
		close(stopped)
	}()
	g.answer <- 204
	wait(t, stopped)
	if err := wait(t, how); err != nil {
		t.Error(err)
	}
}

func TestAStopLeavesNoConnection(t *testing.T) {
	closed := make(chan struct{}, 1)
	s := httptest.NewUnstartedServer(status(204))
	s.Config.ConnState = func(_ net.Conn, now http.ConnState) {
		if now == http.StateClosed {
			closed <- struct{}{}
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	w := serving(t, map[string]Webhook{"acme": local(s.URL)})
	w.says(1, "hello")
	for range 2 { // On one connection.
		if err := w.perform(1, 1); err != nil {
			t.Error(err)
		}
	}
	w.Stop(context.Background())
	wait(t, closed)
}
