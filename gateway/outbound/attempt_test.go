package outbound

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	signer "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"kith/actors/entity"
)

func TestADeliveryIsSignedWithEverySecret(t *testing.T) {
	s, got := endpointOf(t, status(204))
	hook := local(s.URL + "/hook?key=value")
	hook.Secret = secret(firstKey) + " " + secret(secondKey)
	w := serving(t, map[string]Webhook{"acme": hook})
	w.says(7, "hello </script>\u2028 \"you\"")
	for range 2 { // A delivery that is repeated has the same id.
		if err := w.perform(1, 7); err != nil {
			t.Fatal(err)
		}
		d := wait(t, got)
		for _, key := range [][]byte{firstKey, secondKey} {
			verifier, err := signer.NewWebhook(secret(key))
			if err != nil {
				t.Fatal(err)
			}
			if err := verifier.Verify([]byte(d.body), d.header); err != nil {
				t.Errorf("the signature: %v", err)
			}
			if err := verifier.Verify([]byte(d.body+" "), d.header); err == nil {
				t.Error("another body has the same signature")
			}
		}
		if id, want := d.header.Get("webhook-id"), "msg_4711_7_"+strconv.FormatInt(1_700_000_000_123, 36); id != want {
			t.Errorf("webhook-id = %q, want %q", id, want)
		}
		sent, err := strconv.ParseInt(d.header.Get("webhook-timestamp"), 10, 64)
		if err != nil || time.Since(time.Unix(sent, 0)).Abs() > time.Minute {
			t.Errorf("webhook-timestamp = %q, %v; want now", d.header.Get("webhook-timestamp"), err)
		}
		if kind := d.header.Get("Content-Type"); kind != "application/json" {
			t.Errorf("Content-Type = %q", kind)
		}
	}
	if n := w.counted("acme", delivered); n != 2 {
		t.Errorf("delivered = %d, want 2", n)
	}
}

func TestABodyIsTheEventAsClientsGetIt(t *testing.T) {
	s, got := endpointOf(t, status(200))
	w := serving(t, map[string]Webhook{"acme": local(s.URL)})
	w.says(7, "a < b & \"c\"\n")
	if err := w.perform(1, 7); err != nil {
		t.Fatal(err)
	}
	var body, want any
	if err := json.Unmarshal([]byte(wait(t, got).body), &body); err != nil {
		t.Fatal(err)
	}
	const text = `{"type":"message.sent","timestamp":"2023-11-14T22:13:20.123Z","data":{"tenant":"acme","conversation_id":4711,"event":
		{"type":"MessageSent","seq":7,"at":1700000000123,"by":"ann","body":{"content":{"text":{"text":"a < b & \"c\"\n"}}}}}}`
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(body, want) {
		t.Errorf("body = %v\nwant %v", body, want)
	}
}

