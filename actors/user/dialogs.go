package user

import (
	"kith/actors/entity"
	"kith/actors/pb"
)

// Dialogs are a user's own rows about his conversations, by conversation id. The
// feature of that name writes them; others go through them.
var Dialogs = entity.NewTable[pb.Dialog]()
