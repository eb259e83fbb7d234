package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// A city is a Host with everybody who uses it.
type city struct {
	testing.TB
	*Host
	store *Store
	fatal chan error
}

func newCity(t testing.TB, listener Listener, change ...func(*Config)) *city {
	t.Helper()
	reg, err := Registry()
	if err != nil {
		t.Fatal(err)
	}
	policy, _ := entity.Profile("bench")
	c := &city{TB: t, store: &Store{}, fatal: make(chan error, 1)}
	config := Config{
		Registry: reg, Storage: c.store, Listener: listener,
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		Tenants: map[string]*entity.Policy{"acme": &policy},
		Fatal: func(err error) {
			select {
			case c.fatal <- err:
			default:
			}
		},
	}
	for _, f := range change {
		f(&config)
	}
	if c.Host, err = Start(config); err != nil {
		t.Fatal(err)
	}
	return c
}

// stop ends the host, which must drain.
func (c *city) stop() {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		c.Error(err)
	}
}

func (c *city) caller(user string) entity.Caller {
	t, _ := c.Tenant("acme")
	return entity.Caller{Tenant: t, User: user, Number: entity.UserNumber(t, user), Device: "phone"}
}

func (c *city) call(user string, req entity.Message) *entity.Call {
	name := "Counters." + strings.TrimSuffix(string(req.ProtoReflect().Descriptor().Name()), "Request")
	call, err := c.Registry.NewCall(c.Registry.ByName(name), c.caller(user), req)
	if err != nil {
		panic(err)
	}
	return call
}

// A crowd hears everything, and sees that each log comes in order and after
// the replies that tell of it.
type crowd struct {
	t       testing.TB
	mu      sync.Mutex // guards what is below
	heads   map[entity.Ref]uint64
	replied map[entity.Ref]uint64 // highest seq in a reply
	heard   int
}

func newCrowd(t testing.TB) *crowd {
	return &crowd{t: t, heads: map[entity.Ref]uint64{}, replied: map[entity.Ref]uint64{}}
}

func (c *crowd) Published(e *entity.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard++
	if e.Seq != c.heads[e.Ref]+1 {
		c.t.Errorf("%v: event %d was published after %d", e.Ref, e.Seq, c.heads[e.Ref])
	}
	if e.Seq > c.replied[e.Ref] {
		c.t.Errorf("%v: event %d was published before its reply", e.Ref, e.Seq)
	}
	c.heads[e.Ref] = e.Seq
}

func (c *crowd) Released() {}

func (c *crowd) reply(ref entity.Ref, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replied[ref] = max(c.replied[ref], seq)
}

func TestManyCallersKeepTheOrderOfEachEntity(t *testing.T) {
	defer goleak.VerifyNone(t)
	const callers, calls, counters = 8, 600, 40
	crowd := newCrowd(t)
	// Every entity is idle at once, so they come and go all the time.
	c := newCity(t, crowd, func(cfg *Config) { cfg.IdleAfter = 1 })
	over := make(chan struct{})
	var sweeping sync.WaitGroup
	sweeping.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				c.Sweep()
			}
		}
	})
	var answered atomic.Int64
	var working sync.WaitGroup
	// The first event is rewritten while the committer may be stamping it.
	acts := []*Act{Say("x"), Add("a"), Revise(1, "y"), Quote(1)}
	for who := range callers {
		working.Go(func() {
			var last [counters]atomic.Uint64
			var done sync.WaitGroup
			for i := range calls {
				counter := i * 7 % counters
				call := c.call(fmt.Sprint("user", who), &DoRequest{CounterId: uint64(counter + 1), RequestId: fmt.Sprint(i), Acts: acts})
				done.Add(1)
				c.Submit(call, func(r entity.Result) {
					defer done.Done()
					answered.Add(1)
					if r.Err != nil {
						t.Errorf("refused: %v", r.Err)
						return
					}
					seq := r.Reply.(*DoResponse).Numbers[0]
					crowd.reply(call.To, seq)
					if before := last[counter].Swap(seq); seq <= before {
						t.Errorf("counter %d: a call got %d, the one before it %d", counter, seq, before)
					}
				})
			}
			done.Wait()
		})
	}
	working.Wait()
	close(over)
	sweeping.Wait()
	c.stop()
	if answered.Load() != callers*calls || crowd.heard != callers*calls {
		t.Errorf("%d answers and %d events, want %d", answered.Load(), crowd.heard, callers*calls)
	}
	for ref, head := range crowd.heads {
		if head != callers*calls/counters {
			t.Errorf("%v ends at %d, want %d", ref, head, callers*calls/counters)
		}
	}
}

