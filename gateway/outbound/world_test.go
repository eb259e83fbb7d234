package outbound

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/pb"
)

// patience is how long a test waits for what ought to happen.
const patience = 20 * time.Second

// Each tenant of a world has the number of its place here, from 1 on.
var tenantNames = []string{"acme", "bolt", "core"}

// Two secrets, and what they are in a configuration.
var (
	firstKey  = bytes.Repeat([]byte("first"), 6)
	secondKey = bytes.Repeat([]byte("second"), 6)
)

func secret(key []byte) string { return secretPrefix + base64.StdEncoding.EncodeToString(key) }

// local is a webhook that leads to a server of a test.
func local(url string) Webhook {
	return Webhook{URL: url, Secret: secret(firstKey), InsecureHTTP: true, InsecurePrivateAddresses: true}
}

// A world is a Worker with a log of its own and a node that answers from a map.
type world struct {
	*Worker
	t       testing.TB
	metrics *prometheus.Registry
	log     *lockedBuffer

	mu    sync.Mutex // guards what is below
	shown map[uint64]*pb.ShowWebhookResponse
	fails *entity.Error
}

// newWorld makes a Worker that does not serve yet. It is stopped with the test.
func newWorld(t testing.TB, hooks map[string]Webhook) *world {
	t.Helper()
	registry, err := entity.New(feature.All...)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, metrics: prometheus.NewRegistry(), log: &lockedBuffer{}, shown: map[uint64]*pb.ShowWebhookResponse{}}
	w.Worker, err = New(Config{
		Registry: registry, Webhooks: hooks, Version: "test", Metrics: w.metrics,
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Stop(context.Background()) })
	return w
}

// serving is a world that serves.
func serving(t testing.TB, hooks map[string]Webhook) *world {
	t.Helper()
	w := newWorld(t, hooks)
	w.serve()
	return w
}

func (w *world) serve() {
	w.t.Helper()
	if err := w.Serve(w); err != nil {
		w.t.Fatal(err)
	}
}

// Submit answers as the feature does.
func (w *world) Submit(call *entity.Call, done func(entity.Result)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	resp := w.shown[call.Req.(*pb.ShowWebhookRequest).Seq]
	if resp == nil {
		resp = &pb.ShowWebhookResponse{}
	}
	r := entity.Result{Reply: resp, Err: w.fails}
	go done(r)
}

// Tenant knows those of tenantNames.
func (w *world) Tenant(name string) (entity.Tenant, bool) {
	for i, n := range tenantNames {
		if n == name {
			return entity.Tenant(i + 1), true
		}
	}
	return 0, false
}

// says puts a message into the log.
func (w *world) says(seq uint64, text string) {
	w.t.Helper()
	body, err := (&pb.MessageSent{Content: &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: text}}}}).MarshalVT()
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown[seq] = &pb.ShowWebhookResponse{Type: "message.sent", Event: &pb.Event{Type: 0x10, Seq: seq, At: 1_700_000_000_123, By: "ann", Body: body}}
}

// conversation is the sender of every task.
const conversation = 4711

// tell is the task of an event.
func tell(tenant entity.Tenant, seq uint64) *entity.Tell {
	return &entity.Tell{
		From: entity.Conversation(tenant, conversation), Number: seq,
		Call: entity.Call{Req: &pb.DeliverWebhookRequest{ConversationId: conversation, Seq: seq}},
	}
}

// begin has a task performed; what comes out of it is how it went.
func (w *world) begin(tenant entity.Tenant, seq uint64) <-chan error {
	how := make(chan error, 1)
	w.Perform(tell(tenant, seq), func(err error) { how <- err })
	return how
}

// perform has a task performed and waits for it.
func (w *world) perform(tenant entity.Tenant, seq uint64) error {
	w.t.Helper()
	return wait(w.t, w.begin(tenant, seq))
}

// wait takes what a channel has, in patience.
func wait[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing happened for %v", patience)
		panic("unreachable")
	}
}

// counted is how many attempts of a tenant had an outcome.
func (w *world) counted(tenant string, how outcome) int {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "kith_webhook_attempts_total" {
			continue
		}
		for _, m := range f.Metric {
			labels := fmt.Sprint(m.Label[0].GetValue(), " ", m.Label[1].GetValue()) // outcome, tenant
			if labels == fmt.Sprint(how, " ", tenant) {
				return int(m.Counter.GetValue())
			}
		}
	}
	return 0
}

// A delivery is what an endpoint got.
type delivery struct {
	header http.Header
	body   string
}

// endpointOf is a server that answers as it is told, and what it got.
func endpointOf(t testing.TB, answer http.HandlerFunc) (*httptest.Server, <-chan delivery) {
	t.Helper()
	got := make(chan delivery, 1000) // More than any test sends.
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // The attempt was cut.
		}
		got <- delivery{r.Header, string(body)}
		answer(rw, r)
	}))
	t.Cleanup(s.Close)
	return s, got
}

// status answers with nothing but a status.
func status(code int) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(code) }
}

// A lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex // guards what is below
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
