package sim

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
)

// An oracle knows what a person could know: who was in which conversation
// when, and what the messages say now. It learns from durable events and from
// durable calls, and who is a member also from durable rows; it shares no code
// with the features.
type oracle struct {
	w             *world
	conversations map[entity.Ref]*talk
	logs          map[entity.Ref]uint64 // last durable seq of every log

	devices  map[entity.Caller]*device
	dialogs  map[entity.Ref]map[uint64]int // by user: how often he has come to a conversation; negative: he has left it
	discreet map[discreet]bool

	readable   map[string]bool // what words returned when there were so many commits
	readableAt int
}

// A talk is one conversation.
type talk struct {
	ref     entity.Ref
	group   bool
	hidden  bool                  // new members do not see what was before them
	members map[string][]interval // by user id
	said    map[uint64]*saying    // messages, by seq
	changes map[uint64]uint64     // edits: seq of the message, by seq of the change
	deleted map[string]map[uint64]bool

	channel   bool
	large     bool
	dissolved uint64             // the seq of the event; 0: it stands
	roles     map[string]pb.Role // by user id
	watching  map[string]bool    // who has subscribed to the log, by user id

	since  map[string]uint64 // where the log stood when somebody joined unseen, by user id
	viewed map[string]uint64 // how far somebody has viewed, by user id
	views  map[uint64]uint32 // by seq

	read    map[string]uint64 // how far somebody has read, by user id
	came    map[string]uint64 // where the log stood when he came
	numbers map[string]uint32 // of members
	hides   map[string]int    // how often he has deleted messages for himself

	later later
}

type interval struct{ from, through uint64 } // through 0: still in

type saying struct {
	content *pb.Content // nil: revoked
	by      string      // user id; empty: nobody signed it
}

func newOracle(w *world) *oracle {
	return &oracle{
		w: w, conversations: map[entity.Ref]*talk{}, logs: map[entity.Ref]uint64{},
		devices: map[entity.Caller]*device{}, dialogs: map[entity.Ref]map[uint64]int{}, discreet: map[discreet]bool{},
	}
}

func (o *oracle) talk(ref entity.Ref) *talk {
	t := o.conversations[ref]
	if t == nil {
		t = &talk{
			ref: ref, members: map[string][]interval{}, said: map[uint64]*saying{},
			changes: map[uint64]uint64{}, deleted: map[string]map[uint64]bool{},
			roles: map[string]pb.Role{}, watching: map[string]bool{},
			since: map[string]uint64{}, viewed: map[string]uint64{}, views: map[uint64]uint32{},
			read: map[string]uint64{}, came: map[string]uint64{}, numbers: map[string]uint32{}, hides: map[string]int{},
			later: newLater(),
		}
		o.conversations[ref] = t
	}
	return t
}

// heads returns the last durable seq of every log.
func (o *oracle) heads() map[entity.Ref]uint64 {
	all := map[entity.Ref]uint64{}
	for ref, seq := range o.logs {
		all[ref] = seq
	}
	return all
}

// event returns what is to be learned from an event once it is durable.
func (o *oracle) event(e *entity.Event) func() {
	body := proto.Clone(e.Body) // As it was said; nobody changes it later.
	return func() {
		o.logs[e.Ref] = e.Seq
		if e.Ref.Kind != pb.Kind_CONVERSATION {
			o.own(e.Ref, body)
			return
		}
		t := o.talk(e.Ref)
		large := t.large
		o.keeping(t, e, body)
		o.learn(t, e, body)
		o.heard(t, e, large)
		if o.resize(t); t.large && !large {
			o.w.fail("%s: event %d (%s) makes it large, and then it is in no log", e.Ref, e.Seq, e.Type.Name)
		}
		if edited, ok := body.(*pb.MessageEdited); ok && edited.Message != nil {
			o.live(t, e.Seq, edited)
		}
	}
}

// live checks the body of an edit as everybody who hears it gets it.
func (o *oracle) live(t *talk, seq uint64, edited *pb.MessageEdited) {
	for user := range t.members {
		if t.present(user) && !t.may(user, edited.Seq) {
			o.w.fail("%s: event %d tells %s what message %d says, which he may not read", t.ref, seq, user, edited.Seq)
		}
	}
	if said := t.said[edited.Seq]; !proto.Equal(edited.Message.Content, said.content) {
		o.w.fail("%s: event %d says that message %d is %v; it is %v", t.ref, seq, edited.Seq, edited.Message.Content, said.content)
	}
}

