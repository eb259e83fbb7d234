package clients

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/centrifugal/centrifuge-go"
)

func TestADeviceHearsItsOwnLogFromTheStart(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			ann := s.people(plain, "ann")[0]
			phone := ann.device(t, "phone", d)
			stands := phone.stands(ann.own())
			if len(stands) != 1 || stands[0].recovering || stands[0].epoch == "" {
				t.Errorf("the own log stands at %+v, want one position that was not recovered", stands)
			}
			desktop := ann.device(t, "desktop", speaksJSON)
			added := phone.hears(ann.own(), "the other device", func(e event) bool { return e.Type == "DeviceAdded" && e.Body["device_id"] == "desktop" })
			if added.Body["model"] != "Test 1" || added.Body["app"] != "kith" {
				t.Errorf("the device was added as %v", added.Body)
			}
			devices := desktop.ask("Devices.List", object{}).list("devices")
			if len(devices) != 2 {
				t.Errorf("devices = %v, want phone and desktop", devices)
			}
		})
	}
}

func TestADirectIsHeardByBothPeopleOnAllTheirDevices(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			pair := s.people(plain, "ann", "bob")
			ann, bob := pair[0], pair[1]
			phone, desktop, his := ann.device(t, "phone", d), ann.device(t, "desktop", speaksJSON), bob.device(t, "phone", d)

			opened := phone.ask("Directs.Open", object{"user_id": bob.id, "request_id": "open"})
			id := opened.number(t, "conversation_id")
			if opened["opened"] != true || id == 0 || id >= 1<<52 {
				t.Errorf("Directs.Open = %v, want a new conversation with a number of 52 bits", opened)
			}
			again := his.ask("Directs.Open", object{"user_id": ann.id})
			if again.number(t, "conversation_id") != id || again["opened"] != nil {
				t.Errorf("opened by the other: %v, want the same conversation %d, which was there", again, id)
			}

			sent := phone.ask("Messages.Send", object{"conversation_id": id, "request_id": "1", "content": text("hello")})
			seq := sent.number(t, "seq")
			var heard []event
			for _, dev := range []*device{phone, desktop, his} {
				heard = append(heard, dev.hears(logOf(id), "hello", func(e event) bool { return e.text() == "hello" }))
			}
			for i, e := range heard {
				if e.Type != "MessageSent" || e.By != ann.id || e.Seq != seq || e.At != sent["at"] {
					t.Errorf("device %d heard %v, want seq %d by %s at %v", i, e, seq, ann.id, sent["at"])
				}
			}
			same(t, "history", bob.messages(t, id), heard[:1])
			for _, p := range pair {
				dialogs := p.post(t, "Dialogs.List", object{}).list("dialogs")
				if len(dialogs) != 1 || dialogs[0].number(t, "conversation_id") != id {
					t.Errorf("%s has the dialogs %v, want %d alone", p.id, dialogs, id)
				}
			}
		})
	}
}

func TestBothOpenTheirDirectAtOnceAndHaveOne(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	pair := s.people(plain, "ann", "bob")
	devices := []*device{pair[0].device(t, "phone", speaksJSON), pair[1].device(t, "phone", speaksProto)}
	type answer struct {
		reply object
		err   error
	}
	answers := make(chan answer, 2)
	for i, d := range devices {
		go func() {
			reply, err := d.call(within(t), "Directs.Open", object{"user_id": pair[1-i].id})
			answers <- answer{reply, err}
		}()
	}
	first, second := <-answers, <-answers
	if first.err != nil || second.err != nil {
		t.Fatalf("open: %v, %v", first.err, second.err)
	}
	if a, b := first.reply, second.reply; a["conversation_id"] != b["conversation_id"] || a["opened"] == b["opened"] {
		t.Errorf("opened %v and %v, want the same conversation, opened by one of them", a, b)
	}
}

