package feature_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/sim"
)

// The tables of actors/conversation and actors/user that the test damages.
const (
	memberTable      = 0x10
	numberTable      = 0x11
	infoTable        = 0x12
	hiddenTable      = 0x13
	presentTable     = 0x14
	hiddenCountTable = 0x15
	accountTable     = 0x28
)

// rowKey is the key of a row of an entity in a table with a small number.
func rowKey(ref entity.Ref, table byte, k entity.Key) []byte {
	key := entity.Key(binary.BigEndian.AppendUint16(nil, ref.Shard())).U32(uint32(ref.Tenant))
	key = append(key, byte(ref.Kind)).U64(ref.ID)
	return append(append(key, table), k...)
}

// A recounted is a store with a group of alice, bob and carol, who has left; bob has
// deleted a message for himself.
type recounted struct {
	*testing.T
	rows *sim.Model
	reg  *entity.Registry
	team entity.Ref
}

func newRecounted(t *testing.T) recounted {
	s := newServer(t)
	alice, bob, carol := caller(1, "alice"), caller(1, "bob"), caller(1, "carol")
	team := s.openGroup(alice)
	for _, c := range []entity.Caller{bob, carol} {
		do[*pb.JoinResponse](s, c, "Groups.Join", &pb.JoinRequest{ConversationId: team})
	}
	seq := s.send(alice, team, "hello")
	do[*pb.DeleteResponse](s, bob, "Messages.Delete", &pb.DeleteRequest{ConversationId: team, Seqs: []uint64{seq}})
	do[*pb.LeaveResponse](s, carol, "Groups.Leave", &pb.LeaveRequest{ConversationId: team})
	rows := s.Rows().Clone()
	rows.Commit([]entity.Write{entity.TenantRow("acme", 1), entity.StampRow(1_000_000, time.Now())})
	return recounted{t, rows, s.reg, entity.Conversation(1, team)}
}

// verify returns what is wrong, a line each.
func (r recounted) verify() string {
	r.Helper()
	var found []string
	if _, err := r.reg.Verify(r.rows, func(p entity.Problem) { found = append(found, p.String()) }, nil); err != nil {
		r.Fatal(err)
	}
	return strings.Join(found, "\n")
}

// change changes a row of the group.
func change[T any, M interface {
	*T
	entity.Message
}](r recounted, table byte, k entity.Key, how func(M)) {
	r.Helper()
	key := rowKey(r.team, table, k)
	val, ok, err := r.rows.Get(key)
	row := M(new(T))
	if err != nil || !ok || row.UnmarshalVT(val) != nil {
		r.Fatalf("table %#x has no row %x", table, []byte(k))
	}
	how(row)
	if val, err = row.MarshalVT(); err != nil {
		r.Fatal(err)
	}
	r.rows.Commit([]entity.Write{{Key: key, Val: append([]byte{}, val...)}})
}

func (r recounted) put(ref entity.Ref, table byte, k entity.Key, row entity.Message) {
	r.Helper()
	val, err := row.MarshalVT()
	if err != nil {
		r.Fatal(err)
	}
	r.rows.Commit([]entity.Write{{Key: rowKey(ref, table, k), Val: append([]byte{}, val...)}})
}

func (r recounted) drop(table byte, k entity.Key) {
	r.rows.Commit([]entity.Write{{Key: rowKey(r.team, table, k)}})
}

