package session

import (
	"strings"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
)

// A client watches a conversation by subscribing to its channel itself: one that is
// too large to name its members has no other way to reach them. It is connecting
// once more, for one channel: the session has the channel first and reads the
// position second, so that nothing is lost in between.

// subscribe begins to watch a conversation, for a client that may read it now.
func (s *Session) subscribe(id uint32, req *protocol.SubscribeRequest) {
	ref, ticket, ok := s.beginWatch(id, req)
	if !ok {
		return
	}
	s.hub.backend.Positions(s.caller, []entity.Ref{ref}, func(all []entity.Position) {
		defer s.hub.flush()
		defer s.caught()
		s.watch(id, req, all[0], ticket)
	})
}

// beginWatch asks for the channel, or refuses to. The ticket is the channel's used:
// by it the channel is known again when its position has been read.
func (s *Session) beginWatch(id uint32, req *protocol.SubscribeRequest) (ref entity.Ref, ticket uint32, ok bool) {
	s.mu.Lock()
	defer s.unlock()
	if s.state == closed {
		return ref, 0, false
	}
	if ref, ok = s.watchable(id, req.Channel); !ok {
		return ref, 0, false
	}
	c := s.find(ref)
	switch {
	case c == nil:
		if !s.makeRoom(1) {
			s.fail(id, codeLimit, true, "too many subscriptions are under way; try again when some are answered")
			return ref, 0, false
		}
		c = s.ask(ref.ID)
	case c.watched, c.stage == known && !req.Recover:
		s.fail(id, codeSubscribed, false, "this session has the channel already")
		return ref, 0, false
	default:
		s.askAgain(c)
	}
	c.watched = true
	return ref, c.used, true
}

// watchable returns the conversation of a channel, or refuses the command.
func (s *Session) watchable(id uint32, name string) (ref entity.Ref, ok bool) {
	ref, ok = parseChannel(name, s.caller)
	switch {
	case ok && ref.Kind == pb.Kind_CONVERSATION:
		return ref, true
	case ok:
		s.fail(id, codeSubscribed, false, "this session has the channel already: a user's own comes by itself")
	case strings.HasPrefix(name, conversationPrefix):
		s.failWatch(id)
	default:
		s.fail(id, codeUnknownChannel, false, "there is no such channel; a conversation's is c: and its number")
	}
	return ref, false
}

// failWatch refuses, in the same words, who may not read a conversation, has left it,
// or asks for one that does not exist. The caller holds mu.
func (s *Session) failWatch(id uint32) {
	s.fail(id, entity.Denied.Wire(), false, "there is no such conversation, or you are not in it")
}

// askAgain asks for a channel that the server has given the client, perhaps without
// a word as yet. A client that watched it while it was large, and comes back when it
// is small, may get the server's subscription before it has asked for its own; only
// its own goes on where it was cut off. The caller holds mu.
func (s *Session) askAgain(c *channel) {
	if c.stage == known {
		s.pushUnsubscribe(channelName(s.ref(c), s.caller.User), unsubscribedMoved)
		c.pos = unplaced
	} // Else an event has named him, the one after pos.
	c.stage, c.used = asked, s.tickle()
}

// watch answers a subscribe command.
func (s *Session) watch(id uint32, req *protocol.SubscribeRequest, p entity.Position, ticket uint32) {
	s.mu.Lock()
	defer s.unlock()
	if s.state == closed {
		return
	}
	c := s.find(p.Ref)
	if c == nil || c.stage != asked || c.used != ticket {
		s.fail(id, entity.Conflict.Wire(), true, "you have unsubscribed before the subscription was answered")
		return
	}
	result := s.place(p, req)
	switch {
	case result != nil:
		s.hub.metrics.watched.Inc()
		s.reply(&protocol.Reply{Id: id, Subscribe: result})
	case p.Err != nil && p.Err.Code.Temporary():
		s.fail(id, p.Err.Code.Wire(), true, p.Err.Msg)
	default:
		s.failWatch(id)
	}
}

// unsubscribe ends what subscribe began. To end what is not there succeeds: after an
// error SDKs drop the connection. A channel that the server subscribed the session to
// is not the client's to leave. The caller holds mu.
func (s *Session) unsubscribe(id uint32, name string) {
	if ref, ok := parseChannel(name, s.caller); ok {
		if c := s.find(ref); c != nil && c.watched {
			s.forget(c)
		}
	}
	s.reply(&protocol.Reply{Id: id, Unsubscribe: &protocol.UnsubscribeResult{}})
}
