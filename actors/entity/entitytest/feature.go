package entitytest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"kith/actors/entity"
	"kith/actors/pb"
)

// Package is the proto package of the feature, for entity.NewIn.
const Package = "kith.test"

// Faulty is the proto package of a service that is full of mistakes.
const Faulty = "kith.faulty"

var (
	counts   entity.Table[Count, *Count]
	grants   entity.Table[Grant, *Grant]
	signers  entity.Table[Signer, *Signer]
	marks    entity.Table[Mark, *Mark]
	sum      *entity.Derived[int64]
	audience *entity.Derived[*entity.Audience]
)

// The messages of this package are not ready when its variables are made, so
// the tables come after: a feature, whose messages are in pb, needs no init.
func init() {
	counts, grants, signers = entity.NewTable[Count](), entity.NewTable[Grant](), entity.NewTable[Signer]()
	marks = entity.NewTable[Mark]()
	sum = entity.NewDerived(counts, func(v entity.Viewer) int64 {
		total := int64(0)
		for _, row := range counts.Scan(v, nil) {
			total += row.N
		}
		return total
	})
	audience = entity.NewDerived(grants, func(v entity.Viewer) *entity.Audience {
		a := &entity.Audience{}
		for key := range grants.Scan(v, nil) {
			user, _ := key.TakeU64()
			a.Users = append(a.Users, user)
		}
		return a
	})
}

// Feature returns the feature, whose logs everybody reads but for whom a Grant
// says less.
func Feature() entity.Feature {
	rules := entity.LogRules{Reach: reach, Author: author, Name: name, Audience: audience.Of}
	return entity.Feature{Name: "counters", Parts: []entity.Part{
		entity.Command(func(tx *entity.Tx, r *DoRequest) (*DoResponse, error) { return run(tx, r.Acts) }),
		entity.Command(func(tx *entity.Tx, r *RedoRequest) (*DoResponse, error) { return run(tx, r.Acts) }),
		entity.Command(func(tx *entity.Tx, r *MakeRequest) (*DoResponse, error) { return run(tx, r.Acts) }),
		entity.Command(func(tx *entity.Tx, r *PairRequest) (*DoResponse, error) { return run(tx, r.Acts) }),
		entity.Command(func(tx *entity.Tx, r *MineRequest) (*DoResponse, error) { return run(tx, r.Acts) }),
		entity.Command(func(tx *entity.Tx, r *VisitRequest) (*DoResponse, error) { return run(tx, r.Acts) }),
		entity.Command(func(tx *entity.Tx, r *ToldRequest) (*DoResponse, error) { return run(tx, r.Acts) }),
		entity.Query(look),
		entity.Query(func(v *entity.View, _ *SumRequest) (*SumResponse, error) {
			if v.Caller().User == "eve" {
				return nil, entity.Errorf(entity.Denied, "eve may not see it")
			}
			return &SumResponse{Sum: uint64(sum.Of(v))}, nil
		}),
		entity.Outside[*RunRequest, *RunResponse](),
		entity.Logs(pb.Kind_CONVERSATION, rules),
		entity.Logs(pb.Kind_USER, rules),
	}}
}

// Registry returns a registry of the feature and of others beside it.
func Registry(others ...entity.Feature) (*entity.Registry, error) {
	return entity.NewIn(Package, append([]entity.Feature{Feature()}, others...)...)
}

func grantOf(v entity.Viewer, c entity.Caller) *Grant {
	g, _ := grants.Get(v, entity.Key(nil).U64(c.Number))
	return g
}

func reach(v *entity.View, viewer entity.Caller) entity.Reach {
	g := grantOf(v, viewer)
	if g == nil {
		return entity.Everything
	}
	if g.UserId == "panic" {
		panic("this rule has a bug")
	}
	r := entity.Reach{}
	for _, s := range g.Readable {
		r.Intervals = append(r.Intervals, &pb.Interval{From: s.From, Through: s.Through})
	}
	hidden := map[uint64]bool{}
	for _, seq := range g.Hidden {
		hidden[seq] = true
	}
	if len(hidden) > 0 {
		r.Hidden = func(seq uint64) bool { return hidden[seq] }
	}
	return r
}

func author(v entity.Viewer, c entity.Caller) uint32 { return grantOf(v, c).GetNumber() }

func name(v entity.Viewer, number uint32) string {
	s, _ := signers.Get(v, entity.Key(nil).U32(number))
	return s.GetUserId()
}

// look answers a query.
func look(v *entity.View, r *LookRequest) (*LookResponse, error) {
	reply := &DoResponse{}
	for _, a := range r.Acts {
		if err := read(v, a, reply); err != nil {
			return nil, err
		}
	}
	out := &LookResponse{Numbers: reply.Numbers, Texts: reply.Texts, Head: v.Head().Seq}
	take := func(e *entity.Event) bool {
		out.Seqs = append(out.Seqs, e.Seq)
		return len(out.Seqs) < int(r.Limit)
	}
	if r.Before > 0 {
		v.MessagesBefore(r.Before, take)
	}
	if r.After > 0 {
		v.MessagesAfter(r.After, take)
	}
	return out, nil
}

// run runs a program.
func run(tx *entity.Tx, acts []*Act) (*DoResponse, error) {
	reply := &DoResponse{}
	for _, a := range acts {
		if err := write(tx, a, reply); err != nil {
			return nil, err
		}
	}
	return reply, nil
}

