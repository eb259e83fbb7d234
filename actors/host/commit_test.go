package host

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

var (
	denied     = uint32(entity.Denied)
	overloaded = uint32(entity.Overloaded)
)

// Rule 3: persist, then release.
func TestNothingIsReleasedBeforeItIsDurable(t *testing.T) {
	n := newNode(t)
	a, b, c := n.sharing()
	n.submitAs("first", "r", a, Say("x"), Pulse("p"))
	n.submit("empty", b, Now())
	n.submit("refused", c, Refuse(denied))
	n.submitAs("repeat", "r", a, Say("x"), Pulse("p"))
	n.submit("signal", b, Pulse("p"))
	n.submit("panic", b, Panic("a bug"))
	n.run()
	n.want("after the Steps")
	g := n.Take()
	n.want("after Take")
	n.store.Synced = func([]entity.Write) error {
		n.want("while the group is in sync")
		return nil
	}
	if err := n.Sync(g); err != nil {
		t.Fatal(err)
	}
	n.want("after Sync")
	if n.Idle() {
		t.Error("the core is idle while outcomes wait to be released")
	}
	n.Release(g)
	if got := len(n.heard); got != 6+1+2+1 {
		t.Errorf("released %q, want six answers, an event, two signals and a flush", n.heard)
	}
}

func TestOutcomesLeaveInStepOrderRepliesBeforeEvents(t *testing.T) {
	n := newNode(t)
	a, b, _ := n.sharing()
	n.submitAs("1", "r", a, Say("x"))
	n.submit("2", b, Say("x"), Pulse("p"), Note(1))
	n.submit("3", a, Refuse(denied))
	n.submitAs("4", "r", a, Say("x"))
	n.submitAs("5", "r", a, Say("another body"))
	n.submit("6", b, Now())
	n.submit("7", a, Say("y"))
	n.settle()
	n.want("in one shard", "1", fmt.Sprintf("Said 1 of %d", a), "2", fmt.Sprintf("Said 1 of %d", b), fmt.Sprintf("Noted 2 of %d", b),
		fmt.Sprintf("Pulsed 0 of %d", b), "3 denied", "4", "5 conflict", "6", "7", fmt.Sprintf("Said 2 of %d", a), "flush")
}

func TestStepsGoOnWhileAGroupIsInSync(t *testing.T) {
	n := newNode(t)
	n.submit("1", 1, Say("x"), Set("a", 5))
	n.run()
	first := n.Take()
	n.store.Synced = func([]entity.Write) error {
		n.store.Synced = nil
		n.submit("2", 1, Say("y"), Add("a"))
		n.submitAs("3", "r", 1, Add("a"))
		n.run()
		return nil
	}
	if err := n.Sync(first); err != nil {
		t.Fatal(err)
	}
	second := n.Take()
	n.submit("4", 1, Add("a"))
	n.run()
	n.want("before the first release")
	n.Release(first)
	n.want("the first group", "1", "Said 1 of 1", "flush")
	n.submit("5", 1, Add("a"))
	n.run()
	if err := n.Sync(second); err != nil {
		t.Fatal(err)
	}
	n.Release(second)
	n.want("the second group", "2", "Said 2 of 1", "3", "flush")
	n.settle()
	n.want("the third group", "4", "5", "flush")
	n.wantNumbers("a, seq", n.numbers(1, Get("a"), Say("z")), 9, 3)
}

// Whoever hears an event may ask for it at once.
func TestAQuerySeesWhatWasReleasedAndNothingElse(t *testing.T) {
	n := newNode(t)
	a := func() uint64 {
		r := n.look(1, Get("a"))
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r.Reply.(*LookResponse).Numbers[0]
	}
	n.submit("1", 1, Say("x"), Set("a", 5))
	n.run()
	if got := a(); got != 0 {
		t.Errorf("a = %d while it is pending", got)
	}
	n.store.Synced = func([]entity.Write) error {
		if got := a(); got != 0 {
			t.Errorf("a = %d while it is in sync", got)
		}
		return nil
	}
	g := n.Take()
	if err := n.Sync(g); err != nil {
		t.Fatal(err)
	}
	if got := a(); got != 5 {
		t.Errorf("a = %d before its release, want 5", got)
	}
	n.Release(g)
}

