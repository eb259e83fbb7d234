package session

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// A crowd is many clients of a few users in conversations that grow and shrink.
type crowd struct {
	*world
	t     *testing.T
	rnd   *rand.Rand
	refs  []entity.Ref
	users []string
	all   []*watcher
	tells []func() // what users' own logs are about to say
}

// A watcher is a follower that also watches, and its connection.
type watcher struct {
	*follower
	user   string
	line   *line
	resume bool // what it watched is to be subscribed to when it is connected
}

// Clients that watch and stop, join and leave, are cut and slow, while their
// conversations go from small to large and back, with a backend that answers in any
// order: each hears every event of every channel it has, once and in order, and
// none that is not its user's.
func TestACrowd(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := newCrowd(t, seed)
			for range 600 {
				c.step()
			}
			c.finish()
		})
	}
}

func newCrowd(t *testing.T, seed uint64) *crowd {
	c := &crowd{world: newWorld(t), t: t, rnd: rand.New(rand.NewPCG(seed, 1)), users: []string{"ann", "bob", "cid", "dan"}}
	c.policy.OutQueueBytes = 4 << 10
	if seed%2 == 0 {
		c.policy.MaxChannels = 3 // Of four conversations, two at a time.
	}
	for id := range uint64(4) {
		ref := c.conversation(5+id, 1, c.users[:c.rnd.IntN(5)]...)
		c.log(ref).large = c.rnd.IntN(4) > 0
		c.refs = append(c.refs, ref)
	}
	for i := range 8 {
		f := &watcher{follower: newFollower(t), user: c.users[i%4]}
		c.all = append(c.all, f)
		c.reconnect(f)
	}
	return c
}

// step lets something happen.
func (c *crowd) step() {
	c.t.Helper()
	ref, f := c.refs[c.rnd.IntN(len(c.refs))], c.all[c.rnd.IntN(len(c.all))]
	switch n := c.rnd.IntN(100); {
	case n < 20:
		c.talk(ref)
	case n < 45:
		for range 1 + c.rnd.IntN(8) {
			c.answer()
		}
	case n < 60:
		f.line.window = c.rnd.IntN(3000)
		f.line.session.Flush()
	case n < 62:
		c.log(ref).large = !c.log(ref).large
	case n < 68:
		c.joinOrLeave(ref, c.users[c.rnd.IntN(len(c.users))])
	case n < 74:
		if len(c.tells) > 0 {
			c.tells[0]()
			c.tells = c.tells[1:]
		}
	case n < 88:
		c.watchOrNot(f, channelName(ref, ""))
	case n < 90:
		c.full = !c.full && c.rnd.IntN(3) == 0
	case n < 95:
		c.pass(f)
	case n < 97 || f.line.session.state == closed:
		c.reconnect(f)
	}
	for _, f := range c.all {
		c.listen(f)
	}
}

// talk publishes an event, or a signal, that as a large conversation's may also
// name somebody.
func (c *crowd) talk(ref entity.Ref) {
	l, user := c.log(ref), c.users[c.rnd.IntN(len(c.users))]
	var marks []func(*entity.Event)
	if l.large && c.rnd.IntN(3) == 0 && present(l.reach[user]) {
		marks = append(marks, naming(user))
	}
	text := &pb.Text{Text: strings.Repeat("x", c.rnd.IntN(600))}
	c.emit(ref, "bob", &pb.MessageSent{Content: &pb.Content{Type: &pb.Content_Text{Text: text}}}, marks...)
	if c.rnd.IntN(4) == 0 {
		c.signalTo(ref)
	}
}

// answer does one thing that the backend was asked.
func (c *crowd) answer() {
	if len(c.work) > 0 {
		i := c.rnd.IntN(len(c.work))
		next := c.work[i]
		c.work = slices.Delete(c.work, i, i+1)
		next()
	}
}

// joinOrLeave changes who is a member. The user's own log says so later.
func (c *crowd) joinOrLeave(ref entity.Ref, user string) {
	own := entity.User(1, user)
	if !present(c.log(ref).reach[user]) {
		c.join(ref, user)
		c.tells = append(c.tells, func() { c.emit(own, user, &pb.DialogJoined{ConversationId: ref.ID}) })
		return
	}
	c.leave(ref, user)
	c.tells = append(c.tells, func() { c.emit(own, user, &pb.DialogLeft{ConversationId: ref.ID}) })
}

// watchOrNot subscribes to a channel, or ends that.
func (c *crowd) watchOrNot(f *watcher, name string) {
	if f.line.session.state != connected || slices.Contains(f.ended, name) {
		return
	}
	if !f.watched[name] && !f.asked[name] {
		f.watch(name)
		return
	}
	if f.watched[name] {
		delete(f.at, name)
		delete(f.watched, name)
	}
	delete(f.resumed, name)
	f.ended = append(f.ended, name)
	f.line.send(f.line.unwatchCommand(name))
}