func TestWhatDoesNotCountIsReported(t *testing.T) {
	user := func(name string) entity.Key { return entity.Key{}.U64(entity.UserNumber(1, name)) }
	for _, c := range []struct {
		name   string
		damage func(r recounted)
		want   string
	}{
		{"too many members", func(r recounted) {
			change(r, infoTable, nil, func(c *pb.Conversation) { c.Members++ })
		}, "2 members are present, and its row says 3"},
		{"a number beyond the next", func(r recounted) {
			change(r, infoTable, nil, func(c *pb.Conversation) { c.NextNumber = 2 })
		}, "is beyond the next number, which is 2"},
		{"no row that says what it is", func(r recounted) { r.drop(infoTable, nil) }, "it has members and no row that says what it is"},
		{"a member under another's number", func(r recounted) {
			change(r, memberTable, user("bob"), func(m *pb.Member) { m.UserId = "bobby" })
		}, "which is another user's"},
		{"two with a number", func(r recounted) {
			change(r, memberTable, user("bob"), func(m *pb.Member) { m.Number = 1 })
		}, "have the number 1"},
		{"a member without a name", func(r recounted) { r.drop(numberTable, entity.Key{}.U32(2)) }, "member 2 is not found by his number"},
		{"a name without a member", func(r recounted) {
			r.put(r.team, numberTable, entity.Key{}.U32(9), &pb.MemberNumber{UserId: "nobody"})
		}, "the number 9 is no member's"},
		{"present and not", func(r recounted) { r.drop(presentTable, user("bob")) }, "member 2 is present in one table and not, or otherwise, in another"},
		{"present and otherwise", func(r recounted) {
			change(r, presentTable, user("bob"), func(p *pb.Present) { p.From += 7 })
		}, "member 2 is present in one table and not, or otherwise, in another"},
		{"gone and present", func(r recounted) {
			r.put(r.team, presentTable, user("carol"), &pb.Present{From: 1})
		}, "member 3 is present in one table and not, or otherwise, in another"},
		{"present and never a member", func(r recounted) {
			r.put(r.team, presentTable, user("eve"), &pb.Present{From: 1})
		}, "is present and was never a member"},
		{"reading on after leaving", func(r recounted) {
			change(r, memberTable, user("carol"), func(m *pb.Member) { m.Readable[len(m.Readable)-1].Through = 0 })
		}, "what member 3 may read is not rising, apart and within the log"},
		{"reading beyond the log", func(r recounted) {
			change(r, memberTable, user("carol"), func(m *pb.Member) { m.Readable[len(m.Readable)-1].Through = 99 })
		}, "what member 3 may read is not rising, apart and within the log"},
		{"reading nothing", func(r recounted) {
			change(r, memberTable, user("carol"), func(m *pb.Member) { m.Readable = nil })
		}, "member 3 may read nothing"},
		{"a wrong count of deletions", func(r recounted) {
			r.rows.Commit([]entity.Write{{Key: rowKey(r.team, hiddenTable, nil), End: rowKey(r.team, hiddenTable+1, nil)}})
		}, "was deleted by 0 members for themselves, and its count says 1"},
		{"deletions that nobody counted", func(r recounted) {
			r.rows.Commit([]entity.Write{{Key: rowKey(r.team, hiddenCountTable, nil), End: rowKey(r.team, hiddenCountTable+1, nil)}})
		}, "was deleted by 1 members for themselves, and nobody counted"},
		{"a deletion of what is not there", func(r recounted) {
			r.put(r.team, hiddenTable, entity.Key{}.U32(2).U64(99), &pb.Hidden{})
		}, "member 2 has deleted the message 99, and one of them does not exist"},
		{"reading from later than anybody", func(r recounted) {
			change(r, infoTable, nil, func(c *pb.Conversation) { c.LatestFrom = 0 })
		}, "nobody is to read from later than 0"},
		{"dissolved by what was not said", func(r recounted) {
			change(r, infoTable, nil, func(c *pb.Conversation) { c.DissolvedAt = 99 })
		}, "it was dissolved by event 99, and its log has"},
		{"reading on after the dissolution", func(r recounted) {
			change(r, infoTable, nil, func(c *pb.Conversation) { c.DissolvedAt = 2 })
		}, "may read what was said after the conversation was dissolved"},
		{"an account of another", func(r recounted) {
			r.put(entity.User(1, "bob"), accountTable, nil, &pb.Account{UserId: "mallory"})
		}, "its account is that of mallory, who has another number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecounted(t)
			if found := r.verify(); found != "" {
				t.Fatalf("before the damage:\n%s", found)
			}
			c.damage(r)
			if found := r.verify(); !strings.Contains(found, c.want) {
				t.Errorf("found\n%s\nwant %q", found, c.want)
			}
		})
	}
}
