package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/pprof"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
)

// InternalConns is how many connections the internal server has at most: their
// descriptors count towards the process's limit.
const InternalConns = 256

// The limits of the internal server. Its clients are the operator's own, few, and
// patient: a profile takes 30 s, and no more is posted than the name of a folder.
const (
	internalReadTimeout  = 5 * time.Second
	internalIdleTimeout  = 2 * time.Minute
	internalWriteTimeout = 30 * time.Second
	internalBodyBytes    = 8 << 10
)

// A Check says why the process should get no requests, or nil. It must not
// block: whoever asks gives up after a second or so, and asks again.
type Check struct {
	Name  string
	Ready func() error
}

// InternalDeps is what the internal server stands on.
type InternalDeps struct {
	Checks  []Check // what /readyz asks: draining, low disk, …
	Metrics interface {
		prometheus.Registerer
		prometheus.Gatherer
	}
	Admin   Admin
	Version string // of the product, as released
	Log     *slog.Logger
}

// Internal is the HTTP server for operators. It asks for no token, and profiles
// show what is in memory: it must listen where no stranger can reach it.
type Internal struct {
	deps    InternalDeps
	pages   map[string]fasthttp.RequestHandler // by path
	acts    map[string]action                  // by path
	profile fasthttp.RequestHandler            // the index of profiles, and those of its own that have a name
	server  *server
}

// NewInternal returns an Internal. It listens once it is told to Serve.
func NewInternal(deps InternalDeps) (*Internal, error) {
	conns := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kith_internal_connections", Help: "Open connections at the internal listener.",
	})
	turnedAway := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kith_internal_turned_away_total", Help: "Connections that the internal listener did not accept, for there were too many.",
	})
	if err := errors.Join(deps.Metrics.Register(conns), deps.Metrics.Register(turnedAway)); err != nil {
		return nil, err
	}
	i := &Internal{deps: deps, profile: fasthttpadaptor.NewFastHTTPHandlerFunc(pprof.Index)}
	version := page(ThisBuild(deps.Version))
	i.pages = map[string]fasthttp.RequestHandler{
		"/healthz": i.healthz,
		"/readyz":  i.readyz,
		"/version": func(ctx *fasthttp.RequestCtx) { sendJSON(ctx, version) },
		"/metrics": fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(deps.Metrics, promhttp.HandlerOpts{
			DisableCompression: true, // It is read over loopback.
		})),
		profiles + "cmdline": fasthttpadaptor.NewFastHTTPHandlerFunc(pprof.Cmdline),
		profiles + "profile": fasthttpadaptor.NewFastHTTPHandlerFunc(pprof.Profile),
		profiles + "symbol":  fasthttpadaptor.NewFastHTTPHandlerFunc(pprof.Symbol),
		profiles + "trace":   fasthttpadaptor.NewFastHTTPHandlerFunc(pprof.Trace),
	}
	i.acts = i.actions()
	s := settings(internalReadTimeout, internalIdleTimeout, internalWriteTimeout)
	s.Handler = i.serve
	s.MaxRequestBodySize = internalBodyBytes
	i.server = newServer(s, limits{InternalConns, InternalConns}, conns, turnedAway)
	return i, nil
}

// Serve serves the connections of ln until Shutdown.
func (i *Internal) Serve(ln net.Listener) error { return i.server.serve(ln) }

// Shutdown ends Serve as Door.Shutdown does. It comes last: until then the
// operator can see what the process is waiting for.
func (i *Internal) Shutdown(ctx context.Context) error { return i.server.shutdown(ctx) }

// profiles is where net/http/pprof expects to be.
const profiles = "/debug/pprof/"

// serve finds the page of a request.
func (i *Internal) serve(ctx *fasthttp.RequestCtx) {
	path := string(ctx.Path())
	defer func() {
		if r := recover(); r != nil {
			i.deps.Log.Error("internal page panicked", "path", path, "panic", fmt.Sprintf("%T", r), "stack", string(debug.Stack()))
			newProblem(fasthttp.StatusInternalServerError, "internal", "the page panicked; the log says where").write(ctx)
		}
	}()
	secure(ctx)
	page := i.pages[path]
	if page == nil && strings.HasPrefix(path, profiles) {
		page = i.profile
	}
	act, acts := i.acts[path]
	switch {
	case acts:
		i.administer(ctx, act)
	case page == nil:
		refuseInternal(ctx, fasthttp.StatusNotFound, "there are /healthz, /readyz, /metrics, /version, "+profiles+" and, for `kith backup` and `kith deadletters`, "+admin)
	case !ctx.IsGet() && !ctx.IsHead():
		refuseInternal(ctx, fasthttp.StatusMethodNotAllowed, "only GET is possible here")
	default:
		page(ctx)
	}
}

func refuseInternal(ctx *fasthttp.RequestCtx, status int, sentence string) {
	p := unsupported(status, "%s", sentence)
	if status == fasthttp.StatusMethodNotAllowed {
		p.allow = "GET, HEAD"
	}
	p.write(ctx)
}

// healthz says that the process lives. Whoever restarts it when this fails must
// not ask /readyz for that: a full disk is not cured by a restart.
func (i *Internal) healthz(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.SetBodyString("ok\n")
}

// readyz says whether the process should get requests, and if not why.
func (i *Internal) readyz(ctx *fasthttp.RequestCtx) {
	answer := struct {
		Ready  bool              `json:"ready"`
		Checks map[string]string `json:"checks"` // "ok" or a sentence
	}{true, map[string]string{}}
	for _, c := range i.deps.Checks {
		answer.Checks[c.Name] = "ok"
		if err := c.Ready(); err != nil {
			answer.Ready, answer.Checks[c.Name] = false, err.Error()
		}
	}
	if !answer.Ready {
		ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
	}
	sendJSON(ctx, page(answer))
}

func sendJSON(ctx *fasthttp.RequestCtx, body []byte) {
	ctx.SetContentType("application/json")
	ctx.SetBody(body)
}

// A Build says what a program was made of. What was not recorded is empty.
type Build struct {
	Version   string `json:"version"`
	Go        string `json:"go"`
	Commit    string `json:"commit,omitempty"`
	Committed string `json:"committed,omitempty"` // when, RFC 3339
	Modified  bool   `json:"modified,omitempty"`  // there were changes that are in no commit
}

// ThisBuild describes the program that runs, whose version is as released.
func ThisBuild(version string) Build {
	answer := Build{Version: version, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				answer.Commit = s.Value
			case "vcs.time":
				answer.Committed = s.Value
			case "vcs.modified":
				answer.Modified = s.Value == "true"
			}
		}
	}
	return answer
}

// page is v as a line of JSON.
func page(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // It has texts, truths, times and numbers only.
	}
	return append(b, '\n')
}
