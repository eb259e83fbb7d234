package sim

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/host"
	"kith/actors/pb"
)

// What is to happen later the oracle knows from what was durably asked for: messages
// that are to be sent at their time, and for how long messages are kept. Now and then
// the driver lets everything come to rest; then what was due has happened, once, and
// no text is left in any row but those that somebody may still read.

// later is what is to happen in a conversation.
type later struct {
	waiting map[scheduled]*pb.ScheduledItem
	leaving []leaving // their time has come, and they are on their way into the log

	kept uint32           // for how long messages that are sent now are kept, in seconds; 0: for good
	ends map[uint64]int64 // when messages are over, by seq; unix milliseconds

	speaks pb.Role // who may send messages
}

// scheduled names a message that waits.
type scheduled struct {
	author string
	id     uint64
}

type leaving struct {
	author string
	what   *pb.SendRequest
}

func newLater() later {
	return later{waiting: map[scheduled]*pb.ScheduledItem{}, ends: map[uint64]int64{}}
}

// timed returns what is to be learned from a Step about what is to happen later,
// before its events.
func (o *oracle) timed(b *host.Box, j *host.Job, turn entity.Turn, out *entity.Outcome) func() {
	ref := b.Ref()
	if turn.Hold != o.w.held {
		o.w.fail("%s on %s: the clock is held: %v; it has jumped: %v", jobName(j), ref, turn.Hold, o.w.held)
	}
	speaks, changed := speakers(ref, out.Writes)
	var learn func(*talk)
	switch {
	case ref.Kind != pb.Kind_CONVERSATION:
	case j.Call() != nil && out.Err == nil && !out.Repeat:
		learn = func(t *talk) { t.later.asked(j.Call(), out.Reply) }
	case j.Due() != nil && j.Parks() == "":
		learn = o.fired(j.Due(), turn, out)
	case j.IsTell() && j.Tell().From == ref && j.Tell().Call.Method.Name == "Messages.Send" && !out.Heard:
		learn = func(t *talk) { o.sent(t, j.Tell().Call, out.Err) }
	}
	if learn == nil && !changed {
		return func() {}
	}
	return func() {
		t := o.talk(ref)
		if learn != nil {
			learn(t)
		}
		if changed {
			t.later.speaks = speaks
		}
	}
}

var conversationTable = byte(proto.GetExtension((&pb.Conversation{}).ProtoReflect().Descriptor().Options(), pb.E_Table).(*pb.Table).Number)

// speakers reads who may send messages, if a Step has changed that.
func speakers(ref entity.Ref, writes []entity.Write) (least pb.Role, changed bool) {
	for _, w := range writes {
		row := &pb.Conversation{}
		if ref.Kind == pb.Kind_CONVERSATION && w.Val != nil && w.Key[kindAt] == byte(ref.Kind) && w.Key[tableAt] == conversationTable &&
			proto.Unmarshal(w.Val, row) == nil {
			least, changed = row.GetPermissions().GetSend(), true
		}
	}
	return least, changed
}

// asked learns from a call that was answered.
func (l *later) asked(c *entity.Call, reply proto.Message) {
	author := c.Caller.User
	switch req := c.Req.(type) {
	case *pb.ScheduleRequest:
		id := reply.(*pb.ScheduleResponse).Id
		l.waiting[scheduled{author, id}] = &pb.ScheduledItem{Id: id, Content: req.Content, Reply: req.Reply, At: req.At}
	case *pb.ChangeScheduledRequest:
		item := l.waiting[scheduled{author, req.Id}]
		if req.Content != nil {
			item.Content = req.Content
		}
		if req.At != 0 {
			item.At = req.At
		}
	case *pb.CancelScheduledRequest:
		delete(l.waiting, scheduled{author, req.Id})
	}
}

// fired checks when a timer fires, and follows a message whose time has come.
func (o *oracle) fired(d *entity.Due, turn entity.Turn, out *entity.Outcome) func(*talk) {
	switch {
	case turn.Hold && len(out.Writes) > 0:
		o.w.fail("a timer of %s fired on %s while the clock is held", d.Method(), d.Ref)
	case !out.Heard && out.Err == nil && d.At > o.w.latest.UnixMilli():
		o.w.fail("a timer of %s on %s was to fire at %d", d.Method(), d.Ref, d.At)
	case out.Err != nil:
		o.w.fail("a timer of %s on %s is refused: %s", d.Method(), d.Ref, out.Err.Msg)
	}
	if d.Method() != "Timers.SendScheduled" || out.Err != nil {
		return nil
	}
	return func(t *talk) {
		for _, tell := range out.Tells {
			o.leaves(t, tell.Call)
		}
	}
}

