package host

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

func TestTheBoundOfAMailboxRefusesClientsAndNoTells(t *testing.T) {
	n := newNode(t, func(c *Config) { c.MaxMailbox = 3 })
	n.submit("teller", 1, Say("x"), To(2, Add("told")), To(3, Add("told")))
	n.run()
	for i := range 5 {
		n.submit(fmt.Sprint(i), 2, Add("a"))
	}
	n.want("at once", "3 overloaded", "4 overloaded")
	n.submit("another entity", 3, Say("x"))
	if !n.commit() {
		t.Fatal("nothing to commit")
	}
	n.settle()
	n.wantNumbers("told, a", n.numbers(2, Get("told"), Get("a")), 1, 3)
	n.heard = nil
	n.submit("later", 2, Add("a"))
	n.settle()
	n.want("when there is room", "later", "flush")
}

func TestTellsTakeNoRoomInAMailbox(t *testing.T) {
	n := newNode(t, func(c *Config) { c.MaxMailbox = 1 })
	for from := uint64(10); from < 13; from++ {
		n.submit("teller", from, To(1, Add("a")))
	}
	n.run()
	n.commit() // Three tells wait before the client.
	n.heard = nil
	n.submit("client", 1, Add("b"))
	n.settle()
	if !slices.Contains(n.heard, "client") {
		t.Errorf("the client behind three tells heard %q", n.heard)
	}
}

func TestTooManyBytesThatWaitRefuseClients(t *testing.T) {
	n := newNode(t, func(c *Config) { c.MaxUnreleasedBytes = 1 })
	n.submit("first", 1, Say("x"))
	n.run()
	n.submit("second", 2, Say("x"))
	n.want("before the release", "second overloaded")
	n.settle()
	n.heard = nil
	n.submit("third", 2, Add("a"))
	n.settle()
	if !slices.Contains(n.heard, "third") {
		t.Errorf("after the release: %q", n.heard)
	}
}

func TestAGroupEndsWhenItIsFull(t *testing.T) {
	queue := []item{{bytes: maxGroupBytes - 1}, {bytes: 1}, {bytes: 1}}
	g := &Group{}
	if n := g.add(queue); n != 2 {
		t.Errorf("a group took %d outcomes, want 2", n)
	}
	if n := g.add(queue); n != 0 {
		t.Errorf("a full group took %d more", n)
	}
}

func TestTooManyUnreleasedOutcomesRefuseClientsAndNoTells(t *testing.T) {
	n := newNode(t, func(c *Config) { c.MaxUnreleased = 3 })
	n.submit("teller", 1, Say("x"), To(2, Add("told")))
	for i := range 4 {
		n.submit(fmt.Sprint(i), uint64(10+i), Now())
	}
	n.run()
	n.want("at once", "2 overloaded", "3 overloaded")
	n.submit("still", 9, Now())
	n.want("before the release", "still overloaded")
	if r := n.look(1, Get("a")); r.Err != nil {
		t.Errorf("a query: %v", r.Err)
	}
	n.settle()
	n.heard = nil
	n.wantNumbers("told", n.numbers(2, Get("told")), 1)
}

func TestANearlyFullDiskRefusesCommandsAndReadsOn(t *testing.T) {
	n := newNode(t)
	n.numbers(1, Say("x"), Set("a", 4))
	n.heard = nil
	n.store.Full = true
	n.submit("no", 1, Say("y"))
	n.want("a command", "no overloaded")
	if r := n.look(1, Get("a")); r.Err != nil || r.Reply.(*LookResponse).Numbers[0] != 4 {
		t.Errorf("a query: %v %v", r.Reply, r.Err)
	}
	n.store.Full = false
	n.wantNumbers("seq", n.numbers(1, Say("z")), 2)
}

func TestAFullQueryPoolRefuses(t *testing.T) {
	n := newNode(t)
	n.numbers(1, Say("x"))
	n.full = true
	if r := n.look(1, Get("a")); r.Err == nil || r.Err.Code != entity.Overloaded {
		t.Errorf("a query: %v", r.Err)
	}
	ref := entity.Conversation(n.tenant("acme"), 1)
	n.Positions(n.caller("acme", "ann"), []entity.Ref{ref}, func(all []entity.Position) {
		if len(all) != 1 || all[0].Ref != ref || all[0].Err == nil || all[0].Err.Code != entity.Overloaded {
			t.Errorf("positions: %+v", all)
		}
	})
	n.Replay(n.caller("acme", "ann"), ref, 0, 1, func(p entity.Page) {
		if p.Err == nil || p.Err.Code != entity.Overloaded {
			t.Errorf("a page: %+v", p)
		}
	})
	if !n.Idle() {
		t.Error("refused queries are still counted")
	}
}

