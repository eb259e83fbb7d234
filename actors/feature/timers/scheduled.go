package timers

import (
	"time"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// A scheduled message is a row of its author's until its time. Then it is sent as
// any message is: whether he may is decided then.

var (
	waiting     = entity.NewTable[pb.ScheduledMessage]() // by member number, id
	waitingHead = entity.NewTable[pb.ScheduledHead]()    // one row
)

func schedule(tx *entity.Tx, req *pb.ScheduleRequest) (*pb.ScheduleResponse, error) {
	me, err := conversation.RequireMember(tx)
	if err != nil {
		return nil, err
	}
	if err := conversation.RequireRole(me, conversation.Of(tx).GetPermissions().GetSend(), "send messages here"); err != nil {
		return nil, err
	}
	row := &pb.ScheduledMessage{Content: req.Content, Reply: req.Reply, At: req.At}
	if err := validate(tx, row); err != nil {
		return nil, err
	}
	n := 0
	for range waiting.Scan(tx, entity.Key{}.U32(me.Number)) {
		n++
	}
	if most := tx.Policy().MaxScheduled; n >= most {
		return nil, entity.Errorf(entity.Exhausted, "at most %d messages can wait in a conversation", most)
	}
	head := waitingHead.Edit(tx, nil)
	head.Id++
	waitingHead.Put(tx, nil, head)
	put(tx, me, head.Id, row)
	return &pb.ScheduleResponse{Id: head.Id}, nil
}

func validate(tx *entity.Tx, row *pb.ScheduledMessage) error {
	most := tx.Policy().ScheduleMax
	switch wait := time.UnixMilli(row.At).Sub(tx.Now()); {
	case wait <= 0:
		return entity.Errorf(entity.Invalid, "that time is over")
	case wait > most:
		return entity.Errorf(entity.TooLarge, "a message waits for at most %d days", most/(24*time.Hour))
	}
	return conversation.ValidateContent(tx.Policy(), row.Content)
}

// put stores a message, sets its timer and tells the author's devices.
func put(tx *entity.Tx, me *pb.Member, id uint64, row *pb.ScheduledMessage) {
	key := entity.Key{}.U32(me.Number).U64(id)
	waiting.Put(tx, key, row)
	tx.TellAt(key, time.UnixMilli(row.At), &pb.SendScheduledRequest{Member: me.Number, Id: id})
	tx.SignalTo([]uint64{tx.Caller().Number}, &pb.ScheduledChanged{})
}

func changeScheduled(tx *entity.Tx, req *pb.ChangeScheduledRequest) (*pb.ChangeScheduledResponse, error) {
	me, err := conversation.RequireMember(tx)
	if err != nil {
		return nil, err
	}
	key := entity.Key{}.U32(me.Number).U64(req.Id)
	if !waiting.Has(tx, key) {
		return nil, noScheduled(req.Id)
	}
	row := waiting.Edit(tx, key)
	if req.Content != nil {
		row.Content = req.Content
	}
	if req.At != 0 {
		row.At = req.At
	}
	if err := validate(tx, row); err != nil {
		return nil, err
	}
	put(tx, me, req.Id, row)
	return &pb.ChangeScheduledResponse{}, nil
}

func noScheduled(id uint64) error {
	return entity.Errorf(entity.NotFound, "no message %d of yours is waiting", id)
}

// cancelScheduled also serves who has left: what he meant to say is his.
func cancelScheduled(tx *entity.Tx, req *pb.CancelScheduledRequest) (*pb.CancelScheduledResponse, error) {
	me, err := conversation.RequireReader(tx)
	if err != nil {
		return nil, err
	}
	key := entity.Key{}.U32(me.Number).U64(req.Id)
	if !waiting.Has(tx, key) {
		return nil, noScheduled(req.Id)
	}
	waiting.Delete(tx, key)
	tx.CancelTold(key, &pb.SendScheduledRequest{})
	tx.SignalTo([]uint64{tx.Caller().Number}, &pb.ScheduledChanged{})
	return &pb.CancelScheduledResponse{}, nil
}

// maxPageBytes ends a page early, as protobuf: as JSON it stays within the 256 KiB
// that a frame may have.
const maxPageBytes = 96 << 10

func scheduled(v *entity.View, req *pb.ScheduledRequest) (*pb.ScheduledResponse, error) {
	me, err := conversation.RequireReader(v)
	if err != nil {
		return nil, err
	}
	resp, bytes := &pb.ScheduledResponse{}, 0
	for key, row := range waiting.ScanFrom(v, entity.Key{}.U32(me.Number), entity.Key{}.U64(req.After)) {
		id, _ := key.TakeU64()
		item := &pb.ScheduledItem{Id: id, Content: row.Content, Reply: row.Reply, At: row.At}
		if bytes += item.SizeVT(); bytes > maxPageBytes && len(resp.Messages) > 0 {
			resp.More = true
			break
		}
		resp.Messages = append(resp.Messages, item)
	}
	return resp, nil
}

// sendScheduled sends the message as its author would now. What it answers may be gone:
// then it answers nothing.
func sendScheduled(tx *entity.Tx, req *pb.SendScheduledRequest) (*pb.SendScheduledResponse, error) {
	key := entity.Key{}.U32(req.Member).U64(req.Id)
	row, ok := waiting.Get(tx, key)
	if !ok {
		return &pb.SendScheduledResponse{}, nil
	}
	waiting.Delete(tx, key)
	tx.SignalTo([]uint64{tx.Caller().Number}, &pb.ScheduledChanged{})
	send := &pb.SendRequest{ConversationId: tx.Self().ID, Content: row.Content}
	if _, err := conversation.Answered(tx, row.Reply); err == nil {
		send.Reply = row.Reply
	}
	tx.Continue(send)
	return &pb.SendScheduledResponse{}, nil
}
