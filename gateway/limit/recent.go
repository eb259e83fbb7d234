package limit

import "sync"

// Recent remembers a bounded number of keys, those used last. It keeps two
// generations: when the young one is full it becomes the old one, and what was
// in the old one and not used since is forgotten. So it costs two lookups and no
// list. Safe for concurrent use.
type Recent[K comparable, V any] struct {
	limit int // keys; half of it in each generation

	mu         sync.Mutex // guards what is below
	young, old map[K]V
}

// NewRecent returns a Recent of at most limit keys.
func NewRecent[K comparable, V any](limit int) *Recent[K, V] {
	return &Recent[K, V]{limit: limit, young: map[K]V{}}
}

// Update gives f what is known of key, or the zero value, and remembers what f
// returns. f must be short: nobody else gets in.
func (r *Recent[K, V]) Update(key K, f func(V) V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.young[key]
	if !ok {
		v = r.old[key]
		if len(r.young) >= max(1, r.limit/2) {
			r.old, r.young = r.young, map[K]V{}
		}
	}
	r.young[key] = f(v)
}

// Get returns what is known of key, or the zero value, and counts as a use.
func (r *Recent[K, V]) Get(key K) (known V) {
	r.Update(key, func(v V) V { known = v; return v })
	return known
}

// Put remembers v.
func (r *Recent[K, V]) Put(key K, v V) { r.Update(key, func(V) V { return v }) }
