// Package dialogs keeps a user's own rows about his conversations. They mirror
// what the conversations tell him: who is in a conversation is decided there.
package dialogs

import (
	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/user"
)

// Feature is the list of a user's conversations.
var Feature = entity.Feature{Name: "dialogs", Parts: []entity.Part{
	entity.Query(list),
	entity.Command(joined),
	entity.Command(left),
	entity.Command(hid),
}}

var dialogs = entity.NewTable[pb.Dialog]() // by conversation id

// list looks at one limit of rows per page, so that who has left many
// conversations gets short pages and not a long wait.
func list(v *entity.View, req *pb.ListDialogsRequest) (*pb.ListDialogsResponse, error) {
	if err := user.RequireSelf(v); err != nil {
		return nil, err
	}
	from, limit, err := entity.Paging(v, req.Cursor, req.Limit)
	if err != nil {
		return nil, err
	}
	resp := &pb.ListDialogsResponse{}
	last := uint64(0)
	for key, d := range dialogs.ScanFrom(v, nil, from) {
		if limit == 0 {
			resp.Cursor = entity.Cursor(last)
			break
		}
		limit--
		last, _ = key.TakeU64()
		if !d.Left {
			resp.Dialogs = append(resp.Dialogs, &pb.DialogItem{ConversationId: last, Peer: d.Peer, JoinedAt: d.JoinedAt})
		}
	}
	return resp, nil
}

func joined(tx *entity.Tx, req *pb.DialogJoinedRequest) (*pb.DialogJoinedResponse, error) {
	if err := user.Claim(tx, req.UserId); err != nil {
		return nil, err
	}
	key := entity.Key{}.U64(req.ConversationId)
	if old, _ := dialogs.Get(tx, key); old.GetSeq() >= req.Seq {
		return &pb.DialogJoinedResponse{}, nil // Older news than what is known.
	}
	dialogs.Put(tx, key, &pb.Dialog{Peer: req.Peer, JoinedAt: tx.Now().UnixMilli(), Seq: req.Seq})
	tx.Emit(&pb.DialogJoined{ConversationId: req.ConversationId, Peer: req.Peer})
	return &pb.DialogJoinedResponse{}, nil
}

// left keeps the row: its seq is what a late Joined is compared with.
func left(tx *entity.Tx, req *pb.DialogLeftRequest) (*pb.DialogLeftResponse, error) {
	if err := user.Claim(tx, req.UserId); err != nil {
		return nil, err
	}
	key := entity.Key{}.U64(req.ConversationId)
	old, known := dialogs.Get(tx, key)
	if old.GetSeq() >= req.Seq {
		return &pb.DialogLeftResponse{}, nil // Older news than what is known.
	}
	dialogs.Put(tx, key, &pb.Dialog{Left: true, Peer: old.GetPeer(), Seq: req.Seq})
	if known && !old.Left {
		tx.Emit(&pb.DialogLeft{ConversationId: req.ConversationId})
	}
	return &pb.DialogLeftResponse{}, nil
}

func hid(tx *entity.Tx, req *pb.DialogHidRequest) (*pb.DialogHidResponse, error) {
	tx.Emit(&pb.MessagesHidden{ConversationId: req.ConversationId, Seqs: req.Seqs})
	return &pb.DialogHidResponse{}, nil
}
