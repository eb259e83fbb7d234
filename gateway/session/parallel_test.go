package session

import (
	"fmt"
	"math/rand/v2"
	"runtime"
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
	runtime.Gosched() // Something may happen between reading and telling.
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

// While one goroutine publishes, to watchers or to users, and has forgotten who holds
// what, others watch, stop, connect again and go on: each hears what it has the channel
// for, once and in order, and to the last event, after which no other shows the gap.
func TestWatchingWhileItIsPublished(t *testing.T) {
	const clients, rounds = 6, 200
	w := newWorld(t)
	b := &prompt{world: w}
	w.hub.Serve(b, w)
	ref := w.conversation(5, 1)
	var users []uint64
	var all []*watcher
	for i := range clients {
		user := fmt.Sprint("user", i)
		w.log(entity.User(1, user)).reach[user] = entity.Everything.Intervals
		w.log(ref).reach[user] = entity.Everything.Intervals
		users = append(users, entity.UserNumber(1, user))
		all = append(all, &watcher{follower: newFollower(t), user: user})
	}
	for round := range uint64(rounds) {
		shard := w.hub.holders.shard(ref)
		shard.mu.Lock()
		delete(shard.of, ref)
		shard.mu.Unlock()
		published := make(chan struct{})
		var playing sync.WaitGroup // A client that fails ends its own goroutine.
		for i, f := range all {
			c := &crowd{world: w, t: t, rnd: rand.New(rand.NewPCG(round, uint64(i)))}
			playing.Go(func() { c.play(f, published) })
		}
		for range 3 {
			b.publish(ref, round%4 > 0, users)
		}
		close(published)
		playing.Wait()
		if t.Failed() {
			return
		}
		for _, f := range all {
			if at, has := f.at["c:5"]; has && at != uint64(len(w.log(ref).events)) {
				f.complain(fmt.Sprintf("after round %d it is at %d", round, at))
			}
		}
	}
}

// play has a client watch and stop until all is published.
func (c *crowd) play(f *watcher, published <-chan struct{}) {
	for over := false; !over; {
		if f.line == nil || c.rnd.IntN(10) == 0 {
			c.reconnect(f)
		}
		c.watchOrNot(f, "c:5")
		c.hearAll(f)
		select {
		case <-published:
			over = true
		default:
		}
	}
	for range 3 { // What it hears may make it subscribe again.
		c.hearAll(f)
	}
}

// hearAll has a client hear what came.
func (c *crowd) hearAll(f *watcher) {
	c.t.Helper()
	f.line.session.Flush()
	for _, line := range f.line.read() {
		f.hear(line)
		if f.resume && strings.HasPrefix(line, "connected") {
			f.goOnWatching()
		}
	}
}
