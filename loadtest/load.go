package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"kith/actors/pb"
	"kith/gateway/client"
	"kith/loadtest/oracle"
	"kith/loadtest/talk"
)

// A Plan is a load.
type Plan struct {
	Kind        string // as the table calls it
	Users       int    // of a direct load: half as many pairs
	Members     int    // of a group, all of them online
	Senders     int    // of them
	Connections int    // of an idle load
	InFlight    int    // messages under way of each sender
	Size        int    // bytes of text
	Duration    time.Duration
	Warmup      time.Duration // before it: not measured
	Codec       talk.Codec
	Profile     string    // file for a profile of the server: CPU, when idle memory; empty: none
	Progress    *Progress // nil: nobody looks
}

const (
	// stragglers is how long the last messages may take.
	stragglers = 30 * time.Second
	// watchedAbove is the size of a group above which its members are not sent its
	// events unasked: they subscribe to it.
	watchedAbove = 500
)

// A load is a plan that is being carried out.
type load struct {
	plan   Plan
	server *Server
	fleet  *fleet
	rules  *talk.Rules
	all    []*talk.Conversation

	through atomic.Uint64
	over    bool // belongs to the loop
}

// newLoad starts a fleet.
func newLoad(s *Server, p Plan, senders int) (*load, error) {
	if p.Size < oracle.MinTextBytes || p.Size > MaxSize {
		return nil, fmt.Errorf("a message of %d bytes is not possible: from %d, which it takes to know it again, to %d are", p.Size, oracle.MinTextBytes, MaxSize)
	}
	l := &load{plan: p, server: s}
	var err error
	if l.fleet, err = newFleet(); err != nil {
		return nil, err
	}
	l.rules = &talk.Rules{
		Codec: p.Codec, Run: fmt.Sprintf("%08x", rand.Uint32()), TextBytes: p.Size, InFlight: p.InFlight, Senders: senders,
		Seal: oracle.NewSeal(), Times: talk.NewTimes(), Now: l.fleet.now,
		May: func() bool { return !l.over }, Through: func() { l.through.Add(1) },
	}
	return l, nil
}

// MaxSize is the most bytes of text that a message of a load has. 4,096: what
// every profile allows.
const MaxSize = 4096

// MaxInFlight bounds the messages under way of one sender. 256: beyond it a load
// measures how long its own queue is.
const MaxInFlight = 256

// Direct has people write to each other in pairs.
func Direct(ctx context.Context, s *Server, p Plan) (*Report, error) {
	if p.Users < 2 || p.Users%2 != 0 {
		return nil, fmt.Errorf("%d users are no pairs", p.Users)
	}
	if err := Fits(p.Users); err != nil {
		return nil, err
	}
	l, err := newLoad(s, p, 2)
	if err != nil {
		return nil, err
	}
	for i := range p.Users / 2 {
		l.all = append(l.all, talk.NewConversation(l.rules, i, []string{userName(2 * i), userName(2*i + 1)}))
	}
	if s.Token != nil { // An echo server knows nobody.
		for _, c := range l.all {
			c.People[0].Script = []talk.Step{l.connect(), openDirect}
			c.People[1].Script = []talk.Step{l.connect()}
		}
	}
	return l.run(ctx)
}

// userName names the n-th person.
func userName(n int) string { return fmt.Sprintf("load-%05d", n) }

// connect shows a token.
func (l *load) connect() talk.Step {
	return talk.Step{Frame: func(p *talk.Person, id uint32) ([]byte, error) {
		token, err := l.server.Token(p.Name)
		if err != nil {
			return nil, err
		}
		return p.Codec().Connect(id, token)
	}}
}

// openDirect opens the conversation of a pair.
var openDirect = talk.Step{
	Frame: func(p *talk.Person, id uint32) ([]byte, error) {
		other := p.Conversation().People[1-p.Member()]
		return p.Codec().Call(id, "Directs.Open", &pb.OpenDirectRequest{UserId: other.Name})
	},
	Reply: func(p *talk.Person, data []byte) error {
		resp := &pb.OpenDirectResponse{}
		if err := p.Codec().Decode(data, resp); err != nil {
			return err
		}
		p.Conversation().Is(resp.ConversationId)
		return nil
	},
}

