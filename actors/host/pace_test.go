package host

import (
	"fmt"
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// pacedNode has a command that hears a caller once in three seconds.
func pacedNode(t *testing.T) *node {
	t.Helper()
	n := newNode(t)
	n.Registry.ByName("Counters.Do").Pace = 3 * time.Second
	return n
}

// knock makes a call of the command, and reports whether it was run.
func (n *node) knock(user string, counter uint64) bool {
	n.t.Helper()
	call := n.callBy(n.caller("acme", user), &DoRequest{CounterId: counter, Acts: []*Act{Add("a")}})
	var got entity.Result
	answered := 0
	n.Submit(call, func(r entity.Result) {
		got = r
		answered++
	})
	n.settle()
	reply, ok := got.Reply.(*DoResponse)
	if answered != 1 || got.Err != nil || !ok {
		n.t.Fatalf("%s was answered %d times: %v", user, answered, got)
	}
	return len(reply.Numbers) == 1
}

func TestAPacedCommandRunsOncePerPaceForEachCallerAndEntityAndAnswersAll(t *testing.T) {
	n := pacedNode(t)
	ran := 0
	for range 90 { // Nine seconds, ten calls a second.
		if n.knock("ann", 1) {
			ran++
		}
		n.pass(100 * time.Millisecond)
	}
	if ran != 3 {
		t.Errorf("it ran %d times in 9 s, want 3", ran)
	}
	n.wantNumbersAfter(3*time.Second, 1, 3)
	n.pass(3 * time.Second)
	for _, c := range []struct {
		user    string
		counter uint64
		want    bool
	}{{"ann", 1, true}, {"ann", 1, false}, {"bob", 1, true}, {"ann", 2, true}, {"bob", 1, false}, {"ann", 2, false}} {
		if got := n.knock(c.user, c.counter); got != c.want {
			t.Errorf("%s on %d was heard: %v, want %v", c.user, c.counter, got, c.want)
		}
	}
}

// wantNumbersAfter checks a count, once its entity hears ann again.
func (n *node) wantNumbersAfter(d time.Duration, counter, want uint64) {
	n.t.Helper()
	n.pass(d)
	n.wantNumbers("a", n.numbers(counter, Get("a")), want)
}

func TestAPaceHoldsAcrossTheTimeAfterWhichOldOnesAreForgotten(t *testing.T) {
	n := pacedNode(t)
	n.knock("ann", 9)
	n.pass(paceTurn - time.Second)
	if !n.knock("ann", 1) {
		t.Fatal("the first call was not heard")
	}
	n.pass(time.Second)
	n.knock("ann", 9) // What is old is forgotten here.
	if n.knock("ann", 1) {
		t.Error("a call was heard a second after the last one")
	}
	n.pass(2 * time.Second)
	if !n.knock("ann", 1) {
		t.Error("a call was not heard three seconds after the last one")
	}
}

func TestAPaceThatIsLongerThanWhatIsRememberedIsRefused(t *testing.T) {
	n := newNode(t)
	n.Registry.ByName("Counters.Do").Pace = paceTurn + 1
	if _, err := NewCore(n.config); err == nil {
		t.Error("a node has started")
	}
}

func TestWhatPacesRememberIsBoundedAndOldOnesAreForgotten(t *testing.T) {
	n := pacedNode(t)
	p := &paces{}
	method := n.Registry.ByName("Counters.Do")
	for i := range 4 * maxPaces {
		call := &entity.Call{Method: method, Caller: entity.Caller{Number: uint64(i)}}
		if !p.take(call, time.Millisecond) {
			t.Fatal("a caller's first call was not heard")
		}
		if got := len(p.heard) + len(p.older); got > 2*maxPaces {
			t.Fatalf("%d are remembered after %d calls, want at most %d", got, i+1, 2*maxPaces)
		}
	}
	call := &entity.Call{Method: method, Caller: entity.Caller{Number: 1}}
	for i := range 3 {
		p.take(call, time.Duration(i+1)*paceTurn)
	}
	if got := len(p.heard) + len(p.older); got > 2 {
		t.Errorf("%d are remembered long after, want the last two", got)
	}
}

func TestACallThatComesTooSoonIsAnsweredAtOnceAndChangesNothing(t *testing.T) {
	n := pacedNode(t)
	n.submit("first", 1, Say("x"))
	n.submit("second", 1, Say("y"))
	n.want("at once", "second")
	n.settle()
	n.want("then", "first", "Said 1 of 1", "flush")
	if got := fmt.Sprint(n.texts(1)); got != "[x]" {
		t.Errorf("said %s", got)
	}
}
