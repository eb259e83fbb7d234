package feature

import (
	"kith/actors/entity"
	"kith/actors/feature/devices"
	"kith/actors/feature/dialogs"
	"kith/actors/feature/directs"
	"kith/actors/feature/groups"
	"kith/actors/feature/messages"
)

// All is everything that the server can do. Hooks run in this order.
var All = []entity.Feature{
	devices.Feature,
	dialogs.Feature,
	directs.Feature,
	groups.Feature,
	messages.Feature,
}
