package conversation

import (
	"fmt"
	"slices"

	"kith/actors/entity"
	"kith/actors/pb"
)

// Check recounts a conversation: its members by both of their names, who is
// present and who is an admin, and what its members have deleted for themselves.
func Check(v *entity.View, report func(sentence string)) {
	c := check{View: v, say: report, info: Of(v), numbers: map[uint32]string{}}
	c.members()
	c.names()
	c.presence()
	c.admins()
	c.hidden()
}

// A check is one Check under way.
type check struct {
	*entity.View
	say func(sentence string)

	info    *pb.Conversation
	numbers map[uint32]string // the user ids of members, present or past, by number
	present uint32
}

func (c *check) report(format string, args ...any) { c.say(fmt.Sprintf(format, args...)) }

// members looks at each member's row.
func (c *check) members() {
	head := c.Head().Seq
	for key, m := range Members.Scan(c, nil) {
		user, _ := key.TakeU64()
		if m.UserId != "" && user != entity.UserNumber(c.Self().Tenant, m.UserId) {
			c.report("member %d is under the number %d, which is another user's", m.Number, user)
		}
		if other, taken := c.numbers[m.Number]; taken {
			c.report("members %q and %q have the number %d", other, m.UserId, m.Number)
		}
		c.numbers[m.Number] = m.UserId
		if m.Number == 0 || m.Number >= c.info.GetNextNumber() {
			c.report("member %d is beyond the next number, which is %d", m.Number, c.info.GetNextNumber())
		}
		if name, ok := Numbers.Get(c, entity.Key{}.U32(m.Number)); !ok || name.UserNumber != user || name.UserId != m.UserId {
			c.report("member %d is not found by his number", m.Number)
		}
		c.readable(m, head)
		if present(m) {
			c.present++
		}
		last := &pb.Interval{}
		if n := len(m.Readable); n > 0 {
			last = m.Readable[n-1]
		}
		if here, ok := Present.Get(c, key); ok != present(m) || ok && here.From != last.From {
			c.report("member %d is present in one table and not, or otherwise, in another", m.Number)
		}
		if Admins.Has(c, key) != (m.Role >= pb.Role_ADMIN) {
			c.report("member %d is an admin in one table and not in another", m.Number)
		}
		if last.From > c.info.GetLatestFrom() || m.Since > head {
			c.report("member %d came after event %d and reads from %d, and nobody is to read from later than %d", m.Number, m.Since, last.From, c.info.GetLatestFrom())
		}
	}
	if c.present != c.info.GetMembers() {
		c.report("%d members are present, and its row says %d", c.present, c.info.GetMembers())
	}
	if at := c.info.GetDissolvedAt(); at > head {
		c.report("it was dissolved by event %d, and its log has %d", at, head)
	}
	if c.info == nil && len(c.numbers) > 0 {
		c.report("it has members and no row that says what it is")
	}
}

// readable looks at what a member may read: rising, apart, open at the end while
// he is there, and nothing beyond the log but what is said next, and nothing that
// was said after the conversation was dissolved.
func (c *check) readable(m *pb.Member, head uint64) {
	next := uint64(1)
	for i, in := range m.Readable {
		last := i == len(m.Readable)-1
		open := in.Through == 0
		if at := c.info.GetDissolvedAt(); at != 0 && max(in.From, in.Through) > at {
			c.report("member %d may read what was said after the conversation was dissolved: %v", m.Number, m.Readable)
		}
		if in.From < next || in.From > head+1 || in.Through > head || !open && in.Through < in.From || open != (last && present(m)) {
			c.report("what member %d may read is not rising, apart and within the log: %v", m.Number, m.Readable)
			return
		}
		next = in.Through + 2
	}
	if len(m.Readable) == 0 {
		c.report("member %d may read nothing", m.Number)
	}
}

// names looks for numbers that are nobody's.
func (c *check) names() {
	for key := range Numbers.Scan(c, nil) {
		number, _ := key.TakeU32()
		if _, ok := c.numbers[number]; !ok {
			c.report("the number %d is no member's", number)
		}
	}
}

// presence looks for who is present and was never a member.
func (c *check) presence() {
	for key := range Present.Scan(c, nil) {
		if !Members.Has(c, key) {
			user, _ := key.TakeU64()
			c.report("the user %d is present and was never a member", user)
		}
	}
}

// admins looks for admins who are no members.
func (c *check) admins() {
	for key := range Admins.Scan(c, nil) {
		if !Members.Has(c, key) {
			user, _ := key.TakeU64()
			c.report("the user %d is an admin and was never a member", user)
		}
	}
}

// hidden recounts what members deleted for themselves.
func (c *check) hidden() {
	head := c.Head().Seq
	counts := map[uint64]uint32{}
	gone, _ := lastGone.Get(c, nil)
	for key := range Hidden.Scan(c, nil) {
		number, rest := key.TakeU32()
		seq, _ := rest.TakeU64()
		if _, ok := c.numbers[number]; !ok || seq == 0 || seq > head {
			c.report("member %d has deleted the message %d, and one of them does not exist", number, seq)
		}
		if seq > gone.GetSeq() { // What has expired is forgotten when he reads on, and its count at once.
			counts[seq]++
		}
	}
	for key, row := range HiddenCounts.Scan(c, nil) {
		seq, _ := key.TakeU64()
		if row.Members != counts[seq] {
			c.report("message %d was deleted by %d members for themselves, and its count says %d", seq, counts[seq], row.Members)
		}
		delete(counts, seq)
	}
	var uncounted []uint64
	for seq := range counts {
		uncounted = append(uncounted, seq)
	}
	slices.Sort(uncounted)
	for _, seq := range uncounted {
		c.report("message %d was deleted by %d members for themselves, and nobody counted", seq, counts[seq])
	}
}
