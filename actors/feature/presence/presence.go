// Package presence says who is connected, to those who ask to be told: people
// who share a conversation. Who is connected is known to the gateway and is in no
// row; who is told, and when somebody was last seen, are rows. presence.go is who
// is there, subscribing.go who is told.
package presence

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/user"
)

// Feature is presence.
var Feature = entity.Feature{Name: "presence", Parts: []entity.Part{
	entity.Command(changed),
	entity.Query(get),
	entity.Query(one),
	entity.Command(setStatus),

	entity.Command(subscribe),
	entity.Command(unsubscribe),
	entity.Command(vouch),
	entity.Command(watch),
	entity.Command(unwatch),
	entity.Command(part),
	entity.After(left),
}}

// seenEvery is how exactly it is known, and how often at most it is written, when
// somebody was there.
const seenEvery = time.Minute

var (
	watched  = entity.NewTable[pb.Watched]()  // by user number
	watching = entity.NewTable[pb.Watching]() // by user number
	seen     = entity.NewTable[pb.Seen]()     // one row
)

// changed tells those who want to know.
func changed(tx *entity.Tx, req *pb.PresenceChangedRequest) (*pb.PresenceChangedResponse, error) {
	if err := user.RequireSelf(tx); err != nil {
		return nil, err
	}
	row := seen.Edit(tx, nil)
	if at := tx.Now().Truncate(seenEvery).UnixMilli(); row.At != at {
		row.At = at
		seen.Put(tx, nil, row)
	}
	tell(tx, &pb.PresenceItem{UserId: tx.Caller().User, Online: req.Online, LastSeen: row.At, Status: row.Status})
	return &pb.PresenceChangedResponse{}, nil
}

// tell signals to everybody whose subscription has not ended.
func tell(tx *entity.Tx, person *pb.PresenceItem) {
	if to := watchers(tx); len(to) > 0 {
		tx.SignalTo(to, &pb.PresenceNow{Person: person})
	}
}

// watchers is everybody whose subscription has not ended. It forgets those whose has,
// a page of them at a time: however many end at once, a Step can go on.
func watchers(tx *entity.Tx) (numbers []uint64) {
	ended := 0
	for key, w := range watching.Scan(tx, nil) {
		if w.Until > tx.Now().UnixMilli() {
			number, _ := key.TakeU64()
			numbers = append(numbers, number)
		} else if ended++; ended <= partPage {
			watching.Delete(tx, key)
		}
	}
	return numbers
}

func get(v *entity.View, req *pb.GetPresenceRequest) (*pb.GetPresenceResponse, error) {
	if err := user.RequireSelf(v); err != nil {
		return nil, err
	}
	if most := v.Policy().MaxPresenceUsers; len(req.UserIds) > most {
		return nil, entity.Errorf(entity.TooLarge, "at most %d people can be asked for at a time", most)
	}
	resp := &pb.GetPresenceResponse{}
	for _, id := range req.UserIds {
		got, err := entity.Ask[*pb.OnePresenceResponse](v, &pb.OnePresenceRequest{UserId: id})
		if err != nil {
			return nil, err
		}
		if got.Person != nil {
			resp.People = append(resp.People, got.Person)
		}
	}
	return resp, nil
}

// one answers himself, and those who have a subscription.
func one(v *entity.View, req *pb.OnePresenceRequest) (*pb.OnePresenceResponse, error) {
	me := v.Caller()
	if account, _ := user.Accounts.Get(v, nil); account.GetUserId() != req.UserId {
		return &pb.OnePresenceResponse{}, nil // Another subject with the same number is not meant.
	}
	if user.RequireSelf(v) != nil {
		w, ok := watching.Get(v, entity.Key{}.U64(me.Number))
		if !ok || w.UserId != me.User || w.Until <= v.Now().UnixMilli() {
			return &pb.OnePresenceResponse{}, nil
		}
	}
	row, _ := seen.Get(v, nil)
	return &pb.OnePresenceResponse{Person: &pb.PresenceItem{
		UserId: req.UserId, Online: v.Online(), LastSeen: row.GetAt(), Status: row.GetStatus(),
	}}, nil
}

func setStatus(tx *entity.Tx, req *pb.SetStatusRequest) (*pb.SetStatusResponse, error) {
	if err := user.Claim(tx, tx.Caller().User); err != nil {
		return nil, err
	}
	switch most := tx.Policy().MaxStatusChars; {
	case utf8.RuneCountInString(req.Status) > most:
		return nil, entity.Errorf(entity.TooLarge, "a status has at most %d characters", most)
	case strings.ContainsFunc(req.Status, unicode.IsControl):
		return nil, entity.Errorf(entity.Invalid, "a status has no control characters")
	}
	row := seen.Edit(tx, nil)
	if row.Status == req.Status {
		return &pb.SetStatusResponse{}, nil // Nothing changes, so nobody is told.
	}
	row.Status, row.At = req.Status, tx.Now().Truncate(seenEvery).UnixMilli()
	seen.Put(tx, nil, row)
	tell(tx, &pb.PresenceItem{UserId: tx.Caller().User, Online: true, LastSeen: row.At, Status: row.Status})
	return &pb.SetStatusResponse{}, nil
}
