package receipts

import (
	"slices"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
)

// mentions says whom a message mentions, by seq.
var mentions = entity.NewTable[pb.Mentions]()

// mentionType is the type of a part of a text that mentions somebody.
const mentionType = "mention"

// mention marks a new message for those whom it mentions. In a large conversation,
// which they need not be watching, the first few are told on their own logs.
func mention(tx *entity.Tx, sent *pb.MessageSent) error {
	members := mentioned(tx, sent, tx.Caller().User)
	if len(members) == 0 {
		return nil
	}
	seq := tx.Head().Message
	var numbers []uint32
	for i, m := range members {
		numbers = append(numbers, m.Number)
		if conversation.Of(tx).GetLarge() && i < tx.Policy().MaxMentionNotices {
			told := &pb.DialogMentionRequest{ConversationId: tx.Self().ID, Seq: seq, UserId: m.UserId}
			tx.Tell(entity.User(tx.Self().Tenant, m.UserId), told)
		}
	}
	setMentions(tx, seq, numbers)
	return nil
}

// mentionEdited tells nobody: who is mentioned late was not called.
func mentionEdited(tx *entity.Tx, edited *pb.MessageEdited) error {
	message := tx.Event(edited.Seq)
	sent, ok := message.Body.(*pb.MessageSent)
	if !ok {
		return nil // It cannot be read here.
	}
	var numbers []uint32
	for _, m := range mentioned(tx, sent, tx.Caller().User) {
		numbers = append(numbers, m.Number)
	}
	setMentions(tx, edited.Seq, numbers)
	return nil
}

func mentionsExpired(tx *entity.Tx, gone *pb.MessagesExpired) error {
	mentions.DeleteRange(tx, entity.Key{}.U64(gone.From), entity.Key{}.U64(gone.Through+1))
	return nil
}

// mentioned is the present members whom a message mentions, in the order of the
// text, each once, but for its author.
func mentioned(tx *entity.Tx, sent *pb.MessageSent, author string) (all []*pb.Member) {
	for _, part := range sent.GetContent().GetText().GetEntities() {
		if part.Type != mentionType || part.Value == author {
			continue
		}
		m, ok := conversation.Member(tx, part.Value)
		if ok && !slices.ContainsFunc(all, func(other *pb.Member) bool { return other.Number == m.Number }) {
			all = append(all, m)
		}
	}
	return all
}

// setMentions has a message mention some members and nobody else.
func setMentions(tx *entity.Tx, seq uint64, members []uint32) {
	key := entity.Key{}.U64(seq)
	old, had := mentions.Get(tx, key)
	if !had && len(members) == 0 {
		return
	}
	ordinal := tx.Event(seq).Ordinal()
	for _, number := range old.GetMembers() {
		if !slices.Contains(members, number) {
			conversation.Mention(tx, number, ordinal, false)
		}
	}
	for _, number := range members {
		if !slices.Contains(old.GetMembers(), number) {
			conversation.Mention(tx, number, ordinal, true)
		}
	}
	if len(members) == 0 {
		mentions.Delete(tx, key)
		return
	}
	mentions.Put(tx, key, &pb.Mentions{Members: members})
}
