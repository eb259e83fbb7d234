package oracle

import "fmt"

// A Reading compares a conversation's history with what was sent. It is read
// when the load is over, in rising order.
type Reading struct {
	account *Account
	seq     uint64
	next    []uint64 // by sender
	found   []bool   // whether anything of him was read
	whole   bool
}

// Reading begins one. whole says that it begins where the load began: then each
// sender's first message must be in it.
func (a *Account) Reading(whole bool) *Reading {
	return &Reading{account: a, next: make([]uint64, len(a.senders)), found: make([]bool, len(a.senders)), whole: whole}
}

// Message takes the next message of the history.
func (r *Reading) Message(seq uint64, text []byte) error {
	a := r.account
	conversation, from, n, sealed := a.seal.Open(text)
	switch {
	case seq <= r.seq:
		return fmt.Errorf("conversation %d: its history has seq %d after seq %d", a.number, seq, r.seq)
	case !sealed || conversation != a.number || from >= len(a.senders) || n >= a.senders[from].sent:
		return fmt.Errorf("conversation %d: its history has at seq %d a message that nobody sent: %.80q", a.number, seq, text)
	case (r.found[from] || r.whole) && n != r.next[from]:
		return fmt.Errorf("conversation %d: its history has message %d of sender %d where message %d belongs, at seq %d",
			a.number, n, from, r.next[from], seq)
	}
	r.seq, r.next[from], r.found[from] = seq, n+1, true
	return nil
}

// Finish checks that the history goes as far as what was acknowledged.
func (r *Reading) Finish() error {
	a := r.account
	for from := range a.senders {
		s := &a.senders[from]
		if !r.found[from] && !r.whole {
			continue // He sent nothing in the part that was read.
		}
		for n := r.next[from]; n < s.sent; n++ {
			if f := a.flight(from, n); f == nil || f.exists() {
				return fmt.Errorf("conversation %d: its history ends before message %d of sender %d, which was acknowledged", a.number, n, from)
			}
		}
	}
	return nil
}
