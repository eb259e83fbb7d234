// Package dialogs keeps a user's own rows about his conversations. They mirror
// what the conversations tell him: who is in a conversation is decided there. And
// they say how he wants each of them shown, on all his devices.
//
// dialogs.go hears what conversations tell, settings.go keeps what the user wants,
// list.go shows it, sync.go tells a device that was away what has changed.
package dialogs

import (
	"slices"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/user"
)

// Feature is the list of a user's conversations.
var Feature = entity.Feature{Name: "dialogs", Parts: []entity.Part{
	entity.Verify(pb.Kind_USER, check),
	entity.Query(list),
	entity.Query(sync),

	entity.Command(setPinned),
	entity.Command(setMuted),
	entity.Command(setArchived),
	entity.Command(setDraft),
	entity.Command(markUnread),

	entity.Command(joined),
	entity.Command(left),
	entity.Command(hid),
	entity.Command(mentioned),
}}

var (
	entries = entity.NewTable[pb.DialogEntry]()   // by conversation id
	pinned  = entity.NewTable[pb.PinnedDialogs]() // one row
)

func joined(tx *entity.Tx, req *pb.DialogJoinedRequest) (*pb.DialogJoinedResponse, error) {
	if err := user.Claim(tx, req.UserId); err != nil {
		return nil, err
	}
	key := entity.Key{}.U64(req.ConversationId)
	old, _ := user.Dialogs.Get(tx, key)
	// A join that is in no log has the seq of what was said last: if that was his
	// leaving, the join came after it.
	if old.GetSeq() > req.Seq || old.GetSeq() == req.Seq && !old.GetLeft() {
		return &pb.DialogJoinedResponse{}, nil // Older news than what is known.
	}
	user.Dialogs.Put(tx, key, &pb.Dialog{Peer: req.Peer, JoinedAt: tx.Now().UnixMilli(), Seq: req.Seq, Settings: old.GetSettings().CloneVT()})
	entries.Put(tx, key, &pb.DialogEntry{})
	tx.Emit(&pb.DialogJoined{ConversationId: req.ConversationId, Peer: req.Peer})
	return &pb.DialogJoinedResponse{}, nil
}

// left keeps the row: its seq is what a late Joined is compared with. How the
// dialog was shown is forgotten.
func left(tx *entity.Tx, req *pb.DialogLeftRequest) (*pb.DialogLeftResponse, error) {
	if err := user.Claim(tx, req.UserId); err != nil {
		return nil, err
	}
	key := entity.Key{}.U64(req.ConversationId)
	old, known := user.Dialogs.Get(tx, key)
	if old.GetSeq() >= req.Seq {
		return &pb.DialogLeftResponse{}, nil // Older news than what is known.
	}
	if old.GetSettings().GetPinned() != 0 {
		place(tx, req.ConversationId, 0)
	}
	user.Dialogs.Put(tx, key, &pb.Dialog{Left: true, Peer: old.GetPeer(), Seq: req.Seq})
	if known && !old.Left {
		tx.Emit(&pb.DialogLeft{ConversationId: req.ConversationId})
	}
	return &pb.DialogLeftResponse{}, nil
}

// hid is for the devices that are connected. Those that are not ask the
// conversation, by Sync.
func hid(tx *entity.Tx, req *pb.DialogHidRequest) (*pb.DialogHidResponse, error) {
	tx.Emit(&pb.MessagesHidden{ConversationId: req.ConversationId, Seqs: req.Seqs})
	return &pb.DialogHidResponse{}, nil
}

func mentioned(tx *entity.Tx, req *pb.DialogMentionRequest) (*pb.DialogMentionResponse, error) {
	if err := user.Claim(tx, req.UserId); err != nil {
		return nil, err
	}
	tx.Emit(&pb.Mentioned{ConversationId: req.ConversationId, Seq: req.Seq})
	return &pb.DialogMentionResponse{}, nil
}

// check looks whether the dialogs that say they are pinned are those that are.
func check(v *entity.View, report func(sentence string)) {
	row, _ := pinned.Get(v, nil)
	places := map[uint64]uint32{}
	for i, id := range row.GetConversationIds() {
		places[id] = uint32(i) + 1
	}
	for key, d := range user.Dialogs.Scan(v, nil) {
		id, _ := key.TakeU64()
		if d.GetSettings().GetPinned() != places[id] {
			report("a dialog is pinned in one table and not, or elsewhere, in another")
		}
		delete(places, id)
	}
	if len(places) > 0 {
		report("a dialog is pinned that is not there")
	}
	if ids := slices.Sorted(slices.Values(row.GetConversationIds())); len(slices.Compact(ids)) != len(row.GetConversationIds()) {
		report("a dialog is pinned twice")
	}
}
