package outbound

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kith/actors/entity"
)

const (
	// maxInFlight bounds the attempts at one time, of all tenants. 256, each a
	// goroutine and a connection. A tenant whose endpoint is dead comes to have
	// one, so that as many dead ones as this are needed to keep others waiting.
	maxInFlight = 256
	// maxInFlightPerTenant bounds those of one tenant. 16: an endpoint that answers
	// in 100 ms gets 160 events a second.
	maxInFlightPerTenant = 16
	// maxWaiting bounds the tasks of one tenant that wait here for their turn; what
	// is more goes back to the host, which tries it again later. 10,000, of about
	// 100 bytes each.
	maxWaiting = 10_000
	// breakAfter is how many failures in a row make an endpoint a dead one, at which
	// attempts fail at once and without being made: a thousand conversations would
	// else try it a hundred times a second. 20: more than a restart.
	breakAfter = 20
	// holdFirst is how long a dead endpoint is left alone before one attempt is made
	// again; each next time is twice as long, up to holdMost, which is how late it
	// may be noticed that it is well.
	holdFirst = time.Second
	holdMost  = 30 * time.Second
	// stopGrace is how long attempts that are under way may go on when the server
	// goes down. 1 s: what is cut may arrive twice, and most answers are there
	// sooner.
	stopGrace = time.Second

	// MaxConnections is how many connections a Worker has open at most, each with a
	// file descriptor: those in use, and idle ones of both transports.
	MaxConnections = maxInFlight + 2*maxIdle
)

// A Node answers queries and knows tenants: a host.Host.
type Node interface {
	// Submit hands a query to the node; done hears the result from another
	// goroutine.
	Submit(call *entity.Call, done func(entity.Result))
	// Tenant returns the number of a configured tenant.
	Tenant(name string) (entity.Tenant, bool)
}

// Config is what a Worker is made of.
type Config struct {
	Registry *entity.Registry
	Webhooks map[string]Webhook // by the tenant's name; validated
	Version  string             // of the server, for the endpoint's log
	Log      *slog.Logger
	Metrics  prometheus.Registerer
}

// A Worker makes one attempt at each task that it is given. Tasks wait until it
// serves a node, and then take turns by tenant.
type Worker struct {
	config    Config
	show      *entity.Method // reads the event of a task
	guarded   *http.Transport
	open      *http.Transport // also to addresses that are not public
	endpoints map[string]*endpoint
	metrics   *metrics

	// The constants of these names and the time, but in tests.
	attemptTimeout                     time.Duration
	now                                func() time.Time
	maxInFlight, perTenant, maxWaiting int

	ctx     context.Context // of every attempt
	cut     context.CancelFunc
	running sync.WaitGroup // attempts

	mu       sync.Mutex // guards what is below
	node     Node       // nil: it does not serve yet
	stopped  bool
	lines    map[entity.Tenant]*line
	turns    []*line // those that may begin an attempt, the next one first
	inFlight int
}

// A line is the tasks of one tenant. Worker.mu guards it, but for endpoint, which
// does not change once the Worker serves.
type line struct {
	endpoint *endpoint // nil: the tenant has no webhook
	waiting  []task
	inFlight int
	failures int       // in a row; 0 once an attempt succeeds
	listed   bool      // among the turns
	held     time.Time // until then nothing is tried
	last     error     // why
}

// A task is a tell to the outside, and who wants to know how it went.
type task struct {
	tell *entity.Tell
	done func(error)
}

var (
	errCrowded  = errors.New("too many deliveries of this tenant wait")
	errStopping = errors.New("the server is going down")
)

// New makes a Worker that serves nobody yet.
func New(cfg Config) (*Worker, error) {
	w := &Worker{
		config: cfg, attemptTimeout: attemptTimeout, now: time.Now,
		maxInFlight: maxInFlight, perTenant: maxInFlightPerTenant, maxWaiting: maxWaiting,
		guarded: newTransport(onlyPublic), open: newTransport(nil),
		endpoints: map[string]*endpoint{}, lines: map[entity.Tenant]*line{},
	}
	if w.show = cfg.Registry.ByName(showMethod); w.show == nil {
		return nil, fmt.Errorf("no feature has the method %s", showMethod)
	}
	for name, hook := range cfg.Webhooks {
		if err := w.connect(name, hook); err != nil {
			return nil, fmt.Errorf("the webhook of tenant %s: %w", name, err)
		}
	}
	var err error
	w.metrics, err = newMetrics(cfg.Metrics)
	w.ctx, w.cut = context.WithCancel(context.Background())
	return w, err
}

// connect makes the endpoint of a tenant that has one.
func (w *Worker) connect(tenant string, hook Webhook) error {
	if !hook.Set() {
		return nil
	}
	if err := hook.Validate(); err != nil {
		return err
	}
	signers, err := hook.signers()
	e := &endpoint{tenant: tenant, url: hook.URL, agent: "kith/" + w.config.Version, signers: signers, transport: w.guarded}
	if hook.InsecurePrivateAddresses {
		e.transport = w.open
	}
	w.endpoints[tenant] = e
	return err
}

