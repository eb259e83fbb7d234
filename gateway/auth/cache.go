package auth

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	"kith/actors/entity"
)

// CacheTokens is how many tokens a Cache remembers by default: about 6 MB, and
// those of 10,000 sockets and of every caller that the HTTP door has in a minute.
const CacheTokens = 16384

// A Cache is a Verifier that remembers the tokens it accepted, so that the door
// where a token comes with each request, and the one where clients come back with
// it, do not pay for its signature each time (110 µs against 1). Only valid tokens are remembered, by their hash: whoever
// sends rubbish evicts nothing. Safe for concurrent use.
type Cache struct {
	verifier *Verifier
	limit    int // tokens

	mu     sync.Mutex // guards what is below
	byHash map[[sha256.Size]byte]*list.Element
	recent list.List // of *cached; the most recently used first
}

// cached is a token that was accepted.
type cached struct {
	verified
	hash [sha256.Size]byte
}

// NewCache returns a Cache of at most limit tokens before v.
func NewCache(v *Verifier, limit int) *Cache {
	return &Cache{verifier: v, limit: max(1, limit), byHash: map[[sha256.Size]byte]*list.Element{}}
}

// Verify answers as the Verifier's does.
func (c *Cache) Verify(token string) (entity.Caller, time.Time, *entity.Error) {
	if len(token) > MaxTokenBytes {
		return c.verifier.Verify(token)
	}
	hash := sha256.Sum256([]byte(token))
	if known := c.lookup(hash); known != nil {
		if !c.verifier.now().Before(known.until) {
			c.forget(hash)
			return entity.Caller{}, time.Time{}, ErrExpired
		}
		return known.caller, known.expires, nil
	}
	t, err := c.verifier.verify(token)
	if err == nil {
		c.remember(&cached{t, hash})
	}
	return t.caller, t.expires, err
}

// lookup returns what is known of a token, and makes it the most recent.
func (c *Cache) lookup(hash [sha256.Size]byte) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byHash[hash]
	if e == nil {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(*cached) // Never changed once it is in the list.
}

// remember adds a token, and drops the least recent one if there are too many.
func (c *Cache) remember(t *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byHash[t.hash] != nil {
		return // Two requests with a new token came at once.
	}
	c.byHash[t.hash] = c.recent.PushFront(t)
	if c.recent.Len() > c.limit {
		c.drop(c.recent.Back())
	}
}

func (c *Cache) forget(hash [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byHash[hash]; e != nil {
		c.drop(e)
	}
}

// drop removes an element. The caller holds mu.
func (c *Cache) drop(e *list.Element) {
	c.recent.Remove(e)
	delete(c.byHash, e.Value.(*cached).hash)
}
