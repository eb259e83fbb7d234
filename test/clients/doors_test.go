package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A door is a way to call methods as one of the people of a world.
type door struct {
	name string
	call func(t *testing.T, who *person, method string, req object) (object, error)
}

// doors are all of them. A person has one device at a door, so that what is
// compared is the door.
func doors() []door {
	all := []door{
		{"http json", overHTTP(asJSON)},
		{"http protobuf", overHTTP(asProto)},
	}
	for _, d := range dialects {
		phones := map[string]*device{}
		all = append(all, door{"socket " + d.name, func(t *testing.T, who *person, method string, req object) (object, error) {
			if phones[who.id] == nil {
				phones[who.id] = who.device(t, "phone", d)
			}
			return phones[who.id].call(within(t), method, req)
		}})
	}
	return all
}

func overHTTP(c coding) func(*testing.T, *person, string, object) (object, error) {
	return func(t *testing.T, who *person, method string, req object) (object, error) {
		return who.server.post(who.token(t, "phone"), method, req, c)
	}
}

// outcome is what a call comes to, with what differs from run to run replaced, so
// that doors can be compared. A refusal has the code and the sentence, and the
// numbers that its door has for the code.
func outcome(t *testing.T, w *world, reply object, err error) string {
	t.Helper()
	if err == nil {
		for _, name := range []string{"members", "read"} { // The order of people is that of their numbers.
			people, _ := reply[name].([]any)
			slices.SortFunc(people, func(a, b any) int {
				return strings.Compare(w.anonymous(fmt.Sprint(a)), w.anonymous(fmt.Sprint(b)))
			})
		}
		return "ok " + w.anonymous(fmt.Sprint(reply))
	}
	var r *refusal
	if !errors.As(err, &r) {
		t.Errorf("neither a reply nor a refusal: %v", err)
		return "?"
	}
	status, known := statuses[r.Code]
	if !known || r.status != 0 && r.status != status || r.status == 0 && codes[r.wire] != r.Code {
		t.Errorf("a refusal has the wrong numbers: %v", r)
	}
	if r.Code == "unsupported" {
		return r.Code // One door has no such method, the other no such path.
	}
	return r.Code + " " + w.anonymous(r.Detail)
}

// A world is a group with everybody that a rule can be about, made anew for each
// door.
type world struct {
	people map[string]*person
	group  uint64
	seqs   map[string]uint64 // of messages, by what they say
}

// roles are the people of a world, in the order of the table below.
var roles = []string{"owner", "admin", "member", "former", "stranger"}

func newWorld(t *testing.T, s *server) *world {
	t.Helper()
	w := &world{people: map[string]*person{}, seqs: map[string]uint64{}}
	for i, p := range s.people(plain, roles...) {
		w.people[roles[i]] = p
	}
	owner, former := w.people["owner"], w.people["former"]
	w.group = owner.group(t, nil, w.people["admin"], w.people["member"], former)
	owner.post(t, "Groups.SetRole", object{"conversation_id": w.group, "user_id": w.people["admin"].id, "role": "ADMIN"})
	// Each of whom the calls below change something has a message of his own for
	// each caller.
	for _, caller := range roles {
		for _, what := range []string{"edit", "revoke", "delete"} {
			w.seqs[what+" "+caller] = owner.say(t, w.group, what+" "+caller)
		}
	}
	former.post(t, "Groups.Leave", object{"conversation_id": w.group})
	owner.post(t, "Groups.Change", object{"conversation_id": w.group, "join_rule": "INVITED"})
	return w
}

// anonymous replaces what differs between worlds.
func (w *world) anonymous(s string) string {
	replace := []string{fmt.Sprint(w.group), "GROUP"}
	for _, role := range slices.Sorted(maps.Keys(w.people)) {
		replace = append(replace, w.people[role].id, role)
	}
	s = strings.NewReplacer(replace...).Replace(s)
	return times.ReplaceAllString(s, "TIME")
}

// times are what no two worlds have in common: Unix milliseconds.
var times = regexp.MustCompile(`\b1[0-9]{12}\b`)

// A trial is a call that everybody tries, and what comes of it: a code for each of
// roles, in their order.
type trial struct {
	method string
	req    func(w *world, caller string) object
	want   string
}

