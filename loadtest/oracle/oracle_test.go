package oracle

import (
	"strings"
	"testing"
)

func TestASealedTextOpensAsItWasWritten(t *testing.T) {
	s := NewSeal()
	for _, size := range []int{MinTextBytes, 64, 127, 128, 4096} {
		text := []byte(strings.Repeat("é.", size)[:size])
		s.Write(text, 123_456, MaxSenders-1, 1<<40+7)
		conversation, sender, n, ok := s.Open(text)
		if !ok || conversation != 123_456 || sender != MaxSenders-1 || n != 1<<40+7 {
			t.Errorf("a text of %d bytes opens as conversation %d, sender %d, message %d, %v", size, conversation, sender, n, ok)
		}
	}
}

func TestAnythingElseDoesNotOpen(t *testing.T) {
	s := NewSeal()
	text := []byte(strings.Repeat("x", 128))
	s.Write(text, 1, 2, 3)
	refuse := func(what string, b []byte) {
		t.Helper()
		if _, _, _, ok := s.Open(b); ok {
			t.Errorf("a text opens that was changed: %s", what)
		}
	}
	for i := range text {
		changed := append([]byte{}, text...)
		changed[i] ^= 1
		refuse("one bit", changed)
	}
	refuse("cut at the end", text[:127])
	refuse("cut at the front", text[1:])
	refuse("longer", append(append([]byte{}, text...), '0'))
	refuse("empty", nil)
	if _, _, _, ok := NewSeal().Open(text); ok {
		t.Error("a text opens under another run's key")
	}
}

// talk is a conversation of three, of whom two send, and its seqs.
type talk struct {
	*Account
	seq   uint64
	freed [2]int
}

func newTalk(hearOwn bool) *talk {
	w := &talk{Account: NewAccount(NewSeal(), Rules{Number: 7, Members: 3, Senders: 2, InFlight: 4, HearOwn: hearOwn})}
	w.Free = func(sender int) { w.freed[sender]++ }
	return w
}

// a message of the test.
type said struct {
	from int
	n    uint64
	seq  uint64
	text []byte
}

// say sends one, as the server would number it.
func (w *talk) say(from int) said {
	text := make([]byte, MinTextBytes)
	n := w.Send(from, text, 1)
	w.seq++
	return said{from, n, w.seq, text}
}

func (w *talk) ack(m said)          { w.Acked(m.from, m.n, m.seq) }
func (w *talk) hear(to int, m said) { w.Delivered(to, m.seq, m.text) }
func (w *talk) all(m said)          { w.ack(m); w.hear(0, m); w.hear(1, m); w.hear(2, m) }

