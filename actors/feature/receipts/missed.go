package receipts

import (
	"slices"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// missedBytes bounds the missed events of one conversation, as protobuf: several
// conversations are in a page, and a page in a frame.
const missedBytes = 32 << 10

// missed fills in what a device has missed that knows everything of the commits up
// to req.Since. What a later commit than req.Until brought is left for the next time.
func missed(v *entity.View, m *pb.Member, req *pb.StateRequest, resp *pb.StateResponse) {
	last := lastBy(v, lastOf(v, m), req.Until)
	if last != nil {
		resp.Through = last.Seq
	}
	if req.Since == 0 || last == nil {
		return
	}
	hidden, ok := conversation.HiddenBetween(v, m, req.Since, req.Until)
	if !ok || droppedSince(v, req.Since) {
		resp.Reset_ = true
		return
	}
	resp.Hidden = hidden
	if last.Stamp <= req.Since {
		return
	}
	c := catch{view: v, reach: v.Reach(v.Caller()), since: req.Since, limit: int(req.Limit), bytes: missedBytes}
	c.back(last.Seq)
	slices.Reverse(c.events)
	resp.Events, resp.More = c.events, c.more
}

// droppedSince reports whether events of a later commit than one may have been
// dropped. Which commits those were of that are gone is not known any more; in
// doubt the answer is yes.
func droppedSince(v *entity.View, since uint64) (dropped bool) {
	floor := v.Floor()
	if floor == 1 {
		return false
	}
	v.Events(floor, v.Head().Seq, false, func(e *entity.Event) bool {
		dropped = e.Stamp > since
		return false
	})
	return dropped
}

// A catch collects missed events, the latest first.
type catch struct {
	view  *entity.View
	reach entity.Reach
	since uint64 // stamp of what is known
	limit int    // events that may still be looked at
	bytes int    // that may still be added

	events        []*pb.Event
	more, done    bool
	from, through uint64 // the hole that is open; 0: none
}

// back goes from an event back to the first one that is not known. It steps over
// what lies between the reader's intervals without reading it.
func (c *catch) back(last uint64) {
	above := uint64(0) // Where the interval above begins; 0: there is none.
	for _, in := range slices.Backward(c.reach.Intervals) {
		if in.From > last || c.done {
			continue
		}
		through := last
		if in.Through != 0 {
			through = min(last, in.Through)
		}
		gap := above != 0
		c.view.Events(in.From, through, true, func(e *entity.Event) bool {
			if c.done = e.Stamp <= c.since; c.done {
				return false
			}
			if gap {
				c.widen(e.Seq+1, above-1)
				gap = false
			}
			return c.add(e)
		})
		above = in.From
	}
	c.closeHole()
}

func (c *catch) add(e *entity.Event) bool {
	if c.limit == 0 {
		c.more, c.done = true, true
		return false
	}
	c.limit--
	seen := c.view.Visible(e, c.reach)
	if seen == nil {
		c.widen(e.Seq, e.Seq)
		return true
	}
	wire := seen.Wire()
	if c.bytes -= wire.SizeVT(); c.bytes < 0 && len(c.events) > 0 {
		c.more, c.done = true, true
		return false
	}
	c.closeHole()
	c.events = append(c.events, wire)
	return true
}

func (c *catch) widen(from, through uint64) {
	if c.through == 0 {
		c.through = through
	}
	c.from = from
}

func (c *catch) closeHole() {
	if c.through != 0 {
		c.events = append(c.events, c.view.Hole(c.from, c.through).Wire())
		c.from, c.through = 0, 0
	}
}

// lastBy is the last event, not above a seq, that a commit not above another
// emitted; nil: there is none. Stamps rise with seqs.
func lastBy(v *entity.View, through, until uint64) (last *entity.Event) {
	first := func(e *entity.Event) bool {
		last = e
		return false
	}
	v.Events(1, through, true, first)
	if last == nil || last.Stamp <= until {
		return last
	}
	var found *entity.Event
	low, high := uint64(0), last.Seq // What is at low is not above until, or nothing is; what is at high is.
	for low+1 < high {
		middle := low + (high-low)/2
		last = nil
		v.Events(middle, high-1, false, first)
		if last == nil || last.Stamp > until {
			high = middle
			continue
		}
		low, found = last.Seq, last
	}
	return found
}
