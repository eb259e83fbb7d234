package outbound

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/host"
	"kith/actors/pb"
	"kith/storage"
)

// must ends a test that cannot go on.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A real is a Worker at a real host on a real store, in memory.
type real struct {
	t      testing.TB
	disk   vfs.FS
	url    string
	policy entity.Policy

	reg    *entity.Registry
	db     *storage.DB
	host   *host.Host
	worker *Worker
}

func newReal(t testing.TB, url string) *real {
	t.Helper()
	policy, ok := entity.Profile("bench")
	if !ok {
		t.Fatal("there is no profile bench")
	}
	policy.Webhook = true
	return &real{t: t, disk: vfs.NewMem(), url: url, policy: policy}
}

// start runs the server until stop.
func (r *real) start() {
	r.t.Helper()
	var err error
	r.reg, err = entity.New(feature.All...)
	must(r.t, err)
	r.db, err = storage.Open(storage.Config{FS: r.disk, Dir: "db", Logger: slog.New(slog.DiscardHandler), Fatal: func(err error) { panic(err) }})
	must(r.t, err)
	log := slog.New(slog.DiscardHandler)
	r.worker, err = New(Config{Registry: r.reg, Webhooks: map[string]Webhook{"acme": local(r.url)}, Log: log, Metrics: prometheus.NewRegistry()})
	must(r.t, err)
	r.host, err = host.Start(host.Config{
		Registry: r.reg, Storage: r.db, Outside: r.worker, Log: log,
		Tenants: map[string]*entity.Policy{"acme": &r.policy}, Fatal: func(err error) { panic(err) },
	})
	must(r.t, err)
	must(r.t, r.worker.Serve(r.host))
}

func (r *real) stop() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r.worker.Stop(ctx)
	must(r.t, r.host.Stop(ctx))
	must(r.t, r.db.Close())
}

// call makes a call for a user and returns the reply.
func call[Resp any](r *real, user, method string, req entity.Message) Resp {
	r.t.Helper()
	tenant, _ := r.host.Tenant("acme")
	caller := entity.Caller{Tenant: tenant, User: user, Number: entity.UserNumber(tenant, user), Device: "phone"}
	c, refused := r.reg.NewCall(r.reg.ByName(method), caller, req)
	if refused != nil {
		r.t.Fatal(refused)
	}
	results := make(chan entity.Result, 1)
	r.host.Submit(c, func(result entity.Result) { results <- result })
	result := wait(r.t, results)
	if result.Err != nil {
		r.t.Fatalf("%s of %s: %v", method, user, result.Err)
	}
	return result.Reply.(Resp)
}

// direct is a conversation that has one event.
func (r *real) direct(a, b string) uint64 {
	r.t.Helper()
	return call[*pb.OpenDirectResponse](r, a, "Directs.Open", &pb.OpenDirectRequest{UserId: b}).ConversationId
}

func (r *real) say(conversation uint64, text string) uint64 {
	r.t.Helper()
	content := &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: text}}}
	return call[*pb.SendResponse](r, "ann", "Messages.Send", &pb.SendRequest{ConversationId: conversation, Content: content}).Seq
}

// parks waits until so many dead letters are durable. Between two looks it asks
// something that has to wait for its turn.
func (r *real) parks(conversation uint64, want int) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		_, all, err := r.host.DeadLetters(0)
		must(r.t, err)
		if all == want {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%d dead letters after %v, want %d", all, patience, want)
		}
		call[*pb.DeleteResponse](r, "ann", "Messages.Delete", &pb.DeleteRequest{ConversationId: conversation, Seqs: []uint64{2}})
	}
}

// A tape is an endpoint that keeps what it accepts.
type tape struct {
	url    string
	down   atomic.Bool   // it refuses everything
	flaky  atomic.Bool   // it refuses every second request
	asked  chan struct{} // one for each request
	number atomic.Int32  // of requests
	kept   chan kept
}

// A kept event is what a tape has of it.
type kept struct {
	Data struct {
		ConversationID uint64 `json:"conversation_id"`
		Event          struct {
			Type string          `json:"type"`
			Seq  uint64          `json:"seq"`
			Body json.RawMessage `json:"body"`
		} `json:"event"`
	} `json:"data"`
}

