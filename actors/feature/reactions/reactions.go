// Package reactions lets members say with an emoji what they think of a message.
package reactions

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// Feature is reactions.
var Feature = entity.Feature{Name: "reactions", Parts: []entity.Part{
	entity.Command(react),
	entity.Query(list),
	entity.Query(actors),
	entity.After(revoked),
	entity.After(expired),
	entity.Verify(pb.Kind_CONVERSATION, check),
}}

const (
	// maxEmojiBytes bounds one emoji: a family with skin tones has 41, and an app
	// may have names of its own for pictures of its own.
	maxEmojiBytes = 64
	// shownActors is how many of those who reacted are named beside a count.
	shownActors = 3
)

var (
	reactions = entity.NewTable[pb.Reaction]()       // by seq, member number
	counts    = entity.NewTable[pb.ReactionCounts]() // by seq
)

func react(tx *entity.Tx, req *pb.ReactRequest) (*pb.ReactResponse, error) {
	me, err := conversation.RequireMember(tx)
	if err != nil {
		return nil, err
	}
	_, sent, err := conversation.Message(tx, req.Seq)
	switch {
	case err != nil:
		return nil, err
	case sent.Revoked:
		return nil, entity.Errorf(entity.NotFound, "message %d was revoked", req.Seq)
	}
	if err := validate(tx.Policy(), req.Emoji); err != nil {
		return nil, err
	}
	key := entity.Key{}.U64(req.Seq).U32(me.Number)
	old, _ := reactions.Get(tx, key)
	if slices.Equal(old.GetEmoji(), req.Emoji) {
		return &pb.ReactResponse{}, nil // Nothing changes, so nobody is told.
	}
	all, err := count(tx, req.Seq, me.Number, old.GetEmoji(), req.Emoji)
	if err != nil {
		return nil, err
	}
	if len(req.Emoji) == 0 {
		reactions.Delete(tx, key)
	} else {
		reactions.Put(tx, key, &pb.Reaction{Emoji: req.Emoji, At: tx.Now().UnixMilli()})
	}
	seq := tx.Emit(&pb.Reacted{Seq: req.Seq})
	if conversation.AllMayRead(tx, req.Seq) {
		tx.Signal(&pb.ReactionsNow{Seq: req.Seq, Counts: show(tx, all, false)})
	}
	return &pb.ReactResponse{Seq: seq}, nil
}

func validate(p *entity.Policy, emoji []string) error {
	if len(emoji) > p.MaxReactionsByUser {
		return entity.Errorf(entity.TooLarge, "one person has at most %d reactions to a message", p.MaxReactionsByUser)
	}
	for i, e := range emoji {
		switch {
		case e == "" || len(e) > maxEmojiBytes:
			return entity.Errorf(entity.Invalid, "an emoji has from 1 to %d bytes", maxEmojiBytes)
		case hasSpace(e):
			return entity.Errorf(entity.Invalid, "an emoji has no spaces and no control characters")
		case slices.Contains(emoji[:i], e):
			return entity.Errorf(entity.Invalid, "each emoji is there once")
		}
	}
	return nil
}

func hasSpace(s string) bool {
	for _, r := range s {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError {
			return true
		}
	}
	return false
}

// count takes a member's old reactions out of the counts of a message and puts
// his new ones in.
func count(tx *entity.Tx, seq uint64, member uint32, before, after []string) (*pb.ReactionCounts, error) {
	key := entity.Key{}.U64(seq)
	all := counts.Edit(tx, key)
	for _, e := range before {
		if slices.Contains(after, e) {
			continue
		}
		i := slices.IndexFunc(all.Emoji, func(r *pb.Reacting) bool { return r.Emoji == e })
		r := all.Emoji[i]
		r.Count--
		r.First = slices.DeleteFunc(r.First, func(m uint32) bool { return m == member })
		if r.Count == 0 {
			all.Emoji = slices.Delete(all.Emoji, i, i+1)
		}
	}
	kinds := len(all.Emoji)
	for _, e := range after {
		if slices.Contains(before, e) {
			continue
		}
		i := slices.IndexFunc(all.Emoji, func(r *pb.Reacting) bool { return r.Emoji == e })
		if i < 0 {
			i = len(all.Emoji)
			all.Emoji = append(all.Emoji, &pb.Reacting{Emoji: e})
		}
		r := all.Emoji[i]
		r.Count++
		if len(r.First) < shownActors {
			r.First = append(r.First, member)
		}
	}
	if most := tx.Policy().MaxReactionsByMessage; len(all.Emoji) > max(most, kinds) {
		return nil, entity.Errorf(entity.Exhausted, "a message has at most %d different reactions", most)
	}
	if len(all.Emoji) == 0 {
		counts.Delete(tx, key)
	} else {
		counts.Put(tx, key, all)
	}
	return all, nil
}

