package sim

import (
	"bytes"
	"fmt"
	"maps"

	"kith/actors/entity"
	"kith/actors/host"
)

// A checker watches a world. It keeps two models of the store: what every Step
// so far has written, and what is durable. It runs each Step again, cold, on
// the first, and each query on the second. After a crash the disk must hold
// the durable model, or that and the whole group that was being synced; and
// everything that anybody was told must be in it.
type checker struct {
	w *world

	current  *Model // what all Steps have written
	durable  *Model // what is durable
	queued   stage  // since the last Take
	inFlight stage  // being synced

	steps map[entity.Ref]int // Steps that wrote, by entity
	kept  map[entity.Ref]int // of those, the durable ones
	known map[any]claim      // what a call or an event claims, by pointer
	told  []claim            // what somebody has been told

	heads  map[entity.Ref]uint64 // seq of the last event published
	oracle *oracle
	group  int // commits so far
}

// A stage is what waits for the same fsync.
type stage struct {
	writes  []entity.Write
	effects []func()
	steps   map[entity.Ref]int
}

// A claim says that an entity has taken some number of Steps that wrote.
type claim struct {
	ref  entity.Ref
	step int
	what string
}

func newChecker(w *world) *checker {
	return &checker{
		w: w, current: NewModel(), durable: NewModel(),
		steps: map[entity.Ref]int{}, kept: map[entity.Ref]int{}, known: map[any]claim{},
		heads: map[entity.Ref]uint64{}, oracle: newOracle(w),
	}
}

// observe sees an outcome as it is made, and makes the same one from rows
// alone.
func (c *checker) observe(b *host.Box, j *host.Job, turn entity.Turn, out *entity.Outcome) {
	if b != nil {
		c.compare(b, j, turn, out)
	}
	c.current.Commit(out.Writes)
	c.queued.writes = append(c.queued.writes, out.Writes...)
	if b == nil {
		return
	}
	ref := b.Ref()
	if len(out.Writes) > 0 {
		c.steps[ref]++
	}
	cl := claim{ref, c.steps[ref], jobName(j)}
	if call := j.Call(); call != nil {
		c.known[call] = cl
		if !out.Repeat {
			c.w.count(call, out.Err)
		}
		if out.Err == nil && !out.Repeat {
			c.queued.effects = append(c.queued.effects, c.oracle.call(call))
		}
	}
	c.queued.effects = append(c.queued.effects, c.oracle.timed(b, j, turn, out))
	for _, e := range out.Events {
		c.known[e] = cl
		c.queued.effects = append(c.queued.effects, c.oracle.event(e))
	}
	c.queued.effects = append(c.queued.effects, c.oracle.rows(ref, out.Writes), c.oracle.markers(ref, out.Writes))
}

// compare runs the Step on a cold memory over the model.
func (c *checker) compare(b *host.Box, j *host.Job, turn entity.Turn, out *entity.Outcome) {
	cold := entity.NewMemory(b.Ref(), func() (entity.Reader, func()) { return c.current, func() {} }, c.w.bug.Anywhere())
	var want entity.Outcome
	switch {
	case j.Call() != nil:
		want = cold.Step(c.w.reg, j.Call(), turn)
	case j.Due() != nil && j.Parks() != "":
		want = cold.ParkTimer(c.w.reg, j.Due(), j.Parks(), turn)
	case j.Due() != nil:
		want = cold.Fire(c.w.reg, j.Due(), turn)
	case j.IsTell():
		want = cold.Hear(c.w.reg, j.Tell(), turn)
	default:
		want = cold.ForgetHeard(c.w.reg, j.Tell(), turn)
	}
	c.w.trace("  %s %s: %s", b.Ref(), jobName(j), Format(*out))
	if err := b.CheckFrozen(); err != nil {
		c.w.fail("%s on %s: %w", jobName(j), b.Ref(), err)
	}
	switch {
	case out.Panic != "":
		c.w.fail("%s panicked: %s", jobName(j), out.Panic)
	case out.Bound != "":
		c.w.fail("%s did too much: %s", jobName(j), out.Bound)
	case Format(*out) != Format(want):
		c.w.fail("%s on %s: the same rows gave\n%s\nwarm, and cold\n%s", jobName(j), b.Ref(), Format(*out), Format(want))
	default:
		if diff := diffWrites(out.Writes, want.Writes); diff != "" {
			c.w.fail("%s on %s: cold and warm wrote different rows: %s", jobName(j), b.Ref(), diff)
		}
	}
}

// diffWrites describes the first write that differs, or returns "". The stamp
// of a row that is rewritten while its first commit is under way is no function
// of the rows: it is there for who reads the disk and not yet for the entity.
func diffWrites(got, want []entity.Write) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d and %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Stamped || w.Stamped {
			g.Val, w.Val = unstamped(g.Val), unstamped(w.Val)
		}
		if !bytes.Equal(g.Key, w.Key) || !bytes.Equal(g.Val, w.Val) || !bytes.Equal(g.End, w.End) {
			return fmt.Sprintf("%x = %x and %x = %x", g.Key, g.Val, w.Key, w.Val)
		}
	}
	return ""
}

