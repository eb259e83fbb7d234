package feature_test

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/pb"
	"kith/actors/sim"
)

func TestEveryFeatureAgreesWithItsContract(t *testing.T) {
	if _, err := entity.New(feature.All...); err != nil {
		t.Error(err)
	}
}

func TestScripts(t *testing.T) { sim.RunScripts(t, "*/*.txt", feature.All...) }

// A server is a sim.Server whose calls a test makes in Go, where a script would
// be long.
type server struct {
	*sim.Server
	t        *testing.T
	reg      *entity.Registry
	requests int
}

func newServer(t *testing.T) *server {
	reg, err := entity.New(feature.All...)
	if err != nil {
		t.Fatal(err)
	}
	return &server{Server: sim.NewServer(reg), t: t, reg: reg}
}

func caller(tenant entity.Tenant, user string) entity.Caller {
	return entity.Caller{Tenant: tenant, User: user, Number: entity.UserNumber(tenant, user), Device: "phone"}
}

// try makes a call and returns its reply or its refusal.
func (s *server) try(c entity.Caller, method string, req proto.Message) (proto.Message, *entity.Error) {
	s.t.Helper()
	r := req.ProtoReflect()
	if fd := r.Descriptor().Fields().ByName("request_id"); fd != nil {
		s.requests++
		r.Set(fd, protoreflect.ValueOfString(fmt.Sprint(s.requests)))
	}
	call, refused := s.reg.NewCall(s.reg.ByName(method), c, req)
	if refused != nil {
		return nil, refused
	}
	out, err := s.Call(call)
	if err != nil {
		s.t.Fatalf("%s: %v", method, err)
	}
	return out.Reply, out.Err
}

// do is try for what is not refused.
func do[Resp proto.Message](s *server, c entity.Caller, method string, req proto.Message) Resp {
	s.t.Helper()
	reply, refused := s.try(c, method, req)
	if refused != nil {
		s.t.Fatalf("%s of %s: %v", method, c.User, refused)
	}
	return reply.(Resp)
}

func (s *server) openGroup(c entity.Caller) uint64 {
	s.t.Helper()
	return do[*pb.CreateGroupResponse](s, c, "Groups.Create", &pb.CreateGroupRequest{Name: "team", JoinRule: pb.JoinRule_OPEN}).ConversationId
}

func (s *server) send(c entity.Caller, conversation uint64, text string) uint64 {
	s.t.Helper()
	return do[*pb.SendResponse](s, c, "Messages.Send", &pb.SendRequest{ConversationId: conversation, Content: say(text)}).Seq
}

func say(text string) *pb.Content {
	return &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: text}}}
}

// TestStrangersLearnNothing makes every call that names a conversation, as
// somebody who is not in it. Whether it exists or not, he gets the same words.
func TestStrangersLearnNothing(t *testing.T) {
	s := newServer(t)
	alice := caller(1, "alice")
	team := do[*pb.CreateGroupResponse](s, alice, "Groups.Create", &pb.CreateGroupRequest{Name: "team"}).ConversationId
	s.send(alice, team, "hello")
	same := caller(1, "mallory")
	same.Number = alice.Number
	cases := []struct {
		name string
		who  entity.Caller
		id   uint64
	}{
		{"a stranger", caller(1, "eve"), team},
		{"alice in another tenant", caller(2, "alice"), team},
		{"another subject with alice's number", same, team},
	}
	for _, m := range s.reg.Methods() {
		id := m.New().ProtoReflect().Descriptor().Fields().ByName("conversation_id")
		if m.Internal || id == nil {
			continue
		}
		ask := func(who entity.Caller, conversation uint64) string {
			req := m.New()
			req.ProtoReflect().Set(id, protoreflect.ValueOfUint64(conversation))
			reply, refused := s.try(who, m.Name, req)
			if refused == nil {
				t.Fatalf("%s: %v was answered %v", m.Name, who.User, reply)
			}
			return refused.Code.String() + ": " + refused.Msg
		}
		for _, c := range cases {
			want := ask(c.who, team+1)
			if got := ask(c.who, c.id); got != want {
				t.Errorf("%s: %s gets %q, want %q as if there were no such conversation", m.Name, c.name, got, want)
			}
		}
	}
}