// learn applies an event.
func (o *oracle) learn(t *talk, e *entity.Event, body proto.Message) {
	switch b := body.(type) {
	case *pb.DirectOpened:
		for _, user := range b.UserIds {
			t.join(user, e.Seq)
		}
	case *pb.GroupCreated:
		t.group = true
		t.join(e.By, e.Seq)
	case *pb.GroupChanged:
		t.hidden = b.HistoryHidden
	case *pb.MemberJoined:
		t.join(b.UserId, e.Seq)
	case *pb.MembersJoined:
		for _, user := range b.UserIds {
			t.join(user, e.Seq)
		}
	case *pb.MemberLeft, *pb.MemberRemoved, *pb.SubscriberLeft:
		if user := o.leaver(t, e); user != "" {
			t.leave(user, e.Seq)
		}
	case *pb.GroupDissolved:
		t.dissolve(e.Seq)
	case *pb.MessageSent:
		t.said[e.Seq] = &saying{b.Content, e.By}
		t.hasRead(e.By, e.Seq)
	case *pb.MessageEdited:
		t.changes[e.Seq] = b.Seq // What it says now, the call told.
	case *pb.MessageRevoked:
		t.said[b.Seq].content = nil
	case *pb.MessagesExpired:
		t.expire(b.From, b.Through)
	}
}

func (t *talk) join(user string, seq uint64) {
	from := seq
	if !t.hidden {
		from = 1
	}
	t.members[user] = append(t.members[user], interval{from: from})
	t.came[user] = seq - 1
	t.hasRead(user, seq-1)
}

func (t *talk) leave(user string, seq uint64) {
	all := t.members[user]
	all[len(all)-1].through = seq
}

// audience is the numbers of those who are there when an event is said, or leave
// with it.
func (t *talk) audience(seq uint64) []uint64 {
	var all []uint64
	for user, in := range t.members {
		if last := in[len(in)-1]; last.through == 0 || last.through == seq {
			all = append(all, entity.UserNumber(t.ref.Tenant, user))
		}
	}
	slices.Sort(all)
	return all
}

// present reports whether the user is in the conversation.
func (t *talk) present(user string) bool {
	in := t.members[user]
	return len(in) > 0 && in[len(in)-1].through == 0
}

// may reports whether the user may read an event.
func (t *talk) may(user string, seq uint64) bool {
	return !t.deleted[user][seq] && t.within(user, seq)
}

// within is may but for what he has deleted for himself.
func (t *talk) within(user string, seq uint64) bool {
	for _, in := range t.members[user] {
		if seq >= in.from && (in.through == 0 || seq <= in.through) {
			return true
		}
	}
	return false
}

// last is the last seq that the user may ever be shown.
func (o *oracle) last(t *talk, user string) uint64 {
	for _, in := range slices.Backward(t.members[user]) {
		switch {
		case in.from > o.logs[t.ref]: // He came, and nothing was said since.
		case in.through != 0:
			return in.through
		default:
			return o.logs[t.ref]
		}
	}
	return 0
}

// call returns what is to be learned from a command once it is durable: what
// no event of the log says.
func (o *oracle) call(c *entity.Call) func() {
	switch req := c.Req.(type) {
	case *pb.DeleteRequest:
		return func() { o.talk(c.To).delete(c.Caller.User, req.Seqs) }
	case *pb.MarkReadRequest:
		return func() { o.talk(c.To).hasRead(c.Caller.User, min(req.Seq, o.logs[c.To])) }
	case *pb.SetSharingRequest:
		return func() { o.discreet[discreet{c.Caller.Tenant, c.Caller.User}] = true }
	case *pb.EditRequest:
		return func() { o.talk(c.To).said[req.Seq].content = req.Content }
	case *pb.CreateChannelRequest:
		return func() {
			t := o.talk(c.To)
			t.group, t.channel = true, true
			t.join(c.Caller.User, 1)
			t.roles[c.Caller.User] = pb.Role_OWNER
		}
	case *pb.ViewRequest:
		return func() { o.talk(c.To).view(c.Caller.User, req.Seq) }
	case *pb.CreateGroupRequest:
		return func() { o.talk(c.To).hidden = req.HistoryHidden }
	default:
		return func() {}
	}
}

// delete hides messages from a user. What everybody who was ever there has
// deleted is gone for whoever comes.
func (t *talk) delete(user string, seqs []uint64) {
	if t.deleted[user] == nil {
		t.deleted[user] = map[uint64]bool{}
	}
	t.hides[user]++
	for _, seq := range seqs {
		if t.said[seq] == nil {
			continue
		}
		t.deleted[user][seq] = true
		gone := true
		for member := range t.members {
			gone = gone && t.deleted[member][seq]
		}
		if gone {
			t.said[seq].content = nil
		}
	}
}

