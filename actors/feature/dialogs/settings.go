package dialogs

import (
	"slices"
	"unicode/utf16"

	"google.golang.org/protobuf/proto"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/user"
)

// require refuses conversations that the caller is not in. Another subject with
// the user's number is in none.
func require(tx *entity.Tx, id uint64) error {
	d, ok := user.Dialogs.Get(tx, entity.Key{}.U64(id))
	if user.RequireSelf(tx) != nil || !ok || d.Left {
		return conversation.NotHere()
	}
	return nil
}

// change changes how a dialog is shown. What the user has written goes into no
// event: devices ask for it.
func change(tx *entity.Tx, id uint64, how func(*pb.DialogSettings)) {
	key := entity.Key{}.U64(id)
	row := user.Dialogs.Edit(tx, key)
	settings := &pb.DialogSettings{}
	if row.Settings != nil {
		settings = row.Settings.CloneVT()
	}
	before := settings.CloneVT()
	how(settings)
	if proto.Equal(before, settings) {
		return // Nothing changes, so nobody is told.
	}
	row.Settings = settings
	if proto.Equal(settings, &pb.DialogSettings{}) {
		row.Settings = nil
	}
	user.Dialogs.Put(tx, key, row)
	tx.Emit(&pb.DialogChanged{ConversationId: id})
}

func setPinned(tx *entity.Tx, req *pb.SetPinnedRequest) (*pb.SetPinnedResponse, error) {
	if err := require(tx, req.ConversationId); err != nil {
		return nil, err
	}
	row, _ := pinned.Get(tx, nil)
	isPinned := slices.Contains(row.GetConversationIds(), req.ConversationId)
	if most := tx.Policy().MaxPinnedDialogs; req.Place > 0 && !isPinned && len(row.GetConversationIds()) >= most {
		return nil, entity.Errorf(entity.Exhausted, "at most %d dialogs can be pinned", most)
	}
	place(tx, req.ConversationId, req.Place)
	return &pb.SetPinnedResponse{}, nil
}

// place gives a dialog a place among the pinned ones, from 1, the last one at
// most, or takes it from them (0).
func place(tx *entity.Tx, id uint64, at uint32) {
	row := pinned.Edit(tx, nil)
	before := slices.Clone(row.ConversationIds)
	row.ConversationIds = slices.DeleteFunc(row.ConversationIds, func(other uint64) bool { return other == id })
	if at > 0 {
		row.ConversationIds = slices.Insert(row.ConversationIds, min(int(at)-1, len(row.ConversationIds)), id)
	}
	if slices.Equal(before, row.ConversationIds) {
		return
	}
	pinned.Put(tx, nil, row)
	if at == 0 {
		change(tx, id, func(s *pb.DialogSettings) { s.Pinned = 0 })
	}
	for i, other := range row.ConversationIds {
		change(tx, other, func(s *pb.DialogSettings) { s.Pinned = uint32(i) + 1 })
	}
}

func setMuted(tx *entity.Tx, req *pb.SetMutedRequest) (*pb.SetMutedResponse, error) {
	switch err := require(tx, req.ConversationId); {
	case err != nil:
		return nil, err
	case req.Until < 0:
		return nil, entity.Errorf(entity.Invalid, "until is a time in unix milliseconds, or 0")
	}
	change(tx, req.ConversationId, func(s *pb.DialogSettings) { s.MutedUntil = req.Until })
	return &pb.SetMutedResponse{}, nil
}

func setArchived(tx *entity.Tx, req *pb.SetArchivedRequest) (*pb.SetArchivedResponse, error) {
	if err := require(tx, req.ConversationId); err != nil {
		return nil, err
	}
	change(tx, req.ConversationId, func(s *pb.DialogSettings) { s.Archived = req.Archived })
	return &pb.SetArchivedResponse{}, nil
}

// setDraft keeps what was written last, on whichever device.
func setDraft(tx *entity.Tx, req *pb.SetDraftRequest) (*pb.SetDraftResponse, error) {
	if err := require(tx, req.ConversationId); err != nil {
		return nil, err
	}
	policy := tx.Policy()
	switch units := utf16Units(req.Text); {
	case policy.MaxTextBytes > 0 && len(req.Text) > policy.MaxTextBytes:
		return nil, entity.Errorf(entity.TooLarge, "a draft has at most %d bytes, this one has %d", policy.MaxTextBytes, len(req.Text))
	case policy.MaxTextUTF16 > 0 && units > policy.MaxTextUTF16:
		return nil, entity.Errorf(entity.TooLarge, "a draft has at most %d UTF-16 units, this one has %d", policy.MaxTextUTF16, units)
	}
	change(tx, req.ConversationId, func(s *pb.DialogSettings) {
		switch {
		case req.Text == "" && req.ReplySeq == 0:
			s.Draft = nil
		case s.Draft.GetText() != req.Text || s.Draft.GetReplySeq() != req.ReplySeq:
			s.Draft = &pb.Draft{Text: req.Text, ReplySeq: req.ReplySeq, At: tx.Now().UnixMilli()}
		}
	})
	return &pb.SetDraftResponse{}, nil
}

func utf16Units(s string) (n int) {
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// markUnread is the user's own wish. Whoever reads the dialog takes it away.
func markUnread(tx *entity.Tx, req *pb.MarkUnreadRequest) (*pb.MarkUnreadResponse, error) {
	if err := require(tx, req.ConversationId); err != nil {
		return nil, err
	}
	change(tx, req.ConversationId, func(s *pb.DialogSettings) { s.UnreadMark = req.Unread })
	return &pb.MarkUnreadResponse{}, nil
}
