package receipts

import (
	"time"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// readers reads a marker for each member, and the messages after the one that is
// asked about among which somebody's own may stand for his marker.
func readers(v *entity.View, req *pb.ReadersRequest) (*pb.ReadersResponse, error) {
	me, err := conversation.RequireMember(v)
	if err != nil {
		return nil, err
	}
	message, sent, err := conversation.Message(v, req.Seq)
	if err != nil {
		return nil, err
	}
	switch policy := v.Policy(); {
	case conversation.HidesMembers(v):
		return nil, entity.Errorf(entity.Denied, "nobody sees who reads a channel")
	case message.By != me.UserId:
		return nil, entity.Errorf(entity.Denied, "only its author sees who has read a message")
	case sent.Revoked:
		return nil, entity.Errorf(entity.NotFound, "message %d was revoked", req.Seq)
	case marker(v, me.Number).GetOff():
		return nil, entity.Errorf(entity.Denied, "who does not share how far he has read does not see it of others")
	case int(conversation.Of(v).GetMembers()) > policy.MaxReadersGroup:
		return nil, entity.Errorf(entity.TooLarge, "who has read a message is shown in groups of at most %d members", policy.MaxReadersGroup)
	case policy.ReadersWindow != entity.Unlimited && v.Now().Sub(time.UnixMilli(message.At)) > policy.ReadersWindow:
		return nil, entity.Errorf(entity.Expired, "who has read a message is shown for %g hours after it was sent", policy.ReadersWindow.Hours())
	}
	resp, wrote := &pb.ReadersResponse{}, authorsAfter(v, message)
	for key := range conversation.Present.Scan(v, nil) {
		m, _ := conversation.Members.Get(v, key)
		row := marker(v, m.Number)
		switch {
		case m.Number == me.Number || row.GetOff() || m.JoinedOrdinal >= message.Ordinal(): // Who came later was not told.
		case row.GetOrdinal() >= message.Ordinal() || wrote[m.UserId]:
			resp.Read = append(resp.Read, m.UserId)
		case row.GetDelivered() >= message.Seq:
			resp.Delivered = append(resp.Delivered, m.UserId)
		}
	}
	return resp, nil
}

// authorsAfter is who wrote so soon after a message that his marker need not say
// so.
func authorsAfter(v *entity.View, message *entity.Event) map[string]bool {
	wrote := map[string]bool{}
	v.MessagesAfter(message.Seq, func(e *entity.Event) bool {
		wrote[e.By] = true
		return e.Ordinal() < message.Ordinal()+conversation.OwnWithin
	})
	return wrote
}
