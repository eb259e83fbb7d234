package session

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// Connecting has five steps, of which the second and the fourth wait for the
// backend; the session's lock is free meanwhile.
//
//	connect   the token says who it is
//	          the user and his device become known (Devices.Connect)
//	known     the session is registered, and has the channels that were asked for: from
//	          here on it hears of every event
//	          positions are read
//	stand     the reply says where each channel stands; what was heard since it
//	          was registered has only moved heads, and is read like anything missed

// A joining is a session on its way to being connected.
type joining struct {
	*Session
	command uint32 // the id of the connect command
	token   time.Time
	sent    map[string]*protocol.SubscribeRequest     // what the client wants to recover
	asked   map[entity.Ref]*protocol.SubscribeRequest // what of it is looked at
}

// A clientID names a session to its client and in its logs.
type clientID [2]uint64

func newClientID() clientID { return clientID{rand.Uint64(), rand.Uint64()} }

func (c clientID) String() string {
	return strconv.FormatUint(c[0], 36) + strconv.FormatUint(c[1], 36)
}

// connect takes the first command of a session.
func (s *Session) connect(cmd *protocol.Command) {
	if !s.begin() {
		return
	}
	req := cmd.Connect
	caller, expires, refusal := s.hub.verifier.Verify(req.Token)
	if refusal != nil {
		s.refuse(cmd.Id, refusal)
		return
	}
	policy := s.hub.backend.Policy(caller.Tenant)
	if policy == nil {
		s.refuse(cmd.Id, entity.Errorf(entity.Unauthorized, "the token's tenant is not one of this server"))
		return
	}
	device, dialect, refusal := s.describe(req)
	if refusal != nil {
		s.refuse(cmd.Id, refusal)
		return
	}
	j := &joining{
		Session: s, command: cmd.Id, token: expires,
		sent: req.Subs, asked: recoverable(req.Subs, caller, policy),
	}
	if !s.identify(caller, policy, dialect) {
		return
	}
	call := &entity.Call{Method: s.hub.connect, To: caller.Ref(), Caller: caller, Req: device}
	s.hub.submit(call, j.known)
}

// begin lets a session connect once.
func (s *Session) begin() bool {
	s.mu.Lock()
	defer s.unlock()
	if s.state != opened {
		s.end(BadRequest, "a connection connects once")
		return false
	}
	// From here on it is the server that takes its time.
	s.state, s.authBy = connecting, 0
	s.schedule()
	return true
}

// identify makes the session a caller's.
func (s *Session) identify(caller entity.Caller, policy *entity.Policy, dialect wire.Dialect) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.caller, s.policy, s.dialect = caller, policy, dialect
	s.out.budget = policy.OutQueueBytes
	return s.state == connecting
}

// A description is what a client says of itself in connect.data, always in JSON:
// SDKs keep it for as long as the program runs. What is not named here is for
// newer servers, and ignored.
type description struct {
	Model   string `json:"model"`
	OS      string `json:"os"`
	SDK     string `json:"sdk"`
	App     string `json:"app"`
	Payload string `json:"payload"`
}

// describe reads connect.data. A client that does not name its SDK is called
// what the SDK calls itself.
func (s *Session) describe(req *protocol.ConnectRequest) (*pb.ConnectDeviceRequest, wire.Dialect, *entity.Error) {
	var d description
	if len(req.Data) > 0 {
		if err := json.Unmarshal(req.Data, &d); err != nil {
			return nil, wire.Dialect{}, entity.Errorf(entity.Invalid,
				"data must be a JSON object with the texts model, os, sdk, app and payload, or some of them")
		}
	}
	if d.SDK == "" {
		d.SDK = req.Name
		if req.Version != "" {
			d.SDK += " " + req.Version
		}
	}
	dialect, err := s.protocol.Dialect(d.Payload)
	if err != nil {
		return nil, dialect, entity.Public(err)
	}
	return &pb.ConnectDeviceRequest{Model: d.Model, Os: d.OS, Sdk: d.SDK, App: d.App}, dialect, nil
}

