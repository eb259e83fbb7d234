// Package pins keeps messages in view for everybody in a conversation. A pin is
// a reference: the message says what it says now, to whoever may see it.
package pins

import (
	"slices"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// Feature is pins.
var Feature = entity.Feature{Name: "pins", Parts: []entity.Part{
	entity.Command(pin),
	entity.Command(unpin),
	entity.Query(list),
	entity.After(revoked),
	entity.After(expired),
}}

// maxPageBytes ends a page early, as protobuf: as JSON it stays within the 256 KiB
// that a frame may have.
const maxPageBytes = 96 << 10

var pins = entity.NewTable[pb.PinnedMessage]() // by seq

func pin(tx *entity.Tx, req *pb.PinRequest) (*pb.PinResponse, error) {
	me, err := requirePinner(tx)
	if err != nil {
		return nil, err
	}
	_, sent, err := conversation.Message(tx, req.Seq)
	key := entity.Key{}.U64(req.Seq)
	switch {
	case err != nil:
		return nil, err
	case sent.Revoked:
		return nil, entity.Errorf(entity.NotFound, "message %d was revoked", req.Seq)
	case pins.Has(tx, key):
		return &pb.PinResponse{}, nil // Nothing changes, so nobody is told.
	}
	pinned := 0
	for range pins.Scan(tx, nil) {
		pinned++
	}
	if most := tx.Policy().MaxPins; pinned >= most {
		return nil, entity.Errorf(entity.Exhausted, "a conversation has at most %d pinned messages", most)
	}
	pins.Put(tx, key, &pb.PinnedMessage{By: me.Number, At: tx.Now().UnixMilli()})
	return &pb.PinResponse{Seq: tx.Emit(&pb.Pinned{Seq: req.Seq})}, nil
}

func unpin(tx *entity.Tx, req *pb.UnpinRequest) (*pb.UnpinResponse, error) {
	if _, err := requirePinner(tx); err != nil {
		return nil, err
	}
	any := false
	for key := range pins.Scan(tx, nil) {
		if seq, _ := key.TakeU64(); req.Seq == 0 || req.Seq == seq {
			pins.Delete(tx, key)
			any = true
		}
	}
	if !any {
		return &pb.UnpinResponse{}, nil // Nothing changes, so nobody is told.
	}
	return &pb.UnpinResponse{Seq: tx.Emit(&pb.Unpinned{Seq: req.Seq})}, nil
}

// requirePinner refuses who may not pin here. In a direct conversation both may.
func requirePinner(tx *entity.Tx) (*pb.Member, error) {
	me, err := conversation.RequireMember(tx)
	if err != nil {
		return nil, err
	}
	return me, conversation.RequireRole(me, conversation.Of(tx).GetPermissions().GetPin(), "pin messages")
}

// list reads the rows of all pins, of which a conversation has few, and the messages
// of a page.
func list(v *entity.View, req *pb.ListPinsRequest) (*pb.ListPinsResponse, error) {
	me, err := conversation.RequireReader(v)
	if err != nil {
		return nil, err
	}
	var seqs []uint64
	rows := map[uint64]*pb.PinnedMessage{}
	for key, p := range pins.Scan(v, nil) {
		if seq, _ := key.TakeU64(); req.Before == 0 || seq < req.Before {
			seqs, rows[seq] = append(seqs, seq), p
		}
	}
	reach, bytes := v.Reach(v.Caller()), 0
	resp := &pb.ListPinsResponse{}
	for _, seq := range slices.Backward(seqs) {
		if !reach.Allows(seq) {
			continue
		}
		message := v.Event(seq)
		if message == nil {
			continue
		}
		item := &pb.PinItem{Message: v.Visible(message, reach).Wire(), At: rows[seq].At}
		if conversation.SeesMembers(v, me) {
			item.By = conversation.Name(v, rows[seq].By)
		}
		if bytes += item.SizeVT(); bytes > maxPageBytes && len(resp.Pins) > 0 {
			resp.More = true
			break
		}
		resp.Pins = append(resp.Pins, item)
	}
	return resp, nil
}

func revoked(tx *entity.Tx, gone *pb.MessageRevoked) error {
	if key := (entity.Key{}).U64(gone.Seq); pins.Has(tx, key) {
		pins.Delete(tx, key)
	}
	return nil
}

func expired(tx *entity.Tx, gone *pb.MessagesExpired) error {
	pins.DeleteRange(tx, entity.Key{}.U64(gone.From), entity.Key{}.U64(gone.Through+1))
	return nil
}