// read runs the acts that only read.
func read(v entity.Viewer, a *Act, reply *DoResponse) error {
	number := func(n uint64) { reply.Numbers = append(reply.Numbers, n) }
	switch what := a.What.(type) {
	case *Act_Get:
		row, _ := counts.Get(v, entity.Key(nil).Str(what.Get))
		number(uint64(row.GetN()))
	case *Act_Scan:
		var keys []string
		for key, row := range counts.Scan(v, entity.Key(what.Scan)) {
			keys = append(keys, fmt.Sprintf("%s%s=%d", what.Scan, strings.TrimSuffix(string(key), "\x00"), row.N))
		}
		reply.Texts = append(reply.Texts, strings.Join(keys, " "))
	case *Act_Sum:
		number(uint64(sum.Of(v)))
	case *Act_Recall:
		row, _ := marks.Get(v, entity.Key(nil).Str(what.Recall))
		number(row.GetStamp())
	case *Act_Ask:
		got, err := entity.Ask[*SumResponse](v.(*entity.View), &SumRequest{CounterId: what.Ask})
		if err != nil {
			return err
		}
		number(got.Sum)
	case *Act_Panic:
		panic(what.Panic)
	case *Act_Refuse:
		return entity.Errorf(entity.Code(what.Refuse), "this was asked for")
	case *Act_Read:
		for i := range what.Read {
			counts.Has(v, entity.Key(nil).Str("r"+strconv.Itoa(int(i))))
		}
	default:
		panic(fmt.Sprintf("entitytest: %T in a query", what))
	}
	return nil
}

// write runs one act of a command.
func write(tx *entity.Tx, a *Act, reply *DoResponse) error {
	number := func(n uint64) { reply.Numbers = append(reply.Numbers, n) }
	key := func(s string) entity.Key { return entity.Key(nil).Str(s) }
	switch what := a.What.(type) {
	case *Act_Put:
		counts.Put(tx, key(what.Put.Key), &Count{N: what.Put.N})
	case *Act_Delete:
		counts.Delete(tx, key(what.Delete))
	case *Act_Add:
		row := counts.Edit(tx, key(what.Add))
		row.N++
		counts.Put(tx, key(what.Add), row)
		number(uint64(row.N))
	case *Act_Mutate:
		row, _ := counts.Get(tx, key(what.Mutate))
		row.N = -1
	case *Act_Say:
		number(tx.Emit(&Said{Text: what.Say}))
	case *Act_Note:
		number(tx.Emit(&Noted{Seq: what.Note, Said: &Said{Text: "as it was heard live"}}))
	case *Act_Pulse:
		tx.Signal(&Pulsed{Text: what.Pulse})
	case *Act_Rewrite:
		tx.Rewrite(what.Rewrite.Seq, &Said{Text: what.Rewrite.Text})
	case *Act_RewriteAsNote:
		tx.Rewrite(what.RewriteAsNote, &Noted{})
	case *Act_Quote:
		said, _ := tx.Event(what.Quote).Body.(*Said)
		reply.Texts = append(reply.Texts, said.GetText())
	case *Act_Tell:
		tell(tx, what.Tell)
	case *Act_Write:
		for i := range what.Write {
			counts.Put(tx, key("w"+strconv.Itoa(int(i))), &Count{N: int64(i)})
		}
	case *Act_Grant:
		grants.Put(tx, entity.Key(nil).U64(entity.UserNumber(tx.Self().Tenant, what.Grant.UserId)), what.Grant)
		signers.Put(tx, entity.Key(nil).U32(what.Grant.Number), &Signer{UserId: what.Grant.UserId})
	case *Act_Now:
		number(uint64(tx.Now().UnixMilli()))
	default:
		return later(tx, a, reply)
	}
	return nil
}

// later runs one act of a command that has to do with what comes after it, or with
// what was there before.
func later(tx *entity.Tx, a *Act, reply *DoResponse) error {
	number := func(n uint64) { reply.Numbers = append(reply.Numbers, n) }
	key := func(s string) entity.Key { return entity.Key(nil).Str(s) }
	switch what := a.What.(type) {
	case *Act_Later:
		tx.TellAt(key(what.Later.Key), time.UnixMilli(what.Later.At), &ToldRequest{Acts: what.Later.Acts})
	case *Act_Cancel:
		tx.CancelTold(key(what.Cancel), &ToldRequest{})
	case *Act_Cut:
		counts.DeleteAll(tx, entity.Key(what.Cut))
	case *Act_Drop:
		tx.Drop(what.Drop.From, what.Drop.Through)
	case *Act_GoOn:
		tx.Continue(&ToldRequest{Acts: what.GoOn.Acts})
	case *Act_Mark:
		row := marks.Edit(tx, key(what.Mark))
		row.N++
		marks.Put(tx, key(what.Mark), row)
	case *Act_Last:
		number(tx.EmitLast(&Said{Text: what.Last}, entity.UserNumber(tx.Self().Tenant, "ann")))
	case *Act_Whisper:
		ann := entity.UserNumber(tx.Self().Tenant, "ann")
		tx.SignalTo([]uint64{ann, ann}, &Pulsed{Text: what.Whisper})
	case *Act_Errand:
		tx.Task(&RunRequest{Errand: what.Errand})
	case *Act_Log:
		tx.Events(1, tx.Head().Seq, false, func(e *entity.Event) bool {
			number(e.Seq)
			return true
		})
	default:
		return read(tx, a, reply)
	}
	return nil
}

func tell(tx *entity.Tx, t *Tell) {
	to := entity.Conversation(tx.Self().Tenant, t.CounterId)
	if t.Tenant != 0 {
		to.Tenant = entity.Tenant(t.Tenant)
	}
	if t.ToUser {
		to.Kind = pb.Kind_USER
	}
	tx.Tell(to, &ToldRequest{Acts: t.Acts})
}
