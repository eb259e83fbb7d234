package messages

import (
	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// A message is forwarded as a reference: its body stays where it was sent, and
// who revokes it there revokes it wherever it went. The conversation that it is
// from keeps a grant, by which the members of the other may read it; what is
// forwarded on is read through all the conversations that it came by.

// maxForwards is how often a message is forwarded on: each time is one more
// conversation to ask.
const maxForwards = 16

var grants = entity.NewTable[pb.Grant]() // by seq, conversation

func forward(tx *entity.Tx, req *pb.ForwardRequest) (*pb.ForwardResponse, error) {
	if _, err := conversation.RequireReader(tx); err != nil {
		return nil, err
	}
	switch most := tx.Policy().MaxForwards; {
	case len(req.Seqs) == 0:
		return nil, entity.Errorf(entity.Invalid, "say which messages to forward")
	case len(req.Seqs) > most:
		return nil, entity.Errorf(entity.TooLarge, "at most %d messages can be forwarded at a time", most)
	case req.ToConversationId == 0 || req.ToConversationId >= 1<<entity.NumberBits:
		return nil, entity.Errorf(entity.Invalid, "say where to forward them: to_conversation_id")
	}
	if err := mayForward(tx, req.Seqs); err != nil {
		return nil, err
	}
	pass(tx, req.ToConversationId, &pb.OfferForwardRequest{FromConversationId: tx.Self().ID, Seqs: req.Seqs})
	return &pb.ForwardResponse{}, nil
}

// mayForward refuses messages that the caller does not see, or that are gone.
func mayForward(tx *entity.Tx, seqs []uint64) error {
	reach := tx.Reach(tx.Caller())
	for _, seq := range seqs {
		_, sent, err := conversation.MessageWithin(tx, seq, reach)
		switch {
		case err != nil:
			return err
		case sent.Revoked:
			return entity.Errorf(entity.NotFound, "message %d was revoked", seq)
		}
	}
	return nil
}

// pass tells a conversation, which may be this one.
func pass(tx *entity.Tx, conversationID uint64, req entity.Message) {
	if to := entity.Conversation(tx.Self().Tenant, conversationID); to != tx.Self() {
		tx.Tell(to, req)
	} else {
		tx.Continue(req)
	}
}

// offerForward runs where the messages go, for who forwards them. Nothing is
// granted to a conversation in which he may not write: anybody can name one.
func offerForward(tx *entity.Tx, req *pb.OfferForwardRequest) (*pb.OfferForwardResponse, error) {
	if err := requireSender(tx); err != nil {
		return nil, err
	}
	pass(tx, req.FromConversationId, &pb.GrantForwardRequest{ToConversationId: tx.Self().ID, Seqs: req.Seqs})
	return &pb.OfferForwardResponse{}, nil
}

// grantForward runs where the messages are from. Much may have happened since he
// asked.
func grantForward(tx *entity.Tx, req *pb.GrantForwardRequest) (*pb.GrantForwardResponse, error) {
	if err := mayForward(tx, req.Seqs); err != nil {
		return nil, err
	}
	for _, seq := range req.Seqs {
		if key := (entity.Key{}).U64(seq).U64(req.ToConversationId); !grants.Has(tx, key) {
			grants.Put(tx, key, &pb.Grant{})
		}
	}
	pass(tx, req.ToConversationId, &pb.TakeForwardRequest{FromConversationId: tx.Self().ID, Seqs: req.Seqs})
	return &pb.GrantForwardResponse{}, nil
}

// takeForward runs where the messages go, for who forwards them.
func takeForward(tx *entity.Tx, req *pb.TakeForwardRequest) (*pb.TakeForwardResponse, error) {
	if err := requireSender(tx); err != nil {
		return nil, err
	}
	for _, seq := range req.Seqs {
		from := &pb.Forwarded{ConversationId: req.FromConversationId, Seq: seq}
		tx.Emit(&pb.MessageSent{Content: &pb.Content{Type: &pb.Content_Forwarded{Forwarded: from}}})
	}
	return &pb.TakeForwardResponse{}, nil
}

func originals(v *entity.View, req *pb.OriginalsRequest) (*pb.OriginalsResponse, error) {
	if _, err := conversation.RequireReader(v); err != nil {
		return nil, err
	}
	if most := v.Policy().MaxForwards; len(req.Seqs) > most {
		return nil, entity.Errorf(entity.TooLarge, "at most %d messages can be asked for at a time", most)
	}
	resp, reach := &pb.OriginalsResponse{}, v.Reach(v.Caller())
	for _, seq := range req.Seqs {
		_, sent, err := conversation.MessageWithin(v, seq, reach)
		from := sent.GetContent().GetForwarded()
		if err != nil || from == nil {
			continue
		}
		found, err := original(v, from, 0)
		if err != nil {
			return nil, err
		}
		found.Seq = seq
		resp.Originals = append(resp.Originals, found)
	}
	return resp, nil
}

// original asks the conversation that a message was forwarded from what it says.
func original(v *entity.View, from *pb.Forwarded, depth uint32) (*pb.Original, error) {
	got, err := entity.Ask[*pb.GrantedResponse](v, &pb.GrantedRequest{
		ConversationId: from.ConversationId, Seq: from.Seq, ToConversationId: v.Self().ID, Depth: depth,
	})
	if err != nil {
		return nil, err
	}
	return got.Original, nil
}

// granted answers to another conversation: it is not the viewer's membership that
// lets him read the message, but that somebody forwarded it to him.
func granted(v *entity.View, req *pb.GrantedRequest) (*pb.GrantedResponse, error) {
	resp := &pb.GrantedResponse{Original: &pb.Original{}}
	if req.Depth > maxForwards || !grants.Has(v, entity.Key{}.U64(req.Seq).U64(req.ToConversationId)) {
		return resp, nil
	}
	e := v.Event(req.Seq)
	if e == nil {
		return resp, nil
	}
	sent, ok := e.Body.(*pb.MessageSent)
	if !ok {
		return resp, nil
	}
	if from := sent.Content.GetForwarded(); from != nil {
		found, err := original(v, from, req.Depth+1)
		return &pb.GrantedResponse{Original: found}, err
	}
	// What it answers was said among others.
	resp.Original = &pb.Original{Message: &pb.MessageSent{Content: sent.Content, EditedAt: sent.EditedAt, Revoked: sent.Revoked}, By: e.By, At: e.At}
	return resp, nil
}

// ungrant drops what let others read a message that is gone.
func ungrant(tx *entity.Tx, gone *pb.MessageRevoked) error {
	for range grants.Scan(tx, entity.Key{}.U64(gone.Seq)) {
		grants.DeleteAll(tx, entity.Key{}.U64(gone.Seq))
		break
	}
	return nil
}

func ungrantExpired(tx *entity.Tx, gone *pb.MessagesExpired) error {
	grants.DeleteRange(tx, entity.Key{}.U64(gone.From), entity.Key{}.U64(gone.Through+1))
	return nil
}