func TestTwoTenantsNeverMeet(t *testing.T) {
	s := newServer(t)
	live := func(tenant entity.Tenant) {
		alice, bob := caller(tenant, "alice"), caller(tenant, "bob")
		ab := do[*pb.OpenDirectResponse](s, alice, "Directs.Open", &pb.OpenDirectRequest{UserId: "bob"}).ConversationId
		team := s.openGroup(bob)
		do[*pb.JoinResponse](s, alice, "Groups.Join", &pb.JoinRequest{ConversationId: team})
		seq := s.send(alice, ab, "hello")
		do[*pb.DeleteResponse](s, bob, "Messages.Delete", &pb.DeleteRequest{ConversationId: ab, Seqs: []uint64{seq}})
		do[*pb.RevokeResponse](s, alice, "Messages.Revoke", &pb.RevokeRequest{ConversationId: ab, Seq: seq})
		do[*pb.LeaveResponse](s, alice, "Groups.Leave", &pb.LeaveRequest{ConversationId: team})
	}
	live(1)
	before := s.rowsOf(1)
	live(2)
	if diff, err := s.rowsOf(1).Diff(before); err != nil || diff != "" {
		t.Errorf("what the second tenant did changed rows of the first: %s %v", diff, err)
	}
	if diff, err := s.rowsOf(2).Diff(sim.NewModel()); err != nil || diff == "" {
		t.Errorf("the second tenant has no rows, or they cannot be read: %v", err)
	}
}

// rowsOf is the rows of a tenant. Those that find timers begin with the shard's
// own key and the time.
func (s *server) rowsOf(tenant byte) *sim.Model {
	const (
		tenantAt    = 2 // after the shard
		tableAt     = tenantAt + 4 + 1
		dueTenantAt = tableAt + 1 + 8
		due         = 0x0B
		stamped     = 0x08
	)
	rows := sim.NewModel()
	err := s.Rows().Scan(nil, nil, false, func(key, val []byte) bool {
		of := key[tenantAt+3]
		switch {
		case of == 0 && key[tableAt] == due:
			of = key[dueTenantAt+3]
		case of == 0 && key[tableAt] == stamped:
			return true // The node's.
		case of != 1 && of != 2:
			s.t.Errorf("row %x belongs to no tenant", key)
		}
		if of == tenant {
			rows.Commit([]entity.Write{{Key: bytes.Clone(key), Val: bytes.Clone(val)}})
		}
		return true
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return rows
}

func TestTextThatIsGoneIsInNoRow(t *testing.T) {
	const canary = "tulips at noon"
	alice, bob := caller(1, "alice"), caller(1, "bob")
	ways := map[string]func(s *server, ab, seq uint64){
		"revoked": func(s *server, ab, seq uint64) {
			do[*pb.RevokeResponse](s, alice, "Messages.Revoke", &pb.RevokeRequest{ConversationId: ab, Seq: seq})
		},
		"edited": func(s *server, ab, seq uint64) {
			do[*pb.EditResponse](s, alice, "Messages.Edit", &pb.EditRequest{ConversationId: ab, Seq: seq, Content: say("roses")})
		},
		"edited and revoked": func(s *server, ab, seq uint64) {
			do[*pb.EditResponse](s, alice, "Messages.Edit", &pb.EditRequest{ConversationId: ab, Seq: seq, Content: say(canary + "!")})
			do[*pb.RevokeResponse](s, alice, "Messages.Revoke", &pb.RevokeRequest{ConversationId: ab, Seq: seq})
		},
		"deleted by both": func(s *server, ab, seq uint64) {
			for _, who := range []entity.Caller{alice, bob} {
				do[*pb.DeleteResponse](s, who, "Messages.Delete", &pb.DeleteRequest{ConversationId: ab, Seqs: []uint64{seq}})
			}
		},
	}
	for name, end := range ways {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			ab := do[*pb.OpenDirectResponse](s, alice, "Directs.Open", &pb.OpenDirectRequest{UserId: "bob"}).ConversationId
			seq := s.send(alice, ab, canary)
			if n := s.rowsWith(canary); n != 1 {
				t.Errorf("the text is in %d rows, want 1", n)
			}
			end(s, ab, seq)
			if n := s.rowsWith(canary); n != 0 {
				t.Errorf("the text is in %d rows, want 0", n)
			}
		})
	}
}

