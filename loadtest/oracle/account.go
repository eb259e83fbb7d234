package oracle

import (
	"fmt"
	"math/bits"
)

// Counts is what a run came to.
type Counts struct {
	Sent      uint64 // messages written to a socket
	Acked     uint64 // of these the server has said that they are durable
	Delivered uint64 // first deliveries, to everybody but who sent it
	// Lost counts deliveries that did not come, of messages that the server has:
	// acknowledged, or heard by somebody.
	Lost uint64
	// Duplicated counts what came beside the one delivery of each message: the same
	// again, or a text that nobody sent.
	Duplicated uint64
	// Reordered counts deliveries out of order: behind a later one, under two
	// numbers, or after a number that was left out.
	Reordered uint64
	// Unknown counts messages of which nobody knows: not acknowledged, heard by
	// nobody. Each was done once or not at all.
	Unknown uint64
}

// Plus returns the sum.
func (c Counts) Plus(d Counts) Counts {
	return Counts{
		c.Sent + d.Sent, c.Acked + d.Acked, c.Delivered + d.Delivered,
		c.Lost + d.Lost, c.Duplicated + d.Duplicated, c.Reordered + d.Reordered, c.Unknown + d.Unknown,
	}
}

// Err is a sentence if a promise was broken.
func (c Counts) Err() error {
	if c.Lost == 0 && c.Duplicated == 0 && c.Reordered == 0 {
		return nil
	}
	return fmt.Errorf("the server broke its promise: of %d messages, %d deliveries were lost, %d were doubled or invented, %d were out of order",
		c.Sent, c.Lost, c.Duplicated, c.Reordered)
}

// An Account is what one conversation's messages came to. Its members are
// numbered from 0, and the first of them send.
type Account struct {
	// Free hears that a slot of a sender is free again: the message has its
	// acknowledgement, and every other member has heard it.
	Free func(sender int)

	seal    *Seal
	number  int
	hearOwn bool // who sends hears his own messages, too
	senders []sender
	members []member
	counts  Counts
	owed    int64 // acknowledgements and deliveries that are still to come

	low, high uint64 // seqs heard
	faults    []string
	finished  bool
}

// A sender's messages are numbered from 0.
type sender struct {
	sent    uint64
	flights []flight // under way, each at its number modulo the length, a power of two
}

// A flight is a message under way: not acknowledged, or not heard by all others.
type flight struct {
	n     uint64
	at    int64  // when it was sent, as the caller counts time
	seq   uint64 // as the first who was told was told; 0: nobody was
	waits int    // members, but for the sender, who have not heard it
	acked bool
	under bool // way
}

// A member hears the conversation.
type member struct {
	seq     uint64   // the highest heard; 0: none
	holes   uint64   // seqs below it that were not heard
	next    []uint64 // by sender: the number of the next message
	missing map[message]struct{}
}

// A message is one of a sender's by its number.
type message struct {
	sender int
	n      uint64
}

// Rules is what a conversation is like.
type Rules struct {
	Number   int // in this run
	Members  int
	Senders  int
	InFlight int  // messages under way of each sender, at most
	HearOwn  bool // a sender is sent his own messages, too
}

// NewAccount returns the account of a conversation of which nobody has heard
// anything.
func NewAccount(seal *Seal, r Rules) *Account {
	a := &Account{
		seal: seal, number: r.Number, hearOwn: r.HearOwn,
		senders: make([]sender, r.Senders), members: make([]member, r.Members), Free: func(int) {},
	}
	for i := range a.senders {
		// A message that never arrives keeps its place, so there is room for others
		// to overtake it before its sender has to stop.
		a.senders[i].flights = make([]flight, 1<<bits.Len(uint(2*r.InFlight)))
	}
	for i := range a.members {
		a.members[i].next = make([]uint64, r.Senders)
	}
	return a
}

// CanSend reports whether there is room for one more message of a sender. There
// is unless one has been missing for long.
func (a *Account) CanSend(sender int) bool {
	s := &a.senders[sender]
	return !s.flights[s.sent&uint64(len(s.flights)-1)].under
}

// Send makes text a sender's next message and returns its number.
func (a *Account) Send(sender int, text []byte, now int64) (n uint64) {
	s := &a.senders[sender]
	n = s.sent
	s.sent++
	a.seal.Write(text, a.number, sender, n)
	s.flights[n&uint64(len(s.flights)-1)] = flight{n: n, at: now, waits: len(a.members) - 1, under: true}
	a.counts.Sent++
	a.owed += int64(len(a.members)) // The acknowledgement and all others.
	if a.hearOwn {
		a.owed++
	}
	return n
}

// flight returns a message that is under way, or nil.
func (a *Account) flight(sender int, n uint64) *flight {
	s := &a.senders[sender]
	if f := &s.flights[n&uint64(len(s.flights)-1)]; f.under && f.n == n {
		return f
	}
	return nil
}

// Acked takes the acknowledgement of a sender's n-th message and returns when it
// was sent. ok is false if there was nothing to acknowledge.
func (a *Account) Acked(sender int, n, seq uint64) (at int64, ok bool) {
	var f *flight
	if sender < len(a.senders) {
		f = a.flight(sender, n)
	}
	if f == nil || f.acked {
		a.counts.Duplicated++
		a.fault("sender %d was acknowledged message %d, which he had not sent or was told before", sender, n)
		return 0, false
	}
	f.acked = true
	at = f.at
	a.counts.Acked++
	a.owed--
	a.numbered(f, seq, sender)
	a.settle(sender, f)
	return at, true
}