// leaves takes a message that is being sent from those that wait.
func (o *oracle) leaves(t *talk, c entity.Call) {
	what := c.Req.(*pb.SendRequest)
	for name, item := range t.later.waiting {
		answers := what.Reply == nil || proto.Equal(item.Reply, what.Reply) // What it answered may be gone.
		if name.author == c.Caller.User && item.At <= o.w.latest.UnixMilli() && proto.Equal(item.Content, what.Content) && answers {
			delete(t.later.waiting, name)
			t.later.leaving = append(t.later.leaving, leaving{name.author, what})
			return
		}
	}
	o.w.fail("%s: what %s is said to have scheduled, he has not, or not for now: %v", t.ref, c.Caller.User, what)
}

// sent checks what came of a message whose time had come, against who was there.
func (o *oracle) sent(t *talk, c entity.Call, refused *entity.Error) {
	user := c.Caller.User
	i := slices.IndexFunc(t.later.leaving, func(l leaving) bool { return l.author == user && proto.Equal(l.what, c.Req) })
	if i < 0 {
		o.w.fail("%s: a scheduled message of %s comes twice: %v", t.ref, user, c.Req)
		return
	}
	replies := t.later.leaving[i].what.Reply.GetSeq() != 0 // Perhaps to what is gone.
	t.later.leaving = slices.Delete(t.later.leaving, i, i+1)
	may := t.present(user) && t.roles[user] >= t.later.speaks
	if may && refused != nil && !replies || !may && refused == nil {
		o.w.fail("%s: a scheduled message of %s was sent: %v (%v); he may send: %v", t.ref, user, refused == nil, refused, may)
	}
}

// keeping learns from an event, before anything else does, how long messages are
// kept, and checks that none goes before its time.
func (o *oracle) keeping(t *talk, e *entity.Event, body proto.Message) {
	switch b := body.(type) {
	case *pb.AutoDeleteChanged:
		t.later.kept = b.Seconds
	case *pb.MessageSent:
		if t.later.kept != 0 {
			t.later.ends[e.Seq] = e.At + int64(t.later.kept)*1000
		}
	case *pb.MessagesExpired:
		for seq := range t.said {
			if end := t.later.ends[seq]; seq >= b.From && seq <= b.Through && (end == 0 || end > e.At) {
				o.w.fail("%s: message %d has expired at %d; its time is %d (0: none)", t.ref, seq, e.At, end)
			}
		}
	}
}

// wrongScheduled says what is wrong with a list of somebody's messages that wait, or "".
func (o *oracle) wrongScheduled(c *entity.Call, resp *pb.ScheduledResponse) string {
	t, listed := o.talk(c.To), 0
	after := c.Req.(*pb.ScheduledRequest).After
	for _, item := range resp.Messages {
		if want := t.later.waiting[scheduled{c.Caller.User, item.Id}]; item.Id <= after || !proto.Equal(item, want) {
			return fmt.Sprintf("scheduled message %d as it is not: %v", item.Id, want)
		}
		listed++
	}
	for name := range t.later.waiting {
		if name.author == c.Caller.User && name.id > after {
			listed--
		}
	}
	if listed != 0 && !resp.More {
		return fmt.Sprintf("not all of his scheduled messages: %d are missing", -listed)
	}
	return ""
}

// overdue says what should have happened by a time, or "".
func (o *oracle) overdue(now time.Time) string {
	for ref, t := range o.conversations {
		for name, item := range t.later.waiting {
			if item.At <= now.UnixMilli() {
				return fmt.Sprintf("%s: message %d of %s, scheduled for %d, was not sent", ref, name.id, name.author, item.At)
			}
		}
		for _, l := range t.later.leaving {
			return fmt.Sprintf("%s: a scheduled message of %s has left and not arrived: %v", ref, l.author, l.what)
		}
		for seq, end := range t.later.ends {
			if t.said[seq] != nil && end <= now.UnixMilli() {
				return fmt.Sprintf("%s: message %d, which is over since %d, is there", ref, seq, end)
			}
		}
	}
	return ""
}

// word is how the driver marks each text, so that it is found wherever it stays.
var word = regexp.MustCompile(`word\d+\n`)

// words are the texts that somebody may still read, or that wait to be sent.
func (o *oracle) words() map[string]bool {
	if o.readableAt == o.w.check.group && o.readable != nil {
		return o.readable
	}
	all := map[string]bool{}
	note := func(c *pb.Content) {
		for _, text := range word.FindAllString(c.GetText().GetText()+c.GetCustom().GetData(), -1) {
			all[text] = true
		}
	}
	for _, t := range o.conversations {
		for _, said := range t.said {
			note(said.content)
		}
		for _, item := range t.later.waiting {
			note(item.Content)
		}
		for _, l := range t.later.leaving {
			note(l.what.Content)
		}
	}
	o.readable, o.readableAt = all, o.w.check.group
	return all
}

// gone returns a text in m that nobody may read any more, or "".
func (o *oracle) gone(m proto.Message) string {
	raw, err := proto.Marshal(m)
	if err != nil {
		return err.Error()
	}
	for _, text := range word.FindAllString(string(raw), -1) {
		if !o.words()[text] {
			return text
		}
	}
	return ""
}