func (s *server) rowsWith(text string) (n int) {
	err := s.Rows().Scan(nil, nil, false, func(_, val []byte) bool {
		if bytes.Contains(val, []byte(text)) {
			n++
		}
		return true
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// TestManyDeletedMessagesStayDeleted has more of them than are read at once.
func TestManyDeletedMessagesStayDeleted(t *testing.T) {
	s := newServer(t)
	alice, bob := caller(1, "alice"), caller(1, "bob")
	ab := do[*pb.OpenDirectResponse](s, alice, "Directs.Open", &pb.OpenDirectRequest{UserId: "bob"}).ConversationId
	var deleted []uint64
	hidden := map[uint64]bool{}
	for i := range 600 {
		if seq := s.send(alice, ab, fmt.Sprint(i)); i%2 == 0 {
			deleted, hidden[seq] = append(deleted, seq), true
		}
	}
	for len(deleted) > 0 {
		do[*pb.DeleteResponse](s, bob, "Messages.Delete", &pb.DeleteRequest{ConversationId: ab, Seqs: deleted[:100]})
		deleted = deleted[100:]
	}
	seen, holes := 0, 0
	for after, more := uint64(0), true; more; {
		page := do[*pb.HistoryResponse](s, bob, "Messages.History", &pb.HistoryRequest{
			ConversationId: ab, Where: &pb.HistoryRequest_After{After: after}, Limit: 70,
		})
		for _, e := range page.Events {
			after = e.Seq
			if e.By == "" {
				holes++
				continue
			}
			seen++
			if hidden[e.Seq] {
				t.Errorf("bob sees message %d, which he has deleted", e.Seq)
			}
		}
		more = page.MoreAfter
	}
	if seen != 300 || holes != 300 {
		t.Errorf("bob sees %d messages and %d holes, want 300 and 300", seen, holes)
	}
}

// TestWhoHasLeftCostsNothing lets more people pass through a group than a Step
// may read rows.
func TestWhoHasLeftCostsNothing(t *testing.T) {
	s := newServer(t)
	policy, _ := entity.Profile("dev")
	policy.StepReads = 1000
	s.Policy(policy)
	alice := caller(1, "alice")
	team := s.openGroup(alice)
	for i := range policy.StepReads + 1 {
		guest := caller(1, fmt.Sprint("guest", i))
		do[*pb.JoinResponse](s, guest, "Groups.Join", &pb.JoinRequest{ConversationId: team})
		do[*pb.LeaveResponse](s, guest, "Groups.Leave", &pb.LeaveRequest{ConversationId: team})
	}
	s.send(alice, team, "alone again")
	list := do[*pb.GroupMembersResponse](s, alice, "Groups.Members", &pb.GroupMembersRequest{ConversationId: team})
	if len(list.Members) != 1 || list.Cursor != "" {
		t.Errorf("members = %v, want alice alone", list)
	}
	page := do[*pb.HistoryResponse](s, alice, "Messages.History", &pb.HistoryRequest{ConversationId: team})
	if len(page.Events) != 1 {
		t.Errorf("history = %v, want the one message", page.Events)
	}
}
