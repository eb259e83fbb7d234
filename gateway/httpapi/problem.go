package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"kith/actors/entity"
)

// codeTimeout is the code of an answer that did not come in time. It says nothing
// about whether the request was done.
const codeTimeout = "timeout"

// retryAfter is what a client is told to wait when nothing better is known. One
// second: most overloads are over by then, and the next answer says so again.
const retryAfter = time.Second

// A problem is why a request has no reply, in the shape of RFC 9457. The fields
// without a JSON name become header fields.
type problem struct {
	Type     string `json:"type"` // "kith:" and the code
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"` // a sentence that a user could read
	Code     string `json:"code"`
	Limit    int    `json:"limit,omitempty"`    // the number that was passed
	Instance string `json:"instance,omitempty"` // names this answer, here and in the log

	retryAfter time.Duration
	allow      string // the methods that the resource has
	challenge  string // what a token is asked for with
	hangUp     bool   // nothing that follows on the connection can be trusted
}

// refuse returns the problem for a code of entity, with its status.
func refuse(c entity.Code, format string, args ...any) *problem {
	return refusal(entity.Errorf(c, format, args...))
}

// refusal is the problem that an error is.
func refusal(e *entity.Error) *problem {
	p := newProblem(e.Code.HTTP(), e.Code.String(), e.Msg)
	if e.Code == entity.Exhausted || e.Code == entity.Overloaded {
		p.retryAfter = retryAfter
	}
	if e.Code == entity.Unauthorized {
		p.challenge = challengeInvalid
	}
	return p
}

// unsupported is a problem with how HTTP is used: entity has one code for all of
// them, and HTTP a status for each.
func unsupported(status int, format string, args ...any) *problem {
	return newProblem(status, entity.Unsupported.String(), fmt.Sprintf(format, args...))
}

func newProblem(status int, code, sentence string) *problem {
	return &problem{
		Type: "kith:" + code, Title: fasthttp.StatusMessage(status), Status: status, Detail: sentence, Code: code,
	}
}

// write makes p the response, whatever is in it so far; header fields stay.
func (p *problem) write(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	if p.retryAfter > 0 {
		h.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	if p.allow != "" {
		h.Set(fasthttp.HeaderAllow, p.allow)
	}
	if p.challenge != "" {
		h.Set(fasthttp.HeaderWWWAuthenticate, p.challenge)
	}
	if p.hangUp {
		hangUp(ctx)
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // It has texts and numbers only.
	}
	ctx.SetStatusCode(p.Status)
	ctx.SetContentType("application/problem+json")
	ctx.SetBody(body)
}

// log logs what an operator may have to look at, and nothing that clients can
// fill a disk with. It has no content of the request.
func (p *problem) log(log *slog.Logger, method string) {
	level := slog.LevelDebug
	if p.Status == fasthttp.StatusInternalServerError || p.Status == fasthttp.StatusGatewayTimeout {
		level = slog.LevelWarn
	}
	log.Log(context.Background(), level, "http request refused", "method", method, "status", p.Status, "code", p.Code, "instance", p.Instance)
}
