package httpapi

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// exchangeRaw sends bytes on a connection of their own, says that there are no
// more, and returns what came back until the server closed it.
func (w *world) exchangeRaw(tb testing.TB, request string) string {
	tb.Helper()
	c := w.dial(tb)
	if _, err := io.WriteString(c, request); err != nil {
		tb.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		tb.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		tb.Fatalf("read %q: %v", answer, err)
	}
	return string(answer)
}

func (w *world) dial(tb testing.TB) net.Conn {
	tb.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() }) // It may be closed already.
	return c
}

// statuses are the statuses of the answers in a stream.
func statuses(tb testing.TB, stream string) (all []int) {
	tb.Helper()
	b := bufio.NewReader(strings.NewReader(stream))
	for {
		if _, err := b.Peek(1); err == io.EOF {
			return all
		}
		resp, err := http.ReadResponse(b, nil)
		if err != nil {
			tb.Fatalf("after %v: %v in %q", all, err, stream)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			tb.Fatalf("after %v: %v in %q", all, err, stream)
		}
		all = append(all, resp.StatusCode)
	}
}

// smuggled is a second request, hidden in the body of the first wherever a server
// reads another length than the proxy before it.
const smuggled = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func TestRequestsThatAProxyCouldReadDifferently(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: x\r\n"
	const post = "POST / HTTP/1.1\r\nHost: x\r\n"
	n := len(smuggled)
	cases := []struct {
		name, request string
		want          []int // the statuses of the answers; the last one closes
	}{
		{"ordinary", get + "\r\n", []int{200}},
		{"ordinary, twice", get + "\r\n" + get + "\r\n", []int{200, 200}},
		{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: x\r\n\r\n" + smuggled, []int{200}},
		{"a line end too many between requests", get + "\r\n\r\n" + get + "\r\n", []int{200, 200}},
		{"the whole URL", "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}},
		{"a body where none is needed", get + fmt.Sprintf("Content-Length: %d\r\n\r\n", n) + smuggled, []int{200}},
		{"a body in chunks", post + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{405, 200}},
		{"a body that waits to be asked for", post + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab" + smuggled, []int{100, 405, 200}},

		{"no Host", "GET / HTTP/1.1\r\n\r\n" + smuggled, []int{400}},
		{"no Host in HTTP/1.0", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + smuggled, []int{400}},
		{"two Hosts", get + "Host: y\r\n\r\n" + smuggled, []int{400}},
		{"two equal Hosts", get + "Host: x\r\n\r\n" + smuggled, []int{400}},
		{"two Hosts in another case", get + "hOST: y\r\n\r\n" + smuggled, []int{400}},
		{"an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n" + smuggled, []int{400}},
		{"a list of Hosts", "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n" + smuggled, []int{400}},
		{"a Host with a path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n" + smuggled, []int{400}},
		{"a Host with a user", "GET / HTTP/1.1\r\nHost: a@x\r\n\r\n" + smuggled, []int{400}},

		{"HTTP/9.9", "GET / HTTP/9.9\r\nHost: x\r\n\r\n" + smuggled, []int{400}},
		{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: x\r\n\r\n" + smuggled, []int{400}},
		{"HTTP/0.9", "GET /\r\n\r\n", []int{400}},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400}},
		{"http in lower case", "GET / http/1.1\r\nHost: x\r\n\r\n", []int{400}},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}},
		{"no first line", "Host: x\r\n\r\n", []int{400}},
		{"two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		{"a space in the target", "GET / x HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		{"a NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},

		{"both lengths", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}},
		{"both lengths, the other way round", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + smuggled, []int{400}},
		{"two lengths", post + "Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + smuggled, []int{400}},
		{"two equal lengths", post + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + smuggled, []int{400}},
		{"a list of lengths", post + "Content-Length: 0, 0\r\n\r\n" + smuggled, []int{400}},
		{"a length with a sign", post + "Content-Length: +0\r\n\r\n" + smuggled, []int{400}},
		{"a negative length", post + "Content-Length: -1\r\n\r\n" + smuggled, []int{400}},
		{"a length in hex", post + "Content-Length: 0x0\r\n\r\n" + smuggled, []int{400}},
		{"a length of 2^64", post + "Content-Length: 18446744073709551616\r\n\r\n" + smuggled, []int{400}},
		{"an empty length", post + "Content-Length:\r\n\r\n" + smuggled, []int{400}},
		{"two codings", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}},
		{"a list of codings", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}},
		{"identity", post + "Transfer-Encoding: identity\r\n\r\n" + smuggled, []int{400}},
		{"identity and a length", post + "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n" + smuggled, []int{400}},
		{"xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}},
		{"a tab before chunked", post + "Transfer-Encoding:\t\vchunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}},
		{"chunks in HTTP/1.0", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}},

		{"a space before the colon", post + "Content-Length : 0\r\n\r\n" + smuggled, []int{400}},
		{"a space before the name", post + " Content-Length: 0\r\n\r\n" + smuggled, []int{400}},
		{"a line that goes on", get + "X: a\r\n b\r\n\r\n" + smuggled, []int{400}},
		{"a name with a space", get + "X Y: a\r\n\r\n" + smuggled, []int{400}},
		{"a line without a colon", get + "X\r\n\r\n" + smuggled, []int{400}},
		{"an empty name", get + ": a\r\n\r\n" + smuggled, []int{400}},
		{"a NUL in a value", get + "X: a\x00b\r\n\r\n" + smuggled, []int{400}},
		{"a carriage return in a value", get + "X: a\rContent-Length: 5\r\n\r\n" + smuggled, []int{400}},
		{"a line feed alone", get + "X: a\nY: b\r\n\r\n" + smuggled, []int{400}},
		{"line feeds alone", "GET / HTTP/1.1\nHost: x\n\n" + smuggled, []int{400}},
		{"two tokens", get + "Authorization: a\r\nAuthorization: b\r\n\r\n" + smuggled, []int{400}},

		{"a chunk's length with a sign", post + "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + smuggled, []int{400}},
		{"a chunk's length in 0x", post + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + smuggled, []int{400}},
		{"a chunk of 2^64", post + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n" + smuggled, []int{400}},
		{"a chunk of 2^63-1 after one byte", post + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n7fffffffffffffff\r\n\r\n" + smuggled, []int{400}},
		{"a chunk that is longer", post + "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n" + smuggled, []int{400}},
		{"a chunk's line feed alone", post + "Transfer-Encoding: chunked\r\n\r\n0\n\n" + smuggled, []int{400}},
		{"a line feed in an extension", post + "Transfer-Encoding: chunked\r\n\r\n0;a\nb\r\n\r\n" + smuggled, []int{400}},
		{"a length after the chunks", post + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n" + smuggled, []int{400}},
		{"a token after the chunks", post + "Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: a\r\n\r\n" + smuggled, []int{400}},
		{"a body that ends early", post + "Content-Length: 5\r\n\r\nab", []int{400}},
	}
	w := start(t, nil)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stream := w.exchangeRaw(t, c.request)
			if got := statuses(t, stream); fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Fatalf("statuses = %v, want %v in %q", got, c.want, stream)
			}
			if c.want[0] == 400 && (!strings.Contains(stream, `"code":"invalid"`) || !strings.Contains(stream, "Connection: close")) {
				t.Errorf("the answer is not a problem that closes: %q", stream)
			}
		})
	}
	if got := w.counted(t, "kith_http_panics_total", ""); got != 0 {
		t.Errorf("%v panics", got)
	}
}

func FuzzFramingFault(f *testing.F) {
	for _, seed := range []string{"Host: x\r\n\r\n", "Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ": \r\n", "\n", ""} {
		f.Add("HTTP/1.1", seed)
	}
	f.Fuzz(func(t *testing.T, protocol, raw string) {
		raw, _, _ = strings.Cut(raw, "\r\n\r\n") // As fasthttp does; what follows is the body.
		raw += "\r\n\r\n"
		if framingFault([]byte(protocol), []byte(raw)) != "" {
			return
		}
		lines := "\r\n" + strings.ToLower(raw)
		count := func(name string) int { return strings.Count(lines, "\r\n"+name+":") }
		if got := count("host"); got != 1 {
			t.Errorf("%d Hosts were accepted in %q", got, raw)
		}
		if got := count("content-length") + count("transfer-encoding"); got > 1 {
			t.Errorf("%d lengths were accepted in %q", got, raw)
		}
	})
}

func TestABodyThatIsTooLarge(t *testing.T) {
	w := start(t, nil)
	large := bytes.Repeat([]byte("x"), 3<<20) // Beyond what the socket's buffers hold.
	bodies := map[string]io.Reader{
		"with its length": bytes.NewReader(large),
		"in chunks":       io.MultiReader(bytes.NewReader(large)), // No length can be seen.
	}
	for name, body := range bodies {
		r, err := http.NewRequest(http.MethodPost, "http://"+w.addr+"/v1/Messages.Send", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, b := do(t, r)
		p := wantProblem(t, resp, b, http.StatusRequestEntityTooLarge, "too_large")
		if p.Limit != 1<<20 {
			t.Errorf("%s: limit = %d, want 1 MiB", name, p.Limit)
		}
	}
}

func TestABodyOfTheLimitIsRead(t *testing.T) {
	w := start(t, nil)
	text := strings.Repeat("x", 1<<20-len(hello)+len("hello"))
	resp, b := do(t, w.request(t, "Messages.Send", strings.Replace(hello, "hello", text, 1)))
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status = %d, want 200: %s", resp.StatusCode, b)
	}
}

func TestWhoSendsTooMuchGetsItsAnswerStill(t *testing.T) {
	w := start(t, nil)
	c := w.dial(t)
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 2<<20); err != nil {
		t.Fatal(err)
	}
	// All of the body is written before anything is read, as simple clients do.
	if _, err := c.Write(make([]byte, 2<<20)); err != nil {
		t.Fatalf("write: %v", err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 413 ") {
		t.Errorf("answer = %q (%v), want 413", answer, err)
	}
}

func TestAHeaderThatIsTooLarge(t *testing.T) {
	w := start(t, nil)
	stream := w.exchangeRaw(t, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 9<<10)+"\r\n\r\n")
	if !strings.HasPrefix(stream, "HTTP/1.1 431 ") || !strings.Contains(stream, `"limit":8192`) {
		t.Errorf("answer = %q, want 431 with the limit", stream)
	}
}