func TestTheStatusDecidesWhetherATaskIsDone(t *testing.T) {
	cases := []struct {
		status int
		want   outcome
	}{
		{200, delivered}, {201, delivered}, {202, delivered}, {204, delivered}, {299, delivered},
		{300, redirected}, {301, redirected}, {302, redirected}, {304, redirected}, {307, redirected}, {308, redirected},
		{400, refused}, {401, refused}, {404, refused}, {408, refused}, {429, refused}, {410, gone},
		{500, broken}, {502, broken}, {503, broken}, {599, broken}, {600, broken},
	}
	for _, c := range cases {
		t.Run(strconv.Itoa(c.status), func(t *testing.T) {
			s, _ := endpointOf(t, status(c.status))
			w := serving(t, map[string]Webhook{"acme": local(s.URL)})
			w.says(1, "hello")
			err := w.perform(1, 1)
			if (err == nil) != (c.want == delivered) || err != nil && !strings.Contains(err.Error(), strconv.Itoa(c.status)) {
				t.Errorf("error = %v", err)
			}
			if n := w.counted("acme", c.want); n != 1 {
				t.Errorf("%s = %d, want 1", c.want, n)
			}
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	aim, got := endpointOf(t, status(200))
	for _, code := range []int{301, 302, 303, 307, 308} {
		s, _ := endpointOf(t, func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, aim.URL, code) })
		w := serving(t, map[string]Webhook{"acme": local(s.URL)})
		w.says(1, "hello")
		if err := w.perform(1, 1); err == nil || len(got) > 0 {
			t.Errorf("%d: error = %v, %d requests there; want an error and none", code, err, len(got))
		}
	}
}

func TestNoProxyIsAsked(t *testing.T) {
	if newTransport(nil).Proxy != nil {
		t.Error("the environment could send deliveries elsewhere")
	}
}

// flood writes until nobody reads any more.
func flood(rw http.ResponseWriter, wrote chan<- int) {
	chunk := []byte(strings.Repeat("x", 32<<10))
	for n := 0; ; {
		written, err := rw.Write(chunk)
		if n += written; err != nil {
			wrote <- n
			return
		}
	}
}

func TestAnEndlessAnswerIsLeftUnread(t *testing.T) {
	wrote := make(chan int, 1)
	s, _ := endpointOf(t, func(rw http.ResponseWriter, _ *http.Request) { flood(rw, wrote) })
	w := serving(t, map[string]Webhook{"acme": local(s.URL)})
	w.says(1, "hello")
	if err := w.perform(1, 1); err != nil {
		t.Errorf("error = %v; the status had decided", err)
	}
	const buffers = 16 << 20 // What the kernel may take on both sides.
	if n := wait(t, wrote); n > buffers {
		t.Errorf("the endpoint could write %d bytes", n)
	}
}

func TestAnEndlessHeaderIsLeftUnread(t *testing.T) {
	s, _ := endpointOf(t, func(rw http.ResponseWriter, _ *http.Request) {
		for i := range 2 * maxAnswerBytes / 1000 {
			rw.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 1000))
		}
	})
	w := serving(t, map[string]Webhook{"acme": local(s.URL)})
	w.says(1, "hello")
	if err := w.perform(1, 1); err == nil || w.counted("acme", unreachable) != 1 {
		t.Errorf("error = %v, want that it is unreachable", err)
	}
}

// stalled answers nothing before the attempt has ended.
func stalled(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestASlowHeaderIsLate(t *testing.T) {
	s, _ := endpointOf(t, stalled)
	w := newWorld(t, map[string]Webhook{"acme": local(s.URL)})
	w.open.ResponseHeaderTimeout = time.Millisecond
	w.serve()
	w.says(1, "hello")
	if err := w.perform(1, 1); err == nil || w.counted("acme", late) != 1 {
		t.Errorf("error = %v, want that it is late", err)
	}
}

// The header has decided: a body that never ends makes nothing of it undone.
func TestASlowBodyIsDelivered(t *testing.T) {
	s, _ := endpointOf(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(200)
		if err := http.NewResponseController(rw).Flush(); err == nil {
			stalled(rw, r)
		}
	})
	w := newWorld(t, map[string]Webhook{"acme": local(s.URL)})
	w.attemptTimeout = 100 * time.Millisecond
	w.serve()
	w.says(1, "hello")
	if err := w.perform(1, 1); err != nil || w.counted("acme", delivered) != 1 {
		t.Errorf("error = %v, want that it is delivered", err)
	}
}

