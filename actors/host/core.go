package host

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kith/actors/entity"
)

// Storage is what a Core needs of the store.
type Storage interface {
	// Commit makes a group of writes durable: one batch, one fsync. When it
	// fails, nothing is known about the group and the process must end.
	Commit(group []entity.Write) error
	// Snapshot returns the durable view: all of the last completed Commit and
	// nothing of a later one.
	Snapshot() entity.Snapshot
	// Incarnation is drawn when a store is made or restored.
	Incarnation() uint64
	// Low reports that too little of the disk is free to take more.
	Low() bool
}

// A Clock tells the time of day, and the time since some fixed moment by a
// clock that nobody sets.
type Clock interface {
	Now() time.Time
	Elapsed() time.Duration
}

// A Scheduler decides when work runs. Each of its methods returns at once.
type Scheduler interface {
	// Spawn prepares to run the jobs of a box.
	Spawn(b *Box)
	// Send runs b.Run(j) later: one job of a box at a time, in order.
	Send(b *Box, j *Job)
	// Stop forgets a box that has no jobs left.
	Stop(b *Box)
	// Wake has Take, Sync and Release run soon.
	Wake()
	// Query runs f soon, off the caller's goroutine. False: too many wait.
	Query(f func()) bool
	// After runs f once d has passed.
	After(d time.Duration, f func())
}

// A Listener hears what has become durable, from one goroutine, in order. It
// must not block.
type Listener interface {
	// Published hears an event of an entity, in the order of its log, after
	// the reply of the call that caused it; or, with Seq 0, a signal.
	Published(e *entity.Event)
	// Released says that a group of outcomes is through: flush.
	Released()
}

// Outside does what entities want done outside of this server.
type Outside interface {
	// Perform does a task, once, and returns at once. done hears from another
	// goroutine what came of it: nil, and the task is over; an error, and it is
	// tried again later, until the tenant's policy gives up.
	Perform(t *entity.Tell, done func(error))
}

// Config is what a Core is made of.
type Config struct {
	Registry  *entity.Registry
	Storage   Storage
	Clock     Clock
	Scheduler Scheduler
	Listener  Listener // nil: nobody listens
	Log       *slog.Logger

	// Outside does the tasks of entities; nil: they wait.
	Outside Outside

	// Online says whether a user is connected to this node; nil: nobody is.
	Online func(entity.Ref) bool

	// Tenants are the policies of the configured tenants, by name.
	Tenants map[string]*entity.Policy

	// Fatal ends the process: storage has failed, and an answer would be a lie.
	Fatal func(error)

	// MaxMailbox is how many client calls may wait for one entity; default 1024.
	// Tells wait in their rows and are not counted.
	MaxMailbox int
	// MaxUnreleased is how many outcomes may wait to become durable before
	// client calls are refused; default 65,536.
	MaxUnreleased int
	// MaxUnreleasedBytes is how many bytes of rows may wait to become durable
	// before client calls are refused; default 256 MiB. A disk that stalls must
	// not fill the memory.
	MaxUnreleasedBytes int64
	// IdleAfter is how long an entity stays in memory without a call; default
	// five minutes.
	IdleAfter time.Duration
	// Brief says which entities are called for a moment only, and stay no longer
	// than BriefAfter, default half a second: a user's device connects, and then says
	// nothing to the user for hours. 15,000 silent connections took 9.1 KiB of memory
	// each, and with it 4.3 to 5.7; kith load idle --spawn. nil: none is.
	Brief      func(entity.Ref) bool
	BriefAfter time.Duration

	// AcceptClock is the operator's word that the clock is right although it
	// has jumped.
	AcceptClock bool

	// Observe, if set, sees every outcome as it is made, long before anybody
	// else may: for the simulation, which compares it with its model's. Writes
	// that need nobody's turn come without box and job.
	Observe func(b *Box, j *Job, turn entity.Turn, out *entity.Outcome)

	// Planted is for tests alone: a bug that they must find.
	Planted entity.Bug
}

// The defaults of Config.
const (
	defaultMaxMailbox    = 1024
	defaultMaxUnreleased = 65536
	defaultIdleAfter     = 5 * time.Minute
	defaultBriefAfter    = 500 * time.Millisecond

	defaultMaxUnreleasedBytes = 256 << 20
)

// A Core runs the entities of one node.
type Core struct {
	Config
	policies map[entity.Tenant]*entity.Policy
	numbers  map[string]entity.Tenant

	shards     [entity.Shards]shard
	dirty      atomic.Uint64 // a bit for each shard whose queue is not empty
	unreleased atomic.Int64  // jobs accepted and not yet released
	bytes      atomic.Int64  // of rows that wait to become durable
	entered    atomic.Int64  // queries not yet answered, and calls not yet accepted or refused
	stamp      uint64        // of the last commit; the committer's
	groups     sync.Pool     // of *Group, to be used again
	outbox     outbox
	timers     timers
	paces      paces
	watch      clockWatch
	metrics    *metrics
}

// A shard is a slice of the entities and their commit queue.
type shard struct {
	mu    sync.Mutex // guards what is below; held for a few instructions
	boxes map[entity.Ref]*Box
	queue []item
}

