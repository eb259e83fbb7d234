package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"kith/actors/entity"
	"kith/gateway/limit"
)

// Deps is what the public door stands on. All of it is required.
type Deps struct {
	Registry  *entity.Registry
	Submitter Submitter
	Tokens    Verifier                           // behind a cache: it is asked for each request
	Policy    func(entity.Tenant) *entity.Policy // nil for a tenant that is not served
	Requests  *limit.Requests                    // shared with the other door
	Now       func() time.Time                   // for rates
	Metrics   prometheus.Registerer
	Log       *slog.Logger
}

// A Door is the public HTTP server.
type Door struct {
	cfg       Config
	registry  *entity.Registry
	submitter Submitter
	tokens    Verifier
	policy    func(entity.Tenant) *entity.Policy
	requests  *limit.Requests
	now       func() time.Time
	log       *slog.Logger

	connect *entity.Method              // Devices.Connect
	known   *limit.Recent[device, bool] // the devices that Connect was called for
	metrics *metrics
	routes  map[string]*route // by path
	nowhere *route            // of requests that no other is for
	chain   step
	server  *server
}

// New returns a Door with the limits of cfg. It listens once it is told to Serve.
func New(cfg Config, deps Deps) (*Door, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &Door{
		cfg: cfg, registry: deps.Registry, submitter: deps.Submitter, tokens: deps.Tokens, policy: deps.Policy,
		now: deps.Now, log: deps.Log, connect: deps.Registry.ByName(connectName),
		requests: deps.Requests, known: limit.NewRecent[device, bool](maxKnown),
	}
	if d.connect == nil {
		return nil, fmt.Errorf("no feature has the method %s, which makes users known", connectName)
	}
	m, err := newMetrics(deps.Metrics)
	if err != nil {
		return nil, err
	}
	d.metrics = m
	d.addRoutes()
	d.chain = d.measured(d.answered(d.recovered(d.headed(d.framed(d.shared(d.routed))))))
	d.server = newServer(d.settings(), limits{d.cfg.MaxConns, d.cfg.MaxConnsPerIP}, m.conns, m.turnedAway)
	return d, nil
}

// settings is how fasthttp is used. Its default number of connections is far
// above that of our listener.
func (d *Door) settings() *fasthttp.Server {
	s := settings(d.cfg.HeaderTimeout, d.cfg.IdleTimeout, d.cfg.WriteTimeout)
	s.Handler = d.serve
	s.ErrorHandler = d.malformed
	s.HeaderReceived = func(*fasthttp.RequestHeader) fasthttp.RequestConfig {
		return fasthttp.RequestConfig{ReadTimeout: d.cfg.BodyTimeout}
	}
	s.ReadBufferSize = d.cfg.MaxHeaderBytes
	s.MaxRequestBodySize = d.cfg.MaxBodyBytes
	return s
}

// serve answers a request that fasthttp could parse.
func (d *Door) serve(ctx *fasthttp.RequestCtx) {
	d.chain(&exchange{ctx: ctx, route: d.nowhere})
}

// malformed answers a request that fasthttp could not read. Its connection is
// closed: nobody knows where the next request would start.
func (d *Door) malformed(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var p *problem
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		p = newProblem(fasthttp.StatusRequestTimeout, entity.Expired.String(), "the request did not arrive in time")
	case errors.As(err, &small):
		p = newProblem(fasthttp.StatusRequestHeaderFieldsTooLarge, entity.TooLarge.String(),
			fmt.Sprintf("the header may have at most %d bytes", d.cfg.MaxHeaderBytes))
		p.Limit = d.cfg.MaxHeaderBytes
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		p = refuse(entity.TooLarge, "the body may have at most %d bytes", d.cfg.MaxBodyBytes)
		p.Limit = d.cfg.MaxBodyBytes
	default:
		p = refuse(entity.Invalid, "this is not a valid HTTP request")
	}
	p.hangUp = p.Status != fasthttp.StatusRequestTimeout // Who is silent sends nothing that is to be drained.
	x := &exchange{ctx: ctx, route: d.nowhere}
	d.measured(d.answered(d.headed(func(*exchange) *problem { return p })))(x)
}

// Serve serves the connections of ln until Shutdown. It returns an error if ln
// fails for good.
func (d *Door) Serve(ln net.Listener) error { return d.server.serve(ln) }

// Shutdown accepts no more connections, answers the requests that are under way,
// and cuts those that are not answered when ctx ends; then it returns an error.
func (d *Door) Shutdown(ctx context.Context) error { return d.server.shutdown(ctx) }
