// Package user is the vocabulary that features share about users: whose entity
// it is, and how its log is read. It has no methods of its own; features do.
package user

import (
	"kith/actors/entity"
	"kith/actors/pb"
)

// Accounts holds one row: who the user is.
var Accounts = entity.NewTable[pb.Account]()

// Claim makes the number of this entity the subject's, if it is not yet. It
// refuses a second subject with the same number, and a new one where the tenant
// makes no users. Whoever stores something with a user claims first.
func Claim(tx *entity.Tx, subject string) error {
	account, ok := Accounts.Get(tx, nil)
	switch {
	case ok && account.UserId == subject:
		return nil
	case ok:
		return taken(subject)
	case !tx.Policy().CreateUsers:
		return entity.Errorf(entity.Denied, "there is no user %s", subject)
	}
	Accounts.Put(tx, nil, &pb.Account{UserId: subject})
	return nil
}

// RequireSelf refuses who is not the user that this entity is.
func RequireSelf(v entity.Viewer) error {
	account, ok := Accounts.Get(v, nil)
	switch me := v.Caller(); {
	case me.Ref() != v.Self():
		return entity.Errorf(entity.Denied, "that is only for the user himself")
	case ok && account.UserId != me.User:
		return taken(me.User)
	}
	return nil
}

func taken(subject string) error {
	return entity.Errorf(entity.Conflict, "the user id %s cannot be used here; choose another", subject)
}

// Log says who reads the log of a user: himself, on all his devices. The
// server signs it: what it says is what has happened to him.
var Log = entity.LogRules{
	Reach: func(v *entity.View, viewer entity.Caller) entity.Reach {
		account, _ := Accounts.Get(v, nil)
		if viewer.Ref() != v.Self() || account.GetUserId() != viewer.User {
			return entity.Reach{}
		}
		return entity.Everything
	},
	Author: func(entity.Viewer, entity.Caller) uint32 { return 0 },
	Name:   func(entity.Viewer, uint32) string { return "" },
	Audience: func(v entity.Viewer) *entity.Audience {
		return &entity.Audience{Users: []uint64{v.Self().ID}}
	},
}