func TestAGroupWithoutWritesIsNotCommitted(t *testing.T) {
	n := newNode(t)
	n.submit("x", 1, Say("x"))
	n.settle()
	commits := n.commits
	view := n.store.Snapshot()
	stamp, at, err := entity.ReadStamp(view)
	if err != nil || stamp != 1 || !at.Equal(n.wall) {
		t.Errorf("stamp %d of %v, %v; want 1 of %v", stamp, at, err, n.wall)
	}
	n.heard = nil
	n.submit("empty", 1, Now(), Pulse("p"))
	n.submit("refused", 2, Refuse(denied))
	n.settle()
	if n.commits != commits {
		t.Errorf("%d commits of nothing", n.commits-commits)
	}
	if len(n.heard) != 4 {
		t.Errorf("released %q", n.heard)
	}
	n.dirty.Or(1) // An outcome may be taken before it is announced.
	if n.commit() {
		t.Error("there is a group of nothing")
	}
}

// The stamp is the commit's, in commit order, and goes on after a restart.
func TestStampsGrowWithCommits(t *testing.T) {
	n := newNode(t)
	var stamps []uint64
	for range 2 {
		for range 2 {
			n.submit("x", 1, Say("x"))
			n.run()
			n.submit("y", 2, Say("y"))
			n.run()
			g := n.Take()
			if err := n.Sync(g); err != nil {
				t.Fatal(err)
			}
			for _, it := range g.items {
				stamps = append(stamps, it.out.Events[0].Stamp)
			}
			n.Release(g)
		}
		n.start()
	}
	n.wantNumbers("stamps", stamps, 1, 1, 2, 2, 3, 3, 4, 4)
	var page entity.Page
	n.Replay(n.caller("acme", "ann"), entity.Conversation(n.tenant("acme"), 1), 0, 9, func(p entity.Page) { page = p })
	n.answer()
	for i, e := range page.Events {
		if e.Stamp != uint64(i+1) {
			t.Errorf("event %d has stamp %d in its row", e.Seq, e.Stamp)
		}
	}
	if len(page.Events) != 4 {
		t.Errorf("%d events, want 4", len(page.Events))
	}
}

func TestAFailedCommitReleasesNothing(t *testing.T) {
	n := newNode(t)
	n.submit("x", 1, Say("x"))
	n.run()
	n.store.Synced = func([]entity.Write) error { return errors.New("the disk is on fire") }
	g := n.Take()
	if err := n.Sync(g); err == nil {
		t.Error("Sync says that it is durable")
	}
	n.want("after a failed commit")
}

func TestAFaultEndsTheProcessAndAnswersNobody(t *testing.T) {
	n := newNode(t)
	n.submit("x", 1, Say("x"))
	n.settle()
	n.heard = nil
	ref := entity.Conversation(n.tenant("acme"), 1)
	row := entity.Write{Key: logKeyOf(ref, 1), Val: []byte{99}}
	if err := n.store.Commit([]entity.Write{row}); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.submit("y", 1, Say("y"))
	n.run()
	if n.fatal == nil || !strings.Contains(n.fatal.Error(), "damaged") {
		t.Errorf("fatal = %v", n.fatal)
	}
	if n.commit() {
		t.Error("there is something to commit after a fault")
	}
	n.want("after a fault")
}

// logKeyOf is the key of an event row: shard tenant kind id table seq.
func logKeyOf(ref entity.Ref, seq uint64) []byte {
	key := entity.Key{0, byte(ref.Shard())}.U32(uint32(ref.Tenant))
	key = append(key, byte(ref.Kind)).U64(ref.ID)
	return append(key, 1).U64(seq)
}

func TestAPanicStaysInItsCall(t *testing.T) {
	n := newNode(t)
	n.submit("1", 1, Say("x"))
	n.submit("2", 1, Say("no"), Panic("a bug"))
	n.submit("3", 1, Write(1<<20))
	n.submit("4", 1, Say("y"))
	n.settle()
	n.want("a bug among others", "1", "Said 1 of 1", "2 internal", "3 too_large", "4", "Said 2 of 1", "flush")
}

func TestAGroupHoldsWhatCameWhileTheLastOneSynced(t *testing.T) {
	n := newNode(t)
	for i := range 100 {
		n.submit("x", uint64(1+i%10), Say("x"))
	}
	n.run()
	before := n.commits
	n.settle()
	if got := n.commits - before; got != 1 {
		t.Errorf("%d commits for what waited together", got)
	}
	if n.wakes == 0 || n.wakes > 100 {
		t.Errorf("%d wake-ups", n.wakes)
	}
}
