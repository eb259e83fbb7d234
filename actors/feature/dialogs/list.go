package dialogs

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/user"
)

const (
	// maxPageBytes ends a page early, as protobuf: as JSON it stays within the 256 KiB
	// that a frame may have.
	maxPageBytes = 96 << 10

	// spareReads is how many rows a page may read of the user's own, beside one for
	// each dialog.
	spareReads = 100
)

// A listed dialog is one of which so much is known that it has its place in the
// list.
type listed struct {
	item *pb.DialogItem
	rank uint32 // its place among the pinned ones, if they come first; else the last
}

// list reads little of every dialog, to order them, and everything only of those
// that the page has.
func list(v *entity.View, req *pb.ListDialogsRequest) (*pb.ListDialogsResponse, error) {
	if err := user.RequireSelf(v); err != nil {
		return nil, err
	}
	_, limit, err := entity.Paging(v, "", req.Limit)
	if err != nil {
		return nil, err
	}
	from, err := parseCursor(req.Cursor)
	if err != nil {
		return nil, err
	}
	limit = min(limit, v.Policy().QueryAsks/2) // The other half orders.
	resp := &pb.ListDialogsResponse{}
	if req.Totals {
		resp.Totals = &pb.UnreadTotals{}
	}
	all, end := part(v, req, from.part, limit, resp.Totals)
	bytes := 0
	for i, l := range all {
		if from.id != 0 && order(l, from.at()) <= 0 {
			continue
		}
		if len(resp.Dialogs) == limit {
			resp.Cursor = cursor{from.part, all[i-1].rank, all[i-1].item.At, all[i-1].item.ConversationId}.String()
			return resp, nil
		}
		l.item.State = stateOf(v, &pb.StateRequest{ConversationId: l.item.ConversationId}).State
		if bytes += l.item.SizeVT(); bytes > maxPageBytes && len(resp.Dialogs) > 0 {
			resp.Cursor = cursor{from.part, all[i-1].rank, all[i-1].item.At, all[i-1].item.ConversationId}.String()
			return resp, nil
		}
		resp.Dialogs = append(resp.Dialogs, l.item)
	}
	if end != 0 {
		resp.Cursor = cursor{part: end}.String()
	}
	return resp, nil
}

// part is the dialogs after a conversation id, in the order of the list: as many
// as one request may ask, which is all but for very few users. end is the last of
// them if there are more.
func part(v *entity.View, req *pb.ListDialogsRequest, after uint64, page int, totals *pb.UnreadTotals) (all []listed, end uint64) {
	left := min(v.Policy().QueryAsks-page, v.Policy().StepReads-spareReads)
	last := after
	for key, d := range user.Dialogs.ScanFrom(v, nil, entity.Key{}.U64(after)) {
		if left == 0 {
			end = last
			break
		}
		left--
		last, _ = key.TakeU64()
		if d.Left || d.GetSettings().GetArchived() != req.Archived {
			continue
		}
		l := listed{itemOf(last, d), math.MaxUint32}
		if place := d.GetSettings().GetPinned(); req.PinnedFirst && place != 0 {
			l.rank = place
		}
		seen, err := entity.Ask[*pb.GlanceResponse](v, &pb.GlanceRequest{ConversationId: last, Count: totals != nil})
		if err != nil { // It does not know him, or no longer; the dialog will hear of it.
			seen = &pb.GlanceResponse{}
		}
		l.item.At = max(d.JoinedAt, seen.At)
		if totals != nil {
			count(totals, seen, d.GetSettings(), v.Now().UnixMilli())
		}
		all = append(all, l)
	}
	slices.SortFunc(all, order)
	return all, end
}

func order(a, b listed) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.item.At, a.item.At), cmp.Compare(a.item.ConversationId, b.item.ConversationId))
}

func itemOf(id uint64, d *pb.Dialog) *pb.DialogItem {
	return &pb.DialogItem{ConversationId: id, Peer: d.Peer, JoinedAt: d.JoinedAt, Settings: d.Settings.CloneVT()}
}

// count adds what is unread in a dialog to the totals.
func count(t *pb.UnreadTotals, seen *pb.GlanceResponse, s *pb.DialogSettings, now int64) {
	unread, dialogs := &t.Unread, &t.Dialogs
	if s.GetMutedUntil() > now {
		unread, dialogs = &t.UnreadMuted, &t.DialogsMuted
	}
	*unread += uint64(seen.Unread)
	if seen.Unread > 0 || s.GetUnreadMark() {
		*dialogs++
	}
	t.Mentions += uint64(seen.Mentions)
}

// stateOf asks a conversation. One that does not know the user has no state.
func stateOf(v *entity.View, req *pb.StateRequest) *pb.StateResponse {
	resp, err := entity.Ask[*pb.StateResponse](v, req)
	if err != nil {
		return &pb.StateResponse{}
	}
	return resp
}

// A cursor is where a page ended: at a dialog of a part; id 0: the part begins.
type cursor struct {
	part uint64 // The conversation after which the part begins.
	rank uint32
	time int64 // Unix milliseconds.
	id   uint64
}

func (c cursor) at() listed {
	return listed{&pb.DialogItem{ConversationId: c.id, At: c.time}, c.rank}
}

func (c cursor) String() string { return joinNumbers(c.part, uint64(c.rank), uint64(c.time), c.id) }

func parseCursor(s string) (cursor, error) {
	if s == "" {
		return cursor{}, nil
	}
	n, ok := splitNumbers(s, 4)
	if !ok || n[1] > math.MaxUint32 {
		return cursor{}, entity.Errorf(entity.Invalid, "the cursor is not one that this list gave")
	}
	return cursor{n[0], uint32(n[1]), int64(n[2]), n[3]}, nil
}

// joinNumbers spells what a client gives back as it is.
func joinNumbers(numbers ...uint64) string {
	var parts []string
	for _, n := range numbers {
		parts = append(parts, strconv.FormatUint(n, 36))
	}
	return strings.Join(parts, ".")
}

func splitNumbers(s string, count int) (numbers []uint64, ok bool) {
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.ParseUint(part, 36, 64)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, len(numbers) == count && joinNumbers(numbers...) == s
}
