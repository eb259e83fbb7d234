package session

import (
	"slices"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// A channel is a log that a session hears. Two numbers say everything:
// position < head means that it lags.
type channel struct {
	id   uint64 // of the conversation; 0: the user's own log
	pos  uint64 // the last seq that was queued, or that the client said it has
	head uint64 // the last seq known to be in the log for him
	used uint32 // Session.clock when it was last sent something

	// fresh says that the client has not been told of the channel: a `subscribe`
	// push comes before its first event, as soon as its epoch is known.
	fresh bool
	// ending says that an `unsubscribe` push comes once it does not lag.
	ending bool
}

func (c *channel) lags() bool { return c.pos < c.head }

// find returns the channel of a log, or nil. The caller holds mu.
func (s *Session) find(ref entity.Ref) *channel {
	if ref.Kind == pb.Kind_USER {
		if ref.ID != s.caller.Number {
			return nil
		}
		return &s.own
	}
	i, ok := s.search(ref.ID)
	if !ok {
		return nil
	}
	return &s.channels[i]
}

func (s *Session) search(id uint64) (int, bool) {
	return slices.BinarySearchFunc(s.channels, id, func(c channel, id uint64) int {
		switch {
		case c.id < id:
			return -1
		case c.id > id:
			return 1
		}
		return 0
	})
}

// ref names the log of a channel. The caller holds mu.
func (s *Session) ref(c *channel) entity.Ref {
	if c.id == 0 {
		return s.caller.Ref()
	}
	return entity.Conversation(s.caller.Tenant, c.id)
}

// add makes a channel that the client does not know yet. The caller holds mu.
func (s *Session) add(id, pos uint64) *channel {
	if s.state == connected {
		s.makeRoom(1)
	}
	i, _ := s.search(id)
	s.channels = slices.Insert(s.channels, i, channel{id: id, pos: pos, head: pos, used: s.tickle(), fresh: true})
	return &s.channels[i]
}

// makeRoom drops the least recently active channels until there is room for n
// more. The user's own is one, and stays. The caller holds mu.
func (s *Session) makeRoom(n int) {
	for len(s.channels) > 0 && 1+len(s.channels)+n > s.policy.MaxChannels {
		idle := 0
		for i := range s.channels {
			// The difference is right although the clock wraps.
			if s.clock-s.channels[i].used > s.clock-s.channels[idle].used {
				idle = i
			}
		}
		s.hub.metrics.channelsDropped.Inc()
		s.remove(&s.channels[idle], unsubscribedIdle)
	}
}

// tickle returns the next moment of the session's clock of activity.
func (s *Session) tickle() uint32 {
	s.clock++
	return s.clock
}

// remove ends a channel. The client is told if it knew of it. The caller holds
// mu, and c is void afterwards.
func (s *Session) remove(c *channel, code uint32) {
	if !c.fresh {
		s.push(&protocol.Push{
			Channel:     channelName(s.ref(c), s.caller.User),
			Unsubscribe: &protocol.Unsubscribe{Code: code, Reason: unsubscribedReason[code]},
		})
	}
	i, _ := s.search(c.id)
	s.channels = slices.Delete(s.channels, i, i+1)
	if len(s.channels) == 0 {
		s.channels = nil
	}
}

// announce tells the client of a channel, at its position. The caller holds mu.
func (s *Session) announce(c *channel, epoch string) {
	c.fresh = false
	s.push(&protocol.Push{
		Channel:   channelName(s.ref(c), s.caller.User),
		Subscribe: &protocol.Subscribe{Recoverable: true, Positioned: true, Epoch: epoch, Offset: c.pos},
	})
}

// maxHeld bounds the channels of a session that is connecting, which is a few
// milliseconds in which nothing is dropped. One that is connected has
// Policy.MaxChannels, which is less.
const maxHeld = 1000

// hear takes an event or a signal that was just published. f is its frame,
// shared with every other session. It reports whether f was queued.
func (s *Session) hear(e *entity.Event, f *wire.Frame) bool {
	defer s.caught()
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.state != connecting && s.state != connected:
		return false
	case e.Seq == 0:
		return s.hearSignal(e, f)
	default:
		return s.hearEvent(e, f)
	}
}

// hearSignal queues a signal if the client has the channel and there is room:
// nobody misses a signal. The caller holds mu.
func (s *Session) hearSignal(e *entity.Event, f *wire.Frame) bool {
	c := s.find(e.Ref)
	if c == nil || c.fresh || s.state != connected {
		return false
	}
	frame := f.For(s.dialect)
	if !s.out.takesSignal(len(frame)) {
		s.hub.metrics.signalsDropped.Inc()
		return false
	}
	s.out.append(frame, 1)
	return true
}

// hearEvent queues an event that is the next one of its channel, and lets the
// channel lag if it is not or if there is no room. The caller holds mu.
func (s *Session) hearEvent(e *entity.Event, f *wire.Frame) bool {
	c := s.find(e.Ref)
	if c == nil {
		if e.Ref.Kind != pb.Kind_CONVERSATION {
			return false // Another user's own log has no name here.
		}
		if len(s.channels) >= maxHeld {
			s.end(ServerError, "")
			return false
		}
		c = s.add(e.Ref.ID, e.Seq-1)
	}
	if e.Seq <= c.head {
		return false
	}
	next := !c.lags() && e.Seq == c.pos+1 && s.state == connected
	c.head = e.Seq
	if next && s.send(c, e, f) {
		return true
	}
	s.behind = true
	return false
}

// send queues the next event of a channel, if there is room and the client knows
// the channel or can be told of it. The caller holds mu.
func (s *Session) send(c *channel, e *entity.Event, f *wire.Frame) bool {
	if c.fresh {
		epoch, known := s.hub.epochs.get(e.Ref)
		if !known {
			return false
		}
		s.announce(c, epoch)
	}
	frame := f.For(s.dialect)
	if !s.out.takesEvent(len(frame)) {
		if s.out.stalled() {
			s.end(Slow, "")
		}
		return false
	}
	s.out.append(frame, 1)
	c.pos, c.used = e.Seq, s.tickle()
	if c.id == 0 {
		s.heedOwn(e)
	}
	return true
}

// heedOwn draws the consequences of an event of the user's own log, which alone
// says that he has left a conversation. The caller holds mu.
func (s *Session) heedOwn(e *entity.Event) {
	switch body := e.Body.(type) {
	case *pb.DialogLeft:
		if i, ok := s.search(body.ConversationId); ok {
			s.channels[i].ending, s.behind = true, true
		}
	case *pb.DialogJoined:
		// He is back before we came to tell him that he had left.
		if i, ok := s.search(body.ConversationId); ok {
			s.channels[i].ending = false
		}
	}
}
