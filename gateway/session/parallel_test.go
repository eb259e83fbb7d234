package session

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"kith/actors/entity"
	"kith/actors/pb"
)

// A prompt backend answers at once, on the goroutine that asks.
type prompt struct {
	*world
	mu sync.Mutex // guards the logs
}

func (b *prompt) Submit(_ *entity.Call, done func(entity.Result)) {
	done(entity.Result{Reply: &pb.ConnectDeviceResponse{}})
}

func (b *prompt) Positions(viewer entity.Caller, refs []entity.Ref, done func([]entity.Position)) {
	all := make([]entity.Position, len(refs))
	b.mu.Lock()
	for i, ref := range refs {
		all[i] = b.position(viewer, ref)
	}
	b.mu.Unlock()
	done(all)
}

func (b *prompt) Replay(viewer entity.Caller, ref entity.Ref, after uint64, limit int, done func(entity.Page)) {
	b.mu.Lock()
	page := b.replay(viewer, ref, after, limit)
	b.mu.Unlock()
	done(page)
}

// publish appends an event to a log, and publishes it to watchers or to everybody.
func (b *prompt) publish(ref entity.Ref, large bool, users []uint64) {
	b.mu.Lock()
	l := b.logs[ref]
	e := event(ref, uint64(len(l.events)+1), &pb.MessageSent{})
	l.events = append(l.events, e)
	b.mu.Unlock()
	e.Audience = &entity.Audience{Users: users}
	if large {
		e.Audience = &entity.Audience{Watchers: true}
	}
	b.hub.Published(e)
	b.hub.Released()
}

// While one goroutine publishes, to watchers and to users in turn, and forgets now and
// then who holds what, others watch, stop, connect again and go on: each hears what it
// has the channel for, once and in order.
func TestWatchingWhileItIsPublished(t *testing.T) {
	const clients, events = 6, 3000
	w := newWorld(t)
	b := &prompt{world: w}
	w.hub.Serve(b, w)
	ref := w.conversation(5, 1)
	var users []uint64
	for i := range clients {
		user := fmt.Sprint("user", i)
		w.log(entity.User(1, user)).reach[user] = entity.Everything.Intervals
		w.log(ref).reach[user] = entity.Everything.Intervals
		users = append(users, entity.UserNumber(1, user))
	}
	published := make(chan struct{})
	t.Run("all", func(t *testing.T) {
		for i := range clients {
			t.Run(fmt.Sprint("client ", i), func(t *testing.T) {
				t.Parallel()
				watchAway(t, b, fmt.Sprint("user", i), published)
			})
		}
		t.Run("publisher", func(t *testing.T) {
			t.Parallel()
			defer close(published)
			for i := range events {
				if i%100 == 0 {
					shard := w.hub.holders.shard(ref)
					shard.mu.Lock()
					delete(shard.of, ref)
					shard.mu.Unlock()
				}
				b.publish(ref, i%20 < 15, users)
			}
		})
	})
}

// watchAway is a client that watches and stops until all is published, and then
// compares what it has heard with the log.
func watchAway(t *testing.T, b *prompt, user string, published <-chan struct{}) {
	c := &crowd{world: b.world, t: t, rnd: rand.New(rand.NewPCG(entity.UserNumber(1, user), 2))}
	f := &watcher{follower: newFollower(t), user: user}
	c.reconnect(f)
	for over := false; !over; {
		select {
		case <-published:
			over = true
		default:
		}
		switch f.line.session.Flush(); c.rnd.IntN(10) {
		case 0:
			c.reconnect(f)
		case 1, 2:
			c.watchOrNot(f, "c:5")
		}
		c.hearAll(f)
	}
	for range 100 { // Pages, of which one is read when another has been written.
		f.line.session.Flush()
		c.hearAll(f)
	}
	if at, has := f.at["c:5"]; has && at != uint64(len(b.logs[entity.Conversation(1, 5)].events)) {
		f.complain(fmt.Sprintf("in the end it is at %d", at))
	}
}

// hearAll has a client hear what came.
func (c *crowd) hearAll(f *watcher) {
	c.t.Helper()
	for _, line := range f.line.read() {
		f.hear(line)
		if f.resume && strings.HasPrefix(line, "connected") {
			f.goOnWatching()
		}
	}
}
