package clients

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

const (
	// flood is how many messages flow while connections break.
	flood = 3000
	// inFlight is how many of them one sender sends at a time.
	inFlight = 4
	// The bytes after which a connection breaks: enough for a connect and some
	// events, and few enough that there are dozens of cuts.
	leastBytes, mostBytes = 3 << 10, 32 << 10
)

// breaking returns faults in all directions, manners and places.
func breaking(seed uint64) func() fault {
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(seed, 0))
	return func() fault {
		mu.Lock()
		defer mu.Unlock()
		f := fault{in: down, how: rst, after: leastBytes + dice.Int64N(mostBytes-leastBytes)}
		if dice.IntN(4) == 0 {
			f.in, f.after = up, f.after/4 // Clients send less than they hear.
		}
		if dice.IntN(2) == 0 {
			f.how = fin
		}
		return f
	}
}

// acks are the answers to what was sent: seqs by text.
type acks struct {
	changing
	seq map[string]uint64
}

func (a *acks) put(text string, seq uint64) {
	a.change(func() {
		if a.seq == nil {
			a.seq = map[string]uint64{}
		}
		a.seq[text] = seq
	})
}

// reach waits until there are so many.
func (a *acks) reach(t testing.TB, n int) {
	t.Helper()
	if !a.await(func() bool { return len(a.seq) >= n }) {
		t.Fatalf("fewer than %d messages were acknowledged within %v", n, patience)
	}
}

// check compares what was acknowledged with what is there: each message once,
// where it was said to be.
func (a *acks) check(t testing.TB, history []event) {
	t.Helper()
	there := map[string]uint64{}
	for _, e := range history {
		if there[e.text()] != 0 {
			t.Errorf("%q is there twice, at %d and at %d", e.text(), there[e.text()], e.Seq)
		}
		there[e.text()] = e.Seq
	}
	a.read(func() {
		for text, seq := range a.seq {
			if there[text] != seq {
				t.Errorf("%q was acknowledged at %d and is at %d", text, seq, there[text])
			}
		}
	})
}

// send sends count messages with request ids, several at a time, until each is
// acknowledged.
func (d *device) send(ctx context.Context, conversation uint64, count int, a *acks) {
	jobs := make(chan string)
	var workers sync.WaitGroup
	for range inFlight {
		workers.Go(func() {
			for name := range jobs {
				reply, err := d.insist(ctx, "Messages.Send", object{"conversation_id": conversation, "request_id": name, "content": text(name)})
				if err != nil {
					d.t.Errorf("%s: send %s: %v", d, name, err)
					continue
				}
				a.put(name, reply.number(d.t, "seq"))
			}
		})
	}
	for i := range count {
		jobs <- fmt.Sprintf("%s %s %d", d.owner.id, d.name, i)
	}
	close(jobs)
	workers.Wait()
}

func TestThousandsOfMessagesSurviveManyCuts(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	all := s.people(plain, "ann", "bob", "cat")
	ann, bob, cat := all[0], all[1], all[2]
	id := ann.group(t, nil, bob, cat)

	var devices []*device
	var links []*link
	for i, owner := range []*person{ann, ann, bob, bob, cat, cat} {
		l := linkTo(t, s)
		links = append(links, l)
		devices = append(devices, owner.by(t, l, fmt.Sprintf("device-%d", i), dialects[i%len(dialects)]))
	}
	var sent acks
	sent.put("first", ann.say(t, id, "first"))
	for _, d := range devices {
		d.reaches(logOf(id), sent.seq["first"])
	}
	away := len(devices) - 1
	// A network that swallows everything: were it refused, it would try more and
	// more rarely, and be missed at the end.
	links[away].swallow(true)
	links[away].cut(rst)
	for i, l := range links[:away] {
		l.breakEvery(breaking(uint64(i)))
		l.cut(fin)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 3*patience) // Every cut costs its device a third of a second.
	defer cancel()
	var senders sync.WaitGroup
	for _, d := range []*device{devices[0], devices[2], devices[4]} {
		senders.Go(func() { d.send(ctx, id, flood/3, &sent) })
	}
	senders.Wait()
	for _, l := range links {
		l.breakEvery(nil)
	}
	links[away].swallow(false)
	last := ann.say(t, id, "last")
	sent.put("last", last)

	history := (&person{s, plain, cat.id}).messages(t, id)
	sent.check(t, history)
	if len(history) != flood+2 {
		t.Errorf("history has %d messages, want %d", len(history), flood+2)
	}
	cuts := 0
	for _, d := range devices {
		d.reaches(logOf(id), last)
		same(t, d.String(), d.messagesOf(id), history)
		d.alwaysRecovered(logOf(id))
		cuts += d.times() - 1
	}
	if least := 5 * len(devices); cuts < least {
		t.Errorf("there were %d cuts, want at least %d", cuts, least)
	}
	t.Logf("%d messages, %d cuts", len(history), cuts)
}