// answer checks what a query said against what people know.
func (o *oracle) answer(c *entity.Call, res entity.Result) {
	if reply, ok := res.Reply.(*pb.ViewsResponse); ok {
		t := o.talk(c.To)
		if problem := t.wrongViews(c.Caller.User, c.Req.(*pb.ViewsRequest).Seqs, reply.Posts); problem != "" {
			o.w.fail("%s of %v showed %s %s: %v", c.Method.Name, c.Req, c.Caller.User, problem, reply)
		}
	}
	if dev := o.devices[c.Caller]; dev != nil && dev.asked == c && res.Err != nil {
		o.w.fail("%s of %v refused a device: %s", c.Method.Name, c.Req, res.Err.Msg)
	}
	problem := ""
	switch reply := res.Reply.(type) {
	case *pb.ListDialogsResponse:
		problem = o.wrongList(c, reply)
	case *pb.SyncResponse:
		problem = o.synced(c, reply)
	case *pb.ReadersResponse:
		problem = o.wrongReaders(c, reply)
	case *pb.ScheduledResponse:
		problem = o.wrongScheduled(c, reply)
	}
	if text := o.gone(res.Reply); text != "" && problem == "" {
		problem = fmt.Sprintf("%q, which nobody may read", text)
	}
	if problem != "" {
		o.w.fail("%s of %v told %s %s: %v", c.Method.Name, c.Req, c.Caller.User, problem, res.Reply)
	}
	reply, ok := res.Reply.(*pb.HistoryResponse)
	if !ok {
		return
	}
	t := o.talk(c.To)
	for _, e := range reply.Events {
		if problem := o.wrong(t, c.Caller.User, e); problem != "" {
			o.w.fail("%s showed %s %s", c.Method.Name, c.Caller.User, problem)
		}
	}
}

// wrong says what is wrong with showing an event to a user, or "".
func (o *oracle) wrong(t *talk, user string, e *pb.Event) string {
	switch e.Type {
	case numberOf(&pb.Hole{}):
		hole := &pb.Hole{}
		if err := proto.Unmarshal(e.Body, hole); err != nil {
			return err.Error()
		}
		for seq := hole.From; seq <= hole.Through; seq++ {
			if t.may(user, seq) && t.said[seq] != nil {
				return fmt.Sprintf("a hole over message %d, which he may read", seq)
			}
		}
		return ""
	case numberOf(&pb.MessageSent{}):
		body := &pb.MessageSent{}
		if err := proto.Unmarshal(e.Body, body); err != nil {
			return err.Error()
		}
		return o.wrongMessage(t, user, e.Seq, body)
	default:
		return fmt.Sprintf("an event of type %d in a history", e.Type)
	}
}

func (o *oracle) wrongMessage(t *talk, user string, seq uint64, body *pb.MessageSent) string {
	switch said := t.said[seq]; {
	case said == nil:
		return fmt.Sprintf("message %d, which nobody sent", seq)
	case !t.may(user, seq):
		return fmt.Sprintf("message %d, which he may not read", seq)
	case body.Revoked != (said.content == nil):
		return fmt.Sprintf("message %d, revoked: %v; it is not so", seq, body.Revoked)
	case !proto.Equal(body.Content, said.content):
		return fmt.Sprintf("message %d as %v; it says %v", seq, body.Content, said.content)
	}
	return ""
}

// page checks a replay: every event that the viewer may read, once, in order,
// as it is now, and a hole where he may not.
func (o *oracle) page(ref entity.Ref, user string, after uint64, page entity.Page) string {
	t := o.talk(ref)
	last := o.last(t, user)
	if page.Err != nil {
		if page.Err.Code == entity.Expired && after+1 < o.floor(ref, user) {
			return "" // It is no longer there.
		}
		return page.Err.Msg
	}
	at := after
	for _, e := range page.Events {
		if text := o.gone(e.Body); text != "" {
			return fmt.Sprintf("%q, which nobody may read", text)
		}
		if hole, ok := e.Body.(*pb.Hole); ok {
			for seq := at + 1; seq <= e.Seq; seq++ {
				if t.may(user, seq) {
					return fmt.Sprintf("a hole over event %d", seq)
				}
			}
			if hole.From != at+1 || hole.Through != e.Seq {
				return fmt.Sprintf("a hole from %d at %d", hole.From, e.Seq)
			}
			at = e.Seq
			continue
		}
		if at++; e.Seq != at || !t.may(user, at) {
			return fmt.Sprintf("event %d where %d was due", e.Seq, at)
		}
		if problem := o.wrongEvent(t, user, e); problem != "" {
			return problem
		}
	}
	if at != page.Through || !page.More && at != max(last, after) {
		return fmt.Sprintf("the end at %d, which is %d (more: %v)", page.Through, last, page.More)
	}
	return ""
}

// wrongEvent checks the content of a replayed event.
func (o *oracle) wrongEvent(t *talk, user string, e *entity.Event) string {
	switch body := e.Body.(type) {
	case *pb.MessageSent:
		return o.wrongMessage(t, user, e.Seq, body)
	case *pb.MessageEdited:
		if t.changes[e.Seq] != body.Seq {
			return fmt.Sprintf("an edit of %d at %d", body.Seq, e.Seq)
		}
		if body.Message == nil {
			if t.may(user, body.Seq) && t.said[body.Seq] != nil { // Else it has expired.
				return fmt.Sprintf("an edit of %d without its content", body.Seq)
			}
			return ""
		}
		return o.wrongMessage(t, user, body.Seq, body.Message)
	}
	return ""
}

// numberOf is the (event) number of a message.
func numberOf(m proto.Message) uint32 {
	opt := proto.GetExtension(m.ProtoReflect().Descriptor().Options(), pb.E_Event)
	return opt.(*pb.EventType).GetNumber()
}
