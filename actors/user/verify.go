package user

import "kith/actors/entity"

// Check looks whether a user has the number that his subject has, and a row at
// all if there is a log.
func Check(v *entity.View, report func(sentence string)) {
	account, ok := Accounts.Get(v, nil)
	switch {
	case !ok && v.Head().Seq > 0:
		report("it has a log and no account: nobody may read it")
	case ok && account.UserId != "" && entity.UserNumber(v.Self().Tenant, account.UserId) != v.Self().ID:
		report("its account is that of " + account.UserId + ", who has another number")
	}
}
