package sim

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kith/actors/entity"
	"kith/actors/host"
	"kith/storage"
)

// A world is one node in one thread: the real host core on the real storage on
// a disk that can lose what was not synced. The seed decides what runs next.
type world struct {
	rng      *rand.Rand
	reg      *entity.Registry
	policies map[string]*entity.Policy // by tenant
	bug      entity.Bug
	trace    func(format string, args ...any)

	disk *vfs.MemFS
	db   *storage.DB
	core *host.Core

	now     time.Time
	latest  time.Time // that now has been since the node started
	elapsed time.Duration
	held    bool       // the clock has jumped, and no operator has agreed to it
	accept  bool       // the operator does
	queues  []*mailbox // boxes with jobs, in the order in which they got them
	queries []func()
	timers  []timer
	group   *host.Group // taken, not yet synced
	atSync  func()      // called inside the fsync of a commit

	check   *checker // nil: nobody checks
	tally   map[string]Tally
	failure error // the first; everything after it means nothing
}

// A mailbox is the jobs of one box.
type mailbox struct {
	box  *host.Box
	jobs []*host.Job
}

type timer struct {
	at time.Duration
	f  func()
}

// tenants is what every world serves: two of them, so that they could meet.
func tenants() map[string]*entity.Policy {
	all := map[string]*entity.Policy{}
	for name, profile := range map[string]string{"east": "chatters", "west": "kaliu"} {
		p, ok := entity.Profile(profile)
		if !ok {
			panic("sim: no profile " + profile)
		}
		p.CreateUsers = true
		p.AutoDeleteStep = time.Second
		// There are four people: three are many, and two a page.
		p.LargeAbove, p.SmallBelow = 3, 2
		p.MaxInvites, p.MaxAdmins, p.SubscribersShown = 2, 3, 2
		all[name] = &p
	}
	return all
}

func newWorld(seed uint64, reg *entity.Registry, bug entity.Bug, trace func(string, ...any)) (*world, error) {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 0)), reg: reg, bug: bug, trace: trace, policies: tenants(),
		disk: vfs.NewCrashableMem(), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	w.check = newChecker(w)
	return w, w.start()
}

// start opens the node on the disk, as after a reboot.
func (w *world) start() error {
	w.queues, w.queries, w.timers, w.group = nil, nil, nil, nil
	fs := storage.SyncHook(w.disk, func() {
		if w.atSync != nil {
			w.atSync()
		}
	})
	var incarnation [8]byte
	for i := range incarnation {
		incarnation[i] = byte(w.rng.Uint32())
	}
	db, err := storage.Open(storage.Config{
		FS: fs, Dir: "db", MemTableBytes: 1 << 20, CacheBytes: 1 << 20,
		Random: bytes.NewReader(incarnation[:]), Logger: slog.New(slog.DiscardHandler),
		Fatal: w.fatal,
	})
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	w.db = db
	config := host.Config{
		Registry: w.reg, Storage: db, Clock: w, Scheduler: w,
		Log: slog.New(slog.DiscardHandler), Tenants: w.policies, Fatal: w.fatal,
		IdleAfter: time.Minute, Planted: w.bug, AcceptClock: w.accept,
	}
	if w.check != nil {
		config.Listener, config.Observe = w.check, w.check.observe
	}
	w.core, err = host.NewCore(config)
	return cmp.Or(err, w.wake())
}

// fail records the first thing that went wrong.
func (w *world) fail(format string, args ...any) {
	if w.failure == nil {
		w.failure = fmt.Errorf(format, args...)
	}
}

// count notes what came of a call.
func (w *world) count(c *entity.Call, refused *entity.Error) {
	if w.tally == nil {
		return
	}
	t := w.tally[c.Method.Name]
	if refused == nil {
		t.OK++
	} else {
		t.Refused++
	}
	w.tally[c.Method.Name] = t
}

func (w *world) fatal(err error) { w.fail("the node would have ended: %w", err) }

