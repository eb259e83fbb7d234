package presence

import (
	"time"

	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/user"
)

// A subscription goes through the conversation that the two share, which vouches
// for it, to the entity of whom it is about. When one of them leaves that
// conversation it ends, on the side of who left first, and there the other side is
// told. Who subscribes again through another conversation ends what the first one had
// vouched for: only one of them is known, and that one must be the one that he leaves.

const (
	// subscribeFor is how long a subscription lasts if the client does not say: a
	// screen that is open for longer renews it.
	subscribeFor = time.Hour
	// maxSubscribe is the longest. Source: Easemob.
	maxSubscribe = 30 * 24 * time.Hour
	// maxWatching bounds those who are told of one person: a Step tells them all. It
	// is at most half of what a Step may read.
	maxWatching = 5000
	// partPage is how many subscriptions end in one Step.
	partPage = 200
)

func subscribe(tx *entity.Tx, req *pb.SubscribePresenceRequest) (*pb.SubscribePresenceResponse, error) {
	if err := user.Claim(tx, tx.Caller().User); err != nil {
		return nil, err
	}
	length := time.Duration(req.Seconds) * time.Second
	if length == 0 {
		length = subscribeFor
	}
	switch most := tx.Policy().MaxPresenceUsers; {
	case len(req.UserIds) == 0:
		return nil, entity.Errorf(entity.Invalid, "say of whom you want to be told")
	case len(req.UserIds) > most:
		return nil, entity.Errorf(entity.TooLarge, "at most %d people can be subscribed to at a time", most)
	case length > maxSubscribe:
		return nil, entity.Errorf(entity.TooLarge, "a subscription lasts for at most %d days", maxSubscribe/(24*time.Hour))
	case req.ConversationId == 0 || req.ConversationId >= 1<<entity.NumberBits:
		return nil, entity.Errorf(entity.Invalid, "say which conversation you share with them: conversation_id")
	}
	until := tx.Now().Add(length).UnixMilli()
	for _, id := range req.UserIds {
		if !entity.ValidUserID(id) {
			return nil, entity.Errorf(entity.Invalid, "user_ids: %s", entity.UserIDRule)
		}
		number := entity.UserNumber(tx.Self().Tenant, id)
		if number == tx.Self().ID {
			continue // He knows.
		}
		key := entity.Key{}.U64(number)
		if w, ok := watched.Get(tx, key); ok && w.ConversationId != req.ConversationId {
			end(tx, key, w)
		}
		watched.Put(tx, key, &pb.Watched{UserId: id, Until: until, ConversationId: req.ConversationId})
	}
	if err := requireRoom(tx); err != nil {
		return nil, err
	}
	tx.Tell(entity.Conversation(tx.Self().Tenant, req.ConversationId), &pb.VouchPresenceRequest{UserIds: req.UserIds, Until: until})
	return &pb.SubscribePresenceResponse{}, nil
}

// requireRoom forgets what has ended and refuses what is too much.
func requireRoom(tx *entity.Tx) error {
	n := 0
	for key, w := range watched.Scan(tx, nil) {
		if w.Until <= tx.Now().UnixMilli() {
			watched.Delete(tx, key)
			continue
		}
		n++
	}
	if most := tx.Policy().MaxPresenceSubscriptions; n > most {
		return entity.Errorf(entity.Exhausted, "one person has at most %d subscriptions", most)
	}
	return nil
}

// vouch runs on the conversation, for who subscribes. It says nothing of who is
// not there, and nothing in a large conversation or one whose members do not see
// each other.
func vouch(tx *entity.Tx, req *pb.VouchPresenceRequest) (*pb.VouchPresenceResponse, error) {
	me, err := conversation.RequireMember(tx)
	if err != nil || int(conversation.Of(tx).Members) > tx.Policy().MaxPresenceMembers || !conversation.SeesMembers(tx, me) {
		return &pb.VouchPresenceResponse{}, nil
	}
	for _, id := range req.UserIds {
		if _, there := conversation.Member(tx, id); there && id != me.UserId {
			tx.Tell(entity.User(tx.Self().Tenant, id), &pb.WatchPresenceRequest{ConversationId: tx.Self().ID, Until: req.Until, UserId: id})
		}
	}
	return &pb.VouchPresenceResponse{}, nil
}

