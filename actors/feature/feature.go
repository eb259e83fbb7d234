package feature

import (
	"kith/actors/entity"
	"kith/actors/feature/channels"
	"kith/actors/feature/devices"
	"kith/actors/feature/dialogs"
	"kith/actors/feature/directs"
	"kith/actors/feature/groups"
	"kith/actors/feature/messages"
	"kith/actors/feature/pins"
	"kith/actors/feature/presence"
	"kith/actors/feature/profiles"
	"kith/actors/feature/reactions"
	"kith/actors/feature/receipts"
	"kith/actors/feature/timers"
	"kith/actors/feature/typing"
	"kith/actors/feature/webhooks"
)

// All is everything that the server can do. Hooks run in this order.
var All = []entity.Feature{
	webhooks.Feature, // First, so that it sees each event while that is the last one.
	devices.Feature,
	dialogs.Feature,
	directs.Feature,
	groups.Feature,
	channels.Feature,
	messages.Feature,
	pins.Feature,
	reactions.Feature,
	receipts.Feature,
	presence.Feature,
	profiles.Feature,
	typing.Feature,
	timers.Feature,
}