// Now and Elapsed are the clock.
func (w *world) Now() time.Time         { return w.now }
func (w *world) Elapsed() time.Duration { return w.elapsed }

// Spawn, Send, Stop, Wake, Query and After are the scheduler: they queue, and
// the seed picks what runs.
func (w *world) Spawn(b *host.Box) { b.Handle = &mailbox{box: b} }

func (w *world) Send(b *host.Box, j *host.Job) {
	m := b.Handle.(*mailbox)
	if len(m.jobs) == 0 {
		w.queues = append(w.queues, m)
	}
	m.jobs = append(m.jobs, j)
}

func (w *world) Stop(b *host.Box) {
	if len(b.Handle.(*mailbox).jobs) > 0 {
		w.fail("%s was stopped with jobs queued", b.Ref())
	}
}

func (w *world) Wake() {}

func (w *world) Query(f func()) bool {
	w.queries = append(w.queries, f)
	return true
}

func (w *world) After(d time.Duration, f func()) {
	w.timers = append(w.timers, timer{w.elapsed + d, f})
}

// turn runs the next job of some entity. A tell and a timer may arrive late, and twice.
func (w *world) turn() {
	i := w.rng.IntN(len(w.queues))
	m := w.queues[i]
	j := m.jobs[0]
	m.jobs = m.jobs[1:]
	if len(m.jobs) == 0 {
		w.queues = append(w.queues[:i], w.queues[i+1:]...)
	}
	if j.Repeats() && w.rng.IntN(8) == 0 {
		w.core.Again(j)
	}
	m.box.Run(j)
}

// take begins a commit; Steps go on until sync ends it.
func (w *world) take() {
	if w.group = w.core.Take(); w.group != nil && w.check != nil {
		w.check.taken()
	}
}

// sync makes the group durable and lets the world know.
func (w *world) sync() {
	g := w.group
	w.group = nil
	if err := w.core.Sync(g); err != nil {
		w.fail("commit: %w", err)
		return
	}
	if w.check != nil {
		w.check.synced()
	}
	w.core.Release(g)
}

// query runs the query that has waited longest.
func (w *world) query() {
	f := w.queries[0]
	w.queries = w.queries[1:]
	f()
}

// pass lets time pass, and what was to happen by then.
func (w *world) pass(d time.Duration) {
	w.now, w.elapsed = w.now.Add(d), w.elapsed+d
	w.noteTime()
	due := w.timers
	w.timers = nil
	for _, t := range due {
		if t.at <= w.elapsed {
			t.f()
		} else {
			w.timers = append(w.timers, t)
		}
	}
}

// crash cuts the power: some of what was not synced is lost, and the node
// starts again on what is left. With midSync, the power goes while a commit is
// being synced.
func (w *world) crash(midSync bool) error {
	var left *vfs.MemFS
	var failed error
	seed := w.rng.Uint64()
	clone := func() {
		if left == nil && failed == nil {
			left, failed = powerCut(w.disk, "db", seed)
		}
	}
	if midSync {
		if w.group == nil {
			w.take()
		}
		if w.group != nil {
			w.atSync = clone
			err := w.core.Sync(w.group)
			w.atSync = nil
			if err != nil {
				return fmt.Errorf("commit: %w", err)
			}
		}
	}
	if clone(); failed != nil {
		return fmt.Errorf("cut the power: %w", failed)
	}
	if err := w.db.Close(); err != nil {
		return fmt.Errorf("close the old store: %w", err)
	}
	w.disk = left
	if err := w.start(); err != nil {
		return fmt.Errorf("start after a crash: %w", err)
	}
	return w.check.crashed()
}

// settle runs until nothing is left to do.
func (w *world) settle() {
	for w.failure == nil {
		switch {
		case len(w.queues) > 0:
			w.turn()
		case w.group != nil:
			w.sync()
		case len(w.queries) > 0:
			w.query()
		default:
			if w.take(); w.group == nil && len(w.timers) == 0 {
				return
			}
			w.pass(time.Second)
		}
	}
}
