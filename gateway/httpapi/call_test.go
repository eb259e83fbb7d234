package httpapi

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
)

const hello = `{"conversation_id":5,"request_id":"r1","content":{"text":{"text":"hello"}}}`

func TestACallInJSON(t *testing.T) {
	w := start(t, nil)
	resp, body := do(t, w.request(t, "Messages.Send", hello))
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("status = %d, Content-Type %q: %s", resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	if want := `{"seq":7,"at":1700000000000}`; string(body) != want {
		t.Errorf("body = %s, want %s", body, want)
	}
	c := w.node.asked("Messages.Send")[0]
	if want := entity.Conversation(1, 5); c.To != want {
		t.Errorf("To = %v, want %v", c.To, want)
	}
	if c.Caller.User != "ann" || c.Caller.Device != "phone" || c.Caller.Tenant != 1 || c.RequestID != "r1" {
		t.Errorf("call = %+v, want ann's, on her phone, with request id r1", c)
	}
	if got := c.Req.(*pb.SendRequest).GetContent().GetText().GetText(); got != "hello" {
		t.Errorf("text = %q, want hello", got)
	}
}

func TestACallInProtobuf(t *testing.T) {
	w := start(t, nil)
	req, err := proto.Marshal(&pb.SendRequest{ConversationId: 5, RequestId: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"application/protobuf", "application/x-protobuf"} {
		r := w.request(t, "Messages.Send", string(req))
		r.Header.Set("Content-Type", name)
		resp, body := do(t, r)
		var reply pb.SendResponse
		if err := proto.Unmarshal(body, &reply); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d, %v: %q", resp.StatusCode, err, body)
		}
		if reply.Seq != 7 || resp.Header.Get("Content-Type") != "application/protobuf" {
			t.Errorf("seq = %d, Content-Type %q, want 7 in application/protobuf", reply.Seq, resp.Header.Get("Content-Type"))
		}
	}
}

func TestTheAnswersTypeIsTheClientsChoice(t *testing.T) {
	w := start(t, nil)
	r := w.request(t, "Messages.Send", hello)
	r.Header.Set("Accept", "application/protobuf")
	resp, body := do(t, r)
	var reply pb.SendResponse
	if err := proto.Unmarshal(body, &reply); err != nil || reply.Seq != 7 {
		t.Errorf("%s: seq = %d (%v), want 7", resp.Header.Get("Content-Type"), reply.Seq, err)
	}
}

func TestAnEmptyBodyIsAnEmptyRequest(t *testing.T) {
	w := start(t, nil)
	r := w.request(t, "Messages.History", "")
	r.Header.Del("Content-Type")
	resp, body := do(t, r)
	// The request came through: it is the registry that misses a conversation.
	p := wantProblem(t, resp, body, http.StatusBadRequest, "invalid")
	if !strings.Contains(p.Detail, "conversation_id") {
		t.Errorf("detail = %q, want it to name conversation_id", p.Detail)
	}
}

func TestEveryCodeHasItsStatus(t *testing.T) {
	w := start(t, nil)
	for code := entity.Internal; code <= entity.Unsupported; code++ {
		w.node.answers(refusing(entity.Errorf(code, "a sentence about %v", code)))
		resp, body := do(t, w.request(t, "Messages.Send", hello))
		p := wantProblem(t, resp, body, code.HTTP(), code.String())
		if want := "a sentence about " + code.String(); p.Detail != want {
			t.Errorf("detail = %q, want %q", p.Detail, want)
		}
		wantsRetry := code == entity.Exhausted || code == entity.Overloaded
		if got := resp.Header.Get("Retry-After"); (got == "1") != wantsRetry {
			t.Errorf("%v: Retry-After = %q, want it: %v", code, got, wantsRetry)
		}
		if got := resp.Header.Get("WWW-Authenticate"); (got != "") != (code == entity.Unauthorized) {
			t.Errorf("%v: WWW-Authenticate = %q", code, got)
		}
	}
}

func TestWhatHTTPIsUsedWrongly(t *testing.T) {
	w := start(t, nil)
	cases := []struct {
		name   string
		change func(*http.Request)
		status int
		code   string
		detail string // a part of it
	}{
		{"no such path", func(r *http.Request) { r.URL.Path = "/v2/Messages.Send" }, 404, "unsupported", "GET /v1/"},
		{"no such method", func(r *http.Request) { r.URL.Path = "/v1/Messages.Sing" }, 404, "unsupported", "GET /v1/"},
		{"a method for entities only", func(r *http.Request) { r.URL.Path = "/v1/Devices.Connect" }, 404, "unsupported", "GET /v1/"},
		{"an encoded path", func(r *http.Request) { r.URL.RawPath = "/v1/%4dessages.Send" }, 404, "unsupported", "GET /v1/"},
		{"a path to be cleaned", func(r *http.Request) { r.URL.Path = "/v1/x/../Messages.Send" }, 404, "unsupported", "GET /v1/"},
		{"GET", func(r *http.Request) { r.Method = "GET" }, 405, "unsupported", "POST"},
		{"PUT", func(r *http.Request) { r.Method = "PUT" }, 405, "unsupported", "POST"},
		{"POST of a page", func(r *http.Request) { r.URL.Path = "/v1/" }, 405, "unsupported", "GET"},
		{"a form", func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, 415, "unsupported", "application/json"},
		{"no type", func(r *http.Request) { r.Header.Del("Content-Type") }, 415, "unsupported", "application/json"},
		{"Latin", func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=latin1") }, 415, "unsupported", "utf-8"},
		{"compressed", func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 415, "unsupported", "compressed"},
		{"an answer in XML", func(r *http.Request) { r.Header.Set("Accept", "text/xml") }, 406, "unsupported", "application/json"},
		{"no JSON", body(`{"conversation_id":`), 400, "invalid", ""},
		{"two values", body(`{} {}`), 400, "invalid", ""},
		{"an unknown field", body(`{"conversation_id":5,"colour":"red"}`), 400, "invalid", "colour"},
		{"an unknown field below", body(`{"content":{"text":{"tone":"warm"}}}`), 400, "invalid", "tone"},
		{"text that is not UTF-8", body("{\"request_id\":\"\xff\"}"), 400, "invalid", ""},
		{"no conversation", body(`{"request_id":"r"}`), 400, "invalid", "conversation_id"},
		{"a request id that is too long", body(`{"conversation_id":5,"request_id":"` + strings.Repeat("x", 65) + `"}`), 400, "invalid", "request_id"},
		{"protobuf that is none", func(r *http.Request) {
			body("\xff\xff")(r)
			r.Header.Set("Content-Type", "application/protobuf")
		}, 400, "invalid", ""},
		{"no token", func(r *http.Request) { r.Header.Del("Authorization") }, 401, "unauthorized", "Bearer"},
		{"another scheme", func(r *http.Request) { r.Header.Set("Authorization", "Basic YTpi") }, 401, "unauthorized", "Bearer"},
		{"a token that is none", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401, "unauthorized", "JWT"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := w.request(t, "Messages.Send", hello)
			c.change(r)
			resp, body := do(t, r)
			p := wantProblem(t, resp, body, c.status, c.code)
			if !strings.Contains(p.Detail, c.detail) {
				t.Errorf("detail = %q, want %q in it", p.Detail, c.detail)
			}
			if got := resp.Header.Get("Allow"); (got != "") != (c.status == 405) {
				t.Errorf("Allow = %q", got)
			}
			if got := resp.Header.Get("WWW-Authenticate"); (got != "") != (c.status == 401) {
				t.Errorf("WWW-Authenticate = %q", got)
			}
		})
	}
	if got := w.node.asked("Messages.Send"); len(got) > 0 {
		t.Errorf("%d of these were called, want none", len(got))
	}
}

// body replaces the body of a request.
func body(s string) func(*http.Request) {
	return func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(s)), int64(len(s))
	}
}

