package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"kith/actors/entity"
	"kith/gateway/client"
)

// TailCmd shows what happens in a conversation, or to a user, as it happens.
type TailCmd struct {
	DoorFlags

	Log   string `arg:"" help:"Log to follow: c:<conversation id>, or u: for one's own."`
	Since int64  `default:"-1" placeholder:"SEQ" help:"Begin after this event; 0 is the beginning. Default: now."`
	JSON  bool   `name:"json" help:"Print each event as one line of JSON."`
}

// Help is what `kith tail --help` says below its first line.
func (TailCmd) Help() string {
	return `Examples:

  kith tail c:4503599627370495 --as ann
  kith tail u: --as ann --since 0
  kith tail c:17 --json --addr wss://chat.example.org | jq .body

It goes on after a broken connection where it was, and no event comes twice. What the server cannot
replay is said on standard error. It ends with Ctrl-C.`
}

// Run follows a log until it is told to stop.
func (c *TailCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return c.run(ctx, os.Stdout, os.Stderr)
}

func (c *TailCmd) run(ctx context.Context, out, notes io.Writer) error {
	channel, conversation, err := c.channel()
	if err != nil {
		return err
	}
	u, err := c.address("ws")
	if err != nil {
		return err
	}
	if u.Scheme != "ws" && u.Scheme != "wss" {
		return usage(fmt.Sprintf("kith tail needs the WebSocket door, as ws://127.0.0.1:8000; %s is another", u))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := tail{out: out, colours: colours(out), conversation: conversation, plain: c.JSON, stop: cancel}
	err = client.Follow(ctx, client.FollowConfig{
		URL: u.String(), Token: c.token, Channel: channel, Since: c.Since,
		Event: func(_ uint64, event []byte) { t.print(event) }, Signal: t.signal,
		Note: func(sentence string) { fmt.Fprintln(notes, "kith:", sentence) },
	})
	if t.broken != nil && !errors.Is(t.broken, syscall.EPIPE) { // Who reads has gone, as head does.
		return t.broken
	}
	return refusal(err)
}

// channel is what the server calls the log.
func (c *TailCmd) channel() (name string, conversation uint64, err error) {
	kind, id, _ := strings.Cut(c.Log, ":")
	switch {
	case kind == "c":
		conversation, err = strconv.ParseUint(id, 10, entity.NumberBits)
		if err != nil || conversation == 0 {
			return "", 0, usage(fmt.Sprintf("%q names no conversation; one is c: and its id, a number", c.Log))
		}
		return c.Log, conversation, nil
	case kind != "u" || !strings.Contains(c.Log, ":"):
		return "", 0, usage(fmt.Sprintf("%q names no log; one is c:<conversation id>, or u: for one's own", c.Log))
	case id != "":
		return c.Log, 0, nil
	case c.As != "":
		return c.Log + c.As, 0, nil
	}
	token, err := c.token()
	if err != nil {
		return "", 0, err
	}
	id, err = subject(token)
	return c.Log + id, 0, err
}

// A tail writes events for people, or for programs.
type tail struct {
	out          io.Writer
	colours      palette
	plain        bool   // JSON
	conversation uint64 // 0: the user's own log
	stop         context.CancelCauseFunc
	broken       error // writing failed
}

// A tailEvent is what every event has. What it says depends on its type.
type tailEvent struct {
	Type string         `json:"type"`
	Seq  uint64         `json:"seq"`
	At   int64          `json:"at"` // unix milliseconds
	By   string         `json:"by"`
	Body map[string]any `json:"body"`
}

// parseEvent reads an event; numbers stay as they are written.
func parseEvent(text []byte) (tailEvent, error) {
	var e tailEvent
	in := json.NewDecoder(strings.NewReader(string(text)))
	in.UseNumber()
	err := in.Decode(&e)
	return e, err
}

// signal prints what is never stored, if it is about this log: a signal says of
// itself which conversation it is about.
func (t *tail) signal(text []byte) {
	e, err := parseEvent(text)
	if err != nil {
		return // Nobody misses a signal.
	}
	about := fmt.Sprint(e.Body["conversation_id"])
	if t.conversation == 0 || about == strconv.FormatUint(t.conversation, 10) {
		t.print(text)
	}
}

// print writes one event.
func (t *tail) print(text []byte) {
	line := string(text)
	if !t.plain {
		e, err := parseEvent(text)
		if err != nil {
			line = "an event that cannot be read: " + line
		} else {
			line = e.line(t.colours)
		}
	}
	if t.broken == nil {
		if _, t.broken = fmt.Fprintln(t.out, line); t.broken != nil {
			t.stop(t.broken)
		}
	}
}