// regret has the next call, if it changes or cancels a scheduled message, as a rule
// made by somebody of whom one waits.
func (d *driver) regret(method string, caller *entity.Caller) {
	d.item = 0
	if method != "Timers.ChangeScheduled" && method != "Timers.CancelScheduled" || d.one(8) {
		return
	}
	talks := slices.DeleteFunc(d.talks(), func(t *talk) bool { return len(t.later.waiting) == 0 })
	if len(talks) == 0 {
		return
	}
	d.talk = talks[d.w.rng.IntN(len(talks))]
	names := slices.SortedFunc(maps.Keys(d.talk.later.waiting), func(a, b scheduled) int {
		return cmp.Or(cmp.Compare(a.author, b.author), cmp.Compare(a.id, b.id))
	})
	name := names[d.w.rng.IntN(len(names))]
	d.item = name.id
	caller.Tenant, caller.User = d.talk.ref.Tenant, name.author
	caller.Number = entity.UserNumber(caller.Tenant, caller.User)
}

// rest lets everything come to rest, a few seconds pass, and looks at what should
// have happened. While the clock is held nothing has to.
func (d *driver) rest() {
	w := d.w
	w.settle()
	now := w.now
	for range 3 {
		w.core.Sweep()
		w.settle()
		w.pass(time.Second)
	}
	if w.held || w.failure != nil {
		return
	}
	if problem := w.check.oracle.overdue(now); problem != "" {
		w.fail("at rest %s", problem)
	}
	d.compareIndex(now)
	d.findGone()
}

// lastRest is a rest after which nothing is due for a while; if the clock has jumped,
// an operator agrees to it.
func (d *driver) lastRest() error {
	w := d.w
	if w.settle(); w.held {
		w.accept = true
		if err := w.crash(false); err != nil {
			return err
		}
	}
	w.pass(20 * time.Minute) // Nothing of a driver's is scheduled for later.
	d.rest()
	return nil
}

// dueAt and dueRefAt are where they are in the key of a row that finds a timer:
// behind shard, tenant, kind and table, and behind the time.
const (
	dueAt    = kindAt + 2
	dueRefAt = dueAt + 8
)

var (
	timerTable = byte(proto.GetExtension((&pb.Timer{}).ProtoReflect().Descriptor().Options(), pb.E_Table).(*pb.Table).Number)
	dueTable   = byte(proto.GetExtension((&pb.Due{}).ProtoReflect().Descriptor().Options(), pb.E_Table).(*pb.Table).Number)
)

// compareIndex checks that every timer is found by its time, that everything that is
// found is a timer, and that none was due.
func (d *driver) compareIndex(now time.Time) {
	timers, found := map[string]bool{}, map[string]bool{}
	for _, key := range d.w.check.durable.keys {
		switch {
		case key[kindAt] == 0 && key[kindAt+1] == dueTable:
			at, _ := entity.Key(key[dueAt:]).TakeU64()
			found[key[:2]+key[dueRefAt:]+fmt.Sprint(at)] = true
			if int64(at) <= now.UnixMilli() {
				d.w.fail("at rest a timer that was due at %d has not fired: %q", at, key[dueRefAt:])
			}
		case key[kindAt] != 0 && len(key) > tableAt && key[tableAt] == timerTable:
			row := &pb.Timer{}
			if err := proto.Unmarshal(d.w.check.durable.rows[key], row); err != nil {
				d.w.fail("a timer cannot be read: %w", err)
			}
			timers[key[:tableAt]+key[tableAt+1:]+fmt.Sprint(row.At)] = true
		}
	}
	for _, pair := range []struct {
		have, want map[string]bool
		what       string
	}{{found, timers, "nothing finds the timer"}, {timers, found, "there is no timer where one is found"}} {
		for key := range pair.want {
			if !pair.have[key] {
				d.w.fail("at rest %s: %q", pair.what, key)
			}
		}
	}
}

// findGone looks for texts that nobody may read any more, in every row.
func (d *driver) findGone() {
	readable := d.w.check.oracle.words()
	durable := d.w.check.durable
	for _, key := range durable.keys {
		for _, text := range word.FindAll(durable.rows[key], -1) {
			if !readable[string(text)] {
				d.w.fail("at rest row %x holds %q, which nobody may read", key, text)
				return
			}
		}
	}
}

// setClock has somebody set the clock.
func (w *world) setClock(by time.Duration) {
	w.now = w.now.Add(by)
	w.noteTime()
	if by.Abs() > time.Hour && !w.accept {
		w.held = true
	}
	w.core.Sweep()
}

// noteTime remembers how late it was: what is due by then may be on its way.
func (w *world) noteTime() {
	if w.now.After(w.latest) {
		w.latest = w.now
	}
}

// wake reads the clock as a node does that starts: it has jumped if it stands long
// before the last commit.
func (w *world) wake() error {
	view := w.db.Snapshot()
	_, at, err := entity.ReadStamp(view)
	w.held = !w.accept && at.Sub(w.now) > time.Hour
	w.latest = w.now
	return cmp.Or(err, view.Close())
}
