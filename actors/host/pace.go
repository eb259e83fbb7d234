package host

import (
	"fmt"
	"sync"
	"time"

	"kith/actors/entity"
)

// paces remembers who was heard last when by methods that hear a caller only so
// often: typing, say. It is soft: a node that starts again hears everybody.
type paces struct {
	mu    sync.Mutex // guards what is below
	since time.Duration
	heard map[pace]time.Duration // since then
	older map[pace]time.Duration // of the time before
}

type pace struct {
	method *entity.Method
	to     entity.Ref
	caller uint64
}

const (
	// maxPaces bounds what is remembered at once; about 8 MB. More callers at a
	// time are all heard.
	maxPaces = 64 << 10
	// paceTurn is when what is old is forgotten. No pace may be longer.
	paceTurn = 10 * time.Second
)

// checkPaces refuses a method that hears a caller more seldom than is remembered.
func checkPaces(r *entity.Registry) error {
	for _, m := range r.Methods() {
		if m.Pace > paceTurn {
			return fmt.Errorf("%s: a pace is at most %v", m.Name, paceTurn)
		}
	}
	return nil
}

// take reports whether a call is to be heard, at a time by Clock.Elapsed.
func (p *paces) take(c *entity.Call, now time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heard == nil || now-p.since >= paceTurn || len(p.heard) >= maxPaces {
		p.older, p.heard, p.since = p.heard, map[pace]time.Duration{}, now
	}
	k := pace{c.Method, c.To, c.Caller.Number}
	last, ok := p.heard[k]
	if !ok {
		last, ok = p.older[k]
	}
	if ok && now-last < c.Method.Pace {
		return false
	}
	p.heard[k] = now
	return true
}
