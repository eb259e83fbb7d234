package channels

import (
	"slices"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// Each subscriber has viewed a part of the log up to some seq, and that moves
// forward only. A counter per post would have to be raised for each post that a
// move passes. Instead a move from a to b says -1 at a and +1 at b, and the views
// of a post are the sum of what was said from it on. So that the sum is short, the
// same is said of ranges of 256 seqs, and of ranges of 256 of these: a move of
// some posts writes one row, or two of each level whose range it leaves.
var (
	viewed  = entity.NewTable[pb.Viewed]()     // by member number
	changes = entity.NewTable[pb.ViewChange]() // by level, place
)

const (
	levels    = 3
	levelBits = 8 // A place of a level is 256 of the level below.

	// maxSeqs bounds the posts that one query asks about: a page of history.
	maxSeqs = 100
	// maxSpan bounds how far they are apart, in seqs: their sums read a row for each
	// seq between them at most. A page of history lies within, unless ten people
	// left after each post.
	maxSpan = 1024
)

func view(tx *entity.Tx, req *pb.ViewRequest) (*pb.ViewResponse, error) {
	me, err := conversation.RequireMember(tx)
	if err != nil {
		return nil, err
	}
	if err := requireChannel(tx); err != nil {
		return nil, err
	}
	if head := tx.Head().Seq; req.Seq > head {
		return nil, entity.Errorf(entity.Invalid, "there is nothing to view at %d: the last event is %d", req.Seq, head)
	}
	key := entity.Key{}.U32(me.Number)
	before, _ := viewed.Get(tx, key)
	from := max(before.GetSeq(), me.Since) // What was there when he came is not counted for him.
	if req.Seq > from {
		viewed.Put(tx, key, &pb.Viewed{Seq: req.Seq})
		move(tx, from, req.Seq)
	}
	return &pb.ViewResponse{}, nil
}

// move counts one more viewer of everything after a seq, up to another.
func move(tx *entity.Tx, from, through uint64) {
	for level := range uint32(levels) {
		a, b := from>>(level*levelBits), through>>(level*levelBits)
		if a == b {
			return // And so on every level above.
		}
		add(tx, level, a, -1)
		add(tx, level, b, +1)
	}
}

func add(tx *entity.Tx, level uint32, place uint64, by int64) {
	key := entity.Key{}.U32(level).U64(place)
	row := changes.Edit(tx, key)
	if row.By += by; row.By == 0 {
		changes.Delete(tx, key)
		return
	}
	changes.Put(tx, key, row)
}

func views(v *entity.View, req *pb.ViewsRequest) (*pb.ViewsResponse, error) {
	if _, err := conversation.RequireReader(v); err != nil {
		return nil, err
	}
	if err := requireChannel(v); err != nil {
		return nil, err
	}
	seqs := slices.Compact(slices.Sorted(slices.Values(req.Seqs)))
	switch {
	case len(seqs) == 0:
		return nil, entity.Errorf(entity.Invalid, "say which posts")
	case len(seqs) > maxSeqs:
		return nil, entity.Errorf(entity.TooLarge, "the views of at most %d posts can be asked for at a time", maxSeqs)
	case seqs[len(seqs)-1]-seqs[0] > maxSpan:
		return nil, entity.Errorf(entity.TooLarge, "the posts of one request are at most %d apart", maxSpan)
	}
	resp, reach := &pb.ViewsResponse{}, v.Reach(v.Caller())
	sum, summed := int64(0), uint64(0)
	for _, seq := range slices.Backward(seqs) {
		if _, _, err := conversation.MessageWithin(v, seq, reach); err != nil {
			continue
		}
		if summed == 0 {
			sum = sumFrom(v, seq)
		} else {
			sum += sumOf(v, 0, seq, summed)
		}
		summed = seq
		resp.Posts = append(resp.Posts, &pb.PostViews{Seq: seq, Views: uint32(sum)})
	}
	slices.Reverse(resp.Posts)
	return resp, nil
}

// sumFrom adds up all changes from a seq on: each level to the end of the range
// that the level above has whole, and the last one to its end.
func sumFrom(v *entity.View, seq uint64) (sum int64) {
	from := seq
	for level := range uint32(levels - 1) {
		end := (from>>levelBits + 1) << levelBits
		sum += sumOf(v, level, from, end)
		from = end >> levelBits
	}
	return sum + sumOf(v, levels-1, from, ^uint64(0))
}

// sumOf adds up the changes of a level at the places in [from, end). from is not 0.
func sumOf(v *entity.View, level uint32, from, end uint64) (sum int64) {
	for key, row := range changes.ScanFrom(v, entity.Key{}.U32(level), entity.Key{}.U64(from-1)) {
		if place, _ := key.TakeU64(); place >= end {
			break
		}
		sum += row.By
	}
	return sum
}
