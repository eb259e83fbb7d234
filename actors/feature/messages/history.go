package messages

import (
	"slices"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

const (
	// defaultPage is how many messages a page has when nobody asks for a number:
	// a few screens.
	defaultPage = 50

	// maxPageBytes ends a page early: as JSON it stays within the 256 KiB that a
	// frame may have, whatever is escaped in it but control characters.
	maxPageBytes = 96 << 10
)

func history(v *entity.View, req *pb.HistoryRequest) (*pb.HistoryResponse, error) {
	if _, err := conversation.RequireReader(v); err != nil {
		return nil, err
	}
	limit := min(int(req.Limit), v.Policy().HistoryPage)
	if req.Limit == 0 {
		limit = min(defaultPage, v.Policy().HistoryPage)
	}
	resp := &pb.HistoryResponse{}
	switch where := req.Where.(type) {
	case *pb.HistoryRequest_Before:
		resp.Events, resp.MoreBefore = before(v, where.Before, limit, maxPageBytes)
	case *pb.HistoryRequest_After:
		resp.Events, resp.MoreAfter = after(v, where.After, limit, maxPageBytes)
	case *pb.HistoryRequest_Around:
		newer := limit - limit/2
		resp.Events, resp.MoreBefore = before(v, where.Around, limit/2, maxPageBytes/2)
		events, more := after(v, where.Around-min(1, where.Around), newer, maxPageBytes/2)
		resp.Events, resp.MoreAfter = append(resp.Events, events...), more
	default:
		resp.Events, resp.MoreBefore = before(v, v.Head().Seq+1, limit, maxPageBytes)
	}
	return resp, nil
}

// before reads backwards from below seq. It steps from interval to interval, so
// that what the caller may not read costs nothing.
func before(v *entity.View, seq uint64, limit, bytes int) ([]*pb.Event, bool) {
	p := page{view: v, reach: v.Reach(v.Caller()), limit: limit, bytes: bytes}
	seq = min(max(seq, 1), v.Head().Seq+1)
	above := uint64(0) // Where the interval above begins; 0: there is none.
	for _, in := range slices.Backward(p.reach.Intervals) {
		if in.From >= seq {
			above = in.From
			continue
		}
		start := seq
		if in.Through != 0 {
			start = min(seq, in.Through+1)
		}
		if above != 0 {
			p.skip(start, min(seq, above)-1)
		}
		v.MessagesBefore(start, func(e *entity.Event) bool { return e.Seq >= in.From && p.add(e) })
		above = in.From
	}
	if above > 1 {
		p.skip(1, min(seq, above)-1)
	}
	p.closeHole()
	slices.Reverse(p.events)
	return p.events, p.more
}

// after reads forwards from above seq, likewise. Behind his last interval the
// caller sees nothing, not even that there is more.
func after(v *entity.View, seq uint64, limit, bytes int) ([]*pb.Event, bool) {
	p := page{view: v, reach: v.Reach(v.Caller()), limit: limit, bytes: bytes}
	seq = min(seq, v.Head().Seq)
	for _, in := range p.reach.Intervals {
		if in.Through != 0 && in.Through <= seq {
			continue
		}
		p.skip(seq+1, in.From-1)
		seq = max(seq, in.From-1)
		v.MessagesAfter(seq, func(e *entity.Event) bool {
			return (in.Through == 0 || e.Seq <= in.Through) && p.add(e)
		})
		seq = max(seq, in.Through)
	}
	p.closeHole()
	return p.events, p.more
}

// A page collects what one caller may see of what is read, in the order of
// reading.
type page struct {
	view  *entity.View
	reach entity.Reach
	limit int // messages that may still be looked at, seen or not
	bytes int // that may still be added

	events        []*pb.Event
	more          bool   // something did not fit
	from, through uint64 // the hole that is open; 0: none
}

// add adds a message, and reports whether it had room.
func (p *page) add(e *entity.Event) bool {
	if !p.room() {
		return false
	}
	p.limit--
	seen := p.view.Visible(e, p.reach)
	if seen == nil {
		p.widen(e.Seq, e.Seq)
		return true
	}
	wire := seen.Wire()
	if p.bytes -= wire.SizeVT(); p.bytes < 0 && len(p.events) > 0 {
		p.more = true
		return false
	}
	p.closeHole()
	p.events = append(p.events, wire)
	return true
}

// skip notes a range that the caller may not read.
func (p *page) skip(from, through uint64) {
	if from <= through && p.room() {
		p.widen(from, through)
	}
}

func (p *page) room() bool {
	p.more = p.more || p.limit == 0
	return !p.more
}

func (p *page) widen(from, through uint64) {
	if p.through == 0 {
		p.from, p.through = from, through
	}
	p.from, p.through = min(p.from, from), max(p.through, through)
}

func (p *page) closeHole() {
	if p.through != 0 {
		p.events = append(p.events, p.view.Hole(p.from, p.through).Wire())
		p.from, p.through = 0, 0
	}
}
