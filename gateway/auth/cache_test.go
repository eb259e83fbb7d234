package auth

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestACachedTokenExpires(t *testing.T) {
	w := newWorld(t)
	c := NewCache(w.verifier, 8)
	token := w.good(t)
	first, expires, err := c.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	again, expiresAgain, err := c.Verify(token)
	if err != nil || again != first || !expiresAgain.Equal(expires) {
		t.Errorf("the second answer is %+v, %v, %v; want %+v, %v", again, expiresAgain, err, first, expires)
	}
	w.now = expires.Add(w.policy.TokenLeeway)
	for range 2 {
		if _, _, err := c.Verify(token); err != ErrExpired {
			t.Errorf("an expired token: %v, want ErrExpired", err)
		}
	}
	if n := len(c.byHash); n != 0 {
		t.Errorf("%d expired tokens are remembered", n)
	}
}

func TestACacheForgetsTheLeastRecentToken(t *testing.T) {
	w := newWorld(t)
	c := NewCache(w.verifier, 2)
	tokens := make([]string, 3)
	for i := range tokens {
		tokens[i] = w.good(t, "sub", fmt.Sprint("user", i))
	}
	verify := func(i int) {
		t.Helper()
		if caller, _, err := c.Verify(tokens[i]); err != nil || caller.User != fmt.Sprint("user", i) {
			t.Fatalf("caller = %+v, %v", caller, err)
		}
	}
	verify(0)
	verify(1)
	verify(0)
	verify(2) // Takes the place of 1.
	if n := ringOf(t, c); len(c.byHash) != 2 || n != 2 {
		t.Fatalf("%d and %d tokens, want 2", len(c.byHash), n)
	}
	// A verifier without a single key shows which ones are remembered.
	c.verifier = &Verifier{parser: w.verifier.parser, now: w.verifier.now}
	verify(0)
	verify(2)
	if _, _, err := c.Verify(tokens[1]); err == nil {
		t.Error("the least recent token is remembered")
	}
}

func TestACacheIsUsedByManyAtOnce(t *testing.T) {
	w := newWorld(t)
	c := NewCache(w.verifier, 4)
	tokens := make([]string, 8)
	for i := range tokens {
		tokens[i] = w.good(t, "sub", fmt.Sprint("user", i))
	}
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 40 {
				n := (i + g) % len(tokens)
				caller, expires, err := c.Verify(tokens[n])
				if err != nil || caller.User != fmt.Sprint("user", n) || !expires.Equal(start.Add(time.Hour)) {
					t.Errorf("caller = %+v, %v, %v", caller, expires, err)
				}
			}
		})
	}
	all.Wait()
	if n := ringOf(t, c); len(c.byHash) > 4 || len(c.byHash) != n {
		t.Errorf("%d and %d tokens, want at most 4", len(c.byHash), n)
	}
}

// ringOf counts the entries of the ring, both ways round.
func ringOf(t *testing.T, c *Cache) (n int) {
	t.Helper()
	if c.recent == noEntry {
		return 0
	}
	for i := c.recent; n == 0 || i != c.recent; i = c.entries[i].after {
		if c.entries[c.entries[i].after].before != i || c.byHash[c.entries[i].hash] != i || n > len(c.entries) {
			t.Fatalf("entry %d is not where its neighbours and its hash say", i)
		}
		n++
	}
	return n
}

func TestTheRingHoldsWhoCameLastInTheirOrder(t *testing.T) {
	c := NewCache(nil, 5)
	var want []byte // the most recent first
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		token := byte(rng.IntN(9))
		hash := tokenHash{token}
		at := bytes.IndexByte(want, token)
		switch rng.IntN(3) {
		case 0:
			c.forget(hash)
			if at >= 0 {
				want = slices.Delete(want, at, at+1)
			}
		case 1:
			if _, ok := c.lookup(hash); ok != (at >= 0) {
				t.Fatalf("token %d is known: %v, want %v", token, ok, at >= 0)
			}
			if at >= 0 {
				want = append([]byte{token}, slices.Delete(want, at, at+1)...)
			}
		default:
			c.remember(cached{hash: hash})
			if at < 0 {
				want = append([]byte{token}, want[:min(len(want), 4)]...)
			}
		}
		var got []byte
		for i, n := c.recent, ringOf(t, c); n > 0; i, n = c.entries[i].after, n-1 {
			got = append(got, c.entries[i].hash[0])
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("the ring is %v, want %v", got, want)
		}
	}
}