func TestWhoIsSlowIsCut(t *testing.T) {
	const head = "POST /v1/Messages.Send HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
	brief := 50 * time.Millisecond
	cases := []struct {
		name, sent string
		change     func(*Config)
		want       string // how the answer starts
	}{
		{"silent", "", func(c *Config) { c.HeaderTimeout = brief }, "HTTP/1.1 408 "},
		{"half a first line", "POST /v1", func(c *Config) { c.HeaderTimeout = brief }, "HTTP/1.1 408 "},
		{"half a header", head, func(c *Config) { c.HeaderTimeout = brief }, "HTTP/1.1 408 "},
		{"half a body", head + "\r\n12345", func(c *Config) { c.BodyTimeout = brief }, "HTTP/1.1 408 "},
		{"half a chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12", func(c *Config) { c.BodyTimeout = brief }, "HTTP/1.1 408 "},
		{"idle", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", func(c *Config) { c.IdleTimeout = brief }, "HTTP/1.1 200 "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := start(t, c.change)
			conn := w.dial(t)
			if _, err := io.WriteString(conn, c.sent); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(conn) // Ends when the server closes.
			if err != nil || !strings.HasPrefix(string(answer), c.want) {
				t.Errorf("answer = %q (%v), want %s", answer, err, c.want)
			}
		})
	}
}