// Serve begins with the tasks that wait, and goes on with those to come. It is
// called once.
func (w *Worker) Serve(node Node) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, e := range w.endpoints {
		number, ok := node.Tenant(name)
		if !ok {
			return fmt.Errorf("tenant %s has no number", name)
		}
		w.line(number).endpoint = e
	}
	w.node = node
	w.dispatch()
	return nil
}

// Perform makes one attempt at a task, soon. It returns at once; done hears from
// another goroutine whether it was performed, or why not.
func (w *Worker) Perform(t *entity.Tell, done func(error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.line(t.From.Tenant)
	switch {
	case w.stopped:
		go done(errStopping) // It ends when done returns.
	case len(l.waiting) >= w.maxWaiting:
		w.count(l, crowded)
		go done(errCrowded)
	default:
		l.waiting = append(l.waiting, task{t, done})
		w.metrics.waiting.Inc()
		w.list(l)
		w.dispatch()
	}
}

// Stop begins no more attempts. Those under way get a moment to end, and are cut
// then or when ctx ends; done of each task is called before Stop returns.
func (w *Worker) Stop(ctx context.Context) {
	w.mu.Lock()
	w.stopped = true
	var left []task
	for _, l := range w.lines {
		left = append(left, l.waiting...)
		l.waiting = nil
	}
	w.metrics.waiting.Set(0)
	w.mu.Unlock()
	for _, t := range left {
		t.done(errStopping)
	}
	grace, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	defer context.AfterFunc(grace, w.cut)()
	w.running.Wait()
	w.cut()
	w.guarded.CloseIdleConnections()
	w.open.CloseIdleConnections()
}

// line is the line of a tenant. w.mu is held.
func (w *Worker) line(t entity.Tenant) *line {
	if w.lines[t] == nil {
		w.lines[t] = &line{}
	}
	return w.lines[t]
}

// list gives a line a turn, if it has something to do and has none yet. w.mu is
// held.
func (w *Worker) list(l *line) {
	if !l.listed && w.ready(l) {
		l.listed = true
		w.turns = append(w.turns, l)
	}
}

// ready reports whether a line may begin an attempt. One fewer for each failure
// in a row, at least one: a dead endpoint is asked one thing at a time.
func (w *Worker) ready(l *line) bool {
	return len(l.waiting) > 0 && l.inFlight < max(1, w.perTenant-l.failures)
}

// dispatch begins attempts as long as there is room, one of each tenant in turn.
// w.mu is held.
func (w *Worker) dispatch() {
	for w.node != nil && !w.stopped && w.inFlight < w.maxInFlight && len(w.turns) > 0 {
		l := w.turns[0]
		w.turns = w.turns[1:]
		if l.listed = false; !w.ready(l) {
			continue // It failed since it was listed, or another attempt took its place.
		}
		t := l.waiting[0]
		l.waiting[0] = task{} // The slice lives on.
		l.waiting = l.waiting[1:]
		l.inFlight++
		w.inFlight++
		w.metrics.waiting.Dec()
		w.metrics.inFlight.Inc()
		w.list(l)
		w.running.Go(func() { w.perform(l, t) }) // It ends within attemptTimeout.
	}
}

// perform makes an attempt and says how it went.
func (w *Worker) perform(l *line, t task) {
	how, err := held, w.holds(l)
	if err == nil {
		begun := time.Now()
		how, err = w.attempt(l.endpoint, t.tell)
		w.metrics.took.Observe(time.Since(begun).Seconds())
	}
	w.ended(l, how, err)
	t.done(err)
}

// holds says why nothing is tried at an endpoint just now; nil: it is.
func (w *Worker) holds(l *line) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now().Before(l.held) {
		return l.last
	}
	return nil
}

// ended makes room for the next attempt. The log says when an endpoint begins to
// fail and when it is well again, and not each time that it fails.
func (w *Worker) ended(l *line, how outcome, err error) {
	w.mu.Lock()
	w.count(l, how)
	w.metrics.inFlight.Dec()
	l.inFlight--
	w.inFlight--
	failures := l.failures
	switch how {
	case delivered:
		l.failures = 0
	case vanished, unconfigured, unread, interrupted, held: // They say nothing new about the endpoint.
	default:
		l.failures++
		l.last = err
		if more := l.failures - breakAfter; more >= 0 {
			l.held = w.now().Add(min(holdFirst<<min(more, 16), holdMost))
		}
	}
	first, well := failures == 0 && l.failures == 1, failures > 0 && l.failures == 0
	w.list(l)
	w.dispatch()
	w.mu.Unlock()
	switch {
	case how == unread:
		w.config.Log.Error("an event for a webhook could not be read", "error", err)
	case first:
		w.config.Log.Warn("the webhook of a tenant fails; it is tried again", "tenant", l.endpoint.tenant, "error", err)
	case well:
		w.config.Log.Info("the webhook of a tenant is well again", "tenant", l.endpoint.tenant, "failures", failures)
	}
}

// count counts an attempt.
func (w *Worker) count(l *line, how outcome) {
	tenant := "" // Which has no webhook, and perhaps no configuration any more.
	if l.endpoint != nil {
		tenant = l.endpoint.tenant
	}
	w.metrics.attempts.WithLabelValues(tenant, string(how)).Inc()
}
