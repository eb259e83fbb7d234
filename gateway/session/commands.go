package session

import (
	"fmt"
	"runtime/debug"

	"github.com/centrifugal/protocol"
	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/gateway/limit"
	"kith/gateway/wire"
)

// Receive takes one message of the client. What it keeps it copies.
func (s *Session) Receive(message []byte) {
	s.hub.metrics.framesIn.Inc()
	inConnect := false
	for cmd, err := range s.protocol.Commands(message) {
		if err != nil {
			s.failed(err, inConnect)
			return
		}
		inConnect = inConnect || cmd.Connect != nil
		if !s.command(cmd) {
			return
		}
	}
}

// command takes one command. It returns false once the session is over.
func (s *Session) command(cmd *protocol.Command) bool {
	switch {
	case wire.IsPong(cmd):
		return s.pong()
	case cmd.Connect != nil:
		s.connect(cmd)
		return true // A second one has closed the session: the next command will see.
	}
	s.mu.Lock()
	switch s.state {
	case closed:
		s.mu.Unlock()
		return false
	case connected:
		s.mu.Unlock()
		s.run(cmd)
		return true
	}
	defer s.unlock()
	if s.state != connecting || len(s.waiting) >= wire.MaxCommands {
		s.end(BadRequest, "the first command is connect")
		return false
	}
	// SDKs send what they need along with connect, before they know its answer.
	s.waiting = append(s.waiting, cmd)
	return true
}

// pong takes the answer to a ping.
func (s *Session) pong() bool {
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.state == closed:
		return false
	case s.state != connected:
		s.end(BadRequest, "the first command is connect") // Nobody has been pinged yet.
		return false
	case s.pongBy != 0:
		s.pongBy = 0
		s.schedule()
	case !s.grant():
		// Nobody had asked.
		return s.abused()
	}
	return true
}

// abused counts what was refused because there was too much. It returns false
// once there was so much that the session is over. The caller holds mu.
func (s *Session) abused() bool {
	s.hub.metrics.limited.Inc()
	if s.refusals++; s.refusals < maxRefusals {
		return true
	}
	s.end(TooManyRequests, "")
	return false
}

// run runs a command of a session that is connected, or was and is about to
// notice.
func (s *Session) run(cmd *protocol.Command) {
	if !s.admit(cmd) {
		return
	}
	switch {
	case cmd.Rpc != nil:
		s.rpc(cmd.Id, cmd.Rpc)
	case cmd.Refresh != nil:
		s.refresh(cmd.Id, cmd.Refresh)
	case cmd.Subscribe != nil:
		s.subscribe(cmd.Id, cmd.Subscribe)
	default:
		s.mu.Lock()
		defer s.unlock()
		s.small(cmd)
	}
}

// admit checks that a command can be answered and that there are not too many.
func (s *Session) admit(cmd *protocol.Command) bool {
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.state == closed:
		return false
	case !s.out.takesReply(0):
		s.end(Slow, "") // It asks and asks and reads nothing.
		return false
	case cmd.Send != nil:
		s.end(NotOffered, "")
		return false
	case cmd.Id == 0:
		s.end(BadRequest, "a command needs an id above 0")
		return false
	case s.grant():
		return true
	}
	if s.abused() {
		s.fail(cmd.Id, entity.Exhausted.Wire(), true, "there were too many requests; try again in a few seconds")
	}
	return false
}

// small answers what needs nobody else. The caller holds mu.
func (s *Session) small(cmd *protocol.Command) {
	switch {
	case cmd.Ping != nil:
		s.reply(&protocol.Reply{Id: cmd.Id, Ping: &protocol.PingResult{}})
	case cmd.Unsubscribe != nil:
		s.unsubscribe(cmd.Id, cmd.Unsubscribe.Channel)
	default:
		s.fail(cmd.Id, codeNotAvailable, false, "this server offers rpc, subscribe and what comes from them, nothing else")
	}
}

// refresh takes a new token of the same user on the same device.
func (s *Session) refresh(id uint32, req *protocol.RefreshRequest) {
	caller, expires, err := s.hub.verifier.Verify(req.Token)
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.state == closed:
	case err != nil:
		s.refuseToken(id, err)
	case caller != s.caller:
		s.refuseToken(id, entity.Errorf(entity.Unauthorized, "the token is not one of the same user on the same device"))
	default:
		s.expiresAt = expires.Add(s.policy.TokenLeeway).UnixMilli()
		s.schedule()
		s.reply(&protocol.Reply{Id: id, Refresh: &protocol.RefreshResult{
			Client: s.id.String(), Version: s.hub.Version,
			Expires: true, Ttl: secondsUntil(expires, s.hub.Now()),
		}})
	}
}