func TestPositionsAndPagesAreOfTheDurableView(t *testing.T) {
	n := newNode(t)
	ann, one := n.caller("acme", "ann"), entity.Conversation(n.tenant("acme"), 1)
	n.numbers(1, Say("x"))
	n.submit("pending", 1, Say("y"))
	n.run()
	var got []entity.Position
	nobody := entity.Conversation(n.tenant("acme"), 99)
	n.Positions(ann, []entity.Ref{nobody, one}, func(all []entity.Position) { got = all })
	if got != nil {
		t.Error("positions were read on the caller's goroutine")
	}
	n.answer()
	if len(got) != 2 || got[0].Ref != nobody || got[0].Head != 0 || got[1].Head != 1 || got[1].Err != nil {
		t.Errorf("positions = %+v", got)
	}
	var page entity.Page
	n.Replay(ann, one, 0, 9, func(p entity.Page) { page = p })
	n.answer()
	if len(page.Events) != 1 || page.Through != 1 || page.More || page.Err != nil {
		t.Errorf("page = %+v", page)
	}
	// A bug in the rules of a log stays with its reader.
	n.numbers(1, Allow(&Grant{UserId: "panic"}))
	n.Replay(n.caller("acme", "panic"), one, 0, 9, func(p entity.Page) { page = p })
	n.Positions(n.caller("acme", "panic"), []entity.Ref{one}, func(all []entity.Position) { got = all })
	n.answer()
	if page.Err == nil || page.Err.Code != entity.Internal || got[0].Err == nil {
		t.Errorf("page = %+v, positions = %+v", page, got)
	}
}

func TestAQueryThatPanicsStaysAlone(t *testing.T) {
	n := newNode(t)
	if r := n.look(1, Panic("a bug")); r.Err == nil || r.Err.Code != entity.Internal {
		t.Errorf("a query that panics: %v", r.Err)
	}
	if r := n.look(1, Get("a")); r.Err != nil {
		t.Errorf("the next: %v", r.Err)
	}
}

// Rule 13: a tenant is part of an entity's name.
func TestTwoTenantsNeverMeet(t *testing.T) {
	n := newNode(t)
	n.numbers(1, Say("of acme"), Set("a", 1))
	theirs := n.callBy(n.caller("zeta", "ann"), &DoRequest{CounterId: 1, Acts: []*Act{Get("a"), Say("of zeta")}})
	n.Submit(theirs, func(r entity.Result) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		n.wantNumbers("zeta's a and seq", r.Reply.(*DoResponse).Numbers, 0, 1)
	})
	n.settle()
	n.heard = nil
	ours := entity.Conversation(n.tenant("acme"), 1)
	crossed := *theirs
	crossed.To = ours
	unknown := *theirs
	unknown.To.Tenant, unknown.Caller.Tenant = 77, 77
	for name, call := range map[string]*entity.Call{"another tenant's entity": &crossed, "an unknown tenant": &unknown} {
		answered := false
		n.Submit(call, func(r entity.Result) {
			answered = true
			if r.Err == nil || r.Err.Code != entity.NotFound {
				t.Errorf("%s: %v", name, r.Err)
			}
		})
		if !answered || len(n.turns) > 0 {
			t.Errorf("%s: it was not refused at once", name)
		}
	}
	zeta := n.caller("zeta", "ann")
	n.Replay(zeta, ours, 0, 9, func(p entity.Page) {
		if p.Err == nil || p.Err.Code != entity.NotFound || len(p.Events) > 0 {
			t.Errorf("zeta reads acme's log: %+v", p)
		}
	})
	n.Positions(zeta, []entity.Ref{ours}, func(all []entity.Position) {
		if all[0].Err == nil || all[0].Err.Code != entity.NotFound {
			t.Errorf("zeta sees acme's log: %+v", all)
		}
	})
	zeta.Tenant = 77
	n.Positions(zeta, []entity.Ref{ours}, func(all []entity.Position) {
		if all[0].Err == nil || all[0].Err.Code != entity.NotFound {
			t.Errorf("an unknown tenant sees acme's log: %+v", all)
		}
	})
	n.answer()
}

