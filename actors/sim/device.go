package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
)

// A device is a client that is seldom connected. It keeps what Sync tells it, and
// nothing else. However it pages, whatever happens meanwhile, it is told everything
// that it may know, once: in the end it has the visible log of each conversation from
// where it began, and knows how each is shown, what is read and what is unread.
type device struct {
	owner  entity.Caller
	token  string
	paging bool // its token is of a page
	begun  bool // it has been told everything once
	asked  *entity.Call

	has  map[uint64]*copied // by conversation
	want map[uint64]copied  // while it pages: through where it must have each conversation then
}

// A copied is what a device has of one conversation.
type copied struct {
	base    uint64 // it has the messages above this seq
	through uint64 // and everything up to this one
	floor   uint64 // below this one some of the log was gone already
	entered int    // how often its owner had come to the conversation
	said    map[uint64]*pb.Content
	dialog  *pb.DialogItem
}

// device returns somebody's device.
func (o *oracle) device(owner entity.Caller) *device {
	d := o.devices[owner]
	if d == nil {
		d = &device{owner: owner, has: map[uint64]*copied{}}
		o.devices[owner] = d
	}
	return d
}

// owner is whoever's device is connected for a moment.
func (d *driver) owner() entity.Caller {
	t, ok := d.w.core.Tenant(d.pick("east", "west"))
	if !ok {
		panic("sim: a tenant is missing")
	}
	user := d.pick(people...)
	return entity.Caller{Tenant: t, User: user, Number: entity.UserNumber(t, user), Device: "tablet"}
}

// sync has a device ask for a page, unless it waits for one.
func (d *driver) sync(dev *device) {
	if dev.asked != nil {
		return
	}
	req := &pb.SyncRequest{Token: dev.token, Limit: d.w.rng.Uint32N(4), Events: d.w.rng.Uint32N(10)}
	call, refused := d.w.reg.NewCall(d.w.reg.ByName("Dialogs.Sync"), dev.owner, req)
	if refused != nil {
		d.w.fail("Dialogs.Sync: %s", refused.Msg)
		return
	}
	dev.asked = call
	d.w.trace("%s/%s Dialogs.Sync %v", dev.owner.User, dev.owner.Device, req)
	d.w.check.submit(call)
}

// syncAll has a device end the sync that it is in, and then ask until there is no
// more.
func (d *driver) syncAll(dev *device) {
	for syncs := 0; syncs < 2 && d.w.failure == nil; {
		d.sync(dev)
		d.w.settle()
		if !dev.paging {
			syncs++
		}
	}
}

// cutOff forgets what devices have asked and not heard.
func (o *oracle) cutOff() {
	for _, dev := range o.devices {
		dev.asked = nil
	}
}

// synced checks a page, and lets the device that asked for it have it.
func (o *oracle) synced(c *entity.Call, resp *pb.SyncResponse) string {
	for _, item := range resp.Dialogs {
		if s := item.Dialog.State; s != nil {
			t := o.talk(entity.Conversation(c.Caller.Tenant, item.Dialog.ConversationId))
			if problem := o.wrongState(t, c.Caller.User, s); problem != "" {
				return problem
			}
		}
	}
	dev := o.devices[c.Caller]
	if dev == nil || dev.asked != c {
		return "" // Somebody with no device asked.
	}
	dev.asked = nil
	o.w.trace("  %s/%s hears %v", dev.owner.User, dev.owner.Device, resp)
	if !dev.paging {
		dev.want = o.wanted(dev)
	}
	if resp.Reset_ {
		return "that its token means nothing"
	}
	for _, item := range resp.Dialogs {
		if problem := o.take(dev, item); problem != "" {
			return fmt.Sprintf("of %d: %s", item.Dialog.ConversationId, problem)
		}
	}
	dev.token, dev.paging = resp.Token, resp.More
	if dev.paging {
		return ""
	}
	dev.begun = dev.token != ""
	for id, want := range dev.want {
		has, still := dev.has[id], o.dialogs[dev.owner.Ref()][id] == want.entered
		if o.floor(entity.Conversation(dev.owner.Tenant, id), dev.owner.User) > want.through {
			continue // Meanwhile it went.
		}
		if still && (has == nil || has.through < want.through) {
			return fmt.Sprintf("all there is, and of %d not up to %d, as it was at the first page: %+v", id, want.through, has)
		}
	}
	return ""
}