// Group has some members of one group write, and all hear.
func Group(ctx context.Context, s *Server, p Plan) (*Report, error) {
	if p.Members < 2 || p.Senders < 1 || p.Senders > min(p.Members, oracle.MaxSenders) {
		return nil, fmt.Errorf("%d senders of %d members are not possible: there are at least two members, and at most all of them (and %d) send",
			p.Senders, p.Members, oracle.MaxSenders)
	}
	if err := Fits(p.Members); err != nil {
		return nil, err
	}
	names := make([]string, p.Members)
	for i := range names {
		names[i] = userName(i)
	}
	id, err := gather(ctx, s, p, names)
	if err != nil {
		return nil, fmt.Errorf("make a group of %d: %w", p.Members, err)
	}
	l, err := newLoad(s, p, p.Senders)
	if err != nil {
		return nil, err
	}
	c := talk.NewConversation(l.rules, 0, names)
	c.Is(id)
	for _, person := range c.People {
		person.Script = []talk.Step{l.connect()}
		if p.Members > watchedAbove {
			person.Script = append(person.Script, watch)
		}
	}
	l.all = []*talk.Conversation{c}
	return l.run(ctx)
}

// watch subscribes to a conversation that is too large for its events to come by
// themselves.
var watch = talk.Step{
	Frame: func(p *talk.Person, id uint32) ([]byte, error) {
		return p.Codec().Subscribe(id, p.Conversation().Channel())
	},
	Fine: alreadySubscribed,
}

// alreadySubscribed is the code by which a server refuses to give a channel twice:
// who was in the group while it was small may have it.
const alreadySubscribed = 105

// gather makes a group and has everybody join it. They hang up at once: what they
// hear while others join is not the load.
func gather(ctx context.Context, s *Server, p Plan, names []string) (group uint64, err error) {
	l, err := newLoad(s, p, p.Senders)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.fleet.close()) }()
	l.fleet.leave = true
	if group, err = create(ctx, s, names[0], l.rules.Run); err != nil {
		return 0, err
	}
	c := talk.NewConversation(l.rules, 0, names)
	c.Is(group)
	for _, person := range c.People[1:] {
		person.Script = []talk.Step{l.connect(), joinGroup}
	}
	return group, l.fleet.join(ctx, s.Address, c.People[1:], p.Progress.stage("joining the group", len(names)-1))
}

var joinGroup = talk.Step{Frame: func(p *talk.Person, id uint32) ([]byte, error) {
	return p.Codec().Call(id, "Groups.Join", &pb.JoinRequest{ConversationId: p.Conversation().ID()})
}}

// create makes a group that everybody may join.
func create(ctx context.Context, s *Server, owner, run string) (group uint64, err error) {
	c, err := dial(ctx, s, owner)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	resp := &pb.CreateGroupResponse{}
	err = c.Call(ctx, "Groups.Create", &pb.CreateGroupRequest{
		RequestId: "load-" + run, Name: "load " + run, JoinRule: pb.JoinRule_OPEN,
	}, resp)
	return resp.ConversationId, err
}

// dial connects by the SDK, for what is not measured.
func dial(ctx context.Context, s *Server, user string) (*client.Client, error) {
	token, err := s.Token(user)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return client.Dial(ctx, client.Config{URL: s.URL, Token: token, App: "kith load"})
}

// A mark is a moment of a load.
type mark struct {
	at     time.Time
	usage  Usage
	counts oracle.Counts
	times  *talk.Times // since the mark before it
}

// mark notes where the load stands.
func (l *load) mark(ctx context.Context) (m mark, err error) {
	if m.usage, err = l.server.usage(ctx); err != nil {
		return m, err
	}
	err = l.fleet.do(ctx, func() { m.at, m.counts, m.times = time.Now(), l.counts(), l.rules.Times.Take() })
	return m, err
}