func TestTenantsKeepTheirNumbersForEver(t *testing.T) {
	n := newNode(t)
	acme, zeta := n.tenant("acme"), n.tenant("zeta")
	if acme == zeta || acme == 0 || zeta == 0 {
		t.Fatalf("acme = %d, zeta = %d", acme, zeta)
	}
	dev := n.config.Tenants["acme"]
	all := maps.Clone(n.config.Tenants)
	all["aaaa"] = dev
	n.config.Tenants = all
	n.start()
	aaaa := n.tenant("aaaa")
	if n.tenant("acme") != acme || n.tenant("zeta") != zeta || aaaa == acme || aaaa == zeta || aaaa == 0 {
		t.Errorf("with aaaa (%d): acme = %d, zeta = %d, were %d, %d", aaaa, n.tenant("acme"), n.tenant("zeta"), acme, zeta)
	}
	n.config.Tenants = map[string]*entity.Policy{"zeta": dev}
	n.start()
	if _, ok := n.Tenant("acme"); ok || n.tenant("zeta") != zeta || n.Policy(acme) != nil || n.Policy(zeta) != dev {
		t.Error("a tenant that is not configured is still served, or zeta is not")
	}
	all = maps.Clone(all)
	all["new"] = dev
	n.config.Tenants = all
	n.start()
	if fresh := n.tenant("new"); fresh == acme || fresh == zeta || fresh == aaaa || n.tenant("acme") != acme {
		t.Errorf("new = %d, acme = %d", fresh, n.tenant("acme"))
	}
	commits := n.commits
	n.start()
	if n.commits != commits {
		t.Error("a start without a new tenant writes")
	}
}

// An entity that does not exist costs nothing: whoever guesses ids fills no
// memory.
func TestEntitiesThatDoNotExistDoNotStayInMemory(t *testing.T) {
	n := newNode(t)
	for id := range uint64(100_000) {
		n.submit("x", 1+id*0x9E3779B1%(1<<40), Refuse(denied))
		if id%1000 == 0 {
			n.run()
			if got := n.boxes(); got > 0 {
				t.Fatalf("%d entities are in memory", got)
			}
			n.settle()
			n.heard = n.heard[:0]
		}
	}
	n.settle()
	if got := n.boxes(); got > 0 {
		t.Errorf("%d entities are in memory", got)
	}
}

func TestIdleEntitiesArePutAwayButNoneWithSomethingPending(t *testing.T) {
	n := newNode(t, func(c *Config) { c.IdleAfter = time.Minute })
	n.numbers(1, Say("x"))
	n.numbers(2, Say("x"))
	sweep := func(d time.Duration, want int, what string) {
		t.Helper()
		n.pass(d)
		n.Sweep()
		if got := n.boxes(); got != want {
			t.Errorf("%s: %d entities in memory, want %d", what, got, want)
		}
	}
	sweep(59*time.Second, 2, "before they are idle")
	n.numbers(2, Now())
	sweep(2*time.Second, 1, "one is idle")
	n.submit("pending", 2, Say("y"))
	n.run()
	sweep(time.Hour, 1, "it has writes pending")
	g := n.Take()
	if err := n.Sync(g); err != nil {
		t.Fatal(err)
	}
	sweep(time.Hour, 1, "they are durable and not released")
	n.Release(g)
	n.submit("queued", 2, Say("z"))
	sweep(time.Hour, 1, "a job is queued")
	n.settle()
	sweep(time.Hour, 0, "nothing is left")
	n.wantNumbers("seq, after it came back", n.numbers(2, Say("!")), 4)
}

func TestBriefEntitiesArePutAwaySooner(t *testing.T) {
	n := newNode(t, func(c *Config) {
		c.IdleAfter, c.BriefAfter = time.Minute, time.Second
		c.Brief = func(ref entity.Ref) bool { return ref.ID == 1 }
	})
	n.numbers(1, Say("x"))
	n.numbers(2, Say("x"))
	for _, step := range []struct {
		pass time.Duration
		want int
	}{{999 * time.Millisecond, 2}, {time.Millisecond, 1}, {time.Minute, 0}} {
		n.pass(step.pass)
		n.Sweep()
		if got := n.boxes(); got != step.want {
			t.Errorf("after %v more: %d entities in memory, want %d", step.pass, got, step.want)
		}
	}
}

func TestTheCoreIsMeasured(t *testing.T) {
	n := newNode(t)
	reg := prometheus.NewRegistry()
	n.Register(reg)
	n.submit("refused", 1, Refuse(denied))
	n.submit("panic", 1, Panic("a bug"))
	n.submit("large", 1, Write(1<<20))
	n.submit("teller", 1, Say("x"), To(2, Add("a")))
	n.store.Full = true
	n.submit("no", 1, Say("x"))
	n.run()
	got := map[string]float64{}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		m := f.Metric[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	for name, want := range map[string]float64{
		"entities": 1, "unreleased": 4, "panics_total": 1, "bounds_total": 1, "overloaded_total": 1, "clock_held": 0, "dead_letters_total": 0, "unreadable_total": 0,
	} {
		if got["kith_host_"+name] != want {
			t.Errorf("%s = %v, want %v", name, got["kith_host_"+name], want)
		}
	}
}