func TestAnInternalMethodIsLikeNone(t *testing.T) {
	w := start(t, nil)
	_, none := do(t, w.request(t, "Devices.Disconnect", "{}"))
	_, internal := do(t, w.request(t, "Devices.Connect", "{}"))
	var a, b problem
	if err := json.Unmarshal(none, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(internal, &b); err != nil {
		t.Fatal(err)
	}
	a.Instance, b.Instance = "", ""
	if a != b {
		t.Errorf("answers differ: %+v and %+v", a, b)
	}
}

func TestIdempotencyKey(t *testing.T) {
	const without = `{"conversation_id":5}`
	cases := []struct {
		name, method, body, key string
		want                    string // the request id of the call
		status                  int
	}{
		{"it names a request without a name", "Messages.Send", without, "k1", "k1", 200},
		{"the same twice", "Messages.Send", hello, "r1", "r1", 200},
		{"two names", "Messages.Send", hello, "r2", "", 400},
		{"neither", "Messages.Send", without, "", "", 200},
		{"too long", "Messages.Send", without, strings.Repeat("x", 65), "", 400},
		{"a query needs none", "Messages.History", without, "k1", "", 200},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := start(t, nil)
			r := w.request(t, c.method, c.body)
			if c.key != "" {
				r.Header.Set("Idempotency-Key", c.key)
			}
			resp, body := do(t, r)
			if resp.StatusCode != c.status {
				t.Fatalf("status = %d, want %d: %s", resp.StatusCode, c.status, body)
			}
			calls := w.node.asked(c.method)
			if len(calls) != 200/c.status {
				t.Fatalf("%d calls, want %d", len(calls), 200/c.status)
			}
			if len(calls) > 0 && calls[0].RequestID != c.want {
				t.Errorf("RequestID = %q, want %q", calls[0].RequestID, c.want)
			}
		})
	}
}