// watch subscribes to a channel, where the client had left off if it wants that.
func (f *watcher) watch(name string) {
	at := name
	if n, again := f.resumed[name]; again {
		at = fmt.Sprintf("%s@%d", name, n)
	}
	f.asked[name] = true
	f.line.send(f.line.watchCommand(at))
}

// pass lets time pass for a client.
func (c *crowd) pass(f *watcher) {
	c.now = c.now.Add(retryAfter)
	f.line.session.Tick(c.now)
	if f.line.session.pongBy != 0 {
		f.line.session.Receive([]byte(`{}`))
	}
}

// reconnect cuts a client, which comes back with what it knows, and subscribes again
// along with its connect command or as soon as that is answered.
func (c *crowd) reconnect(f *watcher) {
	c.t.Helper()
	if f.line != nil {
		f.line.session.Closed()
	}
	for name := range f.watched {
		f.resumed[name] = f.at[name]
		delete(f.at, name)
	}
	clear(f.watched)
	clear(f.asked)
	f.ended = nil
	f.line = c.open(wire.JSON)
	f.line.send(f.line.connectCommand(f.user, f.known()...))
	f.resume = true
	if c.rnd.IntN(2) == 0 {
		f.goOnWatching()
	}
}

// goOnWatching subscribes again to what was watched before the cut.
func (f *watcher) goOnWatching() {
	f.resume = false
	for _, name := range slices.Sorted(maps.Keys(f.resumed)) {
		if !f.asked[name] {
			f.watch(name)
		}
	}
}

// listen has a client hear what came, none of which may be another's.
func (c *crowd) listen(f *watcher) {
	c.t.Helper()
	for _, line := range f.line.read() {
		f.hear(line)
		var id, seq uint64
		var what string
		if n, _ := fmt.Sscanf(line, "c:%d #%d %s", &id, &seq, &what); n == 3 && what != "Hole" {
			reach := entity.Reach{Intervals: c.log(entity.Conversation(1, id)).reach[f.user]}
			if !reach.Allows(seq) {
				f.complain(f.user + " was not a member then: " + line)
			}
		}
		if f.resume && strings.HasPrefix(line, "connected") {
			f.goOnWatching()
		}
	}
}

// finish gives everybody the time he needs and checks that nothing is missing, and
// that nothing is kept of who has gone.
func (c *crowd) finish() {
	c.t.Helper()
	c.full = false
	for _, tell := range c.tells {
		tell()
	}
	for _, f := range c.all {
		f.line.window = -1
		if f.line.session.state != connected {
			c.settle()
			c.reconnect(f)
		}
	}
	c.rest()
	for _, ref := range c.refs {
		for _, large := range []bool{false, true, false} {
			c.log(ref).large = large
			c.say(ref, "the end")
		}
	}
	c.rest()
	for _, f := range c.all {
		c.check(f)
		f.line.session.Closed()
	}
	for i := range c.hub.holders {
		for ref, all := range c.hub.holders[i].of {
			if len(all) != 0 {
				c.t.Errorf("%d sessions that have ended hold %v", len(all), ref)
			}
		}
	}
}

// rest lets everything happen that is about to.
func (c *crowd) rest() {
	c.t.Helper()
	for quiet := 0; quiet < 3; quiet++ {
		c.settle()
		for _, f := range c.all {
			c.pass(f)
			f.line.session.Flush()
			if len(f.line.in) > len(`{}`)+2 { // More than a ping.
				quiet = 0
			}
			c.listen(f)
		}
	}
}

// check compares what a client believes with what is.
func (c *crowd) check(f *watcher) {
	c.t.Helper()
	for _, ref := range c.refs {
		name := channelName(ref, "")
		at, has := f.at[name]
		p := c.position(caller(1, f.user, "phone"), ref)
		switch member := p.Err == nil && !p.Ended; {
		case has && !member:
			f.complain(f.user + " has left, and has the channel " + name)
		case has && at != p.Head:
			f.complain(fmt.Sprintf("in the end %s is at %d, but its log at %d", name, at, p.Head))
		case !has && member && c.policy.MaxChannels > len(c.refs):
			f.complain(f.user + " is a member, and has no channel " + name)
		}
		held := f.line.session.find(ref)
		if (held != nil) != has || has && (held.pos != at || held.watched != f.watched[name]) {
			f.complain(fmt.Sprintf("the client is at %d of %s (%v), the session has %+v", at, name, has, held))
		}
	}
}
