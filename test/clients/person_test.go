package clients

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A person is a user with any number of devices.
type person struct {
	server *server
	tenant string
	id     string
}

// crowd numbers the people of a run, so that tests that share a server do not
// meet.
var crowd atomic.Uint64

// people makes users whom nobody has seen.
func (s *server) people(tenant string, names ...string) []*person {
	n := crowd.Add(1)
	var all []*person
	for _, name := range names {
		all = append(all, &person{s, tenant, fmt.Sprintf("%s-%d", name, n)})
	}
	return all
}

// own is the channel of a person's own log.
func (p *person) own() string { return "u:" + p.id }

// token is a token of one of his devices.
func (p *person) token(t testing.TB, device string) string {
	t.Helper()
	return p.server.tokenFor(t, p.tenant, p.id, device, time.Hour)
}

// post calls a method over HTTP, from a device of that name.
func (p *person) post(t testing.TB, method string, req object) object {
	t.Helper()
	reply, err := p.try(t, method, req)
	if err != nil {
		t.Fatalf("%s: %s %v: %v", p.id, method, req, err)
	}
	return reply
}

// try is post for what may be refused.
func (p *person) try(t testing.TB, method string, req object) (object, error) {
	t.Helper()
	return p.server.post(p.token(t, "curl"), method, req, asJSON)
}

// refused is post for what must be refused with a code.
func (p *person) refused(t testing.TB, code, method string, req object) {
	t.Helper()
	reply, err := p.try(t, method, req)
	var r *refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Errorf("%s: %s %v: got %v, %v, want the refusal %s", p.id, method, req, reply, err, code)
	}
}

// direct opens the direct conversation with somebody.
func (p *person) direct(t testing.TB, with *person) uint64 {
	t.Helper()
	return p.post(t, "Directs.Open", object{"user_id": with.id}).number(t, "conversation_id")
}

// group makes a group that everybody has joined, in this order. settings are more
// fields of Groups.Create.
func (p *person) group(t testing.TB, settings object, members ...*person) uint64 {
	t.Helper()
	req := object{"request_id": fmt.Sprintf("group-%d", crowd.Add(1)), "name": "a group", "join_rule": "OPEN"}
	for name, value := range settings {
		req[name] = value
	}
	id := p.post(t, "Groups.Create", req).number(t, "conversation_id")
	for _, m := range members {
		m.post(t, "Groups.Join", object{"conversation_id": id})
	}
	return id
}

// say sends a text over HTTP and returns the seq.
func (p *person) say(t testing.TB, conversation uint64, words string) uint64 {
	t.Helper()
	return p.post(t, "Messages.Send", object{"conversation_id": conversation, "content": text(words)}).number(t, "seq")
}

// history reads all that a person may read of a conversation, oldest first, over
// HTTP and page by page, as a device does that has nothing yet.
func (p *person) history(t testing.TB, conversation uint64) []event {
	t.Helper()
	var all []event
	for after := uint64(0); ; {
		page := p.post(t, "Messages.History", object{"conversation_id": conversation, "after": after, "limit": 100})
		for _, o := range page.list("events") {
			all = append(all, o.event(t))
		}
		if more, _ := page["more_after"].(bool); !more {
			return all
		}
		if len(all) == 0 || all[len(all)-1].Seq <= after {
			t.Fatalf("history of %d says that there is more after %d and does not go on", conversation, after)
		}
		after = all[len(all)-1].Seq
	}
}

// messages is history without its holes.
func (p *person) messages(t testing.TB, conversation uint64) []event {
	t.Helper()
	var sent []event
	for _, e := range p.history(t, conversation) {
		if e.Type == "MessageSent" {
			sent = append(sent, e)
		}
	}
	return sent
}

// same compares events, and says where they differ.
func same(t testing.TB, what string, got, want []event) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%s: event %d is %v, want %v", what, i, got[i], want[i])
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: there are %d events, want %d", what, len(got), len(want))
	}
}

// texts are what messages say, joined, to compare a few of them at a glance.
func texts(events []event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.text())
	}
	return strings.Join(all, " ")
}

// codes are the names of refusals by their number on a socket.
var codes = map[uint32]string{
	100: "internal", 107: "invalid", 101: "unauthorized", 103: "denied", 404: "not_found", 409: "conflict",
	413: "too_large", 410: "expired", 111: "exhausted", 503: "overloaded", 104: "unsupported",
}

// statuses are the HTTP statuses of refusals by their name.
var statuses = map[string]int{
	"internal": 500, "invalid": 400, "unauthorized": 401, "denied": 403, "not_found": 404, "conflict": 409,
	"too_large": 413, "expired": 410, "exhausted": 429, "overloaded": 503, "unsupported": 404,
}

func codeNamed(wire uint32) string {
	if name, ok := codes[wire]; ok {
		return name
	}
	return fmt.Sprintf("wire %d", wire)
}
