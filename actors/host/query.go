package host

import (
	"kith/actors/entity"
)

// query runs a query on the durable view, off the caller's goroutine.
func (c *Core) query(call *entity.Call, policy *entity.Policy, done func(entity.Result)) {
	ok := c.ask(func() {
		view := c.reader(call.To)
		defer c.giveBack(view)
		out := c.Registry.Query(view, call, entity.Turn{Now: c.Clock.Now(), Policy: policy, Online: c.Online, Incarnation: c.Storage.Incarnation()})
		c.note(&Job{call: call}, &out)
		if out.Fault != nil {
			c.Log.Error("a row could not be read", "method", call.Method.Name, "error", out.Fault)
		}
		done(entity.Result{Reply: out.Reply, Err: out.Err})
	})
	if !ok {
		c.refuse(done, "too many queries wait; try again")
	}
}

// ask has the pool run f. False: too many wait.
func (c *Core) ask(f func()) bool {
	c.entered.Add(1)
	ok := c.Scheduler.Query(func() {
		defer c.entered.Add(-1)
		f()
	})
	if !ok {
		c.entered.Add(-1)
	}
	return ok
}

// Positions reads where logs stand for one viewer. done hears them from
// another goroutine, in the order of refs.
func (c *Core) Positions(viewer entity.Caller, refs []entity.Ref, done func([]entity.Position)) {
	policy := c.policies[viewer.Tenant]
	fail := func(err *entity.Error) {
		all := make([]entity.Position, len(refs))
		for i, ref := range refs {
			all[i] = entity.Position{Ref: ref, Err: err}
		}
		done(all)
	}
	if policy == nil {
		fail(entity.Errorf(entity.NotFound, "there is no such tenant"))
		return
	}
	ok := c.ask(func() {
		all := make([]entity.Position, len(refs))
		for i, ref := range refs {
			view := c.positionReader(ref)
			all[i] = c.Registry.Position(view, ref, viewer, policy, c.Storage.Incarnation())
			c.giveBack(view)
			c.noteRead(ref, all[i].Fault)
		}
		done(all)
	})
	if !ok {
		c.metrics.overloaded.Inc()
		fail(entity.Errorf(entity.Overloaded, "too many queries wait; try again"))
	}
}

// Replay reads the part of a log after a seq as one viewer may see it, at most
// limit events. done hears it from another goroutine.
func (c *Core) Replay(viewer entity.Caller, ref entity.Ref, after uint64, limit int, done func(entity.Page)) {
	policy := c.policies[viewer.Tenant]
	if policy == nil || ref.Tenant != viewer.Tenant {
		done(entity.Page{Err: entity.Errorf(entity.NotFound, "there is no such log, or you may not read it")})
		return
	}
	ok := c.ask(func() {
		view := c.reader(ref)
		page := c.Registry.Replay(view, ref, viewer, policy, after, limit)
		c.giveBack(view)
		c.noteRead(ref, page.Fault)
		done(page)
	})
	if !ok {
		c.metrics.overloaded.Inc()
		done(entity.Page{Err: entity.Errorf(entity.Overloaded, "too many queries wait; try again")})
	}
}

// noteRead logs and counts what a read of a log should not have met.
func (c *Core) noteRead(ref entity.Ref, fault error) {
	if fault != nil {
		c.metrics.unreadable.Inc()
		c.Log.Error("a log could not be read", "kind", ref.Kind.String(), "error", fault)
	}
}

// reader is the durable view, or, with a bug planted, what has been written.
func (c *Core) reader(ref entity.Ref) entity.Snapshot {
	if c.Planted == entity.UndurableQuery {
		return c.undurable(ref)
	}
	return c.Storage.Snapshot()
}

func (c *Core) positionReader(ref entity.Ref) entity.Snapshot {
	if c.Planted == entity.UndurablePosition {
		return c.undurable(ref)
	}
	return c.Storage.Snapshot()
}

// undurable reads through the memory of a live entity, as nobody may.
func (c *Core) undurable(ref entity.Ref) entity.Snapshot {
	view := c.Storage.Snapshot()
	s := &c.shards[ref.Shard()]
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.boxes[ref]; b != nil {
		return b.memory.Undurable(view)
	}
	return view
}