// restart stops a server, does something to its data, and starts it again, while
// nobody reaches it through the links.
func restart(t testing.TB, s *server, between func(), links ...*link) {
	t.Helper()
	for _, l := range links {
		l.refuse(true)
	}
	must(t, s.stop())
	between()
	must(t, s.run())
}

// parts are what is in a data folder besides the keys: the store.
func parts(t testing.TB, data string) []string {
	t.Helper()
	entries, err := os.ReadDir(data)
	must(t, err)
	var names []string
	for _, e := range entries {
		if e.Name() != "keys" {
			names = append(names, e.Name())
		}
	}
	return names
}

// forget removes the store of a server that is stopped.
func forget(t testing.TB, s *server) {
	t.Helper()
	for _, name := range parts(t, s.data()) {
		must(t, os.RemoveAll(filepath.Join(s.data(), name)))
	}
}

// copyStore copies a store from one folder to another.
func copyStore(t testing.TB, from, to string) {
	t.Helper()
	for _, name := range parts(t, from) {
		source, target := filepath.Join(from, name), filepath.Join(to, name)
		info, err := os.Stat(source)
		must(t, err)
		if info.IsDir() {
			must(t, os.CopyFS(target, os.DirFS(source)))
			continue
		}
		b, err := os.ReadFile(source)
		must(t, err)
		must(t, os.WriteFile(target, b, info.Mode()))
	}
}

func TestAClientAheadOfARestoredStoreIsNotRecovered(t *testing.T) {
	t.Parallel()
	s := start(t)
	pair := s.people(plain, "ann", "bob")
	ann, bob := pair[0], pair[1]
	id := ann.direct(t, bob)
	l := linkTo(t, s)
	his := bob.by(t, l, "phone", speaksProto)
	ann.say(t, id, "kept")
	his.hears(logOf(id), "kept", func(e event) bool { return e.text() == "kept" })

	backup := t.TempDir()
	restart(t, s, func() { copyStore(t, s.data(), backup) }, l)
	l.refuse(false)
	his.connected(2)
	for i := range 5 {
		ann.say(t, id, fmt.Sprintf("lost %d", i))
	}
	his.hears(logOf(id), "lost 4", func(e event) bool { return e.text() == "lost 4" })

	restart(t, s, func() {
		forget(t, s)
		copyStore(t, backup, s.data())
	}, l)
	l.refuse(false)
	stands := his.standing(logOf(id), 3)
	if last := stands[len(stands)-1]; !last.recovering || last.recovered {
		t.Errorf("after the restore the log stands at %+v, want recovered false", last)
	}
	ann.say(t, id, "new")
	his.hears(logOf(id), "new", func(e event) bool { return e.text() == "new" })
	if got := texts(bob.messages(t, id)); got != "kept new" {
		t.Errorf("history = %q, want %q", got, "kept new")
	}
}

