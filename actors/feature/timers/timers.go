// Package timers does things in a conversation at their time: autodelete.go has
// messages delete themselves, scheduled.go has them sent later.
package timers

import (
	"kith/actors/entity"
	"kith/actors/pb"
)

// Feature is timers.
var Feature = entity.Feature{Name: "timers", Parts: []entity.Part{
	entity.Command(setAutoDelete),
	entity.Query(autoDelete),
	entity.Command(expire),
	entity.After(sent),
	entity.Verify(pb.Kind_CONVERSATION, check),

	entity.Command(schedule),
	entity.Command(changeScheduled),
	entity.Command(cancelScheduled),
	entity.Query(scheduled),
	entity.Command(sendScheduled),
}}
