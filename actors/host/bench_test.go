package host

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

// sink is a store that keeps nothing: what is measured is the host.
type sink struct{ Store }

func (*sink) Commit([]entity.Write) error { return nil }

// One message through the host, from Submit to its reply, over 1,000 entities
// with 8 calls of each caller in flight.
func BenchmarkHost(b *testing.B) {
	const entities, callers, flight = 1000, 64, 8
	c := newCity(b, nil, func(cfg *Config) { cfg.Storage, cfg.IdleAfter = &sink{}, time.Hour })
	acts := []*Act{Say("a message of about fifty bytes, as people write them")}
	var wave sync.WaitGroup
	for i := range entities {
		wave.Add(1)
		c.Submit(c.call("ann", &DoRequest{CounterId: uint64(i + 1), Acts: acts}), func(entity.Result) { wave.Done() })
	}
	wave.Wait()
	method := c.Registry.ByName("Counters.Do")
	b.ReportAllocs()
	b.ResetTimer()
	var working sync.WaitGroup
	for who := range callers {
		working.Go(func() {
			caller := c.caller(fmt.Sprint("user", who))
			room := make(chan struct{}, flight)
			done := func(r entity.Result) {
				if r.Err != nil {
					b.Error(r.Err)
				}
				<-room
			}
			for i := who; i < b.N; i += callers {
				room <- struct{}{}
				call, err := c.Registry.NewCall(method, caller, &DoRequest{CounterId: uint64(i%entities + 1), Acts: acts})
				if err != nil {
					b.Error(err)
					return
				}
				call.RequestID = fmt.Sprint(i)
				c.Submit(call, done)
			}
			for range flight {
				room <- struct{}{}
			}
		})
	}
	working.Wait()
	b.StopTimer()
	c.stop()
}