func (l *load) counts() (sum oracle.Counts) {
	for _, c := range l.all {
		sum = sum.Plus(c.Account.Counts())
	}
	return sum
}

// run connects everybody, drives the load, and looks at what it came to.
func (l *load) run(ctx context.Context) (r *Report, err error) {
	defer func() { err = errors.Join(err, l.fleet.close()) }()
	var people []*talk.Person
	for _, c := range l.all {
		people = append(people, c.People...)
	}
	if err := l.fleet.join(ctx, l.server.Address, people, l.plan.Progress.stage("connecting", len(people))); err != nil {
		return nil, err
	}
	before, after, err := l.drive(ctx)
	if err != nil {
		return nil, err
	}
	r = newReport(l.plan, before, after)
	if err := l.settle(ctx, r); err != nil {
		return r, err
	}
	if r.Versions, err = versions(ctx, l.server); err != nil {
		return r, err
	}
	return r, l.verdict(ctx, r)
}

// drive gives everybody his slots and returns the two ends of what is measured.
func (l *load) drive(ctx context.Context) (before, after mark, err error) {
	begin := func() {
		for _, c := range l.all {
			for _, p := range c.Senders() {
				p.Give(l.plan.InFlight)
			}
			if err := c.Send(); err != nil {
				l.fleet.fail(err)
			}
		}
	}
	if err = l.fleet.do(ctx, begin); err != nil {
		return before, after, err
	}
	shown := l.plan.Progress.running("warming up", l.plan.Warmup, &l.through)
	if err = l.wait(ctx, l.plan.Warmup, shown); err != nil {
		return before, after, err
	}
	if before, err = l.mark(ctx); err != nil {
		return before, after, err
	}
	profiled := make(chan error, 1)
	go func() { // Until the profile is there, which the end waits for.
		if l.plan.Profile == "" {
			profiled <- nil
			return
		}
		profiled <- l.server.profile(ctx, l.plan.Profile, l.plan.Duration)
	}()
	shown = l.plan.Progress.running("measuring", l.plan.Duration, &l.through)
	if err = l.wait(ctx, l.plan.Duration, shown); err != nil {
		return before, after, err
	}
	if after, err = l.mark(ctx); err != nil {
		return before, after, err
	}
	return before, after, <-profiled
}

// showEvery is how often a person who looks is shown how far it is.
const showEvery = 200 * time.Millisecond

// wait lets the load run.
func (l *load) wait(ctx context.Context, d time.Duration, shown func()) error {
	over := time.NewTimer(d)
	defer over.Stop()
	tick := time.NewTicker(showEvery)
	defer tick.Stop()
	for {
		select {
		case <-over.C:
			return nil
		case <-tick.C:
			shown()
		case err := <-l.fleet.failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// settle sends nothing more and waits for what is under way. What has not come by
// then is counted by the oracle.
func (l *load) settle(ctx context.Context, r *Report) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	l.plan.Progress.clear()
	for deadline := time.Now().Add(stragglers); ; {
		owed := int64(0)
		if err := l.fleet.do(ctx, func() {
			l.over = true
			for _, c := range l.all {
				owed += c.Account.Owed()
			}
		}); err != nil {
			return err
		}
		if owed == 0 || time.Now().After(deadline) {
			break
		}
		<-tick.C
	}
	return l.fleet.do(ctx, func() {
		for _, c := range l.all {
			r.count(c.Account.Finish())
			r.faults = append(r.faults, c.Account.Faults()...)
		}
	})
}

// verdict says whether the server kept its promise.
func (l *load) verdict(ctx context.Context, r *Report) error {
	if err := r.counts().Err(); err != nil {
		return fmt.Errorf("%w\n  %s", err, strings.Join(r.faults[:min(len(r.faults), 10)], "\n  "))
	}
	if l.server.URL == "" {
		return nil
	}
	if err := l.readBack(ctx); err != nil {
		return fmt.Errorf("the history is not what was sent: %w", err)
	}
	return nil
}