func TestACertificateMustBeValid(t *testing.T) {
	s := httptest.NewUnstartedServer(status(200))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // It says of each handshake why it failed.
	s.StartTLS()
	t.Cleanup(s.Close)
	plain, _ := endpointOf(t, status(200))
	trusted := x509.NewCertPool()
	trusted.AddCert(s.Certificate())
	cases := []struct {
		name  string
		url   string
		roots *x509.CertPool
		want  outcome
	}{
		{"valid", s.URL, trusted, delivered},
		{"of an unknown authority", s.URL, x509.NewCertPool(), untrusted},
		{"of the system's authorities", s.URL, nil, untrusted},
		{"of another host", strings.Replace(s.URL, "127.0.0.1", "localhost", 1), trusted, untrusted},
		{"none", strings.Replace(plain.URL, "http", "https", 1), trusted, untrusted},
		{"for who asks in the clear", strings.Replace(s.URL, "https", "http", 1), trusted, refused},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, map[string]Webhook{"acme": local(c.url)})
			w.open.TLSClientConfig.RootCAs = c.roots
			w.serve()
			w.says(1, "hello")
			if err := w.perform(1, 1); (err == nil) != (c.want == delivered) || w.counted("acme", c.want) != 1 {
				t.Errorf("error = %v, want %s", err, c.want)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	s, _ := endpointOf(t, status(200))
	s.Close()
	w := serving(t, map[string]Webhook{"acme": local(s.URL)})
	w.says(1, "hello")
	if err := w.perform(1, 1); err == nil || w.counted("acme", unreachable) != 1 {
		t.Errorf("error = %v, want that it is unreachable", err)
	}
}

// hijack answers with bytes that are not HTTP, some of them the request's.
func hijack(t testing.TB, bytes string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := c.Write([]byte(bytes)); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Whatever an endpoint does, neither the log nor an error, which the host keeps
// with a task that it gives up, has anything of the event, the URL or the secret.
func TestNothingThatIsSecretIsLogged(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"a status":          status(500),
		"gone":              status(410),
		"an echo":           hijack(t, "HTTP/1.1 canary canary\r\n\r\n"),
		"an echo in header": hijack(t, "HTTP/1.1 200 OK\r\ncanary\r\n\r\n"),
		"a redirect": func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "http://[canary", http.StatusFound)
		},
		"an end": hijack(t, ""),
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			s, _ := endpointOf(t, answer)
			w := serving(t, map[string]Webhook{"acme": local(s.URL + "/canary?canary=canary")})
			w.says(1, "canary")
			err := w.perform(1, 1)
			if err == nil {
				t.Fatal("it was delivered")
			}
			text := w.log.String() + err.Error()
			if strings.Contains(text, "canary") || strings.Contains(text, secret(firstKey)) {
				t.Errorf("something secret is in %q", text)
			}
			if !strings.Contains(text, "acme") {
				t.Errorf("the tenant is not in %q", text)
			}
		})
	}
}

func TestWhatCannotBeReadIsTriedAgain(t *testing.T) {
	s, got := endpointOf(t, status(200))
	w := serving(t, map[string]Webhook{"acme": local(s.URL)})
	w.says(1, "hello")
	w.fails = entity.Errorf(entity.Overloaded, "too many queries wait; try again")
	if err := w.perform(1, 1); err == nil || w.counted("acme", unread) != 1 {
		t.Errorf("error = %v, want that it could not be read", err)
	}
	task := tell(1, 1)
	task.Call.Req = nil // Of a newer server, say.
	how := make(chan error, 1)
	w.Perform(task, func(err error) { how <- err })
	if err := wait(t, how); err == nil || w.counted("acme", unread) != 2 {
		t.Errorf("error = %v, want that nobody performs it", err)
	}
	if len(got) > 0 {
		t.Error("something was sent")
	}
}

func TestWhatIsGoneFromTheLogIsDone(t *testing.T) {
	s, got := endpointOf(t, status(200))
	w := serving(t, map[string]Webhook{"acme": local(s.URL)})
	if err := w.perform(1, 1); err != nil || w.counted("acme", vanished) != 1 || len(got) > 0 {
		t.Errorf("error = %v, %d requests; want none of either", err, len(got))
	}
}

func TestATenantWithoutAWebhookHasNothingToDo(t *testing.T) {
	w := serving(t, map[string]Webhook{"bolt": {}})
	w.says(1, "hello")
	for tenant := range entity.Tenant(4) {
		if err := w.perform(tenant, 1); err != nil {
			t.Errorf("tenant %d: error = %v", tenant, err)
		}
	}
	if n := w.counted("", unconfigured); n != 4 {
		t.Errorf("unconfigured = %d, want 4", n)
	}
}