func unstamped(val []byte) []byte {
	val = bytes.Clone(val)
	entity.PutStamp(val, 0)
	return val
}

// taken says that everything queued is being synced now.
func (c *checker) taken() {
	c.inFlight, c.queued = c.queued, stage{}
	c.inFlight.steps = maps.Clone(c.steps)
}

// synced says that the group is durable.
func (c *checker) synced() {
	c.durable.Commit(c.inFlight.writes)
	c.kept = c.inFlight.steps
	for _, effect := range c.inFlight.effects {
		effect()
	}
	c.inFlight = stage{}
	c.group++
}

// submit hands a call to the node and notes what comes back.
func (c *checker) submit(call *entity.Call) {
	if call.Method.ReadOnly() {
		c.w.core.Submit(call, func(res entity.Result) { c.answered(call, res) })
		return
	}
	c.w.core.Submit(call, func(entity.Result) {
		if cl, ok := c.known[call]; ok {
			c.told = append(c.told, cl)
		}
	})
}

// answered compares a query's answer with the durable model's.
func (c *checker) answered(call *entity.Call, res entity.Result) {
	want := c.w.reg.Query(c.withStamp(), call, entity.Turn{Now: c.w.now, Policy: c.w.core.Policy(call.To.Tenant), Incarnation: c.w.db.Incarnation()})
	got := Format(entity.Outcome{Reply: res.Reply, Err: res.Err})
	if got != Format(want) {
		c.w.fail("%s on %s: the durable rows say\n%s\nthe answer was\n%s", call.Method.Name, call.To, Format(want), got)
	}
	c.w.count(call, res.Err)
	c.oracle.answer(call, res)
}

// withStamp is the durable model with the node's row that numbers the commits, which
// no Step writes.
func (c *checker) withStamp() entity.Reader {
	view := c.w.db.Snapshot()
	defer func() {
		if err := view.Close(); err != nil {
			c.w.fail("close a view: %w", err)
		}
	}()
	stamp, at, err := entity.ReadStamp(view)
	if err != nil {
		c.w.fail("read the last commit: %w", err)
	}
	return stampedRows{c.durable, entity.StampRow(stamp, at)}
}

type stampedRows struct {
	entity.Reader
	last entity.Write
}

// Get implements entity.Reader.
func (r stampedRows) Get(key []byte) ([]byte, bool, error) {
	if bytes.Equal(key, r.last.Key) {
		return r.last.Val, true, nil
	}
	return r.Reader.Get(key)
}

// Published checks order and remembers what was told.
func (c *checker) Published(e *entity.Event) {
	if e.Seq == 0 {
		return // A signal: nobody relies on it.
	}
	if e.Seq != c.heads[e.Ref]+1 {
		c.w.fail("%s: event %d was published after %d", e.Ref, e.Seq, c.heads[e.Ref])
	}
	c.heads[e.Ref] = e.Seq
	c.told = append(c.told, c.known[e])
}

// Released is the end of a group.
func (c *checker) Released() {}

// crashed compares what the disk holds now with the models.
func (c *checker) crashed() error {
	view := c.w.db.Snapshot()
	defer func() {
		if err := view.Close(); err != nil {
			c.w.fail("close a view: %w", err)
		}
	}()
	rows := shardRows{view}
	diff, err := c.durable.Diff(rows)
	if err != nil {
		return err
	}
	if diff != "" && c.inFlight.steps != nil {
		c.synced() // Then the whole group must be there.
		if diff, err = c.durable.Diff(rows); err != nil {
			return err
		}
	}
	if diff != "" {
		return fmt.Errorf("after a crash %s", diff)
	}
	for _, cl := range c.told {
		if cl.step > c.kept[cl.ref] {
			return fmt.Errorf("%s on %s was answered or published, and then lost", cl.what, cl.ref)
		}
	}
	c.queued, c.inFlight = stage{}, stage{}
	c.oracle.cutOff()
	c.current = c.durable.Clone()
	c.steps = maps.Clone(c.kept)
	c.known, c.told = map[any]claim{}, nil
	c.heads = c.oracle.heads()
	c.oracle.disconnect()
	return nil
}

// shardRows hides the rows of the node itself, which no Step writes.
type shardRows struct{ entity.Reader }

func (r shardRows) Scan(lower, _ []byte, reverse bool, yield func(key, val []byte) bool) error {
	return r.Reader.Scan(lower, []byte{0xFF, 0xFF}, reverse, yield)
}

func jobName(j *host.Job) string {
	switch {
	case j == nil:
		return "writes"
	case j.Call() != nil:
		return j.Call().Method.Name
	case j.Due() != nil:
		return "timer " + j.Due().Method()
	case !j.IsTell():
		return "forget a tell"
	case j.Tell().Call.Method == nil:
		return "an unknown tell"
	default:
		return "tell " + j.Tell().Call.Method.Name
	}
}
