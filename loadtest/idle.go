package loadtest

import (
	"context"
	"errors"
	"fmt"

	"kith/loadtest/talk"
)

// firstPart is the part of an idle load's connections after which the server's
// memory is read for the first time: what the first ones make it allocate once is
// not a connection's.
const firstPart = 3

// Idle connects people who say nothing, and divides what the server's memory grows
// by from the first third of them to all. After each part it waits for the
// warm-up. A server of ours has seen all of them before, and was started again:
// what it writes down about somebody new is not a connection's.
func Idle(ctx context.Context, s *Server, p Plan) (r *Report, err error) {
	if p.Connections < firstPart {
		return nil, fmt.Errorf("%d connections are too few to tell what one takes", p.Connections)
	}
	if err := Fits(p.Connections); err != nil {
		return nil, err
	}
	if s.Restart != nil {
		if err := introduce(ctx, s, p); err != nil {
			return nil, err
		}
	}
	l, err := newLoad(s, p, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.fleet.close()) }()
	people := l.silent()
	first := p.Connections / firstPart
	few, err := l.gatherIdle(ctx, people[:first])
	if err != nil {
		return nil, err
	}
	all, err := l.gatherIdle(ctx, people[first:])
	if err != nil {
		return nil, err
	}
	p.Progress.clear()
	r = newReport(p, few, all)
	each := (float64(all.usage.RSS) - float64(few.usage.RSS)) / float64(p.Connections-first)
	r.BytesPerConnection = &each
	if p.Profile != "" {
		if err := s.profile(ctx, p.Profile, 0); err != nil {
			return r, err
		}
	}
	r.Versions, err = versions(ctx, s)
	return r, err
}

// introduce has everybody connect once, and go, and the server start again.
func introduce(ctx context.Context, s *Server, p Plan) error {
	l, err := newLoad(s, p, 0)
	if err != nil {
		return err
	}
	people := l.silent()
	err = l.fleet.join(ctx, s.Address, people, p.Progress.stage("introducing", len(people)))
	if err := errors.Join(err, l.fleet.close()); err != nil {
		return err
	}
	return s.Restart(ctx)
}

// silent is everybody, each with nothing to do but to connect.
func (l *load) silent() (people []*talk.Person) {
	for i := range l.plan.Connections {
		alone := talk.NewConversation(l.rules, i, []string{userName(i)}).People[0]
		alone.Script = []talk.Step{l.connect()}
		people = append(people, alone)
	}
	return people
}

// gatherIdle connects people, waits for the server to calm down, and looks.
func (l *load) gatherIdle(ctx context.Context, people []*talk.Person) (m mark, err error) {
	if err := l.fleet.join(ctx, l.server.Address, people, l.plan.Progress.stage("connecting", len(people))); err != nil {
		return m, err
	}
	if err := l.wait(ctx, l.plan.Warmup, l.plan.Progress.running("waiting", l.plan.Warmup, nil)); err != nil {
		return m, err
	}
	return l.mark(ctx)
}
