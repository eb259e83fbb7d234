// Package webhooks tells the server of a tenant what happens in its
// conversations, if the tenant has configured a webhook.
//
// What is kept is a task that names an event. The worker that delivers it asks
// for the event only then: a message that was edited meanwhile is delivered as it
// is now, one that was revoked as revoked, and what is gone from the log not at
// all. Nothing that was erased comes back from a queue.
package webhooks

import (
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
)

// Feature is the webhooks of tenants. It comes before every other feature: see
// notify.
var Feature = entity.Feature{Name: "webhooks", Parts: []entity.Part{
	entity.Outside[*pb.DeliverWebhookRequest, *pb.DeliverWebhookResponse](),
	entity.Query(show),

	entity.After(notify[*pb.MessageSent]),
	entity.After(notify[*pb.MessageEdited]),
	entity.After(notify[*pb.MessageRevoked]),
	entity.After(notify[*pb.MessagesExpired]),
	entity.After(notify[*pb.DirectOpened]),
	entity.After(notify[*pb.GroupCreated]),
	entity.After(notify[*pb.GroupChanged]),
	entity.After(notify[*pb.GroupDissolved]),
	entity.After(notify[*pb.ChannelCreated]),
	entity.After(notify[*pb.ChannelChanged]),
	entity.After(notify[*pb.MemberJoined]),
	entity.After(notify[*pb.MembersJoined]),
	entity.After(notify[*pb.MemberLeft]),
	entity.After(notify[*pb.MemberRemoved]),
	entity.After(notify[*pb.RoleChanged]),
}}

// notify has an event delivered. It is the first hook that hears of the event, so
// the event is the last one of the log; a later hook could already have emitted
// another.
func notify[E proto.Message](tx *entity.Tx, _ E) error {
	if tx.Policy().Webhook {
		tx.Task(&pb.DeliverWebhookRequest{ConversationId: tx.Self().ID, Seq: tx.Head().Seq})
	}
	return nil
}

// show answers for the tenant, which may read everything.
func show(v *entity.View, req *pb.ShowWebhookRequest) (*pb.ShowWebhookResponse, error) {
	event := v.Event(req.Seq)
	if event == nil {
		return &pb.ShowWebhookResponse{}, nil
	}
	return &pb.ShowWebhookResponse{Type: dotted(event.Type.Name), Event: v.Visible(event, entity.Everything).Wire()}, nil
}

// dotted is the name of an event as Standard Webhooks writes it: MessageSent is
// message.sent.
func dotted(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('.')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