// show is the counts as clients get them. Where members do not see each other,
// nobody is named but to who may see them all.
func show(v entity.Viewer, all *pb.ReactionCounts, seesAll bool) []*pb.ReactionCount {
	named := seesAll || !conversation.HidesMembers(v)
	var shown []*pb.ReactionCount
	for _, r := range all.GetEmoji() {
		c := &pb.ReactionCount{Emoji: r.Emoji, Count: r.Count}
		for _, number := range r.First {
			if named {
				c.UserIds = append(c.UserIds, conversation.Name(v, number))
			}
		}
		shown = append(shown, c)
	}
	return shown
}

func list(v *entity.View, req *pb.ListReactionsRequest) (*pb.ListReactionsResponse, error) {
	me, err := conversation.RequireReader(v)
	if err != nil {
		return nil, err
	}
	if most := v.Policy().HistoryPage; len(req.Seqs) > most {
		return nil, entity.Errorf(entity.TooLarge, "at most %d messages can be asked for at a time", most)
	}
	reach := v.Reach(v.Caller())
	resp := &pb.ListReactionsResponse{}
	for _, seq := range req.Seqs {
		key := entity.Key{}.U64(seq)
		all, ok := counts.Get(v, key)
		if !ok || !reach.Allows(seq) {
			continue
		}
		mine, _ := reactions.Get(v, key.U32(me.Number))
		resp.Messages = append(resp.Messages, &pb.MessageReactions{
			Seq: seq, Counts: show(v, all, conversation.SeesMembers(v, me)), Mine: mine.GetEmoji(),
		})
	}
	return resp, nil
}

// actors pages in the order of member numbers: who came first is named first.
func actors(v *entity.View, req *pb.ReactionActorsRequest) (*pb.ReactionActorsResponse, error) {
	me, err := conversation.RequireReader(v)
	if err != nil {
		return nil, err
	}
	if !conversation.SeesMembers(v, me) {
		return nil, entity.Errorf(entity.Denied, "only admins can see who is here")
	}
	if _, _, err := conversation.Message(v, req.Seq); err != nil {
		return nil, err
	}
	from, limit, err := entity.Paging(v, req.Cursor, req.Limit)
	if err != nil {
		return nil, err
	}
	if from != nil {
		number, _ := from.TakeU64()
		from = entity.Key{}.U32(uint32(number))
	}
	resp := &pb.ReactionActorsResponse{}
	last, looked := uint32(0), 0
	for key, r := range reactions.ScanFrom(v, entity.Key{}.U64(req.Seq), from) {
		if looked++; looked > limit {
			resp.Cursor = entity.Cursor(uint64(last))
			break
		}
		last, _ = key.TakeU32()
		if req.Emoji == "" || slices.Contains(r.Emoji, req.Emoji) {
			resp.Actors = append(resp.Actors, &pb.ReactionActor{UserId: conversation.Name(v, last), Emoji: r.Emoji, At: r.At})
		}
	}
	return resp, nil
}

// revoked drops what people thought of a message that is gone.
func revoked(tx *entity.Tx, gone *pb.MessageRevoked) error {
	if key := (entity.Key{}).U64(gone.Seq); counts.Has(tx, key) {
		reactions.DeleteAll(tx, key)
		counts.Delete(tx, key)
	}
	return nil
}

func expired(tx *entity.Tx, gone *pb.MessagesExpired) error {
	from, to := entity.Key{}.U64(gone.From), entity.Key{}.U64(gone.Through+1)
	reactions.DeleteRange(tx, from, to)
	counts.DeleteRange(tx, from, to)
	return nil
}

// check counts the reactions of every message again.
func check(v *entity.View, report func(sentence string)) {
	type emoji struct {
		seq  uint64
		name string
	}
	left := map[emoji]int{}
	for key, all := range counts.Scan(v, nil) {
		seq, _ := key.TakeU64()
		for _, r := range all.Emoji {
			left[emoji{seq, r.Emoji}] = int(r.Count)
		}
	}
	for key, r := range reactions.Scan(v, nil) {
		seq, _ := key.TakeU64()
		for _, e := range r.Emoji {
			left[emoji{seq, e}]--
		}
	}
	for _, n := range left {
		if n != 0 {
			report("the counts of reactions differ from the reactions")
			return
		}
	}
}
