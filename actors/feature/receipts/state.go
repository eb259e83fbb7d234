package receipts

import (
	"slices"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// glance reads a few rows: it is asked of every dialog of a user.
func glance(v *entity.View, req *pb.GlanceRequest) (*pb.GlanceResponse, error) {
	m, err := conversation.RequireReader(v)
	if err != nil {
		return nil, err
	}
	resp := &pb.GlanceResponse{Changed: req.Until != 0 && changed(v, m, req.Since, req.Until)}
	if head := v.Head(); head.Message != 0 && (entity.Reach{Intervals: m.Readable}).Allows(head.Message) {
		if message := v.Event(head.Message); message != nil {
			resp.At = message.At
		}
	}
	if present := m.Role != pb.Role_ROLE_UNSPECIFIED; present && req.Count {
		resp.Unread, resp.Mentions = conversation.Unread(v, m)
	}
	return resp, nil
}

// changed reports whether something changed for a member in the commits above one
// and not above another: an event, his own marker, or one of another that he sees.
func changed(v *entity.View, m *pb.Member, since, until uint64) bool {
	own := marker(v, m.Number)
	if stamp := own.GetStamp(); stamp > since && stamp <= until {
		return true
	}
	if other := peer(v, m); other != 0 && !own.GetOff() {
		if theirs := marker(v, other); !theirs.GetOff() && theirs.GetStamp() > since && theirs.GetStamp() <= until {
			return true
		}
	}
	last := lastBy(v, lastOf(v, m), until)
	return last != nil && last.Stamp > since
}

// lastOf is the last seq that a member may ever be shown.
func lastOf(v *entity.View, m *pb.Member) uint64 {
	return entity.Reach{Intervals: m.Readable}.Last(v.Head().Seq)
}

// state is what a list of dialogs shows of the conversation, and what a device
// has missed of it.
func state(v *entity.View, req *pb.StateRequest) (*pb.StateResponse, error) {
	m, err := conversation.RequireReader(v)
	if err != nil {
		return nil, err
	}
	reach := v.Reach(v.Caller())
	now := &pb.DialogState{Last: lastMessage(v, reach), Head: lastOf(v, m)}
	if m.Role != pb.Role_ROLE_UNSPECIFIED {
		now.Unread, now.Mentions = conversation.Unread(v, m)
		now.Read, now.Delivered = conversation.ReadTo(v, m).Seq, delivered(v, m)
		showPeer(v, m, now)
	}
	resp := &pb.StateResponse{State: now}
	if req.Until != 0 {
		missed(v, m, req, resp)
	}
	return resp, nil
}

// showPeer says how far the other member of a direct has read, if both share it.
func showPeer(v *entity.View, m *pb.Member, now *pb.DialogState) {
	number := peer(v, m)
	if number == 0 || marker(v, m.Number).GetOff() || marker(v, number).GetOff() {
		return
	}
	if other, ok := conversation.Member(v, conversation.Name(v, number)); ok {
		now.PeerRead, now.PeerDelivered = conversation.ReadTo(v, other).Seq, delivered(v, other)
	}
}

// lastTries is how many of the latest messages are looked at for one that the
// reader has not deleted.
const lastTries = 100

// lastMessage is the last message that a reader may see, or nil.
func lastMessage(v *entity.View, reach entity.Reach) (last *pb.Event) {
	tries := lastTries
	for _, in := range slices.Backward(reach.Intervals) {
		v.MessagesBefore(reach.Last(v.Head().Seq)+1, func(e *entity.Event) bool {
			tries--
			if seen := v.Visible(e, reach); e.Seq >= in.From && seen != nil {
				last = seen.Wire()
			}
			return last == nil && tries > 0 && e.Seq > in.From
		})
		if last != nil || tries <= 0 {
			return last
		}
	}
	return nil
}