// wanted is what a device must have when a sync that begins now is over: every
// dialog up to where its log stands now.
func (o *oracle) wanted(dev *device) map[uint64]copied {
	want := map[uint64]copied{}
	for id, entered := range o.dialogs[dev.owner.Ref()] {
		if entered > 0 {
			through := o.last(o.talk(entity.Conversation(dev.owner.Tenant, id)), dev.owner.User)
			want[id] = copied{through: through, entered: entered}
		}
	}
	return want
}

// take lets a device have one dialog of a page.
func (o *oracle) take(dev *device, item *pb.SyncedDialog) string {
	id := item.Dialog.ConversationId
	has := dev.has[id]
	if item.Left {
		delete(dev.has, id)
		return ""
	}
	entered := o.dialogs[dev.owner.Ref()][id]
	ref := entity.Conversation(dev.owner.Tenant, id)
	switch {
	case dev.begun && has == nil && !item.Reset_:
		return "a dialog out of nowhere"
	case item.Reset_ && has != nil && has.entered == entered && !o.mayReset(ref, dev.owner):
		return "that something is missing"
	case has == nil || item.Reset_:
		if len(item.Events) > 0 {
			return "events where it begins"
		}
		dev.has[id] = &copied{
			base: item.Through, through: item.Through, floor: o.floor(ref, dev.owner.User), entered: entered,
			said: map[uint64]*pb.Content{}, dialog: item.Dialog,
		}
		return ""
	}
	has.dialog, has.entered = item.Dialog, entered
	if item.More {
		from := item.Events[0].Seq
		if hole, ok := bodyOf(item.Events[0]).(*pb.Hole); ok {
			from = hole.From // A hole stands at its end.
		}
		has.base, has.through = from-1, from-1
		maps.DeleteFunc(has.said, func(seq uint64, _ *pb.Content) bool { return seq <= has.base })
	}
	t := o.talk(ref)
	if len(t.members[dev.owner.User]) != entered {
		has.through = item.Through // He has come back, and his dialogs have not heard of it: then it begins anew.
		return ""
	}
	if problem := o.follow(has, t, dev.owner.User, item); problem != "" {
		return problem
	}
	for _, seq := range item.Hidden {
		delete(has.said, seq)
	}
	return ""
}

// mayReset reports whether some of a log is gone, or much was deleted by one
// person for himself.
func (o *oracle) mayReset(ref entity.Ref, owner entity.Caller) bool {
	const remembered = 64
	return o.floor(ref, owner.User) > 1 || o.talk(ref).hides[owner.User] > remembered
}

// floor is where a log begins to be whole. When what is old goes, the kernel
// decides; that it goes shows in what is stored.
func (o *oracle) floor(ref entity.Ref, user string) uint64 {
	viewer := entity.Caller{Tenant: ref.Tenant, User: user, Number: entity.UserNumber(ref.Tenant, user)}
	return o.w.reg.Position(o.w.check.durable, ref, viewer, o.w.core.Policy(ref.Tenant), 1).Floor
}

// bodyOf is the body of an event in a reply.
func bodyOf(e *pb.Event) proto.Message {
	_, body := openEvent(e)
	return body
}

// follow applies missed events, which must be all that the user may see.
func (o *oracle) follow(has *copied, t *talk, user string, item *pb.SyncedDialog) string {
	at := has.through
	for _, e := range item.Events {
		name, body := openEvent(e)
		from := e.Seq
		if hole, ok := body.(*pb.Hole); ok {
			from = hole.From
		}
		if from <= at || e.Seq > item.Through {
			return fmt.Sprintf("%s %d after %d, up to %d", name, e.Seq, at, item.Through)
		}
		for seq := max(at+1, has.floor); seq < e.Seq; seq++ {
			if t.may(user, seq) {
				return fmt.Sprintf("nothing of event %d", seq)
			}
		}
		at = e.Seq
		if _, ok := body.(*pb.Hole); ok != !t.may(user, e.Seq) {
			return fmt.Sprintf("%s %d, which he may read: %v", name, e.Seq, t.may(user, e.Seq))
		}
		if problem := o.apply(has, t, user, e.Seq, body); problem != "" {
			return problem
		}
	}
	for seq := max(at+1, has.floor); seq <= item.Through; seq++ {
		if t.may(user, seq) {
			return fmt.Sprintf("nothing of event %d", seq)
		}
	}
	if item.Through < has.through {
		return fmt.Sprintf("the log up to %d, and it had it up to %d", item.Through, has.through)
	}
	has.through = item.Through
	return ""
}

