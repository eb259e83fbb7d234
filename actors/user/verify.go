package user

import "kith/actors/entity"

// Check looks whether a user has the number that his subject has.
func Check(v *entity.View, report func(sentence string)) {
	account, ok := Accounts.Get(v, nil)
	if ok && account.UserId != "" && entity.UserNumber(v.Self().Tenant, account.UserId) != v.Self().ID {
		report("its account is that of " + account.UserId + ", who has another number")
	}
}
