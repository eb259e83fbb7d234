package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// follow runs `kith tail` until the test ends, or stop is called, which returns how
// it ended.
func follow(t *testing.T, c TailCmd) (out, notes *lines, stop func() error) {
	t.Helper()
	out, notes = newLines(), newLines()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- c.run(ctx, out, notes) }()
	ended := false
	stop = func() error {
		cancel()
		if ended {
			return nil
		}
		ended = true
		select {
		case err := <-over:
			return err
		case <-time.After(patience):
			t.Fatal("it goes on")
			return nil
		}
	}
	t.Cleanup(func() { _ = stop() }) // The test has looked, if it wanted to.
	return out, notes, stop
}

// seqOf is the seq in a line of JSON.
func seqOf(t *testing.T, line string) uint64 {
	t.Helper()
	e, err := parseEvent([]byte(line))
	must(t, err)
	return e.Seq
}

func TestATailBeginsWhereItIsToldTo(t *testing.T) {
	s := serve(t, t.TempDir())
	conversation := s.direct(t)
	for n := range 5 {
		s.say(t, "ann", conversation, fmt.Sprint("message ", n))
	}
	for _, since := range []int64{0, 3, 6} {
		c := TailCmd{DoorFlags: s.as("bob", "ws://"+s.webSocket()), Log: "c:" + conversation.String(), Since: since, JSON: true}
		out, _, stop := follow(t, c)
		for want := uint64(since) + 1; want <= 6; want++ {
			if got := seqOf(t, out.next(t)); got != want {
				t.Errorf("since %d: event %d, want %d", since, got, want)
			}
		}
		must(t, stop())
	}
	c := TailCmd{DoorFlags: s.as("bob", "ws://"+s.webSocket()), Log: "c:" + conversation.String(), Since: 7}
	if err := c.run(t.Context(), newLines(), newLines()); err == nil || !strings.Contains(err.Error(), "the log has events 1 to 6") {
		t.Errorf("since 7 of 6: %v", err)
	}
}

// However often the network breaks, and the server restarts, every event comes
// once, in order.
func TestATailLosesAndDoublesNothing(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir)
	conversation := s.direct(t)
	network := newCutter(t, s.webSocket())
	c := TailCmd{DoorFlags: s.as("bob", network.Addr().String()), Log: "c:" + conversation.String(), Since: 0, JSON: true}
	out, notes, stop := follow(t, c)
	if got := seqOf(t, out.next(t)); got != 1 {
		t.Fatalf("it begins with event %d", got)
	}
	const rounds, each = 4, 10
	want := uint64(2)
	for round := range rounds {
		for n := range each {
			s.say(t, "ann", conversation, fmt.Sprint("message ", n))
			if n == each/2 {
				network.cut() // Some are on their way, some are still to come.
			}
		}
		for range each {
			if got := seqOf(t, out.next(t)); got != want {
				t.Fatalf("round %d: event %d, want %d", round, got, want)
			}
			want++
		}
	}
	if note := notes.next(t); !strings.Contains(note, "connecting again") {
		t.Errorf("the first note is %q", note)
	}
	if err := stop(); err != nil || len(out.all) > 0 {
		t.Errorf("it ended with %v and %d lines more", err, len(out.all))
	}
}

func TestATailIsReadable(t *testing.T) {
	s := serve(t, t.TempDir())
	conversation := s.direct(t)
	c := TailCmd{DoorFlags: s.as("bob", s.webSocket()), Log: "c:" + conversation.String(), Since: 0}
	out, _, _ := follow(t, c)
	read := func(want string) {
		t.Helper()
		line := out.next(t)
		if _, err := time.Parse(clock, line[:len(clock)]); err != nil || line[len(clock)+1:] != want {
			t.Errorf("the line is %q, want a time and %q", line, want)
		}
	}
	read("      1  ann direct opened user_ids=ann, bob")
	seq := s.say(t, "ann", conversation, "hello\x1b[2Jthere\nyou")
	read("      2  ann hello\uFFFD[2Jthere⏎you")
	request := fmt.Sprintf(`{"conversation_id":%s,"seq":%d`, conversation, seq)
	var reply any
	s.do(t, "ann", "Messages.Edit", request+`,"content":{"text":{"text":"bye"}}}`, &reply)
	read("      3  ann edited message 2: bye")
	s.do(t, "ann", "Messages.Revoke", request+"}", &reply)
	read("      4  ann revoked message 2")
}

func TestOnesOwnLogNeedsNoName(t *testing.T) {
	s := serve(t, t.TempDir())
	ann := s.as("ann", s.webSocket())
	out, _, _ := follow(t, TailCmd{DoorFlags: ann, Log: "u:", Since: 0})
	conversation := s.direct(t)
	for line := ""; !strings.HasSuffix(line, "is in the conversation c:"+conversation.String()+" with bob"); {
		line = out.next(t)
	}
	token, err := ann.token()
	must(t, err)
	byToken, _, _ := follow(t, TailCmd{DoorFlags: DoorFlags{Addr: s.webSocket(), Token: token}, Log: "u:", Since: 0})
	if line := byToken.next(t); !strings.Contains(line, "user created") {
		t.Errorf("the first line is %q", line)
	}
}

