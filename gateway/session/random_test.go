package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// A follower is a client that believes what it is told and complains about
// everything that does not follow from it.
type follower struct {
	t       *testing.T
	at      map[string]uint64 // the offset of each channel it has
	watched map[string]bool   // those that it subscribed to itself
	asked   map[string]bool   // those that it wants to, and is not answered yet
	resumed map[string]uint64 // the offset from which it wants to go on watching
	ended   []string          // those that it unsubscribed from, and is not answered yet
	seen    []string
}

func newFollower(t *testing.T) *follower {
	return &follower{
		t: t, at: map[string]uint64{}, watched: map[string]bool{}, asked: map[string]bool{}, resumed: map[string]uint64{},
	}
}

// hear takes one line of what came.
func (f *follower) hear(line string) {
	f.t.Helper()
	f.seen = append(f.seen, line)
	name, rest, _ := strings.Cut(line, " ")
	switch {
	case name == "connected":
		f.connected(strings.Fields(rest))
	case name == "watching":
		f.watching(rest)
	case name == "refused":
		f.refused(strings.Fields(rest))
	case name == "unsubscribed":
		f.ended = f.ended[1:]
	case name[0] == '+':
		var at uint64
		f.scan(rest, "@%d", &at)
		if _, known := f.at[name[1:]]; known {
			f.complain("the channel was there already")
		}
		f.at[name[1:]] = at
	case name[0] == '-':
		delete(f.at, name[1:])
		delete(f.watched, name[1:])
	case rest != "" && rest[0] == '#':
		var offset uint64
		var what string
		f.scan(rest, "#%d %s", &offset, &what)
		at, known := f.at[name]
		if !known && slices.Contains(f.ended, name) {
			return // It was on its way.
		}
		if !known || offset <= at || offset != at+1 && what != "Hole" {
			f.complain(fmt.Sprintf("the client is at %d (%v)", at, known))
		}
		f.at[name] = offset
	}
}

func (f *follower) connected(subs []string) {
	f.t.Helper()
	now := map[string]uint64{}
	for _, sub := range subs {
		name, at, _ := strings.Cut(sub, "@")
		offset, recovered := strings.CutSuffix(at, "+")
		var n uint64
		f.scan(offset, "%d", &n)
		if had, ok := f.at[name]; recovered && (!ok || had != n) || !recovered && ok {
			f.complain("the client was at " + fmt.Sprint(had))
		}
		now[name] = n
	}
	f.at = now
}

// watching takes the answer to a subscribe command.
func (f *follower) watching(sub string) {
	f.t.Helper()
	name, at, _ := strings.Cut(sub, "@")
	offset, recovered := strings.CutSuffix(at, "+")
	var n uint64
	f.scan(offset, "%d", &n)
	delete(f.asked, name)
	if slices.Contains(f.ended, name) {
		return // The client has changed its mind.
	}
	resumed, again := f.resumed[name]
	if _, had := f.at[name]; had || again != recovered || recovered && resumed != n {
		f.complain(fmt.Sprintf("the client has it: %v; it wanted to go on at %d: %v", had, resumed, again))
	}
	delete(f.resumed, name)
	f.at[name], f.watched[name] = n, true
}

// refused takes the refusal of a subscribe command.
func (f *follower) refused(channelAndCode []string) {
	f.t.Helper()
	name := channelAndCode[0]
	_, again := f.resumed[name]
	delete(f.asked, name)
	switch code := channelAndCode[1]; {
	case code == "103":
		delete(f.resumed, name)
	case code == "105" && again:
		f.complain("the client has no channel of which it is told that it has one")
	}
}

func (f *follower) scan(s, format string, into ...any) {
	f.t.Helper()
	if _, err := fmt.Sscanf(s, format, into...); err != nil {
		f.complain(err.Error())
	}
}

func (f *follower) complain(why string) {
	f.t.Helper()
	f.t.Fatalf("%s; it heard\n\t%s", why, strings.Join(f.seen, "\n\t"))
}

