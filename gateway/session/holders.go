package session

import (
	"sync"

	"kith/actors/entity"
)

// holders is the index from conversations to the sessions that have their channel,
// for events that go to whoever watches. It knows only the conversations that have
// had such an event: from then on each session says when it takes a channel and when
// it gives one up; those that had it before are looked for once, among all. So small
// conversations, which are nearly all, cost nothing.
type holders [holderShards]holderShard

const (
	// holderShards is how many locks the index has, as that of users.
	holderShards = 64
	// maxHolders bounds the conversations of a shard; 64 Ki in all. An empty one takes
	// about 100 bytes.
	maxHolders = 1024
)

// A holderShard is a part of the index.
type holderShard struct {
	mu sync.RWMutex // guards what is below
	of map[entity.Ref]map[*Session]struct{}
}

func (h *holders) shard(ref entity.Ref) *holderShard {
	return &h[(ref.ID^uint64(ref.Tenant))%holderShards]
}

// hold notes that a session has taken a channel.
func (h *holders) hold(ref entity.Ref, s *Session) {
	h.change(ref, func(all map[*Session]struct{}) { all[s] = struct{}{} })
}

// release notes that a session has given up a channel.
func (h *holders) release(ref entity.Ref, s *Session) {
	h.change(ref, func(all map[*Session]struct{}) { delete(all, s) })
}

// change changes who holds a channel, if that is known.
func (h *holders) change(ref entity.Ref, how func(map[*Session]struct{})) {
	shard := h.shard(ref)
	shard.mu.RLock()
	_, known := shard.of[ref]
	shard.mu.RUnlock()
	if !known {
		return // As a rule; and whoever makes it known will ask the session.
	}
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if all, known := shard.of[ref]; known {
		how(all)
	}
}

// known makes a conversation known, and reports whether it was.
func (h *holders) known(ref entity.Ref) bool {
	shard := h.shard(ref)
	shard.mu.RLock()
	_, known := shard.of[ref]
	shard.mu.RUnlock()
	if known {
		return true
	}
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.of == nil {
		shard.of = map[entity.Ref]map[*Session]struct{}{}
	}
	if len(shard.of) >= maxHolders {
		for old := range shard.of { // Any will do: it can be looked for again.
			delete(shard.of, old)
			break
		}
	}
	shard.of[ref] = map[*Session]struct{}{}
	return false
}

// appendAll appends the sessions that hold a channel.
func (h *holders) appendAll(to []*Session, ref entity.Ref) []*Session {
	shard := h.shard(ref)
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	for s := range shard.of[ref] {
		to = append(to, s)
	}
	return to
}

// watching returns the sessions that hold a channel. The one goroutine that publishes
// calls it; it clears the slice when it is done.
func (h *Hub) watching(ref entity.Ref) []*Session {
	if !h.holders.known(ref) {
		// A session that takes the channel from here on says so.
		h.metrics.searches.Inc()
		h.search(ref)
	}
	h.watchers = h.holders.appendAll(h.watchers[:0], ref)
	return h.watchers
}

// search asks every session whether it holds a channel. It takes about 0.5 µs for
// each (BenchmarkSearch), once per conversation.
func (h *Hub) search(ref entity.Ref) {
	var all []*Session
	for i := range h.users {
		all = h.users[i].appendAll(all[:0])
		for _, s := range all {
			s.declare(ref)
		}
	}
}

// declare says whether the session holds a channel.
func (s *Session) declare(ref entity.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.caller.Tenant != ref.Tenant {
		return
	}
	if c := s.find(ref); c != nil {
		s.hub.holders.hold(ref, s)
	}
}
