// Package messages is the ordered log of a conversation: send, edit, revoke
// (gone for all), delete (gone for me), and read back.
//
// A message is one row of the log: Edit and Revoke overwrite it where it
// stands, and what they emit carries its seq only.
package messages

import (
	"time"

	"google.golang.org/protobuf/proto"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// Feature is the messages of conversations.
var Feature = entity.Feature{Name: "messages", Parts: []entity.Part{
	entity.Logs(pb.Kind_CONVERSATION, conversation.Log),
	entity.Verify(pb.Kind_CONVERSATION, conversation.Check),
	entity.Command(send),
	entity.Command(edit),
	entity.Command(revoke),
	entity.Command(deleteForMe),
	entity.Query(history),

	entity.Command(forward),
	entity.Command(offerForward),
	entity.Command(grantForward),
	entity.Command(takeForward),
	entity.Query(originals),
	entity.Query(granted),
	entity.After(ungrant),
	entity.After(ungrantExpired),
}}

func send(tx *entity.Tx, req *pb.SendRequest) (*pb.SendResponse, error) {
	if err := requireSender(tx); err != nil {
		return nil, err
	}
	if err := conversation.ValidateContent(tx.Policy(), req.Content); err != nil {
		return nil, err
	}
	message := &pb.MessageSent{Content: req.Content}
	if err := reply(tx, message, req.Reply); err != nil {
		return nil, err
	}
	seq := tx.Emit(message)
	return &pb.SendResponse{Seq: seq, At: tx.Now().UnixMilli()}, nil
}

// reply makes a message the answer to another one.
func reply(tx *entity.Tx, message *pb.MessageSent, to *pb.Reply) error {
	if to.GetSeq() == 0 {
		return nil
	}
	replied, err := conversation.Answered(tx, to)
	if err != nil {
		return err
	}
	message.ReplyTo, message.QuoteOffset, message.QuoteLength = to.Seq, to.QuoteOffset, to.QuoteLength
	if conversation.AllMayRead(tx, to.Seq) {
		message.Replied = replied
	}
	return nil
}

func edit(tx *entity.Tx, req *pb.EditRequest) (*pb.EditResponse, error) {
	if err := requireSender(tx); err != nil {
		return nil, err
	}
	message, sent, err := conversation.Message(tx, req.Seq)
	switch {
	case err != nil:
		return nil, err
	case !conversation.Wrote(tx, message):
		return nil, entity.Errorf(entity.Denied, "only its author can edit a message")
	case sent.Revoked:
		return nil, entity.Errorf(entity.NotFound, "message %d was revoked", req.Seq)
	case sent.Content.GetForwarded() != nil:
		return nil, entity.Errorf(entity.Denied, "what was forwarded says what it says where it is from")
	}
	if err := within(tx, message, tx.Policy().EditWindow, "edited"); err != nil {
		return nil, err
	}
	if err := conversation.ValidateContent(tx.Policy(), req.Content); err != nil {
		return nil, err
	}
	if proto.Equal(sent.Content, req.Content) {
		return &pb.EditResponse{}, nil // Nothing changes, so nobody is told.
	}
	sent = &pb.MessageSent{
		Content: req.Content, EditedAt: tx.Now().UnixMilli(),
		ReplyTo: sent.ReplyTo, QuoteOffset: sent.QuoteOffset, QuoteLength: sent.QuoteLength,
	}
	tx.Rewrite(req.Seq, sent)
	edited := &pb.MessageEdited{Seq: req.Seq}
	if conversation.AllMayRead(tx, req.Seq) {
		edited.Message = sent
	}
	return &pb.EditResponse{Seq: tx.Emit(edited)}, nil
}

func revoke(tx *entity.Tx, req *pb.RevokeRequest) (*pb.RevokeResponse, error) {
	member, err := conversation.RequireMember(tx)
	if err != nil {
		return nil, err
	}
	message, sent, err := conversation.Message(tx, req.Seq)
	if err != nil {
		return nil, err
	}
	if err := mayRevoke(tx, member, message); err != nil {
		return nil, err
	}
	if sent.Revoked {
		return &pb.RevokeResponse{}, nil // It is gone already.
	}
	tx.Rewrite(req.Seq, &pb.MessageSent{Revoked: true})
	return &pb.RevokeResponse{Seq: tx.Emit(&pb.MessageRevoked{Seq: req.Seq})}, nil
}

// mayRevoke decides by kind of conversation: in a direct the author, or either
// where the profile says so; in a group the author, or an admin at any time.
func mayRevoke(tx *entity.Tx, member *pb.Member, message *entity.Event) error {
	policy := tx.Policy()
	author := message.By == member.UserId
	if conversation.Of(tx).Type == pb.Conversation_DIRECT {
		if !author && !policy.RevokeDirectByEither {
			return entity.Errorf(entity.Denied, "only its author can revoke a message")
		}
		return within(tx, message, policy.RevokeWindowDirect, "revoked")
	}
	switch {
	case member.Role >= pb.Role_ADMIN:
		return nil
	case !author:
		return entity.Errorf(entity.Denied, "only its author and admins can revoke a message")
	}
	return within(tx, message, policy.RevokeWindowGroup, "revoked")
}

// deleteForMe also serves who is no member any more: what he may still read, he
// may delete.
func deleteForMe(tx *entity.Tx, req *pb.DeleteRequest) (*pb.DeleteResponse, error) {
	reader, err := conversation.RequireReader(tx)
	if err != nil {
		return nil, err
	}
	switch most := tx.Policy().HistoryPage; {
	case len(req.Seqs) == 0:
		return nil, entity.Errorf(entity.Invalid, "say which messages to delete")
	case len(req.Seqs) > most:
		return nil, entity.Errorf(entity.TooLarge, "at most %d messages can be deleted at a time", most)
	}
	readable := entity.Reach{Intervals: reader.Readable}
	deleted := &pb.DialogHidRequest{ConversationId: req.ConversationId}
	for _, seq := range req.Seqs {
		if _, _, err := conversation.MessageWithin(tx, seq, readable); err != nil {
			return nil, err
		}
		hidden, gone := conversation.Hide(tx, reader, seq)
		if hidden {
			deleted.Seqs = append(deleted.Seqs, seq)
		}
		if gone { // The last holder let go of it. Nobody is left to be told, but features that keep something about it.
			tx.Rewrite(seq, &pb.MessageSent{Revoked: true})
			tx.EmitUnsigned(&pb.MessageRevoked{Seq: seq})
		}
	}
	if len(deleted.Seqs) > 0 {
		conversation.NoteHidden(tx, reader, deleted.Seqs)
		// Not in this log, which others read: his other devices hear it from his own.
		tx.Tell(tx.Caller().Ref(), deleted)
	}
	return &pb.DeleteResponse{}, nil
}

// requireSender refuses who may not write here.
func requireSender(tx *entity.Tx) error {
	member, err := conversation.RequireMember(tx)
	if err != nil {
		return err
	}
	return conversation.RequireRole(member, conversation.Of(tx).Permissions.GetSend(), "send messages here")
}

// within refuses what comes too late after a message was sent. The sentence
// names the limit.
func within(tx *entity.Tx, message *entity.Event, window time.Duration, done string) error {
	switch {
	case window == entity.Unlimited:
		return nil
	case window == 0:
		return entity.Errorf(entity.Expired, "messages cannot be %s here", done)
	case tx.Now().Sub(time.UnixMilli(message.At)) > window:
		return entity.Errorf(entity.Expired, "a message can be %s for %s after it was sent", done, conversation.Period(window))
	}
	return nil
}