// Delivered takes a message that a member has heard at a seq. It returns when it
// was sent; ok is false if it does not count: the member's own, or one too many.
func (a *Account) Delivered(to int, seq uint64, text []byte) (at int64, ok bool) {
	conversation, from, n, sealed := a.seal.Open(text)
	if !sealed || conversation != a.number || from >= len(a.senders) || n >= a.senders[from].sent {
		a.counts.Duplicated++
		a.fault("member %d heard at seq %d a message that nobody sent: %.80q", to, seq, text)
		return 0, false
	}
	m := &a.members[to]
	a.span(seq)
	fresh, late := m.take(from, n)
	if !fresh {
		a.counts.Duplicated++
		a.fault("member %d heard message %d of sender %d again, at seq %d", to, n, from, seq)
		return 0, false
	}
	if early := m.hear(seq); late || early {
		a.counts.Reordered++
		a.fault("member %d heard message %d of sender %d, at seq %d, behind a later one", to, n, from, seq)
	}
	a.owed--
	f := a.flight(from, n)
	if f != nil {
		a.numbered(f, seq, from)
	}
	if to == from {
		return 0, false
	}
	a.counts.Delivered++
	at = f.at // It is under way, for this member had not heard it.
	f.waits--
	a.settle(from, f)
	return at, true
}

// Passed takes an event that is no message.
func (a *Account) Passed(to int, seq uint64) {
	if a.members[to].hear(seq) {
		a.counts.Reordered++
		a.fault("member %d heard an event at seq %d behind a later one", to, seq)
	}
}

// span notes a seq of the run.
func (a *Account) span(seq uint64) {
	if a.low == 0 || seq < a.low {
		a.low = seq
	}
	a.high = max(a.high, seq)
}

// take counts a message off. It is fresh if it is the first time, and late if a
// later one of the same sender came before it.
func (m *member) take(sender int, n uint64) (fresh, late bool) {
	next := &m.next[sender]
	if n >= *next {
		for ; *next < n; *next++ {
			if m.missing == nil {
				m.missing = map[message]struct{}{}
			}
			m.missing[message{sender, *next}] = struct{}{}
		}
		*next++
		return true, false
	}
	_, late = m.missing[message{sender, n}]
	delete(m.missing, message{sender, n})
	return late, late
}

// hear moves the position. It reports whether the seq is not above it.
func (m *member) hear(seq uint64) (early bool) {
	if seq <= m.seq {
		m.holes -= min(m.holes, 1)
		return true
	}
	if m.seq != 0 {
		m.holes += seq - m.seq - 1
	}
	m.seq = seq
	return false
}

// numbered holds everybody to the seq that the first was told.
func (a *Account) numbered(f *flight, seq uint64, sender int) {
	if f.seq == 0 {
		f.seq = seq
	}
	if f.seq != seq || seq == 0 {
		a.counts.Reordered++
		a.fault("message %d of sender %d has the seqs %d and %d", f.n, sender, f.seq, seq)
	}
}

// settle frees the slot of a message that is through.
func (a *Account) settle(sender int, f *flight) {
	if f.acked && f.waits == 0 {
		f.under = false
		a.Free(sender)
	}
}

// Owed is how many acknowledgements and deliveries are still to come.
func (a *Account) Owed() int64 { return a.owed }

// Span is the lowest and the highest seq that anybody has heard; 0, 0: none.
func (a *Account) Span() (low, high uint64) { return a.low, a.high }

// Counts is what has been so far. Lost and Unknown are known after Finish.
func (a *Account) Counts() Counts { return a.counts }

// Faults is the first few things that were wrong, in words.
func (a *Account) Faults() []string { return a.faults }

// maxFaults is how many faults of a conversation are told in words. 3: one
// explains a run, a thousand do not.
const maxFaults = 3

func (a *Account) fault(format string, args ...any) {
	if len(a.faults) < maxFaults {
		a.faults = append(a.faults, fmt.Sprintf("conversation %d: ", a.number)+fmt.Sprintf(format, args...))
	}
}

// Finish counts what has not come and never will. Nothing may be sent after it.
func (a *Account) Finish() Counts {
	if a.finished {
		return a.counts
	}
	a.finished = true
	for i := range a.senders {
		for _, f := range a.senders[i].flights {
			if f.under && !f.exists() {
				a.counts.Unknown++
			}
		}
	}
	for to := range a.members {
		m := &a.members[to]
		lost := a.lost(to, m)
		a.counts.Lost += lost
		if explained := lost + a.counts.Unknown; m.holes > explained {
			a.counts.Reordered += m.holes - explained
			a.fault("member %d was not told of %d seqs, of which %d are explained by what is missing", to, m.holes, explained)
		}
	}
	return a.counts
}

// exists reports whether the server is known to have the message.
func (f *flight) exists() bool { return f.acked || f.seq != 0 }

// lost counts what a member should have heard.
func (a *Account) lost(to int, m *member) (lost uint64) {
	check := func(from int, n uint64) {
		if from == to && !a.hearOwn {
			return
		}
		if f := a.flight(from, n); f == nil || f.exists() {
			lost++
			a.fault("member %d never heard message %d of sender %d", to, n, from)
		}
	}
	for x := range m.missing {
		check(x.sender, x.n)
	}
	for from := range a.senders {
		for n := m.next[from]; n < a.senders[from].sent; n++ {
			check(from, n)
		}
	}
	return lost
}
