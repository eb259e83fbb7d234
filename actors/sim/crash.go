package sim

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"kith/actors/entity"
	"kith/actors/pb"
)

// A Run is one simulation: a seed decides everything that happens in it.
type Run struct {
	Seed  uint64
	Steps int        // things that happen before the end
	Bug   entity.Bug // planted in the real code; the run must fail

	// Tally, if set, counts what came of the calls of each method, by its name.
	Tally map[string]Tally

	// Trace, if set, hears everything that happens.
	Trace func(format string, args ...any)
}

// A Tally is how often a method did what it was asked to, and how often it
// refused. Repeats of a request are not counted.
type Tally struct{ OK, Refused int }

// Crash runs random calls of every method against the real host core on the
// real storage, with random fsyncs, power cuts, late and doubled tells,
// passivation, and clocks that pass and jump. It returns what went wrong, with
// the line that replays it.
func Crash(run Run, features ...entity.Feature) error {
	if run.Trace == nil {
		run.Trace = func(string, ...any) {}
	}
	reg, err := entity.New(features...)
	if err != nil {
		return err
	}
	w, err := newWorld(run.Seed, reg, run.Bug, run.Trace)
	if err != nil {
		return err
	}
	w.tally = run.Tally
	d := &driver{w: w}
	d.run(run.Steps)
	if w.failure == nil {
		if err := w.db.Close(); err != nil {
			w.fail("close the store: %w", err)
		}
	}
	if w.failure != nil {
		return fmt.Errorf("seed %d: %w\nreplay: go test ./actors/feature -run 'TestCrash$' -seed %d -steps %d -v",
			run.Seed, w.failure, run.Seed, run.Steps)
	}
	return nil
}

// run lets so much happen, and then looks at what is left. Whatever panics, the
// driver itself included, is a failure with its seed as any other.
func (d *driver) run(steps int) {
	defer func() {
		if p := recover(); p != nil {
			d.w.fail("a panic: %v\n%s", p, debug.Stack())
		}
	}()
	for i := 0; i < steps && d.w.failure == nil; i++ {
		if err := d.step(); err != nil {
			d.w.fail("%w", err)
		}
	}
	if d.w.failure == nil {
		d.end()
	}
}

// step lets one thing happen.
func (d *driver) step() error {
	w := d.w
	switch p := w.rng.IntN(1000); {
	case p < 6:
		w.trace("crash")
		return w.crash(p < 3)
	case p < 40:
		d.look()
	case p < 70:
		d.sync(w.check.oracle.device(d.owner()))
	case p < 90:
		w.pass(time.Duration(w.rng.IntN(90)) * time.Second)
		w.core.Sweep()
	case p < 93:
		w.pass(time.Duration(w.rng.IntN(60)) * time.Hour)
	case p < 94:
		w.setClock(time.Duration(w.rng.IntN(9)-4) * time.Hour)
	case p < 96:
		d.rest()
	case p < 280 && w.group != nil:
		w.trace("sync")
		w.sync()
	case p < 280:
		w.take()
	case p < 360 && len(w.queries) > 0:
		w.query()
	case p < 720 && len(w.queues) > 0:
		w.turn()
	default:
		w.pass(time.Millisecond)
		if c := d.next(); c != nil {
			w.trace("%s/%s %s %v", c.Caller.User, c.Caller.Device, c.Method.Name, c.Req)
			w.check.submit(c)
		}
	}
	return nil
}