func TestAClientOfAnEarlierStoreIsNotRecovered(t *testing.T) {
	t.Parallel()
	s := start(t)
	pair := s.people(plain, "ann", "bob")
	ann, bob := pair[0], pair[1]
	id := ann.direct(t, bob)
	l := linkTo(t, s)
	his := bob.by(t, l, "phone", speaksJSON)
	ann.say(t, id, "old")
	his.hears(logOf(id), "old", func(e event) bool { return e.text() == "old" })

	restart(t, s, func() { forget(t, s) }, l)
	if again := ann.direct(t, bob); again != id {
		t.Fatalf("the direct of the same two is %d, was %d", again, id)
	}
	var last uint64
	for i := range 9 { // The new log is longer than the client's position in the old.
		last = ann.say(t, id, fmt.Sprint(i))
	}
	l.refuse(false)
	stands := his.standing(logOf(id), 2)
	now := stands[len(stands)-1]
	if !now.recovering || now.recovered || now.offset != last || now.epoch == stands[0].epoch {
		t.Errorf("in the new store the log stands at %+v, want %d, recovered false, and another epoch than %s", now, last, stands[0].epoch)
	}
	ann.say(t, id, "new")
	his.hears(logOf(id), "new", func(e event) bool { return e.text() == "new" })
}

// An SDK names every channel that it knows when it connects, and gives the server
// five seconds.
func TestAHundredConversationsRecoverAtOnce(t *testing.T) {
	t.Parallel()
	const conversations, missed = 100, 3
	s := everybody.node(t)
	pair := s.people(plain, "ann", "bob")
	ann, bob := pair[0], pair[1]
	phones, links := []*device{}, []*link{}
	for i, d := range dialects {
		links = append(links, linkTo(t, s))
		phones = append(phones, bob.by(t, links[i], fmt.Sprintf("phone-%d", i), d))
	}
	var ids, last []uint64
	for i := range conversations {
		ids = append(ids, ann.group(t, object{"name": fmt.Sprint(i)}, bob))
		last = append(last, ann.say(t, ids[i], "hello"))
	}
	for i, phone := range phones {
		for n, id := range ids {
			phone.reaches(logOf(id), last[n])
		}
		links[i].refuse(true)
		links[i].cut(rst)
	}
	for i := range missed {
		for n, id := range ids {
			last[n] = ann.say(t, id, fmt.Sprint(i))
		}
	}
	for i, phone := range phones {
		links[i].refuse(false)
		for n, id := range ids {
			phone.reaches(logOf(id), last[n])
			phone.alwaysRecovered(logOf(id))
		}
		if n := phone.times(); n != 2 {
			t.Errorf("%s: connected %d times, want 2", phone, n)
		}
	}
}

// A connect names every channel that a client knows; the server has room for a
// few, and the rest return with their next event.
func TestOnlyTheBusiestConversationsStaySubscribed(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	pair := s.people(narrow, "ann", "bob")
	ann, bob := pair[0], pair[1]
	l := linkTo(t, s)
	his := bob.by(t, l, "phone", speaksProto)
	var ids []uint64
	for i := range 5 {
		ids = append(ids, ann.group(t, object{"name": fmt.Sprint(i)}, bob))
		ann.say(t, ids[i], "hello")
		his.hears(logOf(ids[i]), "hello", func(e event) bool { return e.text() == "hello" })
	}
	// Four channels: his own log and three conversations.
	for i, id := range ids {
		if i < 2 {
			his.closed(logOf(id))
		}
		if open := his.isOpen(logOf(id)); open != (i >= 2) {
			t.Errorf("conversation %d is subscribed: %v", i, open)
		}
	}
	ann.say(t, ids[0], "again")
	his.hears(logOf(ids[0]), "again", func(e event) bool { return e.text() == "again" })
	his.closed(logOf(ids[2]))
	l.cut(rst)
	his.connected(2)
	ann.say(t, ids[0], "recovered")
	his.hears(logOf(ids[0]), "recovered", func(e event) bool { return e.text() == "recovered" })
}