func TestWhatCannotBeFollowedSaysWhy(t *testing.T) {
	s := serve(t, t.TempDir())
	conversation := s.direct(t)
	ann := s.as("ann", s.webSocket())
	for _, c := range []struct {
		log   string
		flags DoorFlags
		code  int
		want  string
	}{
		{"c:" + conversation.String(), s.as("eve", s.webSocket()), exitRefused, "there is no log c:" + conversation.String() + ", or you may not read it"},
		{"u:bob", ann, exitRefused, "there is no log u:bob, or you may not read it"},
		{"c:17", DoorFlags{Addr: s.webSocket(), Token: "x"}, exitRefused, "unauthorized: "},
		{"c:hello", ann, exitUsage, "names no conversation"},
		{"c:0", ann, exitUsage, "names no conversation"},
		{"hello", ann, exitUsage, "names no log"},
		{"u", ann, exitUsage, "names no log"},
		{"c:17", s.as("ann", s.httpURL()), exitUsage, "needs the WebSocket door"},
		{"c:17", s.as("ann", "127.0.0.1:1"), exitError, "connection refused"},
	} {
		err := (&TailCmd{DoorFlags: c.flags, Log: c.log, Since: -1}).run(t.Context(), newLines(), newLines())
		if err == nil || exitCode(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v (exit code %d), want %d and %q", c.log, err, exitCode(err), c.code, c.want)
		}
	}
}

// Whoever is taken out hears so, and then it is over.
func TestATailEndsWithTheMembership(t *testing.T) {
	s := serve(t, t.TempDir())
	var group struct {
		ID json.Number `json:"conversation_id"`
	}
	var reply any
	s.do(t, "ann", "Groups.Create", `{"name":"team","join_rule":"OPEN"}`, &group)
	s.do(t, "bob", "Groups.Join", `{"conversation_id":`+group.ID.String()+`}`, &reply)
	out, notes := newLines(), newLines()
	over := make(chan error, 1)
	c := TailCmd{DoorFlags: s.as("bob", s.webSocket()), Log: "c:" + group.ID.String(), Since: 0}
	go func() { over <- c.run(t.Context(), out, notes) }()
	out.next(t) // It listens.
	s.do(t, "ann", "Groups.Remove", `{"conversation_id":`+group.ID.String()+`,"user_id":"bob"}`, &reply)
	for line := ""; !strings.Contains(line, "ann member removed user_id=bob"); {
		line = out.next(t)
	}
	select {
	case err := <-over:
		if err == nil || !strings.Contains(err.Error(), "that was the end: you are not in the conversation any more") {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("it goes on")
	}
}

// Lines that nobody reads any more end the command, as they do with head.
func TestATailEndsWhenNobodyReads(t *testing.T) {
	s := serve(t, t.TempDir())
	conversation := s.direct(t)
	read, write, err := os.Pipe()
	must(t, err)
	must(t, read.Close())
	defer func() { must(t, write.Close()) }()
	c := TailCmd{DoorFlags: s.as("ann", s.webSocket()), Log: "c:" + conversation.String(), Since: 0}
	if err := c.run(t.Context(), write, newLines()); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestEventsAreWords(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{"type":"MessageSent","seq":7,"by":"ann","body":{"content":{"text":{"text":"hi"}},"edited_at":5}}`, "      7  ann hi (edited)"},
		{`{"type":"MessageSent","seq":7,"by":"ann","body":{"revoked":true}}`, "      7  ann (revoked)"},
		{`{"type":"MessageSent","seq":7,"by":"ann","body":{"content":{"location":{"latitude":1.5,"name":"here"}}}}`, "      7  ann [location] latitude=1.5 name=here"},
		{`{"type":"Hole","seq":7,"body":{"from":3,"through":7}}`, "      7  events 3 to 7 are not for you"},
		{`{"type":"SomethingNew","seq":7,"by":"ann","body":{"b":[1,{"c":"x"}],"a":9007199254740993}}`, "      7  ann something new a=9007199254740993 b=1, {c=x}"},
		{`{"type":"Typing","by":"ann","body":{}}`, "      ·  ann typing"},
	} {
		var out bytes.Buffer
		tail := tail{out: &out}
		tail.print([]byte(c.text))
		if got := strings.TrimSuffix(out.String(), "\n"); got != strings.Repeat(" ", len(clock)+1)+c.want {
			t.Errorf("%s is shown as %q, want %q", c.text, got, c.want)
		}
	}
}