// look asks for a position and a page of somebody's log.
func (d *driver) look() {
	all := d.talks()
	if len(all) == 0 {
		return
	}
	w := d.w
	d.talk = all[w.rng.IntN(len(all))]
	ref, viewer := d.talk.ref, d.caller(false)
	if ref.Tenant != viewer.Tenant {
		return
	}
	w.core.Positions(viewer, []entity.Ref{ref}, func(all []entity.Position) {
		t := w.check.oracle.talk(ref)
		last := w.check.oracle.last(t, viewer.User)
		if got := all[0]; got.Head != last || (got.Err == nil) != (len(t.members[viewer.User]) > 0) {
			w.fail("%s is at %d (%v) for %s, and durable are %d", ref, got.Head, got.Err, viewer.User, last)
		} else if got.Err == nil && got.Ended == t.present(viewer.User) {
			w.fail("%s has ended for %s: %v", ref, viewer.User, got.Ended)
		} else if !got.Ended && got.Err == nil {
			t.watching[viewer.User] = true // He subscribes there.
		}
	})
	after := w.rng.Uint64N(w.check.oracle.logs[ref] + 2)
	w.core.Replay(viewer, ref, after, 1+w.rng.IntN(12), func(page entity.Page) {
		if problem := w.check.oracle.page(ref, viewer.User, after, page); problem != "" {
			w.fail("a replay of %s after %d showed %s %s", ref, after, viewer.User, problem)
		}
	})
}

// end lets everything come to rest and looks at what is left.
func (d *driver) end() {
	w := d.w
	if err := d.lastRest(); err != nil {
		w.fail("%w", err)
	}
	if w.failure != nil {
		return
	}
	if n := w.core.PendingTells(); n != 0 {
		w.fail("%d tells were never heard", n)
	}
	for shard := range uint16(entity.Shards) {
		err := w.reg.Outbox(w.check.durable, shard, func(t *entity.Tell) bool {
			w.fail("the outbox still holds a tell from %s to %s", t.From, t.Call.To)
			return false
		})
		if err != nil {
			w.fail("read the outbox: %w", err)
		}
	}
	d.readEverything()
	d.compareDevices()
	d.verify()
	if err := w.crash(false); err != nil {
		w.fail("%w", err)
	}
}

// verify counts again what the store says about itself.
func (d *driver) verify() {
	view := d.w.db.Snapshot()
	_, err := d.w.reg.Verify(view, func(p entity.Problem) { d.w.fail("at the end %s", p) }, nil)
	if err = errors.Join(err, view.Close()); err != nil {
		d.w.fail("verify the store: %w", err)
	}
}

// readEverything lets everybody read every log whole, and compares everybody's
// dialogs with who is in what.
func (d *driver) readEverything() {
	w := d.w
	for _, name := range []string{"east", "west"} {
		tenant, _ := w.core.Tenant(name)
		for _, user := range people {
			viewer := entity.Caller{Tenant: tenant, User: user, Number: entity.UserNumber(tenant, user)}
			in := map[uint64]bool{}
			for ref, t := range w.check.oracle.conversations {
				if ref.Tenant != tenant {
					continue
				}
				if t.present(user) {
					in[ref.ID] = true
				}
				after := max(1, w.check.oracle.floor(ref, user)) - 1
				w.core.Replay(viewer, ref, after, 1<<20, func(page entity.Page) {
					if problem := w.check.oracle.page(ref, user, after, page); problem != "" {
						w.fail("at the end %s showed %s %s", ref, user, problem)
					}
				})
			}
			d.compareDialogs(viewer, in)
		}
	}
	w.settle()
}

// compareDialogs compares a user's dialogs, archived or not, with what he is in.
func (d *driver) compareDialogs(viewer entity.Caller, in map[uint64]bool) {
	w := d.w
	listed := map[uint64]bool{}
	for _, archived := range []bool{false, true} {
		call, refused := w.reg.NewCall(w.reg.ByName("Dialogs.List"), viewer, &pb.ListDialogsRequest{Archived: archived})
		if refused != nil {
			w.fail("Dialogs.List: %s", refused.Msg)
			return
		}
		w.core.Submit(call, func(res entity.Result) {
			if reply, ok := res.Reply.(*pb.ListDialogsResponse); ok {
				for _, item := range reply.Dialogs {
					listed[item.ConversationId] = true
				}
			}
			if archived && fmt.Sprint(listed) != fmt.Sprint(in) { // Queries are answered in their order.
				w.fail("%s has dialogs %v and is in %v", viewer.User, listed, in)
			}
		})
	}
}