// trials has every method that names a conversation. One that is not here fails
// the test that compares this table with the server's own list.
var trials = []trial{
	{"Groups.Get", of(nil), "ok ok ok not_found not_found"},
	{"Groups.Members", of(nil), "ok ok ok not_found not_found"},
	{"Messages.History", of(nil), "ok ok ok ok not_found"},
	{"Messages.Send", of(object{"content": text("hi")}), "ok ok ok not_found not_found"},
	{"Messages.Edit", about("edit", object{"content": text("changed")}), "ok denied denied not_found not_found"},
	{"Messages.Revoke", about("revoke", nil), "ok ok denied not_found not_found"},
	{"Messages.Delete", func(w *world, caller string) object {
		return object{"conversation_id": w.group, "seqs": []uint64{w.seqs["delete "+caller]}}
	}, "ok ok ok ok not_found"},
	{"Messages.Originals", of(object{"seqs": []uint64{3}}), "ok ok ok ok not_found"},
	{"Messages.Forward", func(w *world, caller string) object {
		return object{"conversation_id": w.group, "seqs": []uint64{w.seqs["edit "+caller]}, "to_conversation_id": w.group + 1}
	}, "ok ok ok ok not_found"},
	{"Reactions.React", about("edit", object{"emoji": []string{"👍"}}), "ok ok ok not_found not_found"},
	{"Reactions.List", of(object{"seqs": []uint64{3}}), "ok ok ok ok not_found"},
	{"Reactions.Actors", about("edit", nil), "ok ok ok ok not_found"},
	{"Pins.Pin", about("edit", nil), "ok ok denied not_found not_found"},
	{"Pins.List", of(nil), "ok ok ok ok not_found"},
	{"Pins.Unpin", about("edit", nil), "ok ok denied not_found not_found"},
	{"Receipts.MarkRead", about("edit", nil), "ok ok ok not_found not_found"},
	{"Receipts.MarkDelivered", about("edit", nil), "ok ok ok not_found not_found"},
	{"Receipts.Readers", about("edit", nil), "ok denied denied not_found not_found"},
	{"Typing.Type", of(nil), "ok ok ok not_found not_found"},
	{"Timers.SetAutoDelete", of(object{"seconds": 24 * 3600}), "ok ok denied not_found not_found"},
	{"Timers.AutoDelete", of(nil), "ok ok ok ok not_found"},
	{"Timers.Schedule", of(object{"content": text("later"), "at": time.Now().Add(time.Hour).UnixMilli()}), "ok ok ok not_found not_found"},
	{"Timers.Scheduled", of(nil), "ok ok ok ok not_found"},
	{"Timers.ChangeScheduled", of(object{"id": 1, "content": text("other")}), "ok not_found not_found not_found not_found"},
	{"Timers.CancelScheduled", of(object{"id": 1}), "ok not_found not_found not_found not_found"},
	{"Channels.Change", of(object{"signatures": true}), "invalid invalid invalid not_found not_found"},
	{"Channels.View", about("edit", nil), "invalid invalid invalid not_found not_found"},
	{"Channels.Views", of(object{"seqs": []uint64{3}}), "invalid invalid invalid invalid not_found"},
	{"Groups.InviteAll", func(w *world, caller string) object {
		return object{"conversation_id": w.group, "via": w.group}
	}, "invalid invalid invalid not_found not_found"},
	{"Presence.Subscribe", of(object{"user_ids": []string{"nobody"}}), "ok ok ok ok ok"},
	{"Dialogs.SetPinned", of(object{"place": 1}), "ok ok ok not_found not_found"},
	{"Dialogs.SetMuted", of(object{"until": time.Now().Add(time.Hour).UnixMilli()}), "ok ok ok not_found not_found"},
	{"Dialogs.SetArchived", of(object{"archived": true}), "ok ok ok not_found not_found"},
	{"Dialogs.SetDraft", of(object{"text": "well"}), "ok ok ok not_found not_found"},
	{"Dialogs.MarkUnread", of(object{"unread": true}), "ok ok ok not_found not_found"},
	{"Groups.Change", of(object{"name": "renamed"}), "ok ok denied not_found not_found"},
	{"Groups.SetRole", toward("member", object{"role": "MEMBER"}), "ok denied denied not_found not_found"},
	{"Groups.Invite", func(w *world, caller string) object {
		return object{"conversation_id": w.group, "user_ids": []string{w.people["stranger"].id}}
	}, "ok ok ok not_found not_found"},
	{"Groups.Join", of(nil), "ok ok ok not_found not_found"},
	{"Groups.Remove", toward("owner", nil), "invalid denied denied not_found not_found"},
	{"Groups.Leave", of(nil), "denied ok ok not_found not_found"},
	{"Groups.Dissolve", of(nil), "ok not_found not_found not_found not_found"},
}