func TestAUserIsIntroducedOnce(t *testing.T) {
	w := start(t, nil)
	for range 3 {
		do(t, w.request(t, "Messages.Send", hello))
	}
	connects := w.node.asked(connectName)
	if len(connects) != 1 {
		t.Fatalf("%d connects, want 1", len(connects))
	}
	if c := connects[0]; c.To != entity.User(1, "ann") || c.Caller.Device != "phone" || c.RequestID != "" {
		t.Errorf("connect = %+v, want one to ann, of her phone", c)
	}
	// Another device, and the same name at another tenant, are others.
	for _, token := range []string{w.token(t, "one", "ann", "laptop"), w.token(t, "two", "ann", "phone")} {
		r := w.request(t, "Messages.Send", hello)
		r.Header.Set("Authorization", "Bearer "+token)
		do(t, r)
	}
	if got := len(w.node.asked(connectName)); got != 3 {
		t.Errorf("%d connects, want 3", got)
	}
}

// strict is a Submitter that knows nobody at first.
type strict struct {
	*node
	refuse bool
}

func (s *strict) Submit(c *entity.Call, done func(entity.Result)) {
	if c.Method.Name == connectName && s.refuse {
		refusing(entity.Errorf(entity.Denied, "nobody new is let in"))(c, done)
		return
	}
	s.node.Submit(c, done)
}

func TestARefusedIntroductionIsPassedOnAndForgotten(t *testing.T) {
	w := start(t, nil)
	s := &strict{w.node, true}
	w.door.submitter = s
	resp, body := do(t, w.request(t, "Messages.Send", hello))
	p := wantProblem(t, resp, body, http.StatusForbidden, "denied")
	if p.Detail != "nobody new is let in" || len(w.node.asked("Messages.Send")) != 0 {
		t.Errorf("detail = %q and %d sends, want the refusal and none", p.Detail, len(w.node.asked("Messages.Send")))
	}
	s.refuse = false
	if resp, body := do(t, w.request(t, "Messages.Send", hello)); resp.StatusCode != http.StatusOK {
		t.Errorf("status = %d, want 200: %s", resp.StatusCode, body)
	}
}

func TestALateAnswerIsNeitherYesNorNo(t *testing.T) {
	w := start(t, func(c *Config) { c.CallTimeout = 20 * time.Millisecond })
	late := make(chan func(entity.Result), 1)
	w.node.answers(func(_ *entity.Call, done func(entity.Result)) { late <- done })
	resp, body := do(t, w.request(t, "Messages.Send", hello))
	p := wantProblem(t, resp, body, http.StatusGatewayTimeout, codeTimeout)
	if !strings.Contains(p.Detail, "may or may not have been done") {
		t.Errorf("detail = %q, want it to say that the outcome is unknown", p.Detail)
	}
	(<-late)(entity.Result{Reply: &pb.SendResponse{Seq: 9}}) // Blocks nobody, and reaches nobody.
	w.node.answers(nil)
	if _, body := do(t, w.request(t, "Messages.Send", hello)); !bytes.Contains(body, []byte(`"seq":7`)) {
		t.Errorf("the next answer = %s, want its own", body)
	}
}

func TestAPanicIsOneRequestsProblem(t *testing.T) {
	w := start(t, nil)
	panics := map[string]func(*entity.Call, func(entity.Result)){
		"in the submitter": func(*entity.Call, func(entity.Result)) { panic("cannot send hello") },
		"in the handler":   func(_ *entity.Call, done func(entity.Result)) { done(entity.Result{}) }, // There is nothing to encode.
	}
	for name, answer := range panics {
		w.node.answers(answer)
		resp, body := do(t, w.request(t, "Messages.Send", hello))
		p := wantProblem(t, resp, body, http.StatusInternalServerError, "internal")
		if log := w.log.String(); !strings.Contains(log, "Messages.Send") || !strings.Contains(log, p.Instance) || strings.Contains(log, "hello") {
			t.Errorf("%s: log = %s, want the method and the instance, and no content", name, log)
		}
	}
	w.node.answers(nil)
	if resp, _ := do(t, w.request(t, "Messages.Send", hello)); resp.StatusCode != http.StatusOK {
		t.Errorf("status = %d after the panics, want 200", resp.StatusCode)
	}
	if got := w.counted(t, "kith_http_panics_total", ""); got != 2 {
		t.Errorf("kith_http_panics_total = %v, want 2", got)
	}
}

func TestRequestsAreCounted(t *testing.T) {
	w := start(t, nil)
	do(t, w.request(t, "Messages.Send", hello))
	do(t, w.request(t, "Messages.Send", "{"))
	do(t, w.request(t, "Messages.Sing", "{}"))
	for labels, want := range map[string]float64{
		"code=200,method=Messages.Send": 1, "code=400,method=Messages.Send": 1, "code=404,method=none": 1,
	} {
		if got := w.counted(t, "kith_http_requests_total", labels); got != want {
			t.Errorf("kith_http_requests_total{%s} = %v, want %v", labels, got, want)
		}
	}
	if got := w.counted(t, "kith_http_request_seconds", "method=Messages.Send"); got != 2 {
		t.Errorf("kith_http_request_seconds has %v of Messages.Send, want 2", got)
	}
}