// NewCore opens a node on a store: it interns new tenants and finds the tells
// of before. Nothing runs until the scheduler does.
func NewCore(cfg Config) (*Core, error) {
	if cfg.MaxMailbox == 0 {
		cfg.MaxMailbox = defaultMaxMailbox
	}
	if cfg.MaxUnreleased == 0 {
		cfg.MaxUnreleased = defaultMaxUnreleased
	}
	if cfg.MaxUnreleasedBytes == 0 {
		cfg.MaxUnreleasedBytes = defaultMaxUnreleasedBytes
	}
	if cfg.IdleAfter == 0 {
		cfg.IdleAfter = defaultIdleAfter
	}
	if cfg.BriefAfter == 0 {
		cfg.BriefAfter = defaultBriefAfter
	}
	if cfg.Listener == nil {
		cfg.Listener = nobody{}
	}
	c := &Core{Config: cfg, metrics: newMetrics()}
	c.outbox.core, c.timers.core = c, c
	for i := range c.shards {
		c.shards[i].boxes = map[entity.Ref]*Box{}
	}
	view := cfg.Storage.Snapshot()
	defer c.giveBack(view)
	stamp, at, err := entity.ReadStamp(view)
	if err != nil {
		return nil, fmt.Errorf("read the last commit: %w", err)
	}
	c.stamp = stamp
	c.watch.start(cfg.Clock, at, cfg.AcceptClock)
	return c, errors.Join(checkPaces(cfg.Registry), c.intern(view), c.resume(view))
}

type nobody struct{}

func (nobody) Published(*entity.Event) {}
func (nobody) Released()               {}

// intern gives every configured tenant its number, for ever.
func (c *Core) intern(view entity.Reader) error {
	known, err := entity.ReadTenants(view)
	if err != nil {
		return fmt.Errorf("read the tenants: %w", err)
	}
	c.policies, c.numbers = map[entity.Tenant]*entity.Policy{}, map[string]entity.Tenant{}
	last := entity.Tenant(0)
	for _, t := range known {
		last = max(last, t)
	}
	var writes []entity.Write
	for _, name := range slices.Sorted(maps.Keys(c.Tenants)) {
		t, ok := known[name]
		if !ok {
			last++
			t = last
			writes = append(writes, entity.TenantRow(name, t))
		}
		c.numbers[name], c.policies[t] = t, c.Tenants[name]
	}
	if len(writes) == 0 {
		return nil
	}
	return c.Storage.Commit(writes)
}

// Tenant returns the number of a configured tenant.
func (c *Core) Tenant(name string) (entity.Tenant, bool) {
	t, ok := c.numbers[name]
	return t, ok
}

// Policy returns the policy of a tenant, or nil if it is not configured.
func (c *Core) Policy(t entity.Tenant) *entity.Policy { return c.policies[t] }

// Submit hands a call to its entity, or a query to the query pool. done hears
// the result once it is durable, from another goroutine, and must not block.
func (c *Core) Submit(call *entity.Call, done func(entity.Result)) {
	policy := c.policies[call.To.Tenant]
	switch {
	case policy == nil || call.To.Tenant != call.Caller.Tenant:
		done(entity.Result{Err: entity.Errorf(entity.NotFound, "there is no such tenant")})
	case call.Method.ReadOnly():
		c.query(call, policy, done)
	case call.Method.Pace > 0 && !c.paces.take(call, c.Clock.Elapsed()):
		done(entity.Result{Reply: call.Method.NewReply()})
	case c.Storage.Low() && !call.Method.Frees:
		c.refuse(done, "the disk is nearly full; reading and deleting go on")
	case c.unreleased.Load() >= int64(c.MaxUnreleased) || c.bytes.Load() >= c.MaxUnreleasedBytes:
		c.refuse(done, "the server is overloaded; try again with the same request_id")
	default:
		if !c.post(call.To, &Job{call: call, done: done}, c.MaxMailbox) {
			c.refuse(done, "too many requests wait there; try again with the same request_id")
		}
	}
}

func (c *Core) refuse(done func(entity.Result), why string) {
	c.metrics.overloaded.Inc()
	done(entity.Result{Err: entity.Errorf(entity.Overloaded, "%s", why)})
}

// post sends a job to an entity, which it brings to life. A bound of 0 is none.
func (c *Core) post(ref entity.Ref, j *Job, bound int) bool {
	s := &c.shards[ref.Shard()]
	s.mu.Lock()
	b := s.boxes[ref]
	if b == nil {
		b = &Box{core: c, memory: entity.NewMemory(ref, c.openView, c.Planted)}
		s.boxes[ref] = b
		c.Scheduler.Spawn(b)
		c.metrics.entities.Inc()
	}
	if bound > 0 && b.calls >= bound {
		s.mu.Unlock()
		return false
	}
	b.queued++
	if j.call != nil {
		b.calls++
	}
	c.unreleased.Add(1)
	c.Scheduler.Send(b, j)
	s.mu.Unlock()
	return true
}

// openView lends the durable view to one Step.
func (c *Core) openView() (entity.Reader, func()) {
	view := c.Storage.Snapshot()
	return view, func() { c.giveBack(view) }
}

// giveBack closes a view. That fails only when the store has.
func (c *Core) giveBack(view entity.Snapshot) {
	if err := view.Close(); err != nil {
		c.Fatal(err)
	}
}

// Idle reports whether every accepted call has been released and every query
// answered.
func (c *Core) Idle() bool {
	// In this order: a call is counted as accepted before it is no longer
	// counted as entered.
	return c.entered.Load() == 0 && c.unreleased.Load() == 0
}
