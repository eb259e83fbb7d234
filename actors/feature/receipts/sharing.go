package receipts

import (
	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/user"
)

// settings says whether a user shares how far he has read. Each conversation
// mirrors it in his marker.
var settings = entity.NewTable[pb.SharingSet]() // one row

// sharedAtOnce is how many conversations one Step tells.
const sharedAtOnce = 200

func setSharing(tx *entity.Tx, req *pb.SetSharingRequest) (*pb.SetSharingResponse, error) {
	if err := user.Claim(tx, tx.Caller().User); err != nil {
		return nil, err
	}
	row := settings.Edit(tx, nil)
	if row.Off == !req.On {
		return &pb.SetSharingResponse{}, nil // Nothing changes, so nobody is told.
	}
	row.Off = !req.On
	row.Changes++
	settings.Put(tx, nil, row)
	tx.Emit(&pb.SharingChanged{On: req.On})
	tellConversations(tx, row, 0)
	return &pb.SetSharingResponse{}, nil
}

// sharePage goes on, unless the setting has been changed again: then that change
// goes from the beginning.
func sharePage(tx *entity.Tx, req *pb.SharePageRequest) (*pb.SharePageResponse, error) {
	if row, _ := settings.Get(tx, nil); row.GetChanges() == req.Change {
		tellConversations(tx, row, req.After)
	}
	return &pb.SharePageResponse{}, nil
}

func tellConversations(tx *entity.Tx, row *pb.SharingSet, after uint64) {
	left, last := sharedAtOnce, after
	for key, d := range user.Dialogs.ScanFrom(tx, nil, entity.Key{}.U64(after)) {
		if left == 0 {
			tx.Continue(&pb.SharePageRequest{After: last, Change: row.Changes})
			return
		}
		left--
		last, _ = key.TakeU64()
		if !d.Left {
			tellConversation(tx, row, last)
		}
	}
}

func tellConversation(tx *entity.Tx, row *pb.SharingSet, conversation uint64) {
	account, _ := user.Accounts.Get(tx, nil)
	tx.Tell(entity.Conversation(tx.Self().Tenant, conversation), &pb.ShareRequest{UserId: account.GetUserId(), Off: row.Off})
}

// shareJoined tells a conversation that the user has come to. Who has never set
// anything shares, and nobody needs to be told.
func shareJoined(tx *entity.Tx, joined *pb.DialogJoined) error {
	if row, ok := settings.Get(tx, nil); ok {
		tellConversation(tx, row, joined.ConversationId)
	}
	return nil
}

// share runs on a conversation. The caller may be whoever let the user in.
func share(tx *entity.Tx, req *pb.ShareRequest) (*pb.ShareResponse, error) {
	m, ok := conversation.Member(tx, req.UserId)
	if !ok {
		return &pb.ShareResponse{}, nil // He has left meanwhile.
	}
	if row := conversation.Markers.Edit(tx, markerKey(m.Number)); row.Off != req.Off {
		row.Off = req.Off
		conversation.Markers.Put(tx, markerKey(m.Number), row)
	}
	return &pb.ShareResponse{}, nil
}

func sharing(v *entity.View, _ *pb.SharingRequest) (*pb.SharingResponse, error) {
	if err := user.RequireSelf(v); err != nil {
		return nil, err
	}
	row, _ := settings.Get(v, nil)
	return &pb.SharingResponse{On: !row.GetOff()}, nil
}
