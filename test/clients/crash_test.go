package clients

import (
	"fmt"
	"sync"
	"testing"
)

const (
	// crashes is how often the server is killed while people write.
	crashes = 3
	// perCrash is how many messages are acknowledged between two crashes.
	perCrash = 150
)

// What was acknowledged before kill -9 is there after it, once and in order; what
// was not is sent again by the clients with the same request ids.
func TestAcknowledgedMessagesSurviveKill9(t *testing.T) {
	t.Parallel()
	s := start(t)
	all := s.people(plain, "ann", "bob", "cat")
	ann, bob, cat := all[0], all[1], all[2]
	id := ann.group(t, nil, bob, cat)
	var devices []*device
	for i, p := range []*person{ann, bob, cat} {
		devices = append(devices, p.device(t, fmt.Sprintf("device-%d", i), dialects[i]))
	}
	first := ann.say(t, id, "first")
	for _, d := range devices {
		d.reaches(logOf(id), first)
	}

	var sent acks
	ctx := within(t)
	var senders sync.WaitGroup
	for _, d := range devices {
		senders.Go(func() { d.send(ctx, id, (crashes+1)*perCrash/len(devices), &sent) })
	}
	for n := range crashes {
		sent.reach(t, (n+1)*perCrash)
		must(t, s.kill())
		must(t, s.run())
	}
	senders.Wait()
	last := ann.say(t, id, "last")

	history := cat.messages(t, id)
	sent.check(t, history)
	if want := (crashes+1)*perCrash + 2; len(history) != want {
		t.Errorf("history has %d messages, want %d", len(history), want)
	}
	for _, d := range devices {
		d.reaches(logOf(id), last)
		same(t, d.String(), d.messagesOf(id), history)
		d.alwaysRecovered(logOf(id))
	}
}

// A request id is remembered over a crash.
func TestARetryAfterKill9HasTheFirstAnswer(t *testing.T) {
	t.Parallel()
	s := start(t)
	pair := s.people(plain, "ann", "bob")
	ann, bob := pair[0], pair[1]
	id := ann.direct(t, bob)
	phone := ann.device(t, "phone", speaksJSON)
	send := object{"conversation_id": id, "request_id": "r", "content": text("hi")}
	group := object{"request_id": "g", "name": "mine"}
	seq, made := phone.ask("Messages.Send", send)["seq"], phone.ask("Groups.Create", group)["conversation_id"]
	must(t, s.kill())
	must(t, s.run())
	phone.connected(2)
	if again := phone.ask("Messages.Send", send)["seq"]; again != seq {
		t.Errorf("sent again it is at %v, want %v", again, seq)
	}
	if again := phone.ask("Groups.Create", group)["conversation_id"]; again != made {
		t.Errorf("created again it is %v, want %v", again, made)
	}
}