func newTape(t testing.TB) *tape {
	const most = 10_000 // More than any test sends.
	p := &tape{asked: make(chan struct{}, most), kept: make(chan kept, most)}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var k kept
		if err := json.NewDecoder(r.Body).Decode(&k); err != nil {
			t.Errorf("a body: %v", err)
		}
		if n := p.number.Add(1); p.down.Load() || p.flaky.Load() && n%2 == 0 {
			rw.WriteHeader(http.StatusServiceUnavailable)
		} else {
			p.kept <- k
		}
		p.asked <- struct{}{}
	}))
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

// inOrder waits for the events of conversations, each from the first to the last
// seq that is given, and fails if one comes before its turn or twice.
func (p *tape) inOrder(t testing.TB, last map[uint64]uint64) {
	t.Helper()
	next := map[uint64]uint64{}
	for left := len(last); left > 0; {
		e := wait(t, p.kept).Data
		if next[e.ConversationID]++; e.Event.Seq != next[e.ConversationID] {
			t.Fatalf("event %d came as number %d", e.Event.Seq, next[e.ConversationID])
		}
		if e.Event.Seq == last[e.ConversationID] {
			left--
		}
	}
}

func TestEventsOfAConversationComeInOrderHoweverOftenTheyFail(t *testing.T) {
	p := newTape(t)
	p.flaky.Store(true)
	r := newReal(t, p.url)
	r.start()
	last := map[uint64]uint64{}
	for _, peer := range []string{"bob", "cat", "dan"} {
		conversation := r.direct("ann", peer)
		for range 6 {
			last[conversation] = r.say(conversation, "hello")
		}
	}
	p.inOrder(t, last)
	r.stop()
}

// More events than a host keeps in memory for one conversation wait in the store,
// over a restart.
func TestEventsComeInOrderAfterALongSilence(t *testing.T) {
	p := newTape(t)
	p.down.Store(true)
	r := newReal(t, p.url)
	r.start()
	conversation := r.direct("ann", "bob")
	for range 50 {
		r.say(conversation, "hello")
	}
	wait(t, p.asked)
	r.stop()
	r.start()
	last := uint64(0)
	for range 50 {
		last = r.say(conversation, "hello")
	}
	p.down.Store(false)
	p.inOrder(t, map[uint64]uint64{conversation: last})
	r.stop()
}

func TestWhatWasRevokedMeanwhileIsSentWithoutContent(t *testing.T) {
	p := newTape(t)
	p.down.Store(true)
	r := newReal(t, p.url)
	r.start()
	conversation := r.direct("ann", "bob")
	revoked, edited := r.say(conversation, "canary"), r.say(conversation, "canary")
	content := &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: "better"}}}
	call[*pb.EditResponse](r, "ann", "Messages.Edit", &pb.EditRequest{ConversationId: conversation, Seq: revoked, Content: content})
	call[*pb.EditResponse](r, "ann", "Messages.Edit", &pb.EditRequest{ConversationId: conversation, Seq: edited, Content: content})
	call[*pb.RevokeResponse](r, "ann", "Messages.Revoke", &pb.RevokeRequest{ConversationId: conversation, Seq: revoked})
	wait(t, p.asked)
	p.down.Store(false)
	want := []string{`"user_ids"`, `{"revoked":true}`, `better`, `"message":{"revoked":true}`, `better`, `{"seq":2}`}
	for i, part := range want {
		e := wait(t, p.kept).Data.Event
		if body := string(e.Body); e.Seq != uint64(i+1) || !strings.Contains(body, part) || strings.Contains(body, "canary") {
			t.Errorf("event %d is %s %s, want %q in it", e.Seq, e.Type, body, part)
		}
	}
	r.stop()
}

func TestWhatIsGivenUpCanBeReplayed(t *testing.T) {
	p := newTape(t)
	p.down.Store(true)
	r := newReal(t, p.url)
	r.policy.TaskGiveUp = time.Millisecond
	r.start()
	conversation := r.direct("ann", "bob")
	last := r.say(conversation, "hello")
	r.parks(conversation, int(last))
	if len(p.asked) < int(last) {
		t.Errorf("%d events were given up after %d attempts", last, len(p.asked))
	}
	p.down.Store(false)
	n, err := r.host.ReplayDeadLetters()
	must(t, err)
	if n != int(last) {
		t.Errorf("%d dead letters, want %d", n, last)
	}
	p.inOrder(t, map[uint64]uint64{conversation: last})
	r.stop()
}
