package session

import (
	"sync"
	"time"

	"kith/actors/entity"
	"kith/gateway/wire"
)

const (
	// maxPage is how many events one read asks for: a page of short messages is
	// about 20 KB. Where messages are long, pages become shorter.
	maxPage = 64
	// retryAfter is how long a session waits after the backend had no time for it.
	retryAfter = time.Second
)

// A read is a look into the logs. A session has at most one under way.
type read struct {
	dubious []entity.Ref // the positions of these channels are wanted; nil: a page
	ref     entity.Ref
	after   uint64
	head    uint64 // as it was known when the read began
	limit   int
}

// nextRead chooses what to read, if there is anything and it is time. The caller
// holds mu.
func (s *Session) nextRead() (r read, wanted bool) {
	if !s.behind || s.reading || s.state != connected || s.retryAt != 0 {
		return read{}, false
	}
	dubious := 0
	for i := len(s.channels) - 1; i >= 0; i-- {
		switch c := &s.channels[i]; {
		case c.dubious():
			dubious++
		case c.ending && c.stage == known && !c.lags():
			s.remove(c, unsubscribedLeft)
		}
	}
	if dubious > 0 {
		s.reading = true
		return s.readPositions(dubious), true
	}
	c := s.nextLagging()
	if c == nil {
		s.behind = false
		return read{}, false
	}
	if s.out.room() <= 0 {
		return read{}, false // Flush comes back to it.
	}
	s.reading, s.last = true, c.id
	return read{ref: s.ref(c), after: c.pos, head: c.head, limit: int(min(uint64(s.page), c.head-c.pos))}, true
}

func (s *Session) readPositions(dubious int) read {
	refs := make([]entity.Ref, 0, dubious)
	for i := range s.channels {
		if s.channels[i].dubious() {
			refs = append(refs, s.ref(&s.channels[i]))
		}
	}
	return read{dubious: refs}
}

// nextLagging returns the lagging channel whose turn it is, or nil: each gets a
// page before any gets a second. The caller holds mu.
func (s *Session) nextLagging() *channel {
	from, known := s.search(s.last)
	if known {
		from++
	}
	for i := from; i < len(s.channels); i++ {
		if s.channels[i].lags() {
			return &s.channels[i]
		}
	}
	if s.own.lags() {
		return &s.own
	}
	for i := range min(from, len(s.channels)) {
		if s.channels[i].lags() {
			return &s.channels[i]
		}
	}
	return nil
}

// read begins a read. It is called without mu.
func (s *Session) read(r read) {
	if r.dubious != nil {
		s.hub.backend.Positions(s.caller, r.dubious, s.positioned)
		return
	}
	s.hub.backend.Replay(s.caller, r.ref, r.after, r.limit, func(p entity.Page) { s.replayed(r, p) })
}

// positioned announces channels whose epochs have been read, and ends those that
// have turned out to be over.
func (s *Session) positioned(all []entity.Position) {
	defer s.hub.flush()
	defer s.caught()
	s.mu.Lock()
	defer s.unlock()
	s.reading = false
	if s.state != connected {
		return
	}
	for _, p := range all {
		c := s.find(p.Ref)
		switch {
		case p.Err != nil && p.Err.Code.Temporary():
			s.retry()
		case c == nil || !c.dubious(): // It ended meanwhile.
		case p.Err == nil:
			s.settle(c, p)
		case c.stage == fresh:
			s.remove(c, unsubscribedBroken)
		default:
			s.remove(c, unsubscribedLeft)
		}
	}
}

// settle says where a dubious channel stands. The caller holds mu.
func (s *Session) settle(c *channel, p entity.Position) {
	s.hub.epochs.put(p.Ref, p.Epoch)
	if c.doubted {
		c.doubted, c.ending = false, c.ending || p.Ended
	}
	if c.stage == fresh {
		s.announce(c, p.Epoch)
	}
}

// retry lets the session read again after a while. The caller holds mu.
func (s *Session) retry() {
	s.retryAt = s.hub.Now().Add(retryAfter).UnixMilli()
	s.schedule()
}

// frames is where pages are encoded. What is published live has a frame of its
// own in the hub.
var frames = sync.Pool{New: func() any { return new(wire.Frame) }}

// replayed queues a page of missed events, as far as there is room.
func (s *Session) replayed(r read, page entity.Page) {
	defer s.hub.flush()
	defer s.caught()
	if page.Err != nil {
		s.unread(r, page.Err)
		return
	}
	s.hub.metrics.pages.Inc()
	s.mu.Lock()
	room := s.out.room()
	s.mu.Unlock()

	// Nothing else moves the position of a channel that lags, so the page can be
	// encoded without holding up what is published to the session meanwhile.
	f, b := frames.Get().(*wire.Frame), getBuffer()
	name := channelName(r.ref, s.caller.User)
	taken := 0
	for _, e := range page.Events {
		f.Reset(name, e)
		frame := f.For(s.dialect)
		if f.Unreadable() {
			s.hub.metrics.unreadable.Inc()
		}
		if taken > 0 && len(b.b)+len(frame) > room {
			break
		}
		b.b = append(b.b, frame...)
		taken++
	}
	s.queuePage(r, page, b.b, taken)
	frames.Put(f)
	b.release()
	s.hub.metrics.publications.Add(float64(taken))
}

// queuePage queues the first events of a page, which are encoded in b.
func (s *Session) queuePage(r read, page entity.Page, b []byte, taken int) {
	s.mu.Lock()
	defer s.unlock()
	s.reading = false
	if c := s.readFor(r); c != nil {
		s.out.append(b, taken)
		s.advance(c, r, page, taken)
	}
}

// readFor is the channel for which a page was read, or nil if it wants none of it
// any more. The caller holds mu.
func (s *Session) readFor(r read) *channel {
	c := s.find(r.ref)
	if s.state != connected || c == nil || c.pos != r.after {
		return nil
	}
	return c
}

// advance moves a channel past the events of a page that were queued. The caller
// holds mu.
func (s *Session) advance(c *channel, r read, page entity.Page, taken int) {
	if taken > 0 {
		c.pos, c.used = page.Events[taken-1].Seq, s.tickle()
	}
	if taken < len(page.Events) {
		s.page = uint8(taken)
	} else {
		c.pos = max(c.pos, page.Through)
		s.page = uint8(min(2*int(s.page), maxPage))
	}
	if c.pos == r.after && c.head == r.head {
		// There is an event, but not for him. What comes next will find the gap.
		c.head = c.pos
		s.hub.metrics.nothingToRead.Inc()
	}
	c.head = max(c.head, c.pos)
	if c.id == 0 {
		for _, e := range page.Events[:taken] {
			s.heedOwn(e)
		}
	}
}

// unread takes the refusal of a page.
func (s *Session) unread(r read, err *entity.Error) {
	s.mu.Lock()
	defer s.unlock()
	s.reading = false
	c := s.readFor(r)
	switch {
	case c == nil:
	case c.id == 0 && err.Code == entity.Expired:
		s.end(ServerError, "what you have missed is no longer there; connect again") // Its head will be the position.
	case err.Code == entity.Overloaded || c.id == 0:
		// Nothing can take the place of the user's own log.
		s.retry()
	case err.Code == entity.Expired:
		s.remove(c, unsubscribedExpired)
	default:
		s.hub.metrics.channelsBroken.Inc()
		s.remove(c, unsubscribedBroken)
	}
}
