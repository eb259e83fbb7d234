package session

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"kith/actors/entity"
	"kith/actors/pb"
)

// presenceMethod is what makes it known that a user has come or gone.
const (
	presenceMethod = "Presence.Changed"
	presenceField  = "online"
)

// maxPresenceCalls bounds the users who are told to be gone by one Tick: when a
// network fails, 100,000 may go at once, and nothing is lost if that takes a while.
const maxPresenceCalls = 250

// presence tells users' entities who is here. It holds those for whom that is about
// to change: a call is under way, or the time has not come. They are no more than
// had a session within the last delay, or have one. A user has one call under way at
// most, so what is told last is so.
type presence struct {
	method *entity.Method               // nil: nobody wants to know
	online protoreflect.FieldDescriptor // of its request
	due    atomic.Int64                 // not after when the next turn comes, in Unix milliseconds; 0: never

	mu    sync.Mutex // guards what is below
	turns map[userKey]*turn
}

// A turn is a change of one user's presence.
type turn struct {
	caller entity.Caller
	was    bool  // what his entity was told last, or by default
	is     bool  // whether he has a session
	sent   bool  // what the call under way says
	under  bool  // a call is under way
	again  bool  // the last one was refused for lack of time
	at     int64 // when the call is made that is not under way, in Unix milliseconds
}

func (p *presence) init(r *entity.Registry) error {
	p.turns = map[userKey]*turn{}
	if p.method = r.ByName(presenceMethod); p.method == nil {
		return nil
	}
	p.online = p.method.New().ProtoReflect().Descriptor().Fields().ByName(presenceField)
	if p.online == nil || p.online.Kind() != protoreflect.BoolKind || p.method.On != pb.Kind_USER {
		return errors.New(presenceMethod + " is not a method on users with a bool " + presenceField)
	}
	return nil
}

// Online reports whether a user has a session on this node, or had one until a
// moment ago.
func (h *Hub) Online(ref entity.Ref) bool {
	k := userKey{ref.Tenant, ref.ID}
	return ref.Kind == pb.Kind_USER && (len(h.sessions(k)) > 0 || h.presence.lingers(k))
}

func (p *presence) lingers(k userKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.turns[k]
	return t != nil && t.was
}

// came notes a user's first session, and reports whether there is a call to make.
func (p *presence) came(caller entity.Caller) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := keyOf(caller)
	t := p.turns[k]
	switch {
	case t == nil:
		p.turns[k] = &turn{caller: caller, is: true, sent: true, under: true}
		return true
	case t.was && !t.under:
		delete(p.turns, k) // Nobody has noticed.
	default:
		t.is = true
	}
	return false
}

// left notes that a user's last session has gone. Nobody is told before a time.
func (p *presence) left(caller entity.Caller, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := keyOf(caller)
	t := p.turns[k]
	switch {
	case t == nil:
		t = &turn{caller: caller, was: true}
		p.turns[k] = t
		p.wait(t, at)
	case !t.was && !t.under:
		delete(p.turns, k) // Nobody had time to hear that he came.
	default:
		t.is = false
	}
}

// wait gives a turn its time. The caller holds mu.
func (p *presence) wait(t *turn, at time.Time) {
	t.at = at.UnixMilli()
	if due := p.due.Load(); due == 0 || t.at < due {
		p.due.Store(t.at)
	}
}

// Tick does what has become due and belongs to no session. It is cheap if nothing
// has. Whoever owns the connections calls it, also when there are none.
func (h *Hub) Tick(now time.Time) {
	if due := h.presence.due.Load(); due == 0 || now.UnixMilli() < due {
		return
	}
	for _, k := range h.presence.begin(now) {
		h.tellPresence(k)
	}
}

// begin returns the users whose time has come, as far as there is room.
func (p *presence) begin(now time.Time) (due []userKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := int64(math.MaxInt64)
	for k, t := range p.turns {
		switch {
		case t.under:
		case t.at <= now.UnixMilli() && len(due) < maxPresenceCalls:
			t.sent, t.under = t.is, true
			due = append(due, k)
		default:
			next = min(next, t.at)
		}
	}
	if next == math.MaxInt64 {
		next = 0
	}
	p.due.Store(next)
	return due
}

// tellPresence makes the call that is under way for a user.
func (h *Hub) tellPresence(k userKey) {
	call, ok := h.presence.call(k)
	if !ok {
		h.told(k, entity.Result{})
		return
	}
	h.metrics.presenceTold.Inc()
	h.submit(call, func(r entity.Result) { h.told(k, r) })
}

// call is the call that is under way for a user. There is none if nobody wants to
// know.
func (p *presence) call(k userKey) (c *entity.Call, ok bool) {
	if p.method == nil {
		return nil, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.turns[k]
	req := p.method.New()
	if t.sent {
		req.ProtoReflect().Set(p.online, protoreflect.ValueOfBool(true))
	}
	return &entity.Call{Method: p.method, To: t.caller.Ref(), Caller: t.caller, Req: req}, true
}

// told takes the result of a call.
func (h *Hub) told(k userKey, r entity.Result) {
	if r.Err != nil {
		h.metrics.presenceFailed.Inc()
	}
	refused := r.Err != nil && r.Err.Code == entity.Overloaded
	if h.presence.end(k, refused, h.Now().Add(h.PresenceDelay)) {
		h.tellPresence(k)
	}
}

// end ends the call under way for a user, and reports whether the next one is to be
// made at once. What was refused is said once more, later; what fails otherwise would
// fail again.
func (p *presence) end(k userKey, refused bool, later time.Time) (next bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.turns[k]
	t.under = false
	if t.again = refused && !t.again; !t.again {
		t.was = t.sent
	}
	switch {
	case t.was == t.is:
		delete(p.turns, k)
	case t.is && !t.again: // He came while it was said that he had gone.
		t.sent, t.under = true, true
		return true
	default:
		p.wait(t, later)
	}
	return false
}
