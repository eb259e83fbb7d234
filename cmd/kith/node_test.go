package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A process that runs out of descriptors loses every connection, so the sum of
// all limits must fit.
func TestTheDefaultsFitIntoTwentyThousandFiles(t *testing.T) {
	c := Default()
	if n := c.MaxConnections + c.otherFiles(); n > 20_000 {
		t.Errorf("the defaults may need %d files", n)
	}
	fewer := c
	fewer.HTTP.MaxConns -= 100
	if got, want := fewer.otherFiles(), c.otherFiles()-100; got != want {
		t.Errorf("otherFiles = %d, want %d: HTTP connections count", got, want)
	}
}

func TestConnectionsThatTheSystemDoesNotGrantAreRefusedAtStart(t *testing.T) {
	c, err := Load(ConfigFlags{DataDir: t.TempDir(), Set: []string{"max_connections=1000000", "http.max_conns=1048576", "storage.min_free_bytes=0"}}, nil)
	must(t, err)
	n, err := newNode(c, slog.New(slog.DiscardHandler), false)
	if err == nil {
		must(t, n.db.Close())
		t.Skip("this system grants millions of files")
	}
	if !strings.Contains(err.Error(), "the limit of open files is") || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("newNode = %v, want a sentence about open files", err)
	}
}

func TestTheLongestAuthTimeoutIsEverybodys(t *testing.T) {
	c, err := Load(ConfigFlags{File: write(t, full), Set: []string{"tenants.acme.policy.auth_timeout=9s"}}, nil)
	must(t, err)
	if got := c.authTimeout(); got != 9*time.Second {
		t.Errorf("authTimeout = %v, want 9s, which acme has", got)
	}
}
