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

	users   [userShards]userShard
	epochs  epochs
	frame   wire.Frame // of the event that is being published
	metrics *metrics
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

// connectMethod is what makes a user and his device known.
const connectMethod = "Devices.Connect"

// NewHub returns a Hub without sessions.
func NewHub(cfg Config) (*Hub, error) {
	h := &Hub{Config: cfg.withDefaults()}
	if h.connect = h.Registry.ByName(connectMethod); h.connect == nil {
		return nil, errors.New("the registry has no method " + connectMethod)
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
	framed, heard := false, 0
	for _, number := range e.Audience.Users {
		for _, s := range h.sessions(userKey{e.Ref.Tenant, number}) {
			if !framed {
				framed = true
				h.frame.Reset(h.channelOf(e.Ref), e)
			}
			if s.hear(e, &h.frame) {
				heard++
			}
		}
	}
	if framed && h.frame.Unreadable() {
		h.metrics.unreadable.Inc()
	}
	if e.Seq == 0 {
		h.metrics.signals.Add(float64(heard))
	} else {
		h.metrics.publications.Add(float64(heard))
	}
}

// channelOf is the channel of a log for whoever hears it live.
func (h *Hub) channelOf(ref entity.Ref) string {
	user := ""
	if ref.Kind == pb.Kind_USER {
		// Only he himself has a name for it.
		if own := h.sessions(userKey{ref.Tenant, ref.ID}); len(own) > 0 {
			user = own[0].caller.User
		}
	}
	return channelName(ref, user)
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

// register adds a session to the index. It returns the session that has to make
// room for it, or nil.
func (h *Hub) register(s *Session) (tooMany *Session) {
	k := userKey{s.caller.Tenant, s.caller.Number}
	u := h.shard(k)
	u.mu.Lock()
	defer u.mu.Unlock()
	all := append(slices.Clone(u.sessions[k]), s)
	if len(all) > s.policy.MaxSessions {
		// A device that came back has left dead sessions of its own; another device's
		// goes only if there is none, for the code is terminal.
		old := max(0, slices.IndexFunc(all[:len(all)-1], func(o *Session) bool { return o.caller.Device == s.caller.Device }))
		tooMany = all[old]
		all = slices.Delete(all, old, old+1)
	}
	u.sessions[k] = all
	return tooMany
}

// unregister removes a session from the index, if it is there.
func (h *Hub) unregister(s *Session) {
	k := userKey{s.caller.Tenant, s.caller.Number}
	u := h.shard(k)
	u.mu.Lock()
	defer u.mu.Unlock()
	i := slices.Index(u.sessions[k], s)
	switch {
	case i < 0:
	case len(u.sessions[k]) == 1:
		delete(u.sessions, k)
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