// watch runs on whom it is about, for who subscribes.
func watch(tx *entity.Tx, req *pb.WatchPresenceRequest) (*pb.WatchPresenceResponse, error) {
	account, ok := user.Accounts.Get(tx, nil)
	if !ok || account.UserId != req.UserId {
		return &pb.WatchPresenceResponse{}, nil // He has never been here.
	}
	me := tx.Caller()
	key := entity.Key{}.U64(me.Number)
	if !watching.Has(tx, key) {
		if most := min(maxWatching, tx.Policy().StepReads/2); len(watchers(tx)) >= most {
			return nil, entity.Errorf(entity.Exhausted, "at most %d people are told of one", most)
		}
	}
	watching.Put(tx, key, &pb.Watching{UserId: me.User, Until: req.Until, ConversationId: req.ConversationId})
	tx.SignalTo([]uint64{me.Number}, &pb.PresenceReady{UserId: account.UserId})
	return &pb.WatchPresenceResponse{}, nil
}

func unwatch(tx *entity.Tx, req *pb.UnwatchPresenceRequest) (*pb.UnwatchPresenceResponse, error) {
	key := entity.Key{}.U64(tx.Caller().Number)
	if w, ok := watching.Get(tx, key); ok && w.UserId == tx.Caller().User && w.ConversationId == req.ConversationId {
		watching.Delete(tx, key)
	}
	return &pb.UnwatchPresenceResponse{}, nil
}

func unsubscribe(tx *entity.Tx, req *pb.UnsubscribePresenceRequest) (*pb.UnsubscribePresenceResponse, error) {
	if err := user.RequireSelf(tx); err != nil {
		return nil, err
	}
	if most := tx.Policy().MaxPresenceUsers; len(req.UserIds) > most {
		return nil, entity.Errorf(entity.TooLarge, "at most %d subscriptions can be ended at a time; name nobody to end all", most)
	}
	if len(req.UserIds) == 0 {
		endPage(tx, &pb.PartPresenceRequest{})
	}
	for _, id := range req.UserIds {
		key := entity.Key{}.U64(entity.UserNumber(tx.Self().Tenant, id))
		if w, ok := watched.Get(tx, key); ok {
			end(tx, key, w)
		}
	}
	return &pb.UnsubscribePresenceResponse{}, nil
}

func end(tx *entity.Tx, key entity.Key, w *pb.Watched) {
	watched.Delete(tx, key)
	tx.Tell(entity.User(tx.Self().Tenant, w.UserId), &pb.UnwatchPresenceRequest{ConversationId: w.ConversationId})
}

// left ends what the conversation that the user has left had vouched for.
func left(tx *entity.Tx, from *pb.DialogLeft) error {
	endPage(tx, &pb.PartPresenceRequest{ConversationId: from.ConversationId})
	return nil
}

// part goes on where a page ended.
func part(tx *entity.Tx, req *pb.PartPresenceRequest) (*pb.PartPresenceResponse, error) {
	endPage(tx, req)
	return &pb.PartPresenceResponse{}, nil
}

// endPage ends a page of what a conversation vouched for, first what others are told
// of the user, then what he is told of others, and has the next page follow. If it
// names none, it ends all that he is told.
func endPage(tx *entity.Tx, req *pb.PartPresenceRequest) {
	ended := 0
	room := func() bool {
		if ended++; ended > partPage {
			tx.Continue(req)
		}
		return ended <= partPage
	}
	for key, w := range watching.Scan(tx, nil) {
		if req.ConversationId == 0 {
			break
		}
		if w.ConversationId == req.ConversationId {
			if !room() {
				return
			}
			watching.Delete(tx, key)
		}
	}
	for key, w := range watched.Scan(tx, nil) {
		if req.ConversationId == 0 || w.ConversationId == req.ConversationId {
			if !room() {
				return
			}
			end(tx, key, w)
		}
	}
}