func TestMessagesAreEditedRevokedAndDeleted(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			pair := s.people(plain, "ann", "bob")
			ann, bob := pair[0], pair[1]
			id := ann.direct(t, bob)
			phone, desktop, his := ann.device(t, "phone", d), ann.device(t, "desktop", speaksJSON), bob.device(t, "phone", d)
			first, second, third := phone.say(id, "one"), phone.say(id, "two"), phone.say(id, "three")

			phone.ask("Messages.Edit", object{"conversation_id": id, "seq": first, "content": text("uno")})
			edited := his.hears(logOf(id), "the edit", func(e event) bool { return e.Type == "MessageEdited" })
			if edited.Body.number(t, "seq") != first || edited.Body.at("message", "content", "text", "text") != "uno" {
				t.Errorf("heard %v, want the edit of %d", edited, first)
			}
			phone.ask("Messages.Revoke", object{"conversation_id": id, "seq": second})
			revoked := his.hears(logOf(id), "the revocation", func(e event) bool { return e.Type == "MessageRevoked" })
			if revoked.Body.number(t, "seq") != second {
				t.Errorf("heard %v, want the revocation of %d", revoked, second)
			}
			phone.ask("Messages.Delete", object{"conversation_id": id, "seqs": []uint64{third}})
			hidden := desktop.hears(ann.own(), "what was hidden", func(e event) bool { return e.Type == "MessagesHidden" })
			if hidden.Body.number(t, "conversation_id") != id {
				t.Errorf("heard %v, want it of %d", hidden, id)
			}

			if got := texts(bob.messages(t, id)); got != "uno  three" {
				t.Errorf("he reads %q, want %q", got, "uno  three")
			}
			if got := texts(ann.messages(t, id)); got != "uno " {
				t.Errorf("she reads %q, want %q", got, "uno ")
			}
			around := phone.ask("Messages.History", object{"conversation_id": id, "around": first, "limit": 2})
			if events := around.list("events"); len(events) == 0 || events[0].event(t).Seq != first {
				t.Errorf("around %d there is %v", first, events)
			}
		})
	}
}

func TestAGroupLivesThroughItsMethods(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			all := s.people(plain, "ann", "bob", "cat")
			ann, bob, cat := all[0], all[1], all[2]
			ann.direct(t, bob)
			hers, his := ann.device(t, "phone", d), bob.device(t, "phone", d)
			id := hers.ask("Groups.Create", object{"request_id": "g", "name": "readers", "user_ids": []string{bob.id}}).number(t, "conversation_id")
			log := logOf(id)
			saw := func(dev *device, kind string, who *person) {
				t.Helper()
				dev.hears(log, kind, func(e event) bool { return e.Type == kind && (who == nil || e.Body["user_id"] == who.id) })
			}
			saw(hers, "MemberJoined", bob)
			his.hears(bob.own(), "the dialog", func(e event) bool { return e.Type == "DialogJoined" && e.Body.number(t, "conversation_id") == id })

			cat.refused(t, "not_found", "Groups.Get", object{"conversation_id": id})
			bob.direct(t, cat)
			his.ask("Groups.Invite", object{"conversation_id": id, "user_ids": []string{cat.id}})
			saw(hers, "MemberJoined", cat)
			hers.ask("Groups.SetRole", object{"conversation_id": id, "user_id": bob.id, "role": "ADMIN"})
			saw(his, "RoleChanged", bob)
			his.ask("Groups.Change", object{"conversation_id": id, "announcement": "on Fridays", "permissions": object{"send": "ADMIN"}})
			saw(hers, "GroupChanged", nil)
			cat.refused(t, "denied", "Messages.Send", object{"conversation_id": id, "content": text("?")})
			got := hers.ask("Groups.Get", object{"conversation_id": id})
			if got["name"] != "readers" || got["announcement"] != "on Fridays" || got.number(t, "members") != 3 || got["role"] != "OWNER" {
				t.Errorf("Groups.Get = %v", got)
			}
			roles := map[any]any{}
			for _, m := range his.ask("Groups.Members", object{"conversation_id": id}).list("members") {
				roles[m["user_id"]] = m["role"]
			}
			if want := map[any]any{ann.id: "OWNER", bob.id: "ADMIN", cat.id: "MEMBER"}; !reflect.DeepEqual(roles, want) {
				t.Errorf("members = %v, want %v", roles, want)
			}
			his.ask("Groups.Remove", object{"conversation_id": id, "user_id": cat.id})
			saw(hers, "MemberRemoved", cat)
			his.ask("Groups.Leave", object{"conversation_id": id})
			saw(hers, "MemberLeft", bob)
			saw(his, "MemberLeft", bob)
		})
	}
}

