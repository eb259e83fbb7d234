package auth

import (
	"crypto/sha256"
	"sync"
	"time"

	"kith/actors/entity"
)

// CacheTokens is how many tokens a Cache remembers by default: about 3 MB, and
// those of 10,000 sockets and of every caller that the HTTP door has in a minute.
const CacheTokens = 16384

// A Cache is a Verifier that remembers the tokens it accepted, so that the door
// where a token comes with each request, and the one where clients come back with
// it, do not pay for its signature each time (110 µs against 1). Only valid tokens
// are remembered, by their hash: whoever sends rubbish evicts nothing. Safe for
// concurrent use.
type Cache struct {
	verifier *Verifier
	limit    int // tokens

	mu      sync.Mutex // guards what is below
	byHash  map[tokenHash]int32
	entries []cached // a ring by their links; each silent connection has one: 310 → 140 bytes
	free    []int32  // entries that hold no token
	recent  int32    // the most recently used; noEntry: there is none
}

// A tokenHash is half of a SHA-256: nobody finds two tokens with the same.
type tokenHash [sha256.Size / 2]byte

// noEntry is the index of no entry.
const noEntry = -1

// cached is a token that was accepted.
type cached struct {
	hash           tokenHash
	caller         entity.Caller
	expires, until int64 // Unix milliseconds
	before, after  int32 // used more recently, and less; the ring's ends meet
}

// NewCache returns a Cache of at most limit tokens before v.
func NewCache(v *Verifier, limit int) *Cache {
	return &Cache{verifier: v, limit: max(1, limit), byHash: map[tokenHash]int32{}, recent: noEntry}
}

// Verify answers as the Verifier's does.
func (c *Cache) Verify(token string) (entity.Caller, time.Time, *entity.Error) {
	if len(token) > MaxTokenBytes {
		return c.verifier.Verify(token)
	}
	whole := sha256.Sum256([]byte(token))
	hash := tokenHash(whole[:])
	if known, ok := c.lookup(hash); ok {
		if c.verifier.now().UnixMilli() >= known.until {
			c.forget(hash)
			return entity.Caller{}, time.Time{}, ErrExpired
		}
		return known.caller, time.UnixMilli(known.expires), nil
	}
	t, err := c.verifier.verify(token)
	if err == nil {
		c.remember(cached{hash: hash, caller: t.caller, expires: t.expires.UnixMilli(), until: t.until.UnixMilli()})
	}
	return t.caller, t.expires, err
}

// lookup returns what is known of a token, and makes it the most recent.
func (c *Cache) lookup(hash tokenHash) (known cached, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.byHash[hash]
	if !ok {
		return known, false
	}
	c.unlink(i)
	c.link(i)
	return c.entries[i], true
}

// remember adds a token, and drops the least recent one if there are too many.
func (c *Cache) remember(t cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byHash[t.hash]; ok {
		return // Two requests with a new token came at once.
	}
	if len(c.byHash) == c.limit {
		c.drop(c.entries[c.recent].before)
	}
	i := int32(len(c.entries))
	if n := len(c.free); n > 0 {
		i, c.free = c.free[n-1], c.free[:n-1]
		c.entries[i] = t
	} else {
		c.entries = append(c.entries, t)
	}
	c.byHash[t.hash] = i
	c.link(i)
}

func (c *Cache) forget(hash tokenHash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.byHash[hash]; ok {
		c.drop(i)
	}
}

// drop removes an entry. The caller holds mu.
func (c *Cache) drop(i int32) {
	c.unlink(i)
	delete(c.byHash, c.entries[i].hash)
	c.entries[i] = cached{}
	c.free = append(c.free, i)
}

// link makes an entry the most recent. The caller holds mu.
func (c *Cache) link(i int32) {
	first := i
	if c.recent != noEntry {
		first = c.recent
	} else {
		c.entries[i].before = i
	}
	last := c.entries[first].before
	c.entries[i].before, c.entries[i].after = last, first
	c.entries[last].after, c.entries[first].before = i, i
	c.recent = i
}

// unlink takes an entry out of the ring. The caller holds mu.
func (c *Cache) unlink(i int32) {
	e := c.entries[i]
	if e.after == i {
		c.recent = noEntry
		return
	}
	c.entries[e.before].after, c.entries[e.after].before = e.after, e.before
	if c.recent == i {
		c.recent = e.after
	}
}