// recoverable picks the channels that a session can have out of what a client
// sent. One that is not picked the client takes as unsubscribed.
func recoverable(subs map[string]*protocol.SubscribeRequest, caller entity.Caller, policy *entity.Policy) map[entity.Ref]*protocol.SubscribeRequest {
	asked := make(map[entity.Ref]*protocol.SubscribeRequest, min(len(subs), policy.MaxChannels)+1)
	asked[caller.Ref()] = nil // Always there.
	for name, sub := range subs {
		ref, ok := parseChannel(name, caller)
		switch {
		case !ok:
		case ref == caller.Ref():
			asked[ref] = sub
		case len(asked) < policy.MaxChannels:
			asked[ref] = sub
		}
	}
	return asked
}

// Error codes of Centrifuge that no entity.Code stands for.
const (
	codeUnknownChannel = 102
	codeSubscribed     = 105
	codeLimit          = 106
	codeNotAvailable   = 108
	codeTokenExpired   = 109 // SDKs ask for a new token and connect again.
)

// refuse answers a connect that cannot be. A token that is no good ends the
// session; of anything else the client may make what it likes, until it is
// stale.
func (s *Session) refuse(id uint32, err *entity.Error) {
	s.mu.Lock()
	defer s.unlock()
	if s.state != connecting {
		return
	}
	s.hub.unregister(s)
	s.forgetAll()
	s.state, s.waiting = refused, nil
	s.authBy = s.hub.Now().Add(s.hub.AuthTimeout).UnixMilli()
	s.schedule()
	s.refuseToken(id, err)
}

// refuseToken answers a connect or a refresh whose token is not good. The caller
// holds mu.
func (s *Session) refuseToken(id uint32, err *entity.Error) {
	switch {
	case err == s.hub.TokenExpired:
		s.fail(id, codeTokenExpired, true, err.Msg)
	case err.Code == entity.Unauthorized:
		s.fail(id, err.Code.Wire(), false, err.Msg)
		s.end(InvalidToken, err.Msg)
	default:
		s.fail(id, err.Code.Wire(), err.Code.Temporary(), err.Msg)
	}
}

// known goes on when the user and his device are known.
func (j *joining) known(r entity.Result) {
	defer j.caught()
	if r.Err != nil {
		j.refuse(j.command, r.Err)
		j.hub.flush()
		return
	}
	refs := make([]entity.Ref, 0, len(j.asked))
	// His own log first: what he leaves after it was read is still to come in it.
	refs = append(refs, j.caller.Ref())
	for ref := range j.asked {
		if ref != refs[0] {
			refs = append(refs, ref)
		}
	}
	tooMany, came, ok := j.enter()
	if !ok {
		return
	}
	if came {
		j.hub.tellPresence(keyOf(j.caller))
	}
	if tooMany != nil {
		tooMany.Disconnect(TooManySessions)
	}
	j.hub.backend.Positions(j.caller, refs, j.stand)
}

// enter puts the session into the index, unless it is over by now, and asks for its
// channels. tooMany has to make room for it; came says that the user has come with
// it, which has to be told.
func (j *joining) enter() (tooMany *Session, came, ok bool) {
	j.mu.Lock() // So that a session which closes is not left in the index.
	defer j.mu.Unlock()
	if j.state != connecting {
		return nil, false, false
	}
	tooMany, came = j.hub.register(j.Session)
	for ref := range j.asked {
		if ref.Kind == pb.Kind_CONVERSATION {
			j.ask(ref.ID)
		}
	}
	return tooMany, came, true
}

// stand answers the connect command.
func (j *joining) stand(positions []entity.Position) {
	defer j.hub.flush()
	defer j.caught()
	for _, p := range positions {
		// Omitting a channel would mean that he may not read it any more.
		if p.Err != nil && (p.Err.Code.Temporary() || p.Ref == j.caller.Ref()) {
			j.refuse(j.command, &entity.Error{Code: entity.Overloaded, Msg: p.Err.Msg})
			return
		}
	}
	if j.answerConnect(positions, j.hub.Now()) {
		j.hub.metrics.connected.Inc()
		j.goOn()
	}
}

