package httpapi

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/valyala/fasthttp"

	"kith/actors/entity"
	"kith/actors/pb"
)

// BenchmarkQuery is one query by the handler, from bytes to bytes, without a
// socket and with a Submitter that answers at once.
func BenchmarkQuery(b *testing.B) {
	w := prepare(b, nil)
	w.door.submitter = quick{&pb.HistoryResponse{MoreBefore: true}}
	body := `{"conversation_id":5,"limit":50}`
	raw := []byte("POST /v1/Messages.History HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8\r\nAccept: */*\r\n" +
		"Authorization: Bearer " + w.token(b, "one", "ann", "phone") + "\r\nContent-Type: application/json\r\n" +
		"Content-Length: 32\r\n\r\n" + body)
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	in := bytes.NewReader(raw)
	buffered := bufio.NewReaderSize(in, 8<<10)
	out := bufio.NewWriterSize(discard{}, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(raw)
		buffered.Reset(in)
		ctx.Request.Reset()
		ctx.Response.Reset()
		if err := ctx.Request.Read(buffered); err != nil {
			b.Fatal(err)
		}
		w.door.serve(&ctx)
		if ctx.Response.StatusCode() != fasthttp.StatusOK {
			b.Fatalf("%d %s", ctx.Response.StatusCode(), ctx.Response.Body())
		}
		if err := ctx.Response.Write(out); err != nil {
			b.Fatal(err)
		}
	}
}

// quick answers every call with one page.
type quick struct{ page *pb.HistoryResponse }

func (q quick) Submit(_ *entity.Call, done func(entity.Result)) { done(entity.Result{Reply: q.page}) }

// discard is a socket that takes everything.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