func TestStopAnswersEveryAcceptedCallAndRefusesLaterOnes(t *testing.T) {
	defer goleak.VerifyNone(t)
	for range 20 {
		c := newCity(t, nil)
		var submitted, answered, refused atomic.Int64
		var working sync.WaitGroup
		begun := make(chan struct{}, 4)
		for who := range 4 {
			working.Go(func() {
				for i := range 200 {
					if i == 20 {
						begun <- struct{}{}
					}
					submitted.Add(1)
					count := func(err *entity.Error) {
						answered.Add(1)
						switch {
						case err == nil:
						case err.Code == entity.Overloaded:
							refused.Add(1)
						default:
							t.Errorf("refused: %v", err)
						}
					}
					if i%3 == 0 {
						c.Submit(c.call("ann", &LookRequest{CounterId: 1, Acts: []*Act{Get("a")}}), func(r entity.Result) { count(r.Err) })
						continue
					}
					call := c.call("ann", &DoRequest{CounterId: uint64(1 + who), Acts: []*Act{Say("x")}})
					c.Submit(call, func(r entity.Result) { count(r.Err) })
				}
			})
		}
		<-begun
		c.stop()
		working.Wait()
		if submitted.Load() != answered.Load() {
			t.Errorf("%d calls, %d answers", submitted.Load(), answered.Load())
		}
		c.Submit(c.call("ann", &DoRequest{CounterId: 1}), func(r entity.Result) {
			if r.Err == nil || r.Err.Code != entity.Overloaded {
				t.Errorf("after Stop: %v", r.Err)
			}
		})
		asked := false
		c.Replay(c.caller("ann"), entity.Conversation(c.caller("ann").Tenant, 1), 0, 1, func(p entity.Page) {
			if asked = true; p.Err == nil || p.Err.Code != entity.Overloaded {
				t.Errorf("a page after Stop: %v", p.Err)
			}
		})
		if !asked {
			t.Error("a page that was asked for after Stop never comes")
		}
	}
}

// slow is a store that takes its time to say whether the disk is full.
type slow struct {
	*Store
	asked, answer chan struct{}
}

func (s slow) Low() bool {
	close(s.asked)
	<-s.answer
	return true
}

// A call that came before Stop is one of those that Stop answers for, even if
// it has not reached its entity.
func TestStopSeesACallThatIsJustComingIn(t *testing.T) {
	store := slow{&Store{}, make(chan struct{}), make(chan struct{})}
	c := newCity(t, nil, func(cfg *Config) { cfg.Storage = store })
	answered := make(chan *entity.Error, 1)
	var working sync.WaitGroup
	working.Go(func() {
		c.Submit(c.call("ann", &DoRequest{CounterId: 1}), func(r entity.Result) { answered <- r.Err })
	})
	<-store.asked
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Stop(ctx); err == nil {
		t.Error("Stop says that all was answered")
	}
	close(store.answer)
	working.Wait()
	if err := <-answered; err == nil || err.Code != entity.Overloaded {
		t.Errorf("it was answered %v", err)
	}
}

// told hears one event, and then is over.
type told struct {
	ref  uint64
	once sync.Once
	over chan struct{}
}

func (l *told) Published(e *entity.Event) {
	if e.Ref.ID == l.ref {
		l.once.Do(func() { close(l.over) })
	}
}

func (*told) Released() {}

func TestTellsArriveInProductionToo(t *testing.T) {
	defer goleak.VerifyNone(t)
	l := &told{ref: 9, over: make(chan struct{})}
	c := newCity(t, l)
	act := Say("here")
	for counter := uint64(9); counter > 1; counter-- {
		act = To(counter, act)
	}
	c.Submit(c.call("ann", &DoRequest{CounterId: 1, Acts: []*Act{Say("x"), act}}), func(r entity.Result) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	})
	<-l.over
	c.stop()
	again := newCity(t, nil, func(cfg *Config) { cfg.Storage = c.store })
	again.stop()
	if n := again.PendingTells(); n > 1 {
		t.Errorf("%d tells are pending after a restart", n)
	}
}

func TestAFailedCommitIsFatalAndAnswersNobody(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := newCity(t, nil)
	broken := errors.New("the disk is on fire")
	c.store.Synced = func([]entity.Write) error { return broken }
	c.Submit(c.call("ann", &DoRequest{CounterId: 1, Acts: []*Act{Say("x")}}), func(r entity.Result) {
		t.Errorf("answered: %v %v", r.Reply, r.Err)
	})
	if err := <-c.fatal; !errors.Is(err, broken) {
		t.Errorf("fatal = %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Stop(ctx); err == nil {
		t.Error("Stop says that all was answered")
	}
}

func TestAHostThatCannotReadItsStoreDoesNotStart(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := newCity(t, nil)
	done := make(chan struct{})
	c.Submit(c.call("ann", &DoRequest{CounterId: 1, Acts: []*Act{Say("x"), To(2, Say("y"))}}), func(entity.Result) { close(done) })
	<-done
	c.stop()
	// The row of the last commit: the first of the node's own.
	key := entity.Key{0xFF, 0xFF, 0, 0, 0, 0, 0, 0x08}
	if err := c.store.Commit([]entity.Write{{Key: key, Val: []byte{0xff}}}); err != nil {
		t.Fatal(err)
	}
	config := c.Config
	if _, err := Start(config); err == nil {
		t.Error("it starts")
	}
}

func TestWorkersRunWhatIsScheduledInOrderUntilTheyStop(t *testing.T) {
	var running sync.WaitGroup
	w := newWorkers(&running)
	var got []int
	next, taken := 0, 0
	schedule := func(n int) {
		for range n {
			i := next
			next++
			w.Schedule(func() { got = append(got, i) })
		}
	}
	for _, n := range []int{1, 5, 40, 3, 100, 0, 7} {
		schedule(n)
		for range n / 2 {
			w.take()()
			taken++
		}
	}
	for taken < next {
		w.take()()
		taken++
	}
	for i, n := range got {
		if i != n {
			t.Fatalf("turn %d ran as number %d", n, i)
		}
	}
	if len(got) != next {
		t.Errorf("%d turns ran, want %d", len(got), next)
	}
	schedule(3)
	w.stop()
	schedule(3)
	w.start()
	running.Wait()
	if len(got) != next-6 {
		t.Errorf("%d turns ran after the stop", len(got)-(next-6))
	}
}
