package dialogs

import (
	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/user"
)

const (
	// maxLooked is how many dialogs one page looks at, changed or not.
	maxLooked = 500

	// defaultEvents is how many missed events of a dialog come when nobody asks for a
	// number: a screen.
	defaultEvents = 20
)

// sync is exact because a later commit has a larger stamp: the first page takes
// the stamp of the last commit there is, every page brings what changed in a
// commit up to that one, and the next sync begins above it.
func sync(v *entity.View, req *pb.SyncRequest) (*pb.SyncResponse, error) {
	if err := user.RequireSelf(v); err != nil {
		return nil, err
	}
	_, limit, err := entity.Paging(v, "", req.Limit)
	if err != nil {
		return nil, err
	}
	resp := &pb.SyncResponse{}
	t, err := parseToken(req.Token)
	switch {
	case err != nil:
		return nil, err
	case t.incarnation != v.Incarnation() || max(t.since, t.until) > v.Stamp(): // Of other rows than these.
		resp.Reset_ = req.Token != ""
		t = token{incarnation: v.Incarnation()}
	}
	if t.until == 0 {
		t.until = v.Stamp()
	}
	events := min(int(req.Events), v.Policy().HistoryPage)
	if req.Events == 0 {
		events = min(defaultEvents, v.Policy().HistoryPage)
	}
	s := syncing{View: v, token: t, events: uint32(events)}
	if s.page(resp, limit); !resp.More {
		s.token = token{incarnation: t.incarnation, since: t.until}
	}
	resp.Token = s.token.String()
	return resp, nil
}

// A syncing is a page under way.
type syncing struct {
	*entity.View
	token
	events uint32
}

func (s *syncing) page(resp *pb.SyncResponse, limit int) {
	const asksEach = 2
	looked, bytes := min(maxLooked, s.Policy().QueryAsks/asksEach), 0
	for key, d := range user.Dialogs.ScanFrom(s, nil, entity.Key{}.U64(s.after)) {
		if looked == 0 || len(resp.Dialogs) == limit {
			resp.More = true
			return
		}
		looked--
		id, _ := key.TakeU64()
		if synced := s.dialog(id, d); synced != nil {
			if bytes += synced.SizeVT(); bytes > maxPageBytes && len(resp.Dialogs) > 0 {
				resp.More = true
				return
			}
			resp.Dialogs = append(resp.Dialogs, synced)
		}
		s.after = id
	}
}

// dialog is what has changed in a dialog, or nil. What only a later commit than
// the first page's has changed is left for the next sync.
func (s *syncing) dialog(id uint64, d *pb.Dialog) *pb.SyncedDialog {
	if d.Left {
		if s.since == 0 || !s.within(d.Stamp) {
			return nil
		}
		return &pb.SyncedDialog{Dialog: &pb.DialogItem{ConversationId: id, Peer: d.Peer}, Left: true}
	}
	entry := &pb.DialogEntry{}
	if d.Stamp > s.since { // Else it began before, too.
		entry, _ = entries.Get(s, entity.Key{}.U64(id))
	}
	anew := s.within(entry.GetStamp())
	if entry.GetStamp() > s.until || s.since != 0 && !anew && !s.within(d.Stamp) && !s.changed(id) {
		return nil
	}
	ask := &pb.StateRequest{ConversationId: id, Since: s.since, Until: s.until, Limit: s.events}
	if anew {
		ask.Since = 0
	}
	got := stateOf(s.View, ask)
	synced := &pb.SyncedDialog{
		Dialog: itemOf(id, d), Reset_: anew && s.since != 0 || got.Reset_,
		Events: got.Events, More: got.More, Through: got.Through, Hidden: got.Hidden,
	}
	synced.Dialog.State = got.State
	return synced
}

// within reports whether a commit is among those that this sync is about.
func (s *syncing) within(stamp uint64) bool { return stamp > s.since && stamp <= s.until }

func (s *syncing) changed(id uint64) bool {
	seen, err := entity.Ask[*pb.GlanceResponse](s.View, &pb.GlanceRequest{ConversationId: id, Since: s.since, Until: s.until})
	return err == nil && seen.Changed
}

// A token says what a device knows: everything of the commits up to since. While
// it pages, the commits up to until are told, and the dialogs up to after have
// been.
type token struct {
	incarnation         uint64 // Of the rows whose stamps these are.
	since, until, after uint64
}

// String is empty where there is nothing to know yet.
func (t token) String() string {
	if t.since == 0 && t.until == 0 {
		return ""
	}
	return joinNumbers(t.incarnation, t.since, t.until, t.after)
}

func parseToken(s string) (token, error) {
	if s == "" {
		return token{}, nil
	}
	n, ok := splitNumbers(s, 4)
	if !ok {
		return token{}, entity.Errorf(entity.Invalid, "the token is not one that Sync gave")
	}
	return token{n[0], n[1], n[2], n[3]}, nil
}