func of(more object) func(*world, string) object {
	return func(w *world, _ string) object {
		req := object{"conversation_id": w.group}
		maps.Copy(req, more)
		return req
	}
}

func about(what string, more object) func(*world, string) object {
	return func(w *world, caller string) object {
		req := of(more)(w, caller)
		req["seq"] = w.seqs[what+" "+caller]
		return req
	}
}

func toward(whom string, more object) func(*world, string) object {
	return func(w *world, caller string) object {
		req := of(more)(w, caller)
		req["user_id"] = w.people[whom].id
		return req
	}
}

// Who may do what is the same at every door, and so is every reply and every
// sentence.
func TestEveryDoorHasTheSameRulesAndAnswers(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	var first []string
	for _, d := range doors() {
		w := newWorld(t, s)
		var outcomes []string
		for _, trial := range trials {
			var got []string
			for _, role := range roles {
				reply, err := d.call(t, w.people[role], trial.method, trial.req(w, role))
				o := outcome(t, w, reply, err)
				outcomes = append(outcomes, fmt.Sprintf("%s by the %s: %s", trial.method, role, o))
				code, _, _ := strings.Cut(o, " ")
				got = append(got, code)
			}
			if codes := strings.Join(got, " "); codes != trial.want {
				t.Errorf("%s: %s by %v = %s, want %s\n%s", d.name, trial.method, roles, codes, trial.want,
					strings.Join(outcomes[len(outcomes)-len(roles):], "\n"))
			}
		}
		compare(t, d.name, outcomes, &first)
	}
}

// compare compares the outcomes at a door with those at the first one.
func compare(t *testing.T, name string, outcomes []string, first *[]string) {
	t.Helper()
	if *first == nil {
		*first = outcomes
	}
	for i, o := range outcomes {
		if want := (*first)[i]; o != want {
			t.Errorf("%s:\n  %s\nthe first door:\n  %s", name, o, want)
		}
	}
}

// Requests that are wrong in themselves are refused in the same words.
func TestEveryDoorRefusesTheSameMistakes(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	mistakes := []struct {
		method string
		req    object
		code   string
	}{
		{"Messages.Send", object{}, "invalid"},
		{"Messages.Send", object{"conversation_id": 1, "content": text("hi")}, "not_found"},
		{"Messages.Send", object{"conversation_id": uint64(1) << 60, "content": text("hi")}, "invalid"},
		{"Messages.Send", object{"conversation_id": 0, "content": text("hi"), "request_id": strings.Repeat("x", 65)}, "invalid"},
		{"Messages.History", object{"conversation_id": 1}, "not_found"},
		{"Directs.Open", object{}, "invalid"},
		{"Directs.Open", object{"user_id": "with space"}, "invalid"},
		{"Directs.Open", object{"user_id": strings.Repeat("x", 65)}, "invalid"},
		{"Groups.Create", object{"name": "no request id"}, "invalid"},
		{"Groups.Create", object{"request_id": "long", "name": strings.Repeat("n", 129)}, "too_large"},
		{"Groups.Get", object{"conversation_id": 12345}, "not_found"},
		{"Groups.Vouch", object{}, "unsupported"},
		{"Devices.Connect", object{}, "unsupported"},
		{"Dialogs.Joined", object{}, "unsupported"},
	}
	var first []string
	for _, d := range doors() {
		w := &world{people: map[string]*person{"me": s.people(plain, "me")[0]}}
		var outcomes []string
		for _, m := range mistakes {
			reply, err := d.call(t, w.people["me"], m.method, m.req)
			o := outcome(t, w, reply, err)
			if code, _, _ := strings.Cut(o, " "); code != m.code {
				t.Errorf("%s: %s %v = %s, want %s", d.name, m.method, m.req, o, m.code)
			}
			outcomes = append(outcomes, m.method+" "+o)
		}
		compare(t, d.name, outcomes, &first)
	}
}