// apply does what a client does with an event.
func (o *oracle) apply(has *copied, t *talk, user string, seq uint64, body proto.Message) string {
	switch b := body.(type) {
	case *pb.MessageSent:
		has.said[seq] = b.Content
		return o.wrongMessage(t, user, seq, b)
	case *pb.MessageEdited:
		if _, ok := has.said[b.Seq]; ok && b.Message != nil {
			has.said[b.Seq] = b.Message.Content
		}
	case *pb.MessageRevoked:
		if _, ok := has.said[b.Seq]; ok {
			has.said[b.Seq] = nil
		}
	case *pb.MessagesExpired:
		maps.DeleteFunc(has.said, func(seq uint64, _ *pb.Content) bool { return seq >= b.From && seq <= b.Through })
	}
	return ""
}

// compareDevices lets every device hear what it has not heard, and compares what it
// has then with what its owner's lists show.
func (d *driver) compareDevices() {
	o := d.w.check.oracle
	owners := slices.Collect(maps.Keys(o.devices))
	slices.SortFunc(owners, func(a, b entity.Caller) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.User, b.User))
	})
	for _, owner := range owners {
		d.syncAll(o.devices[owner])
		list := map[uint64]*pb.DialogItem{}
		for _, archived := range []bool{false, true} {
			call, refused := d.w.reg.NewCall(d.w.reg.ByName("Dialogs.List"), owner, &pb.ListDialogsRequest{Archived: archived})
			if refused != nil {
				d.w.fail("Dialogs.List: %s", refused.Msg)
				return
			}
			d.w.core.Submit(call, func(res entity.Result) {
				for _, item := range res.Reply.(*pb.ListDialogsResponse).Dialogs {
					list[item.ConversationId] = item
				}
			})
		}
		d.w.settle()
		if d.w.failure != nil {
			return
		}
		if problem := o.compareDevice(o.devices[owner], list); problem != "" {
			d.w.fail("at the end the device of %s has %s", owner.User, problem)
		}
	}
}

// compareDevice compares what a device has, in the end, with what there is, and
// with what a list shows.
func (o *oracle) compareDevice(dev *device, list map[uint64]*pb.DialogItem) string {
	if got, want := slices.Sorted(maps.Keys(dev.has)), slices.Sorted(maps.Keys(list)); !slices.Equal(got, want) {
		return fmt.Sprintf("the dialogs %v; they are %v", got, want)
	}
	for id, item := range list {
		has, t := dev.has[id], o.talk(entity.Conversation(dev.owner.Tenant, id))
		want := map[uint64]*pb.Content{}
		for seq, s := range t.said {
			if seq > has.base && t.may(dev.owner.User, seq) {
				want[seq] = s.content
			}
		}
		same := maps.EqualFunc(has.said, want, func(a, b *pb.Content) bool { return proto.Equal(a, b) })
		got, now := has.dialog.State, item.State
		switch {
		case !same:
			return fmt.Sprintf("the messages %v in %d; they are %v", has.said, id, want)
		case !proto.Equal(has.dialog.Settings, item.Settings):
			return fmt.Sprintf("%d shown as %v; it is %v", id, has.dialog.Settings, item.Settings)
		case got.GetUnread() != now.GetUnread() || got.GetMentions() != now.GetMentions() || got.GetHead() != now.GetHead():
			return fmt.Sprintf("%d as %v; it is %v", id, got, now)
		case got.GetRead() != now.GetRead() || got.GetDelivered() != now.GetDelivered():
			return fmt.Sprintf("%d read as %v; it is %v", id, got, now)
		case now.GetPeerRead() != 0 && got.GetPeerRead() != now.GetPeerRead():
			return fmt.Sprintf("%d read by the other as %v; it is %v", id, got, now)
		}
	}
	return ""
}
