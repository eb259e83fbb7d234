package httpapi

import (
	"time"

	"github.com/valyala/fasthttp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"kith/actors/entity"
)

// A Submitter runs calls. Submit never blocks, and calls done once.
type Submitter interface {
	Submit(c *entity.Call, done func(entity.Result))
}

// called turns the request into a call, and its result into the response.
func (d *Door) called(x *exchange) *problem {
	in, out, p := negotiate(&x.ctx.Request)
	if p != nil {
		return p
	}
	req := x.route.method.New()
	if err := in.payload.Unmarshal(x.ctx.PostBody(), req); err != nil {
		return refusal(entity.Public(err))
	}
	if p := x.route.takeKey(&x.ctx.Request.Header, req); p != nil {
		return p
	}
	c, refused := d.registry.NewCall(x.route.method, x.caller, req)
	if refused != nil {
		return refusal(refused)
	}
	reply, p := d.await(c)
	if p != nil {
		return p
	}
	body, err := out.payload.Append(x.ctx.Response.SwapBody(nil)[:0], reply)
	x.ctx.Response.SwapBody(body)
	if err != nil {
		d.log.Error("http reply cannot be encoded", "method", x.route.name, "as", out.name)
		return refusal(entity.Public(err))
	}
	x.ctx.SetContentType(out.name)
	return nil
}

// await runs a call and waits for its result, which is durable then. It keeps
// nothing of the connection but its goroutine.
func (d *Door) await(c *entity.Call) (proto.Message, *problem) {
	done := make(chan entity.Result, 1) // Room for the result, should nobody wait any more.
	d.submitter.Submit(c, func(r entity.Result) { done <- r })
	late := time.NewTimer(d.cfg.CallTimeout)
	defer late.Stop()
	select {
	case r := <-done:
		if r.Err != nil {
			return nil, refusal(r.Err)
		}
		return r.Reply, nil
	case <-late.C:
		p := newProblem(fasthttp.StatusGatewayTimeout, codeTimeout,
			"there was no answer in time, so it may or may not have been done; with the same request_id it can be tried again safely")
		p.retryAfter = retryAfter
		return nil, p
	}
}

// takeKey fills in the request id from the header field Idempotency-Key, which
// generic clients and proxies know. Queries have none and need none.
func (r *route) takeKey(h *fasthttp.RequestHeader, req proto.Message) *problem {
	key := string(h.Peek("Idempotency-Key"))
	if key == "" || r.requestID == nil {
		return nil
	}
	m := req.ProtoReflect()
	switch m.Get(r.requestID).String() {
	case key:
		return nil
	case "":
		m.Set(r.requestID, protoreflect.ValueOfString(key))
		return nil
	}
	return refuse(entity.Invalid, "the Idempotency-Key and the request_id differ; send one of them, or the same twice")
}