// Bytes that are no request at all.
func TestEveryDoorRefusesTheSameBytes(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	me := s.people(plain, "me")[0]
	token := me.token(t, "phone")
	phones := map[string]*device{"json": me.device(t, "phone", speaksJSON), "proto": me.device(t, "phone", speaksProto)}
	for _, m := range []struct {
		coding       coding
		method, body string
		code         string
	}{
		{asJSON, "Messages.Send", `{"conversation_id":-1}`, "invalid"},
		{asJSON, "Messages.Send", `{"conversation_id":1.5}`, "invalid"},
		{asJSON, "Messages.Send", `{"conversation_id":"one"}`, "invalid"},
		{asJSON, "Messages.Send", `{"conversation":1}`, "invalid"},
		{asJSON, "Messages.Send", `{"content":{"text":{"text":"a"},"custom":{"type":"b"}}}`, "invalid"},
		{asJSON, "Messages.Send", `[1]`, "invalid"},
		{asJSON, "Messages.Send", `"text"`, "invalid"},
		{asJSON, "Groups.SetRole", `{"role":"KING"}`, "invalid"},
		{asJSON, "No.Such", `{}`, "unsupported"},
		{asProto, "Messages.Send", "\x08", "invalid"},
		{asProto, "Messages.Send", "\x1a\x05\x0a\x03\x0a\x01\xff", "invalid"},
		{asProto, "Messages.Send", "\x12\x02\xff\xfe", "invalid"},
		{asProto, "No.Such", "", "unsupported"},
	} {
		w := &world{people: map[string]*person{"me": me}}
		reply, err := s.postBytes(token, m.method, []byte(m.body), m.coding, nil)
		web := outcome(t, w, reply, err)
		reply, err = phones[m.coding.name].callBytes(within(t), m.method, []byte(m.body))
		socket := outcome(t, w, reply, err)
		if web != socket || !strings.HasPrefix(web, m.code) {
			t.Errorf("%s %q: over HTTP %q, over a socket %q, want %s twice", m.method, m.body, web, socket, m.code)
		}
	}
	for _, phone := range phones {
		phone.ask("Devices.List", object{}) // It all did no harm.
	}
}

// The table of trials has every method that names a conversation, as the server
// lists them.
func TestEveryMethodOfAConversationIsInTheTable(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	status, _, body := get(t, s.url("/v1/"))
	if status != http.StatusOK {
		t.Fatalf("GET /v1/: status %d", status)
	}
	listed := methodsOf(t, body)
	tried := map[string]bool{}
	for _, trial := range trials {
		tried[trial.method] = true
	}
	for name, fields := range listed {
		if slices.Contains(fields, "conversation_id") && !tried[name] {
			t.Errorf("%s names a conversation, and nobody tries who may call it", name)
		}
	}
	for name := range tried {
		if listed[name] == nil {
			t.Errorf("the server does not list %s", name)
		}
	}
}

// methodsOf reads the server's list of methods: the fields of each request.
func methodsOf(t *testing.T, page []byte) map[string][]string {
	t.Helper()
	var list struct {
		Methods []struct {
			Name    string
			Request []struct{ Name string }
		}
	}
	must(t, json.Unmarshal(page, &list))
	methods := map[string][]string{}
	for _, m := range list.Methods {
		methods[m.Name] = []string{}
		for _, f := range m.Request {
			methods[m.Name] = append(methods[m.Name], f.Name)
		}
	}
	return methods
}

// The same conversation, written at all doors in turn, reads the same at each.
func TestEveryDoorReadsTheSameConversation(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	pair := s.people(plain, "ann", "bob")
	ann, bob := pair[0], pair[1]
	id := ann.direct(t, bob)
	all := doors()
	for i, d := range all {
		_, err := d.call(t, ann, "Messages.Send", object{"conversation_id": id, "content": text(d.name)})
		must(t, err)
		if got := texts(bob.messages(t, id)[i:]); got != d.name {
			t.Errorf("written at %s it reads %q", d.name, got)
		}
	}
	var first object
	for _, d := range all {
		reply, err := d.call(t, bob, "Messages.History", object{"conversation_id": id})
		must(t, err)
		if first == nil {
			first = reply
		}
		if !reflect.DeepEqual(reply, first) {
			t.Errorf("%s reads %v, the first door %v", d.name, reply, first)
		}
	}
}