// rpc runs any method.
func (s *Session) rpc(id uint32, req *protocol.RPCRequest) {
	m := s.hub.Registry.ByName(req.Method)
	if m == nil || m.Internal { // What only servers call is nobody's business.
		s.answer(id, nil, entity.Result{Err: entity.Errorf(entity.Unsupported, "there is no such method")})
		return
	}
	body := m.New()
	if err := s.dialect.Payload.Unmarshal(req.Data, body); err != nil {
		s.answer(id, m, entity.Result{Err: entity.Public(err)})
		return
	}
	call, refusal := s.hub.Registry.NewCall(m, s.caller, body)
	if refusal == nil && s.overfull() {
		refusal = entity.Errorf(entity.Overloaded, "read the replies that wait before you ask for more")
	}
	if refusal != nil {
		s.answer(id, m, entity.Result{Err: refusal})
		return
	}
	s.hub.submit(call, func(r entity.Result) {
		defer s.caught()
		s.answer(id, m, r)
		if m.ReadOnly() || r.Err != nil {
			s.hub.flush() // No group is released after it.
		}
	})
}

// overfull reports whether the client asks for more than it takes.
func (s *Session) overfull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.pending() > s.out.budget
}

// answer queues the result of an rpc. m is nil if there is no such method.
func (s *Session) answer(id uint32, m *entity.Method, r entity.Result) {
	b := getBuffer()
	defer b.release()
	if r.Err == nil {
		b.b, r.Err = s.appendResult(b.b, id, m, r.Reply)
	}
	if r.Err != nil {
		b.b = appendFramed(b.b[:0], s.protocol, func(dst []byte) []byte {
			return s.protocol.AppendError(dst, id, r.Err.Code.Wire(), r.Err.Code.Temporary(), r.Err.Msg)
		})
	}
	s.hub.metrics.answered(m, r.Err)
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.state == closed:
	case !s.out.takesReply(len(b.b)):
		s.end(Slow, "")
	default:
		s.out.append(b.b, 1)
	}
}

// appendResult appends the frame of an rpc's result.
func (s *Session) appendResult(dst []byte, id uint32, m *entity.Method, reply proto.Message) ([]byte, *entity.Error) {
	out, err := s.dialect.AppendResult(s.protocol.Open(dst), id, reply)
	if err != nil {
		s.hub.Log.Error("a reply could not be encoded", "method", m.Name, "error", err)
		return dst, entity.Errorf(entity.Internal, "the reply cannot be encoded")
	}
	if len(out) > maxReplyBytes {
		return dst, entity.Errorf(entity.TooLarge, "the reply is larger than %d KiB; ask for less", maxReplyBytes>>10)
	}
	return s.protocol.Close(out, len(dst)), nil
}

// submit runs a call and measures how long its result takes.
func (h *Hub) submit(c *entity.Call, done func(entity.Result)) {
	begin := h.Now()
	h.backend.Submit(c, func(r entity.Result) {
		h.metrics.took(c.Method, h.Now().Sub(begin))
		done(r)
	})
}

// maxRefusals is how many requests may be refused before the session is. A client
// that sends a burst too large gets its refusals and stops; one in a loop gets
// here within a second.
const maxRefusals = 1000

// grant reports whether the user may send another request, here or elsewhere. The
// caller holds mu.
func (s *Session) grant() bool {
	user := limit.UserOf(s.caller)
	if s.hub.Requests.Take(user, s.policy, s.hub.Now()) > 0 {
		return false
	}
	s.refusals = max(0, s.refusals-1)
	return true
}

// caught ends the session if what deferred it panics: the backend's goroutine must
// go on for everybody else. What was panicked with may quote a message, so only
// its type is logged.
func (s *Session) caught() {
	r := recover()
	if r == nil {
		return
	}
	s.hub.metrics.panics.Inc()
	s.hub.Log.Error("a session panicked", "panic", fmt.Sprintf("%T", r), "stack", string(debug.Stack()))
	s.Disconnect(ServerError)
	s.hub.flush()
}
