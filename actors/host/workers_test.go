package host

import (
	"runtime"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
)

// An ever is an actor whose mailbox is never empty until it is told to stop.
type ever struct{ stop <-chan struct{} }

type more struct{}

func (e ever) run(ctx actor.Context, w *workers, ran int) {
	select {
	case <-e.stop:
	default:
		ctx.Send(ctx.Self(), more{})
	}
	if ran%turnsPerWorker == 0 {
		w.relieve()
	}
}

func TestEntitiesThatAreNeverIdleDoNotKeepOthersWaiting(t *testing.T) {
	var running sync.WaitGroup
	w := newWorkers(&running)
	w.start()
	system := actor.NewActorSystem()
	spawn := func(f actor.ReceiveFunc) *actor.PID {
		return system.Root.Spawn(actor.PropsFromFunc(f, actor.WithDispatcher(w), actor.WithMailbox(actor.UnboundedLockfree())))
	}
	stop, ran := make(chan struct{}), make(chan struct{})
	for range 2 * runtime.GOMAXPROCS(0) {
		n := 0
		busy := spawn(func(ctx actor.Context) {
			if _, ok := ctx.Message().(more); ok {
				n++
				ever{stop}.run(ctx, w, n)
			}
		})
		system.Root.Send(busy, more{})
	}
	quiet := spawn(func(ctx actor.Context) {
		if _, ok := ctx.Message().(more); ok {
			close(ran)
		}
	})
	system.Root.Send(quiet, more{})
	<-ran // Without relief it never runs.
	close(stop)
	w.stop()
	running.Wait()
}