// answerConnect places the channels and says so, unless the session is over by
// now.
func (j *joining) answerConnect(positions []entity.Position, now time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state != connecting {
		return false
	}
	j.id = newClientID()
	subs := make(map[string]*protocol.SubscribeResult, len(positions))
	for _, p := range positions {
		if sub := j.place(p, j.asked[p.Ref]); sub != nil {
			subs[channelName(p.Ref, j.caller.User)] = sub
		}
	}
	j.reply(&protocol.Reply{Id: j.command, Connect: &protocol.ConnectResult{
		Client: j.id.String(), Version: j.hub.Version,
		Expires: true, Ttl: secondsUntil(j.token, now), Subs: subs,
		Ping: uint32((j.policy.PingEvery + time.Second - 1) / time.Second), Pong: true,
	}})
	for name := range j.sent {
		// What is omitted is over. Most SDKs forget it; centrifuge-go does only when
		// it is told again.
		ref, ok := parseChannel(name, j.caller)
		if !ok || subs[name] != nil {
			continue
		}
		code := uint32(unsubscribedLeft)
		if _, looked := j.asked[ref]; !looked {
			code = unsubscribedIdle // There was no room for it.
		}
		j.pushUnsubscribe(name, code)
	}
	j.makeRoom(0)
	j.behind = true
	j.expiresAt = j.token.Add(j.policy.TokenLeeway).UnixMilli()
	// The first ping comes at any moment of the second half, so that sessions which
	// all connected at once are not all pinged at once.
	j.pingAt = now.Add(j.policy.PingEvery/2 + rand.N(j.policy.PingEvery/2)).UnixMilli()
	j.schedule()
	return true
}

// place puts a channel that was asked for where the client is, if what it missed can
// be sent, or else at the head. nil: there is nothing there for him, and the channel
// is not the client's any more. The caller holds mu.
func (s *Session) place(p entity.Position, request *protocol.SubscribeRequest) *protocol.SubscribeResult {
	c := s.find(p.Ref)
	head, ended := c.stands(p)
	recovered := request.GetRecover() && request.GetEpoch() == p.Epoch &&
		request.GetOffset() <= p.Head && p.Head-request.GetOffset() <= s.hub.MaxRecover && request.GetOffset()+1 >= p.Floor
	pos := p.Head
	if recovered {
		pos = request.GetOffset()
	}
	switch {
	case p.Err != nil:
		s.displace(c)
		return nil
	case ended && pos == head: // He left, and has or had heard it all.
		s.forget(c)
		return nil
	}
	s.hub.epochs.put(p.Ref, p.Epoch)
	c.pos, c.head, c.used = pos, head, s.tickle()
	c.stage, c.ending = known, ended
	s.behind = true
	return &protocol.SubscribeResult{
		Recoverable: true, Positioned: true, Epoch: p.Epoch, Offset: pos,
		Recovered: recovered, WasRecovering: request.GetRecover(),
	}
}

// stands says up to where a log is a user's whose position was read, and whether it
// ends there. What the channel heard since it was asked for may be newer.
func (c *channel) stands(p entity.Position) (head uint64, ended bool) {
	switch {
	case c.ending:
		// He left: after the position was read, unless it reaches as far.
		return max(c.head, p.Head), p.Ended || p.Head < c.head
	case p.Ended && c.pos == unplaced:
		return p.Head, true // What was heard was for others.
	default:
		return max(c.head, p.Head), false // If he had left, he has been named since.
	}
}

// displace ends a channel that was asked for in vain. If an event has named the
// user since, he has joined after his position was read, and it goes on as one that
// the client is to be told of. The caller holds mu.
func (s *Session) displace(c *channel) {
	if c.pos == unplaced {
		s.forget(c)
		return
	}
	c.stage, c.watched, s.behind = fresh, false, true
}

// secondsUntil is the life of a token as SDKs want it: in whole seconds, and
// never 0, which would mean that it has none.
func secondsUntil(t, now time.Time) uint32 {
	return uint32(max(1, min(t.Sub(now)/time.Second, 1<<31)))
}

// goOn runs the commands that came while the session was connecting, in order,
// and lets those that come from now on run at once.
func (s *Session) goOn() {
	for {
		s.mu.Lock()
		if s.state != connecting || len(s.waiting) == 0 {
			if s.state == connecting {
				s.state = connected
			}
			s.waiting = nil
			s.unlock()
			return
		}
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.unlock()
		s.run(next)
	}
}
