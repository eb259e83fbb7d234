package host

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"kith/actors/entity"
)

// A Host is a Core in production: protoactor-go gives each entity its turns,
// one goroutine commits, one releases, a pool answers queries.
type Host struct {
	*Core

	system   *actor.ActorSystem
	workers  *workers
	wake     chan struct{}
	durable  chan *Group
	queries  chan func()
	draining atomic.Bool

	stop    context.CancelFunc
	running sync.WaitGroup
}

const (
	// maxQueries is how many queries may wait for the pool.
	maxQueries = 4096
	// sweepEvery is how often idle entities are looked for.
	sweepEvery = time.Second
	// turnsPerWorker is how many jobs of one entity run before an entity that
	// waits gets a worker more.
	turnsPerWorker = 64
)

// Start opens a node on a store and runs it until Stop. cfg.Scheduler and
// cfg.Clock are the Host's own.
func Start(cfg Config) (*Host, error) {
	ctx, cancel := context.WithCancel(context.Background())
	h := &Host{
		system: actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
			return slog.New(slog.DiscardHandler) // What it would say, the core counts.
		})),
		wake:    make(chan struct{}, 1),
		durable: make(chan *Group, 1), // One group is released while the next one syncs.
		queries: make(chan func(), maxQueries),
		stop:    cancel,
	}
	h.workers = newWorkers(&h.running)
	cfg.Scheduler, cfg.Clock = actors{h}, systemClock{time.Now()}
	core, err := NewCore(cfg)
	h.Core = core
	if err != nil {
		cancel()
		h.system.Shutdown()
		return nil, err
	}
	for range 2 * runtime.GOMAXPROCS(0) {
		h.running.Go(func() { h.answer(ctx) })
	}
	h.running.Go(func() { h.commit(ctx) })
	h.running.Go(func() { h.release(ctx) })
	h.running.Go(func() { h.sweep(ctx) })
	h.workers.start()
	actors{h}.Wake()
	return h, nil
}

// Submit is Core.Submit until the host stops.
func (h *Host) Submit(call *entity.Call, done func(entity.Result)) {
	h.entered.Add(1) // So that Stop sees a call that has seen no draining.
	defer h.entered.Add(-1)
	if h.draining.Load() {
		h.refuse(done, "the server is going down; try again with the same request_id")
		return
	}
	h.Core.Submit(call, done)
}

// Stop takes no more calls and queries, waits until every accepted one has been
// answered or ctx ends, and stops.
func (h *Host) Stop(ctx context.Context) error {
	h.draining.Store(true)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var err error
	for !h.Idle() && err == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			err = fmt.Errorf("calls were still on their way: %w", ctx.Err())
		}
	}
	h.stop()
	h.workers.stop()
	h.running.Wait()
	h.system.Shutdown()
	return err
}

// commit makes outcomes durable, group by group.
func (h *Host) commit(ctx context.Context) {
	defer close(h.durable)
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		}
		for g := h.Take(); g != nil; g = h.Take() {
			if err := h.Sync(g); err != nil {
				h.Fatal(fmt.Errorf("commit: %w", err))
				return
			}
			h.durable <- g
		}
	}
}

// release lets the world know, in the order of the commits.
func (h *Host) release(context.Context) {
	for g := range h.durable {
		h.Release(g)
	}
}

func (h *Host) answer(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-h.queries:
			f()
		}
	}
}

func (h *Host) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.Sweep()
		}
	}
}

// actors is the Scheduler of a Host.
type actors struct{ *Host }

// Spawn makes the entity an actor.
func (a actors) Spawn(b *Box) {
	props := actor.PropsFromProducer(func() actor.Actor { return &turns{box: b, workers: a.workers} },
		actor.WithDispatcher(a.workers), actor.WithMailbox(actor.UnboundedLockfree()))
	b.Handle = a.system.Root.Spawn(props)
}

// Send puts a job into the entity's mailbox.
func (a actors) Send(b *Box, j *Job) { a.system.Root.Send(b.Handle.(*actor.PID), j) }

// Stop ends the actor of a box that has no jobs left: messages behind a stop
// would vanish.
func (a actors) Stop(b *Box) { a.system.Root.Stop(b.Handle.(*actor.PID)) }

// Wake has the committer look.
func (a actors) Wake() {
	select {
	case a.wake <- struct{}{}:
	default: // It will look anyway.
	}
}

// Query hands f to the pool.
func (a actors) Query(f func()) bool {
	if a.draining.Load() {
		return false
	}
	select {
	case a.queries <- f:
		return true
	default:
		return false
	}
}

// After runs f later, on a goroutine of its own.
func (actors) After(d time.Duration, f func()) { time.AfterFunc(d, f) }

// turns is the whole actor. It never grows: features live in the registry.
type turns struct {
	box     *Box
	workers *workers
	ran     int
}

// Receive gives the entity its turn. A panic that gets here is a broken
// invariant of the host itself, not of a feature.
func (t *turns) Receive(ctx actor.Context) {
	j, ok := ctx.Message().(*Job)
	if !ok {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			t.box.core.Fatal(fmt.Errorf("the host panicked: %v\n%s", p, debug.Stack()))
		}
	}()
	t.box.Run(j)
	if t.ran++; t.ran%turnsPerWorker == 0 {
		t.workers.relieve()
	}
}

// workers is a dispatcher of a few goroutines: starting one for each message
// costs more than most Steps. Steps never block but on a read of the store.
type workers struct {
	running *sync.WaitGroup

	mu      sync.Mutex // guards what is below
	more    sync.Cond
	waiting []func() // from next on; at most one for each live entity
	next    int
	stopped bool
}

func newWorkers(running *sync.WaitGroup) *workers {
	w := &workers{running: running}
	w.more.L = &w.mu
	return w
}

func (w *workers) start() {
	for range 2 * runtime.GOMAXPROCS(0) {
		w.running.Go(func() {
			for turn := w.take(); turn != nil; turn = w.take() {
				turn()
			}
		})
	}
}

// stop lets each worker end its turn. What waits, and what comes, never runs:
// the store may be gone.
func (w *workers) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.more.Broadcast()
}

// take waits for a turn; nil: there are no more.
func (w *workers) take() func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.next == len(w.waiting) && !w.stopped {
		w.more.Wait()
	}
	if w.stopped {
		return nil
	}
	return w.first()
}

// first is the turn that has waited longest. w.mu is held.
func (w *workers) first() func() {
	turn := w.waiting[w.next]
	w.waiting[w.next] = nil
	if w.next++; w.next == len(w.waiting) {
		w.waiting, w.next = w.waiting[:0], 0
	}
	return turn
}

// relieve gives the entity that has waited longest a goroutine of its own. A
// mailbox keeps its worker until it is empty, so a few busy entities would keep
// all others waiting.
func (w *workers) relieve() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next < len(w.waiting) && !w.stopped {
		w.running.Go(w.first())
	}
}

// Schedule never blocks the sender.
func (w *workers) Schedule(turn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next > len(w.waiting)/2 && len(w.waiting) == cap(w.waiting) {
		left := copy(w.waiting, w.waiting[w.next:]) // Rather than grow.
		clear(w.waiting[left:])
		w.waiting, w.next = w.waiting[:left], 0
	}
	w.waiting = append(w.waiting, turn)
	w.more.Signal()
}

// Throughput is how many messages of one actor run in a row.
func (w *workers) Throughput() int { return turnsPerWorker }

// systemClock is the machine's.
type systemClock struct{ start time.Time }

func (systemClock) Now() time.Time           { return time.Now() }
func (c systemClock) Elapsed() time.Duration { return time.Since(c.start) }
