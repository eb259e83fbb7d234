package session

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// A Hub holds the sessions of a node. It is the host's Listener.
type Hub struct {
	Config
	backend  Backend
	verifier Verifier
	flusher  atomic.Pointer[Flusher]
	connect  *entity.Method // Devices.Connect

	users    [userShards]userShard
	holders  holders
	presence presence
	epochs   epochs
	metrics  *metrics

	// What is below is the publishing goroutine's.
	frame    wire.Frame // of the event that is being published
	watchers []*Session // who hears it because they have its channel
}

// userShards is how many locks the index of users has: with a publisher, two
// query workers per core and a loop per core, contention is rare.
const userShards = 64

// A userShard is a part of the index from users to their sessions.
type userShard struct {
	mu       sync.RWMutex           // guards what is below
	sessions map[userKey][]*Session // oldest first; a slice never changes
}

type userKey struct {
	tenant entity.Tenant
	number uint64
}

func keyOf(c entity.Caller) userKey { return userKey{c.Tenant, c.Number} }

// connectMethod is what makes a user and his device known.
const connectMethod = "Devices.Connect"

// NewHub returns a Hub without sessions.
func NewHub(cfg Config) (*Hub, error) {
	h := &Hub{Config: cfg.withDefaults()}
	if h.connect = h.Registry.ByName(connectMethod); h.connect == nil {
		return nil, errors.New("the registry has no method " + connectMethod)
	}
	if err := h.presence.init(h.Registry); err != nil {
		return nil, err
	}
	h.metrics = newMetrics(h.Config)
	for i := range h.users {
		h.users[i].sessions = map[userKey][]*Session{}
	}
	return h, nil
}

// Serve gives the hub what its sessions need, once and before the first Open. It
// is no part of Config because the host is made with the Hub as its listener, and
// publishes from its first moment, when what was told before the last end goes on.
func (h *Hub) Serve(b Backend, v Verifier) { h.backend, h.verifier = b, v }

// FlushBy gives the hub whom to call when sessions have something to write.
func (h *Hub) FlushBy(f Flusher) { h.flusher.Store(&f) }

func (h *Hub) flush() {
	if f := h.flusher.Load(); f != nil {
		(*f).Flush()
	}
}

// Published hears an event that has become durable, or a signal, and hands it to
// the sessions of its audience. One goroutine calls it, in order.
func (h *Hub) Published(e *entity.Event) {
	if e.Audience == nil {
		return
	}
	p := publication{hub: h, event: e}
	for _, number := range e.Audience.Users {
		for _, s := range h.sessions(userKey{e.Ref.Tenant, number}) {
			p.tell(s, true)
		}
	}
	if e.Audience.Watchers && e.Ref.Kind == pb.Kind_CONVERSATION {
		for _, s := range h.watching(e.Ref) {
			if _, heard := slices.BinarySearch(e.Audience.Users, s.caller.Number); !heard {
				p.tell(s, false)
			}
		}
		clear(h.watchers) // Sessions that end are not to be kept.
	}
	if p.framed && h.frame.Unreadable() {
		h.metrics.unreadable.Inc()
	}
	if e.Seq == 0 {
		h.metrics.signals.Add(float64(p.heard))
	} else {
		h.metrics.publications.Add(float64(p.heard))
	}
}

// A publication is an event on its way to the sessions that hear it.
type publication struct {
	hub    *Hub
	event  *entity.Event
	framed bool // the hub's frame is this event's
	heard  int  // sessions that it was queued for
}

// tell hands the event to one session.
func (p *publication) tell(s *Session, named bool) {
	if !p.framed {
		p.framed = true
		p.hub.frame.Reset(p.hub.channelOf(p.event), p.event)
	}
	if s.hear(p.event, &p.hub.frame, named) {
		p.heard++
	}
}

// channelOf is the channel of an event for whoever hears it live.
func (h *Hub) channelOf(e *entity.Event) string {
	if e.Ref.Kind != pb.Kind_USER {
		return channelName(e.Ref, "")
	}
	own := h.sessions(userKey{e.Ref.Tenant, e.Ref.ID})
	if e.Seq == 0 || len(own) == 0 {
		return "" // A signal may be for others, and only he himself has a name for his log.
	}
	return channelName(e.Ref, own[0].caller.User)
}

// Released hears that a group is through, and has what it caused written.
func (h *Hub) Released() { h.flush() }

func (h *Hub) shard(k userKey) *userShard {
	return &h.users[(k.number^uint64(k.tenant))%userShards]
}

// sessions returns the sessions of a user.
func (h *Hub) sessions(k userKey) []*Session {
	u := h.shard(k)
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.sessions[k]
}

// appendAll appends every session of the shard.
func (u *userShard) appendAll(to []*Session) []*Session {
	u.mu.RLock()
	defer u.mu.RUnlock()
	for _, all := range u.sessions {
		to = append(to, all...)
	}
	return to
}

// register adds a session to the index. It returns the session that has to make
// room for it, or nil, and whether the user has come with it, which has to be told.
func (h *Hub) register(s *Session) (tooMany *Session, came bool) {
	k := keyOf(s.caller)
	u := h.shard(k)
	u.mu.Lock()
	defer u.mu.Unlock()
	all := append(slices.Clone(u.sessions[k]), s)
	if len(all) == 1 {
		came = h.presence.came(s.caller)
	}
	if len(all) > s.policy.MaxSessions {
		// A device that came back has left dead sessions of its own; another device's
		// goes only if there is none, for the code is terminal.
		old := max(0, slices.IndexFunc(all[:len(all)-1], func(o *Session) bool { return o.caller.Device == s.caller.Device }))
		tooMany = all[old]
		all = slices.Delete(all, old, old+1)
	}
	u.sessions[k] = all
	return tooMany, came
}

// unregister removes a session from the index, if it is there.
func (h *Hub) unregister(s *Session) {
	k := keyOf(s.caller)
	u := h.shard(k)
	u.mu.Lock()
	defer u.mu.Unlock()
	i := slices.Index(u.sessions[k], s)
	switch {
	case i < 0:
	case len(u.sessions[k]) == 1:
		delete(u.sessions, k)
		h.presence.left(s.caller, h.Now().Add(h.PresenceDelay))
	default:
		u.sessions[k] = slices.Delete(slices.Clone(u.sessions[k]), i, i+1)
	}
}

// epochs remembers the epochs of logs, which do not change while a server runs:
// so that the first message in a conversation does not cost a read for each
// member that is connected.
type epochs struct {
	mu    sync.RWMutex // guards what is below
	known map[entity.Ref]string
}

// maxEpochs bounds what is remembered; about 8 MB.
const maxEpochs = 64 << 10

func (e *epochs) get(ref entity.Ref) (string, bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	epoch, ok := e.known[ref]
	return epoch, ok
}

func (e *epochs) put(ref entity.Ref, epoch string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.known == nil {
		e.known = map[entity.Ref]string{}
	}
	if len(e.known) >= maxEpochs {
		for old := range e.known { // Any will do: it can be read again.
			delete(e.known, old)
			break
		}
	}
	e.known[ref] = epoch
}