// Publishing, presence and history are commands of Centrifuge that Kith does not
// offer: people write with Messages.Send, and read with Messages.History.
func TestWhatIsNotOfferedIsError108(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	for _, d := range []dialect{speaksJSON, speaksProto} {
		t.Run(d.name, func(t *testing.T) {
			ann := s.people(plain, "ann")[0]
			phone := ann.device(t, "phone", d)
			log, c := ann.own(), phone.client
			for name, try := range map[string]func(context.Context) error{
				"publish":        func(ctx context.Context) error { _, err := c.Publish(ctx, log, []byte("{}")); return err },
				"presence":       func(ctx context.Context) error { _, err := c.Presence(ctx, log); return err },
				"presence stats": func(ctx context.Context) error { _, err := c.PresenceStats(ctx, log); return err },
				"history":        func(ctx context.Context) error { _, err := c.History(ctx, log); return err },
			} {
				var refused *centrifuge.Error
				if err := try(within(t)); !errors.As(err, &refused) || refused.Code != 108 {
					t.Errorf("%s: got %v, want error 108", name, err)
				}
			}
			phone.ask("Devices.List", object{}) // The connection lives on.
			if n := phone.times(); n != 1 {
				t.Errorf("connected %d times, want 1", n)
			}
		})
	}
}

func TestTwoTenantsNeverMeet(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	here := s.people(plain, "ann", "bob")
	there := []*person{{s, other, here[0].id}, {s, other, here[1].id}}
	phones := []*device{here[0].device(t, "phone", speaksJSON), there[0].device(t, "phone", speaksJSON)}

	groups := make([]uint64, 2)
	for i, owner := range []*person{here[0], there[0]} {
		groups[i] = owner.group(t, object{"request_id": "same"})
		owner.say(t, groups[i], "before")
	}
	for i, stranger := range []*person{there[1], here[1]} {
		if groups[0] == groups[1] {
			break // The same number names two groups, and each has one.
		}
		for method, req := range map[string]object{
			"Messages.History": {"conversation_id": groups[i]},
			"Messages.Send":    {"conversation_id": groups[i], "content": text("?")},
			"Groups.Join":      {"conversation_id": groups[i]},
			"Groups.Get":       {"conversation_id": groups[i]},
		} {
			stranger.refused(t, "not_found", method, req)
		}
	}
	a, b := here[0].direct(t, here[1]), there[0].direct(t, there[1])
	here[1].say(t, a, fmt.Sprintf("in %s", plain))
	there[1].say(t, b, fmt.Sprintf("in %s", other))
	for i, conversation := range []uint64{a, b} {
		tenant := []string{plain, other}[i]
		phones[i].hears(logOf(conversation), "the message of its tenant", func(e event) bool { return e.text() == "in "+tenant })
		if got := texts([]*person{here[0], there[0]}[i].messages(t, conversation)); got != "in "+tenant {
			t.Errorf("tenant %s reads %q", tenant, got)
		}
		for _, e := range phones[i].log(logOf(conversation)) {
			if e.text() != "" && e.text() != "in "+tenant {
				t.Errorf("tenant %s heard %v", tenant, e)
			}
		}
	}
	// A token of one tenant that names the other is of neither.
	forged := s.sign(t, plain, claims{"sub": here[0].id, "tenant": other, "device": "phone", "exp": farAway()})
	if _, err := s.post(forged, "Dialogs.List", object{}, asJSON); !isRefusal(err, "unauthorized") {
		t.Errorf("with the other tenant's key: %v, want unauthorized", err)
	}
}
