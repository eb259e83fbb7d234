package entity

import "slices"

// A Bug is planted in the real code by a test, which must then go red. The
// zero Bug is none: production never sets another.
type Bug uint8

// The bugs. Each is one line at the place where somebody could write it.
const (
	NoBug             Bug = iota
	ReplyBeforeSync       // a reply is released before its commit is durable
	RefusalBeforeSync     // so is a refusal
	RepeatBeforeSync      // so is the repeat of a request that is still on its way
	UndurableQuery        // queries read what is written, not what is durable
	UndurablePosition     // positions do
	PassivatePending      // an entity is put away while some of its writes are pending
	OutboxNotResumed      // a restarted node delivers no tells of before
	SeqReused             // a restarted entity starts one seq too low
	ForgetRequests        // a restarted entity knows no request ids
	RevokedBodyStays      // Rewrite leaves the old body in its row
	TellRemoved           // an event reaches a member who has been removed
	TimerDropped          // a node that runs forgets the timers that are set, until it starts again
	MemberDropped         // who joined or left a large conversation is not known when it is small again
	LostStamp             // rows are written without the stamp of their commit
	DriftingUnread        // a message that is revoked goes on counting as unread
	bugs
)

var bugNames = [bugs]string{
	"none", "reply-before-sync", "refusal-before-sync", "repeat-before-sync", "undurable-query",
	"undurable-position", "passivate-pending", "outbox-not-resumed", "seq-reused", "requests-forgotten",
	"revoked-body-stays", "tell-removed", "timer-dropped", "member-dropped", "lost-stamp", "drifting-unread",
}

func (b Bug) String() string { return bugNames[b] }

// Planted reports whether a bug is planted in code that runs in this Step.
func (tx *Tx) Planted(b Bug) bool { return tx.memory.planted == b }

// Anywhere is b if it is in what a Step does, whatever its memory: then the same
// Step elsewhere agrees with it, and somebody who knows better must find it.
func (b Bug) Anywhere() Bug {
	if b == LostStamp || b == DriftingUnread {
		return b
	}
	return NoBug
}

// Bugs lists every bug that can be planted.
func Bugs() []Bug {
	all := make([]Bug, 0, bugs-1)
	for b := NoBug + 1; b < bugs; b++ {
		all = append(all, b)
	}
	return all
}

// watched is when MemberDropped keeps what was derived from the members: before
// or after the Step it was watchers who hear, and the members were not asked.
func (tx *Tx) watched() bool {
	before := slices.ContainsFunc(tx.events, func(e *Event) bool { return e.Audience.Watchers })
	return before || tx.reg.logs[tx.ref.Kind].Audience(tx).Watchers
}

// Undurable is what two bugs read: the durable view under everything that the
// entity has written. It is the mistake of answering from the actor.
func (m *Memory) Undurable(view Snapshot) Snapshot {
	u := &undurable{Snapshot: view, over: map[string]*slot{}}
	for _, p := range m.pending {
		u.over[p.key] = m.rows[p.key]
	}
	for seq, l := range m.events {
		u.over[string(logKey(nil, m.ref, seq))] = &slot{val: l.val}
	}
	return u
}

type undurable struct {
	Snapshot
	over map[string]*slot
}

func (u *undurable) Get(key []byte) ([]byte, bool, error) {
	if s := u.over[string(key)]; s != nil {
		return s.val, s.val != nil, nil
	}
	return u.Snapshot.Get(key)
}

func (u *undurable) Scan(lower, upper []byte, reverse bool, yield func(key, val []byte) bool) error {
	over := map[string]*slot{}
	for k, s := range u.over {
		if inRange(k, lower, upper) {
			over[k] = s
		}
	}
	mergeRows(u.Snapshot, lower, upper, reverse, over, nil, func(key []byte, s *slot) bool { return yield(key, s.val) })
	return nil
}
