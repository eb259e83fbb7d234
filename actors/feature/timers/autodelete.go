package timers

import (
	"time"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// How long messages are kept is a property of the conversation and holds for what
// is sent after it was set. So the log has stretches, each with its own time. In
// one stretch messages expire in the order in which they were sent: what has
// expired is a range, and goes as one.
//
// One timer per conversation waits for the message that expires first.

// expireReads and expireWrites are how many rows a Step reads and writes at most for
// each event that its expiry looks at: where older messages stay it marks each
// message, and moves the marker of each author. A range costs as much as rangeEvents,
// however short it is: its ends are searched for.
const (
	expireReads  = 20
	expireWrites = 8
	rangeEvents  = 8
)

// expirePage is how many events of the log one Step of an expiry looks at.
func expirePage(p *entity.Policy) int { return min(p.StepReads/expireReads, p.StepWrites/expireWrites) }

// expireRest is how long an expiry that goes on waits, so that others have their turn.
const expireRest = time.Second

var keepings = entity.NewTable[pb.Keeping]() // by the first seq of the stretch

// stretches is all that is known about the times of a conversation. There are
// few: whoever changes the time again and again is refused.
var stretches = entity.NewDerived(keepings, func(v entity.Viewer) (all []stretch) {
	for key, k := range keepings.Scan(v, nil) {
		from, _ := key.TakeU64()
		all = append(all, stretch{from, k})
	}
	return all
})

type stretch struct {
	from uint64
	*pb.Keeping
}

func (s stretch) key() entity.Key { return entity.Key{}.U64(s.from) }

// maxStretches bounds them.
const maxStretches = 64

// now is the stretch that a message sent now belongs to, without which messages
// are kept for good.
func now(v entity.Viewer) (last stretch, ok bool) {
	all := stretches.Of(v)
	if len(all) == 0 {
		return stretch{Keeping: &pb.Keeping{}}, false
	}
	return all[len(all)-1], true
}

func setAutoDelete(tx *entity.Tx, req *pb.SetAutoDeleteRequest) (*pb.SetAutoDeleteResponse, error) {
	me, err := conversation.RequireMember(tx)
	if err != nil {
		return nil, err
	}
	if conversation.Of(tx).Type != pb.Conversation_DIRECT {
		if err := conversation.RequireRole(me, pb.Role_ADMIN, "say how long messages are kept"); err != nil {
			return nil, err
		}
	}
	step, most := tx.Policy().AutoDeleteStep, tx.Policy().AutoDeleteMax
	last, ok := now(tx)
	switch length := time.Duration(req.Seconds) * time.Second; {
	case length%step != 0 || length > most:
		return nil, entity.Errorf(entity.Invalid, "messages are kept for a multiple of %s, at most %s",
			conversation.Period(step), conversation.Period(most))
	case last.Seconds == req.Seconds:
		return &pb.SetAutoDeleteResponse{}, nil // Nothing changes, so nobody is told.
	case ok && tx.Head().Message < last.from:
		keepings.Delete(tx, last.key()) // Nothing was sent in it.
	case len(stretches.Of(tx)) >= maxStretches:
		return nil, entity.Errorf(entity.Exhausted, "that was changed too often; try again when older messages have gone")
	}
	seq := tx.Emit(&pb.AutoDeleteChanged{Seconds: req.Seconds})
	keepings.Put(tx, entity.Key{}.U64(seq), &pb.Keeping{Seconds: req.Seconds})
	return &pb.SetAutoDeleteResponse{Seq: seq}, nil
}

func autoDelete(v *entity.View, _ *pb.AutoDeleteRequest) (*pb.AutoDeleteResponse, error) {
	if _, err := conversation.RequireReader(v); err != nil {
		return nil, err
	}
	last, _ := now(v)
	return &pb.AutoDeleteResponse{Seconds: last.Seconds}, nil
}

// sent sets the timer, if none is set, when a message is sent that will expire.
func sent(tx *entity.Tx, _ *pb.MessageSent) error {
	last, ok := now(tx)
	if !ok || last.Seconds == 0 || last.Timed {
		return nil
	}
	wait(tx, last, tx.Now().UnixMilli())
	return nil
}

// wait sets the timer for the first message of a stretch, which was sent at a
// time. A timer for an earlier one stays.
func wait(tx *entity.Tx, s stretch, sentAt int64) {
	row := keepings.Edit(tx, s.key())
	row.Timed = true
	keepings.Put(tx, s.key(), row)
	tx.TellAt(s.key(), time.UnixMilli(sentAt).Add(time.Duration(s.Seconds)*time.Second), &pb.ExpireRequest{})
}

// expire lets go of what is over, and waits for what comes next.
func expire(tx *entity.Tx, _ *pb.ExpireRequest) (*pb.ExpireResponse, error) {
	left := expirePage(tx.Policy())
	all := stretches.Of(tx)
	before := uint32(0) // How long what is before a stretch is kept; 0: for good.
	for i, s := range all {
		through := tx.Head().Seq
		closed := i+1 < len(all)
		if closed {
			through = all[i+1].from - 1
		}
		if s.Seconds == 0 && before == 0 {
			keepings.Delete(tx, s.key()) // It says nothing new.
			continue
		}
		if s.Seconds == 0 {
			before = 0
			continue
		}
		stays, more := expireStretch(tx, s, through, closed, &left)
		if more {
			break // Later.
		}
		if stays {
			before = s.Seconds
		}
	}
	return &pb.ExpireResponse{}, nil
}

// expireStretch lets go of what is over in one stretch, and sets its timer anew if
// something is left. It reports whether the stretch stays, and whether there is more
// to look at than this Step may.
func expireStretch(tx *entity.Tx, s stretch, through uint64, closed bool, left *int) (stays, more bool) {
	limit := tx.Now().Add(-time.Duration(s.Seconds) * time.Second).UnixMilli()
	gone, next := uint64(0), int64(0)
	from := max(s.from, s.Expired) + 1
	last := from - 1
	tx.Events(from, through, false, func(e *entity.Event) bool {
		_, message := e.Body.(*pb.MessageSent)
		switch {
		case *left == 0:
			more = true
			return false
		case message && e.At > limit:
			next = e.At
			return false
		case message:
			gone = e.Seq
		}
		*left--
		last = e.Seq
		return true
	})
	if gone != 0 {
		conversation.Expire(tx, from, gone)
		*left = max(0, *left-rangeEvents)
	}
	row := keepings.Edit(tx, s.key())
	row.Expired, row.Timed = last, more || next != 0
	switch {
	case more:
		keepings.Put(tx, s.key(), row)
		tx.TellAt(s.key(), tx.Now().Add(expireRest), &pb.ExpireRequest{})
	case next != 0:
		keepings.Put(tx, s.key(), row)
		wait(tx, stretch{s.from, row}, next)
	case closed:
		keepings.Delete(tx, s.key())
		return false, false
	default:
		keepings.Put(tx, s.key(), row)
	}
	return true, more
}

// check reports messages that should have gone a day ago, and a stretch whose
// messages nobody waits for.
func check(v *entity.View, report func(sentence string)) {
	all := stretches.Of(v)
	for i, s := range all {
		through := v.Head().Seq
		if i+1 < len(all) {
			through = all[i+1].from - 1
		}
		v.Events(max(s.from, s.Expired)+1, through, false, func(e *entity.Event) bool {
			_, message := e.Body.(*pb.MessageSent)
			if message && s.Seconds != 0 && !s.Timed {
				report("there is a message that will expire, and no timer for it")
				return false
			}
			return !message
		})
	}
}
