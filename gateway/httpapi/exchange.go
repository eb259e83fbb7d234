package httpapi

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"kith/actors/entity"
)

// An exchange is one request on its way through the wrappers.
type exchange struct {
	ctx    *fasthttp.RequestCtx
	route  *route        // what it is for; nowhere until it is routed
	caller entity.Caller // whose it is, once it is authenticated
}

// A step does its part of an exchange, or says why it cannot go on.
type step func(*exchange) *problem

// measured counts every exchange and its time.
func (d *Door) measured(next step) step {
	return func(x *exchange) *problem {
		start := time.Now()
		p := next(x)
		d.metrics.answered(x.route, x.ctx.Response.StatusCode(), time.Since(start))
		return p
	}
}

// answered writes the problem, if there is one.
func (d *Door) answered(next step) step {
	return func(x *exchange) *problem {
		if p := next(x); p != nil {
			p.Instance = fmt.Sprintf("%016x", rand.Uint64())
			p.write(x.ctx)
			p.log(d.log, x.route.name)
		}
		return nil
	}
}

// recovered turns a panic into a problem: fasthttp would end the process. What
// was panicked with may quote the request, so only its type is logged.
func (d *Door) recovered(next step) step {
	return func(x *exchange) (p *problem) {
		defer func() {
			if r := recover(); r != nil {
				d.metrics.panics.Inc()
				d.log.Error("http handler panicked", "method", x.route.name, "panic", fmt.Sprintf("%T", r), "stack", string(debug.Stack()))
				p = refuse(entity.Internal, "something went wrong on our side")
			}
		}()
		return next(x)
	}
}

// headed sets the header fields of every answer.
func (d *Door) headed(next step) step {
	return func(x *exchange) *problem {
		secure(x.ctx)
		return next(x)
	}
}

// secure keeps browsers from guessing types, and caches from keeping messages.
func secure(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
}

// framed refuses requests that a proxy may have read differently, and closes
// their connections: what follows may be the rest of the same attack.
func (d *Door) framed(next step) step {
	return func(x *exchange) *problem {
		h := &x.ctx.Request.Header
		if fault := framingFault(h.Protocol(), h.RawHeaders()); fault != "" {
			p := refuse(entity.Invalid, "%s", fault)
			p.hangUp = true
			return p
		}
		return next(x)
	}
}

// anyOrigin in a Config stands for every origin.
const anyOrigin = "*"

// corsMaxAge is how long a browser may remember what OPTIONS said. 600 s: a
// change of the configuration is seen within ten minutes.
const corsMaxAge = "600"

// shared lets the pages of the configured origins call, and read the answers
// (CORS). OPTIONS is answered where it is routed.
func (d *Door) shared(next step) step {
	if len(d.cfg.Origins) == 0 {
		return next
	}
	return func(x *exchange) *problem {
		h := &x.ctx.Response.Header
		h.Set(fasthttp.HeaderVary, fasthttp.HeaderOrigin) // Whether or not this one is allowed.
		origin := string(x.ctx.Request.Header.Peek(fasthttp.HeaderOrigin))
		if origin == "" || !slices.Contains(d.cfg.Origins, anyOrigin) && !slices.Contains(d.cfg.Origins, origin) {
			return next(x)
		}
		h.Set(fasthttp.HeaderAccessControlAllowOrigin, origin)
		h.Set(fasthttp.HeaderAccessControlExposeHeaders, "Retry-After, WWW-Authenticate")
		if x.ctx.IsOptions() {
			h.Set(fasthttp.HeaderAccessControlAllowMethods, "GET, POST")
			h.Set(fasthttp.HeaderAccessControlAllowHeaders, "Authorization, Content-Type, Idempotency-Key")
			h.Set(fasthttp.HeaderAccessControlMaxAge, corsMaxAge)
		}
		return next(x)
	}
}

// routed finds out what a request is for. Paths are compared as they came: what
// needs decoding or cleaning is no path of ours, so no proxy's rule is evaded.
func (d *Door) routed(x *exchange) *problem {
	r := d.routes[string(x.ctx.URI().PathOriginal())]
	if r == nil {
		return refuse(entity.Unsupported, "there is nothing at this path; GET /v1/ lists the methods")
	}
	x.route = r
	method := string(x.ctx.Method())
	switch {
	case slices.Contains(r.verbs, method):
		return r.serve(x)
	case method == fasthttp.MethodOptions:
		x.ctx.Response.Header.Set(fasthttp.HeaderAllow, r.allow())
		x.ctx.SetStatusCode(fasthttp.StatusNoContent)
		return nil
	}
	p := unsupported(fasthttp.StatusMethodNotAllowed, "only %s is possible here", r.allow())
	p.allow = r.allow()
	return p
}

// allow is the field Allow of a route.
func (r *route) allow() string {
	return strings.Join(append(slices.Clone(r.verbs), fasthttp.MethodOptions), ", ")
}

// hangUp closes the connection after this answer, and lets the client read it
// even if it is still sending.
func hangUp(ctx *fasthttp.RequestCtx) {
	ctx.SetConnectionClose()
	if c, ok := ctx.Conn().(*conn); ok {
		c.unread.Store(true)
	}
}