func TestWhatTheServerMayDo(t *testing.T) {
	for _, c := range []struct {
		name string
		does func(w *talk)
		want Counts
	}{
		{"everything arrives", func(w *talk) {
			for range 100 {
				w.all(w.say(0))
				w.all(w.say(1))
			}
		}, Counts{Sent: 200, Acked: 200, Delivered: 400}},
		{"deliveries come before the acknowledgement", func(w *talk) {
			m := w.say(0)
			w.hear(0, m)
			w.hear(1, m)
			w.hear(2, m)
			w.ack(m)
		}, Counts{Sent: 1, Acked: 1, Delivered: 2}},
		{"members are at different places", func(w *talk) {
			a, b := w.say(0), w.say(1)
			w.ack(b)
			w.hear(2, a)
			w.hear(2, b)
			w.hear(0, a)
			w.hear(0, b)
			w.hear(1, a)
			w.hear(1, b)
			w.ack(a)
		}, Counts{Sent: 2, Acked: 2, Delivered: 4}},
		{"other events have seqs, too", func(w *talk) {
			w.all(w.say(0))
			w.seq++
			for i := range 3 {
				w.Passed(i, w.seq)
			}
			w.all(w.say(0))
		}, Counts{Sent: 2, Acked: 2, Delivered: 4}},
		{"the log began before the run", func(w *talk) {
			w.seq = 5000
			w.all(w.say(0))
		}, Counts{Sent: 1, Acked: 1, Delivered: 2}},
		{"nobody knows whether a message was done, and it was not", func(w *talk) {
			w.say(0)
			w.seq--
			w.all(w.say(1))
		}, Counts{Sent: 2, Acked: 1, Delivered: 2, Unknown: 1}},
		{"nobody knows, and it was: its acknowledgement is missing", func(w *talk) {
			m := w.say(0)
			w.hear(0, m)
			w.hear(1, m)
			w.hear(2, m)
		}, Counts{Sent: 1, Delivered: 2}},
	} {
		w := newTalk(true)
		c.does(w)
		if got := w.Finish(); got != c.want {
			t.Errorf("%s: %+v, want %+v; %q", c.name, got, c.want, w.Faults())
		}
		if err := w.Finish().Err(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestWhatTheServerMayNotDo(t *testing.T) {
	for _, c := range []struct {
		name string
		does func(w *talk)
		want Counts // but Sent, Acked, Delivered
	}{
		{"a delivery is lost", func(w *talk) {
			m := w.say(0)
			w.ack(m)
			w.hear(0, m)
			w.hear(1, m)
			w.all(w.say(0))
		}, Counts{Lost: 1}},
		{"the last delivery is lost", func(w *talk) {
			m := w.say(0)
			w.ack(m)
			w.hear(0, m)
			w.hear(1, m)
		}, Counts{Lost: 1}},
		{"an acknowledged message reaches nobody", func(w *talk) { w.ack(w.say(0)) }, Counts{Lost: 3}},
		{"the sender does not hear himself", func(w *talk) {
			m := w.say(0)
			w.ack(m)
			w.hear(1, m)
			w.hear(2, m)
		}, Counts{Lost: 1}},
		{"one heard it, so the others must, acknowledged or not", func(w *talk) { w.hear(1, w.say(0)) }, Counts{Lost: 2}},
		{"a delivery is doubled", func(w *talk) {
			m := w.say(0)
			w.all(m)
			w.hear(2, m)
		}, Counts{Duplicated: 1}},
		{"it is doubled under a seq of its own", func(w *talk) {
			m := w.say(0)
			w.all(m)
			w.seq++
			w.Delivered(2, w.seq, m.text)
		}, Counts{Duplicated: 1}},
		{"an acknowledgement is doubled", func(w *talk) {
			m := w.say(0)
			w.all(m)
			w.ack(m)
		}, Counts{Duplicated: 1}},
		{"a message is acknowledged that was not sent", func(w *talk) { w.Acked(0, 3, 1) }, Counts{Duplicated: 1}},
		{"somebody is acknowledged who does not send", func(w *talk) { w.Acked(2, 0, 1) }, Counts{Duplicated: 1}},
		{"a text is changed", func(w *talk) {
			m := w.say(0)
			w.ack(m)
			w.hear(0, m)
			w.hear(1, m)
			m.text = append([]byte{}, m.text...)
			m.text[MinTextBytes/2] ^= 1
			w.hear(2, m)
		}, Counts{Lost: 1, Duplicated: 1}},
		{"a message of another conversation comes here", func(w *talk) {
			text := make([]byte, MinTextBytes)
			w.seal.Write(text, 8, 0, 0)
			w.say(0)
			w.Delivered(1, 1, text)
		}, Counts{Duplicated: 1, Unknown: 1}},
		{"a message comes before it was sent", func(w *talk) {
			text := make([]byte, MinTextBytes)
			w.seal.Write(text, 7, 0, 0)
			w.Delivered(1, 1, text)
		}, Counts{Duplicated: 1}},
		{"two messages of one sender are swapped", func(w *talk) {
			a, b := w.say(0), w.say(0)
			for i := range 2 {
				w.hear(i, a)
				w.hear(i, b)
			}
			w.hear(2, b)
			w.hear(2, a)
			w.ack(a)
			w.ack(b)
		}, Counts{Reordered: 1}},
		{"two messages of two senders are swapped", func(w *talk) {
			a, b := w.say(0), w.say(1)
			for i := range 2 {
				w.hear(i, a)
				w.hear(i, b)
			}
			w.hear(2, b)
			w.hear(2, a)
			w.ack(a)
			w.ack(b)
		}, Counts{Reordered: 1}},
		{"they are swapped under seqs that rise", func(w *talk) {
			a, b := w.say(0), w.say(1)
			for i := range 2 {
				w.hear(i, a)
				w.hear(i, b)
			}
			w.Delivered(2, a.seq, b.text)
			w.Delivered(2, b.seq, a.text)
			w.ack(a)
			w.ack(b)
		}, Counts{Reordered: 2}}, // Each has another seq than the others were told.
		{"a seq is left out for one member", func(w *talk) {
			w.all(w.say(0))
			m := w.say(0)
			w.ack(m)
			w.hear(0, m)
			w.hear(1, m)
			w.Passed(2, m.seq)
			w.Delivered(2, m.seq+1, m.text)
		}, Counts{Reordered: 1}},
		{"a seq is left out for all", func(w *talk) {
			w.all(w.say(0))
			w.seq++
			w.all(w.say(0))
		}, Counts{Reordered: 3}},
		{"a seq is given twice", func(w *talk) {
			w.all(w.say(0))
			w.seq--
			w.all(w.say(0))
		}, Counts{Reordered: 3}},
		{"an event comes twice", func(w *talk) {
			w.Passed(1, 4)
			w.Passed(1, 4)
		}, Counts{Reordered: 1}},
		{"it is acknowledged under a seq of none", func(w *talk) {
			m := w.say(0)
			w.hear(0, m)
			w.hear(1, m)
			w.hear(2, m)
			w.Acked(0, m.n, 0)
		}, Counts{Reordered: 1}},
	} {
		w := newTalk(true)
		c.does(w)
		got := w.Finish()
		got.Sent, got.Acked, got.Delivered = 0, 0, 0
		if got != c.want {
			t.Errorf("%s: %+v, want %+v; %q", c.name, got, c.want, w.Faults())
		}
		if got.Err() == nil || len(w.Faults()) == 0 {
			t.Errorf("%s: it is not said (%q)", c.name, w.Faults())
		}
	}
}

func TestASlotIsFreeAfterTheAcknowledgementAndEveryDelivery(t *testing.T) {
	w := newTalk(true)
	m := w.say(0)
	for _, step := range []func(){
		func() { w.hear(0, m) }, // His own does not count.
		func() { w.ack(m) },
		func() { w.hear(1, m) },
		func() { w.hear(1, m) }, // Nor does one twice.
	} {
		step()
		if w.freed[0] != 0 {
			t.Fatal("a slot is free before everybody has heard the message")
		}
	}
	w.hear(2, m)
	if w.freed != [2]int{1, 0} {
		t.Errorf("slots freed = %v, want one of sender 0", w.freed)
	}
}

func TestNothingIsOwedWhenAllHasCome(t *testing.T) {
	for _, hearOwn := range []bool{true, false} {
		w := newTalk(hearOwn)
		m := w.say(0)
		w.ack(m)
		w.hear(1, m)
		if w.Owed() == 0 {
			t.Error("nothing is owed, though member 2 has heard nothing")
		}
		if hearOwn {
			w.hear(0, m)
		}
		w.hear(2, m)
		if w.Owed() != 0 {
			t.Errorf("%d are owed, though all has come (hearing oneself: %v)", w.Owed(), hearOwn)
		}
		if got := w.Finish(); got.Lost != 0 {
			t.Errorf("%d are lost (hearing oneself: %v)", got.Lost, hearOwn)
		}
	}
}

func TestWhoMissesAMessageForLongStopsSending(t *testing.T) {
	w := newTalk(true)
	stuck := w.say(0)
	sent := 1
	for ; w.CanSend(0) && sent < 1000; sent++ {
		w.all(w.say(0))
	}
	if sent < 2*4 || sent == 1000 {
		t.Errorf("%d messages were sent past a missing one", sent)
	}
	w.all(stuck)
	if !w.CanSend(0) {
		t.Error("he may not go on when it has come")
	}
}

func TestHistoryIsWhatWasSent(t *testing.T) {
	w := newTalk(true)
	var log []said
	for i := range 6 {
		m := w.say(i % 2)
		w.all(m)
		log = append(log, m)
	}
	w.say(0) // Nobody knows whether it was done.
	text := func(m said) said { m.text = append([]byte{}, m.text...); return m }
	changed := text(log[3])
	changed.text[0] ^= 1
	again := text(log[2])
	again.seq = 7
	for _, c := range []struct {
		name  string
		whole bool
		log   []said
		ok    bool
	}{
		{"all of it", true, log, true},
		{"its end", false, log[3:], true},
		{"without its beginning", true, log[1:], false},
		{"without its end", true, log[:5], false},
		{"without one in the middle", false, append(append([]said{}, log[:2]...), log[3:]...), false},
		{"one again", true, append(append([]said{}, log...), log[5]), false},
		{"one again under a seq of its own", true, append(append([]said{}, log...), again), false},
		{"two swapped", true, []said{log[0], log[1], log[3], log[2], log[4], log[5]}, false},
		{"one changed", true, append(append([]said{}, log[:3]...), changed, log[4], log[5]), false},
	} {
		r := w.Reading(c.whole)
		var err error
		for _, m := range c.log {
			if err = r.Message(m.seq, m.text); err != nil {
				break
			}
		}
		if err == nil {
			err = r.Finish()
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v, want ok = %v", c.name, err, c.ok)
		}
	}
}

func BenchmarkDelivered(b *testing.B) {
	a := NewAccount(NewSeal(), Rules{Members: 2, Senders: 1, InFlight: 8})
	text := make([]byte, 128)
	b.ReportAllocs()
	for i := uint64(1); b.Loop(); i++ {
		n := a.Send(0, text, 1)
		a.Delivered(1, i, text)
		a.Acked(0, n, i)
	}
}
