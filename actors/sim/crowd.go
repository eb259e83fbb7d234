package sim

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
)

// gather plans a crowd: everybody joins a group while people talk there, and most
// leave it again. By chance alone calls seldom come in that order, and it is then
// that a conversation becomes large and small again, with everything on its way.
func (d *driver) gather() {
	groups := slices.DeleteFunc(d.talks(), func(t *talk) bool { return !t.group || t.empty() })
	if len(groups) == 0 {
		return
	}
	d.talk = groups[d.w.rng.IntN(len(groups))]
	id := d.talk.ref.ID
	hidden := d.one(2)
	for _, user := range people {
		if d.talk.roles[user] >= pb.Role_ADMIN {
			d.plan(user, "Groups.Change", &pb.ChangeGroupRequest{ConversationId: id, JoinRule: pb.JoinRule_OPEN, HistoryHidden: &hidden})
		}
	}
	for _, user := range d.shuffled() {
		d.plan(user, "Groups.Join", &pb.JoinRequest{ConversationId: id})
		d.plan(user, "Messages.Send", &pb.SendRequest{ConversationId: id, Content: d.content()})
		if other := groups[d.w.rng.IntN(len(groups))]; other.roles[user] >= pb.Role_ADMIN {
			d.plan(user, "Groups.InviteAll", &pb.InviteAllRequest{ConversationId: id, Via: other.ref.ID})
		}
	}
	for _, user := range d.shuffled() {
		d.plan(user, "Messages.Send", &pb.SendRequest{ConversationId: id, Content: d.content()})
		d.plan(user, "Messages.Edit", &pb.EditRequest{ConversationId: id, Seq: d.seq(), Content: d.content()})
		if d.talk.channel {
			d.plan(user, "Channels.View", &pb.ViewRequest{ConversationId: id, Seq: d.seq()})
			d.plan(user, "Channels.View", &pb.ViewRequest{ConversationId: id, Seq: d.seq()})
			d.plan(user, "Channels.Views", &pb.ViewsRequest{ConversationId: id, Seqs: []uint64{d.seq(), d.seq(), d.seq()}})
		}
		d.plan(user, "Groups.Leave", &pb.LeaveRequest{ConversationId: id})
		if d.one(4) {
			d.plan(user, "Groups.Join", &pb.JoinRequest{ConversationId: id})
		}
	}
	for _, user := range people {
		d.plan(user, "Messages.Send", &pb.SendRequest{ConversationId: id, Content: d.content()})
	}
}

// plan adds a call to those that come next, of a member or of who is to be one.
func (d *driver) plan(user, method string, req proto.Message) {
	t := d.talk.ref.Tenant
	caller := entity.Caller{Tenant: t, User: user, Number: entity.UserNumber(t, user), Device: d.pick(devices...)}
	if c, refused := d.w.reg.NewCall(d.w.reg.ByName(method), caller, req); refused == nil {
		d.planned = append(d.planned, c)
	}
}

func (d *driver) shuffled() []string {
	all := slices.Clone(people)
	d.w.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}
