// Command sockets measures a message over real sockets: it runs the built kith
// on loopback, connects 400 users in 200 pairs, and divides the CPU time that
// the server's process has used by the messages that went through.
//
// Its own clients share the machine, so rates are for orientation; what the
// server's process used moves little with it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"kith/bench"
	"kith/gateway/wire"
)

const (
	// warmUp is how long is not measured: connections are made, files and tables
	// reach their sizes.
	warmUp = 2 * time.Second
	// settle is how long the last messages may take.
	settle = 30 * time.Second
)

func main() {
	inFlight := flag.Int("in-flight", 8, "messages under way of each user")
	pairs := flag.Int("pairs", 200, "pairs of users")
	length := flag.Duration("for", 5*time.Second, "how long to measure")
	json := flag.Bool("json", false, "speak JSON rather than protobuf")
	binary := flag.String("kith", "bin/kith", "the server's program; scripts/build makes it")
	flag.Parse()
	dialect := wire.Dialect{Protocol: wire.Protobuf, Payload: wire.ProtoPayload}
	if *json {
		dialect = wire.Dialect{Protocol: wire.JSON, Payload: wire.JSONPayload}
	}
	if err := run(*binary, dialect, *pairs, *inFlight, *length); err != nil {
		fmt.Fprintln(os.Stderr, "sockets:", err)
		os.Exit(1)
	}
}

func run(binary string, d wire.Dialect, pairs, inFlight int, length time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "kith-bench-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() {
		if gone := os.RemoveAll(dir); err == nil {
			err = gone
		}
	}()
	s, err := start(binary, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	defer func() {
		if ended := s.stop(); err == nil {
			err = ended
		}
	}()
	l, err := connect(s, d, pairs)
	if err != nil {
		return err
	}
	l.begin(inFlight)
	time.Sleep(warmUp)
	before, err := s.usage(l)
	if err != nil {
		return err
	}
	time.Sleep(length)
	after, err := s.usage(l)
	if err != nil {
		return err
	}
	if err := l.end(settle); err != nil {
		return err
	}
	used := after.minus(before)
	n := float64(used.messages)
	fmt.Printf("%d users, %d in flight, %s: %8.0f msg/s  %6.2f cpu-us/msg (user %.2f, system %.2f)  %.0f messages, each acknowledged and delivered once, in order\n",
		2*pairs, inFlight, d.Protocol, n/used.at.Seconds(),
		micros(used.user+used.system)/n, micros(used.user)/n, micros(used.system)/n, n)
	return nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// usage is what was used up to a moment.
type usage struct {
	at, user, system time.Duration
	messages         uint64
}

func (u usage) minus(v usage) usage {
	return usage{u.at - v.at, u.user - v.user, u.system - v.system, u.messages - v.messages}
}

// usage reads what the server has used and what has gone through.
func (s *server) usage(l *load) (u usage, err error) {
	u.user, u.system, err = s.cpu()
	u.at, u.messages = time.Since(s.started), l.through.Load()
	return u, err
}

// newPairs makes the clients of the pairs.
func newPairs(d wire.Dialect, n int) ([]*bench.Pair, error) {
	all := make([]*bench.Pair, n)
	for i := range all {
		p, err := bench.NewPair(d, i, direct)
		if err != nil {
			return nil, err
		}
		all[i] = p
	}
	return all, nil
}
