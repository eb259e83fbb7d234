package session

import (
	"math"
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
	used uint32 // Session.clock when it was last sent something; of a channel that is asked, since when it is

	stage stage
	// watched says that the client subscribed to it, and not the server the client:
	// it ends when either wants it to.
	watched bool
	// ending says that nothing comes after head, for he has left: an `unsubscribe`
	// push comes once the channel does not lag.
	ending bool
	// doubted says that he may have left: his own log says so. His position tells.
	doubted bool
}

// A stage is how far a channel has come. What is heard before it is known only
// moves its head.
type stage uint8

const (
	known stage = iota // the client has it
	fresh              // the client will be told, before its first event, as soon as its epoch is known
	asked              // the client asked for it, and his position is being read
)

// unplaced is the position of a channel that is asked, until an event names the
// user: from that one on he is sure to hear it.
const unplaced = math.MaxUint64

func (c *channel) lags() bool { return c.stage != asked && c.pos < c.head }

// dubious reports whether a position has to be read.
func (c *channel) dubious() bool { return c.stage == fresh || c.stage == known && c.doubted }

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

// add makes a channel that the client does not know yet. From here on the session
// hears the watchers' events. The caller holds mu.
func (s *Session) add(id, pos uint64) *channel {
	i, _ := s.search(id)
	s.channels = slices.Insert(s.channels, i, channel{id: id, pos: pos, head: pos, used: s.tickle(), stage: fresh})
	s.hub.holders.hold(entity.Conversation(s.caller.Tenant, id), s)
	return &s.channels[i]
}

// ask makes a channel whose position is about to be read. The caller holds mu.
func (s *Session) ask(id uint64) *channel {
	c := s.add(id, unplaced)
	c.head, c.stage = 0, asked
	return c
}

// makeRoom drops the least recently active channels until there is room for n
// more, and reports whether there is. The user's own is one, and stays; so do those
// whose position is being read. The caller holds mu.
func (s *Session) makeRoom(n int) bool {
	for 1+len(s.channels)+n > s.policy.MaxChannels {
		idle := -1
		for i := range s.channels {
			// The difference is right although the clock wraps.
			if s.channels[i].stage != asked && (idle < 0 || s.clock-s.channels[i].used > s.clock-s.channels[idle].used) {
				idle = i
			}
		}
		if idle < 0 {
			return false
		}
		s.hub.metrics.channelsDropped.Inc()
		s.remove(&s.channels[idle], unsubscribedIdle)
	}
	return true
}

// tickle returns the next moment of the session's clock of activity.
func (s *Session) tickle() uint32 {
	s.clock++
	return s.clock
}

// remove ends a channel. The client is told if it knew of it. The caller holds
// mu, and c is void afterwards.
func (s *Session) remove(c *channel, code uint32) {
	if c.stage == known {
		s.pushUnsubscribe(channelName(s.ref(c), s.caller.User), code)
	}
	s.forget(c)
}

// forget ends a channel without a word. The caller holds mu, and c is void
// afterwards.
func (s *Session) forget(c *channel) {
	s.hub.holders.release(s.ref(c), s)
	i, _ := s.search(c.id)
	s.channels = slices.Delete(s.channels, i, i+1)
	if len(s.channels) == 0 {
		s.channels = nil
	}
}

// forgetAll ends every channel without a word. The caller holds mu.
func (s *Session) forgetAll() {
	for i := range s.channels {
		s.hub.holders.release(s.ref(&s.channels[i]), s)
	}
	s.channels = nil
}

// pushUnsubscribe tells the client that a channel is over. The caller holds mu.
func (s *Session) pushUnsubscribe(name string, code uint32) {
	s.push(&protocol.Push{Channel: name, Unsubscribe: &protocol.Unsubscribe{Code: code, Reason: unsubscribedReason[code]}})
}

// announce tells the client of a channel, at its position. The caller holds mu.
func (s *Session) announce(c *channel, epoch string) {
	c.stage = known
	s.push(&protocol.Push{
		Channel:   channelName(s.ref(c), s.caller.User),
		Subscribe: &protocol.Subscribe{Recoverable: true, Positioned: true, Epoch: epoch, Offset: c.pos},
	})
}

// maxHeld bounds the channels of a session that is connecting, which is a few
// milliseconds in which nothing is dropped. One that is connected has
// Policy.MaxChannels, which is less.
const maxHeld = 1000

// hear takes an event or a signal that was just published. named says that it is
// for this user, and not just for whoever holds the channel. f is its frame, shared
// with every other session. hear reports whether f was queued.
func (s *Session) hear(e *entity.Event, f *wire.Frame, named bool) bool {
	defer s.caught()
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.state != connecting && s.state != connected:
		return false
	case e.Seq == 0:
		return s.hearSignal(e, f, named)
	default:
		return s.hearEvent(e, f, named)
	}
}

// hearSignal queues a signal that is for this user, or for those who have the
// channel if the client does, if there is room: nobody misses a signal. The caller
// holds mu.
func (s *Session) hearSignal(e *entity.Event, f *wire.Frame, named bool) bool {
	if s.state != connected {
		return false
	}
	if c := s.find(e.Ref); !named && (c == nil || c.stage != known || c.ending || c.doubted) {
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
func (s *Session) hearEvent(e *entity.Event, f *wire.Frame, named bool) bool {
	c := s.find(e.Ref)
	switch {
	case c != nil && e.Seq <= c.head:
		return false
	case c != nil && c.ending && !named:
		return false // It is no longer his. Who is named has come back.
	case c == nil:
		if !named || e.Ref.Kind != pb.Kind_CONVERSATION {
			return false // Another user's own log has no name here.
		}
		if c = s.take(e); c == nil {
			return false
		}
	}
	if c.stage == asked && named && c.pos == unplaced {
		c.pos = e.Seq - 1
	}
	next := c.stage != asked && !c.doubted && !c.lags() && e.Seq == c.pos+1 && s.state == connected
	c.head, c.ending = e.Seq, e.Ends(s.caller.Number)
	sent := next && s.send(c, e, f)
	s.behind = s.behind || !sent || c.ending
	return sent
}

// take makes the channel of an event that names the user, or ends a session that
// has too many. The caller holds mu.
func (s *Session) take(e *entity.Event) *channel {
	if len(s.channels) >= maxHeld {
		s.end(ServerError, "")
		return nil
	}
	if s.state == connected {
		s.makeRoom(1) // If there is none, then only until a position is read.
	}
	return s.add(e.Ref.ID, e.Seq-1)
}

// send queues the next event of a channel, if there is room and the client knows
// the channel or can be told of it. The caller holds mu.
func (s *Session) send(c *channel, e *entity.Event, f *wire.Frame) bool {
	if c.stage == fresh {
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

// heedOwn draws the consequences of an event of the user's own log. As a rule the
// conversation's last event for him has said that he leaves; this is for a session that
// took the channel after it, when the position did not know of it. By the time it is
// heard he may be back, so it is only a reason to ask. The caller holds mu.
func (s *Session) heedOwn(e *entity.Event) {
	left, ok := e.Body.(*pb.DialogLeft)
	if !ok {
		return
	}
	if i, ok := s.search(left.ConversationId); ok && !s.channels[i].ending {
		s.channels[i].doubted, s.behind = true, true
	}
}
