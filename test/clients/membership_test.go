package clients

import (
	"fmt"
	"testing"
)

// hole is what stands in a log for what somebody may not see.
func hole(t testing.TB, e event) (from, through uint64) {
	t.Helper()
	if e.Type != "Hole" {
		t.Errorf("there is %v, want a hole", e)
	}
	return e.Body.number(t, "from"), e.Body.number(t, "through")
}

func isAbout(kind string, who *person) func(event) bool {
	return func(e event) bool { return e.Type == kind && e.Body["user_id"] == who.id }
}

func TestWhoLeftAndReturnedHasAHoleBetween(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			pair := s.people(plain, "ann", "bob")
			ann, bob := pair[0], pair[1]
			id := ann.group(t, object{"history_hidden": true}, bob)
			log := logOf(id)
			l := linkTo(t, s)
			there, away := bob.device(t, "there", d), bob.by(t, l, "away", d)
			both := ann.say(t, id, "both")
			there.reaches(log, both)
			away.reaches(log, both)
			l.refuse(true)
			l.cut(rst)

			bob.post(t, "Groups.Leave", object{"conversation_id": id})
			left := there.hears(log, "that he left", isAbout("MemberLeft", bob)).Seq
			there.hears(bob.own(), "that he left", func(e event) bool { return e.Type == "DialogLeft" && e.Body.number(t, "conversation_id") == id })
			there.closed(log)
			ann.say(t, id, "secret one")
			ann.say(t, id, "secret two")
			bob.refused(t, "not_found", "Messages.Send", object{"conversation_id": id, "content": text("?")})
			bob.post(t, "Groups.Join", object{"conversation_id": id})
			last := ann.say(t, id, "together")

			there.reaches(log, last)
			l.refuse(false)
			away.reaches(log, last)
			events := away.log(log)
			holes := 0
			for _, e := range events {
				if e.text() == "secret one" || e.text() == "secret two" {
					t.Errorf("he heard %v", e)
				}
				if e.Type == "Hole" {
					holes++
					if from, through := hole(t, e); from != left+1 || through != left+2 {
						t.Errorf("the hole is %d to %d, want %d to %d", from, through, left+1, left+2)
					}
				}
			}
			if holes != 1 {
				t.Errorf("there are %d holes in %v, want 1", holes, events)
			}
			if got := texts(bob.messages(t, id)); got != "both together" {
				t.Errorf("he reads %q, want %q", got, "both together")
			}
			if got := texts(ann.messages(t, id)); got != "both secret one secret two together" {
				t.Errorf("she reads %q", got)
			}
		})
	}
}

func TestNewMembersSeeWhatWasBeforeThemOrNot(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	for _, hidden := range []bool{false, true} {
		t.Run(fmt.Sprintf("hidden %v", hidden), func(t *testing.T) {
			pair := s.people(plain, "ann", "bob")
			ann, bob := pair[0], pair[1]
			his := bob.device(t, "phone", speaksProto)
			id := ann.group(t, object{"history_hidden": hidden})
			log := logOf(id)
			before := ann.say(t, id, "before")
			bob.post(t, "Groups.Join", object{"conversation_id": id})
			joined := his.hears(log, "that he joined", isAbout("MemberJoined", bob)).Seq
			his.reaches(log, ann.say(t, id, "after"))
			if first := his.log(log)[0]; first.Seq != joined {
				t.Errorf("the first that he hears is %v, want his own joining at %d", first, joined)
			}

			history := bob.history(t, id)
			if !hidden {
				if got := texts(history); got != "before after" {
					t.Errorf("he reads %q, want %q", got, "before after")
				}
				return
			}
			if from, through := hole(t, history[0]); from != 1 || through != joined-1 {
				t.Errorf("the hole is %d to %d, want 1 to %d", from, through, joined-1)
			}
			if got := texts(history[1:]); got != "after" {
				t.Errorf("he reads %q, want %q", got, "after")
			}
			ann.post(t, "Messages.Edit", object{"conversation_id": id, "seq": before, "content": text("changed")})
			edited := his.hears(log, "an edit", func(e event) bool { return e.Type == "MessageEdited" })
			if edited.Body["message"] != nil {
				t.Errorf("he heard what a message says that is hidden from him: %v", edited)
			}
			bob.refused(t, "not_found", "Messages.Delete", object{"conversation_id": id, "seqs": []uint64{before}})
		})
	}
}

// While others write as fast as they can, one is removed: the last that each of
// his devices hears, and the last that he reads, is that he was.
func TestTheRemovedHearTheirRemovalLast(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	all := s.people(plain, "ann", "bob", "cat")
	ann, bob, cat := all[0], all[1], all[2]
	id := ann.group(t, nil, bob, cat)
	log := logOf(id)
	l := linkTo(t, s)
	his := []*device{bob.device(t, "json", speaksJSON), bob.device(t, "proto", speaksProto), bob.by(t, l, "away", speaksProto)}
	writer := cat.device(t, "phone", speaksProto)
	start := ann.say(t, id, "start")
	for _, dev := range his {
		dev.reaches(log, start)
	}
	l.refuse(true)
	l.cut(rst)

	var sent acks
	done := make(chan struct{})
	go func() {
		defer close(done)
		writer.send(within(t), id, 400, &sent)
	}()
	sent.reach(t, 100)
	ann.post(t, "Groups.Remove", object{"conversation_id": id, "user_id": bob.id})
	<-done
	l.refuse(false)

	removed := writer.hears(log, "the removal", isAbout("MemberRemoved", bob)).Seq
	writer.reaches(log, ann.say(t, id, "end"))
	for _, dev := range his {
		dev.hears(log, "his removal", isAbout("MemberRemoved", bob))
		dev.closed(log)
		if dev.name != "away" {
			dev.hears(bob.own(), "that he is out", func(e event) bool { return e.Type == "DialogLeft" })
		}
		// A call goes through after everything that was published to the device.
		dev.ask("Devices.List", object{})
		events := dev.log(log)
		if last := events[len(events)-1]; last.Seq != removed {
			t.Errorf("%s: the last that he heard is %v, want his removal at %d", dev, last, removed)
		}
	}
	for _, e := range bob.history(t, id) {
		if e.Seq > removed {
			t.Errorf("he reads %v, which is after his removal at %d", e, removed)
		}
	}
	history := cat.messages(t, id)
	sent.check(t, history)
	if len(history) != 402 {
		t.Errorf("the others read %d messages, want 402", len(history))
	}
	bob.refused(t, "not_found", "Groups.Get", object{"conversation_id": id})
}
