package entity_test

import (
	"fmt"
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// One message: a Step that emits a history event and remembers its request.
// What it wrote is durable before the next.
func BenchmarkStep(b *testing.B) {
	reg, err := Registry()
	if err != nil {
		b.Fatal(err)
	}
	policy, _ := entity.Profile("bench")
	store := &Store{}
	m := entity.NewMemory(one, func() (entity.Reader, func()) { return store.Rows(), func() {} }, entity.NoBug)
	turn := entity.Turn{Now: time.Unix(1_770_000_000, 0), Policy: &policy}
	grant := &DoRequest{CounterId: 1, Acts: []*Act{Allow(&Grant{UserId: "ann", Number: 1}), Allow(&Grant{UserId: "bob", Number: 2})}}
	send := &DoRequest{CounterId: 1, Acts: []*Act{Say("a message of about fifty bytes, as people write them")}}
	run := func(req *DoRequest, id string) {
		call, err := reg.NewCall(reg.ByName("Counters.Do"), ann, req)
		if err != nil {
			b.Fatal(err)
		}
		call.RequestID = id
		out := m.Step(reg, call, turn)
		if out.Err != nil {
			b.Fatal(out.Err, out.Panic)
		}
		m.Durable(out.Version)
	}
	run(grant, "")
	ids := make([]string, 1<<12)
	for i := range ids {
		ids[i] = fmt.Sprintf("0f8fad5b-d9cb-469f-a165-%012d", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(ids) == 0 {
			turn.Now = turn.Now.Add(40 * time.Hour) // The ids are new again.
		}
		run(send, ids[i%len(ids)])
	}
}
