package auth

import (
	"fmt"
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
	if len(c.byHash) != 2 || c.recent.Len() != 2 {
		t.Fatalf("%d and %d tokens, want 2", len(c.byHash), c.recent.Len())
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
	if len(c.byHash) > 4 || len(c.byHash) != c.recent.Len() {
		t.Errorf("%d and %d tokens, want at most 4", len(c.byHash), c.recent.Len())
	}
}