// known is what the client sends when it connects.
func (f *follower) known() (all []string) {
	for name, at := range f.at {
		all = append(all, fmt.Sprintf("%s@%d", name, at))
	}
	return all
}

// A client that is cut, slow and forgotten by a backend with no time, in any
// order, hears every event of every channel it has, once and in order.
func TestAnyOrder(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			w := newWorld(t)
			w.policy.OutQueueBytes = 4 << 10
			w.policy.MaxChannels = 3 + rnd.IntN(3)
			refs := []entity.Ref{w.conversation(5, 1, "ann"), w.conversation(6, 1, "ann"), w.conversation(7, 1, "ann"), w.conversation(8, 1)}
			f := newFollower(t)
			l := w.open(wire.JSON)
			for _, line := range l.connect("ann") {
				f.hear(line)
			}
			for range 400 {
				l = f.step(w, l, rnd, refs[rnd.IntN(len(refs))])
			}
			f.finish(w, l)
		})
	}
}

// step does something. It returns the connection that the client then has.
func (f *follower) step(w *world, l *line, rnd *rand.Rand, ref entity.Ref) *line {
	f.t.Helper()
	switch n := rnd.IntN(100); {
	case n < 40:
		w.say(ref, strings.Repeat("x", rnd.IntN(600)))
	case n < 60:
		if len(w.work) > 0 {
			w.do()
		}
	case n < 80:
		l.window = rnd.IntN(2000)
		l.session.Flush()
	case n < 84:
		w.full = !w.full
	case n < 88:
		w.now = w.now.Add(retryAfter)
		l.session.Tick(w.now)
		l.session.Receive([]byte(`{}`)) // An answer, if it was a ping.
	case n < 90:
		f.leaveOrJoin(w, ref)
	case n < 92 || l.session.state == closed:
		l.session.Closed()
		l = w.open(wire.JSON)
		l.send(l.connectCommand("ann", f.known()...))
	}
	for _, line := range l.read() {
		f.hear(line)
	}
	if s := l.session; s.state == connected && 1+len(s.channels) > w.policy.MaxChannels {
		f.complain(fmt.Sprintf("the session has %d channels", 1+len(s.channels)))
	}
	return l
}

// leaveOrJoin lets ann leave a conversation, or join it.
func (f *follower) leaveOrJoin(w *world, ref entity.Ref) {
	l := w.log(ref)
	reach := slices.Clone(l.reach["ann"])
	next := uint64(len(l.events) + 1)
	if n := len(reach); n > 0 && reach[n-1].Through == 0 {
		reach[n-1] = &pb.Interval{From: reach[n-1].From, Through: next}
		l.reach["ann"] = reach
		w.emit(ref, "ann", &pb.MemberLeft{UserId: "ann"})
		w.emit(entity.User(1, "ann"), "", &pb.DialogLeft{ConversationId: ref.ID})
		return
	}
	l.reach["ann"] = append(reach, &pb.Interval{From: next})
	w.emit(ref, "ann", &pb.MemberJoined{UserId: "ann"})
	w.emit(entity.User(1, "ann"), "", &pb.DialogJoined{ConversationId: ref.ID})
}

// finish gives the client all the time it needs and checks that nothing is
// missing.
func (f *follower) finish(w *world, l *line) {
	f.t.Helper()
	w.full = false
	if l.session.state != connected {
		l.session.Closed()
		l = w.open(wire.JSON)
		l.send(l.connectCommand("ann", f.known()...))
	}
	l.window = -1
	for range 1000 {
		w.settle()
		w.now = w.now.Add(retryAfter)
		l.session.Tick(w.now)
		l.session.Receive([]byte(`{}`)) // An answer, if it was a ping.
		for _, line := range l.got() {
			f.hear(line)
		}
	}
	for name, at := range f.at {
		ref, _ := parseChannel(name, caller(1, "ann", "phone"))
		if p := w.position(caller(1, "ann", "phone"), ref); at != p.Head || p.Ended {
			f.complain(fmt.Sprintf("in the end %s is at %d, but its log at %d (he has left: %v)", name, at, p.Head, p.Ended))
		}
	}
}
