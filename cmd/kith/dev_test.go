package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kith/actors/pb"
	"kith/gateway/client"
	"kith/loadtest/town"
)

const smallDay = `=== dave [n=d@example]  has joined #ubuntu
[23:58] <dave> does anybody know how to mount a usb stick?
[23:58] <erin> dave: plug it in, it mounts itself
[23:59]  * dave tries
[00:01] <dave> erin, thanks!
=== erin is now known as erin_away
[00:02] <erin_away> bye
=== erin_away [n=e@example]  has left #ubuntu ["bye"]
`

func TestATownSaysWhatTheLogSaysAndItsVisitorsSeeIt(t *testing.T) {
	s := serve(t, t.TempDir())
	log := filepath.Join(t.TempDir(), "2006-06-01.txt")
	must(t, os.WriteFile(log, []byte(smallDay), 0o600))
	var said []string
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(t, town.Run(ctx, town.Config{
		URL:   "ws://" + s.webSocket() + "/connection/websocket",
		Token: func(user string) (string, error) { return townToken(s.config, user) },
		Logs:  []string{log}, Pace: 10_000, Visitors: []string{"ann"}, Seed: 1,
		Say: func(sentence string) { said = append(said, sentence) },
	}))
	if len(said) != 2 || !strings.HasSuffix(said[1], "the day is over") {
		t.Errorf("the town said %q, want its beginning and its end", said)
	}
	events := s.seen(t, "ann")
	want := []string{
		"irc-dave: does anybody know how to mount a usb stick?", "irc-erin: dave: plug it in, it mounts itself",
		"irc-dave: /me tries", "irc-dave: erin, thanks!", "irc-erin_away: bye",
	}
	if len(events) != len(want) {
		t.Fatalf("ann sees %d messages, want %d", len(events), len(want))
	}
	for i, e := range events {
		body := &pb.MessageSent{}
		must(t, body.UnmarshalVT(e.Body))
		if got := e.By + ": " + body.Content.GetText().GetText(); got != want[i] {
			t.Errorf("message %d is %q, want %q", i, got, want[i])
		}
		answers := i == 1 || i == 3
		if mentions := len(body.Content.GetText().Entities) == 1; mentions != answers || (body.ReplyTo != 0) != answers {
			t.Errorf("message %d mentions somebody: %v, and answers %d; want both: %v", i, mentions, body.ReplyTo, answers)
		}
	}
}

// seen is what a visitor reads in the one conversation that he is in.
func (s *served) seen(t *testing.T, user string) []*pb.Event {
	t.Helper()
	token, err := townToken(s.config, user)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Dial(ctx, client.Config{URL: "ws://" + s.webSocket() + "/connection/websocket", Token: token})
	must(t, err)
	defer c.Close()
	dialogs := &pb.ListDialogsResponse{}
	must(t, c.Call(ctx, "Dialogs.List", &pb.ListDialogsRequest{}, dialogs))
	if len(dialogs.Dialogs) != 1 {
		t.Fatalf("%s has %d dialogs, want one", user, len(dialogs.Dialogs))
	}
	page := &pb.HistoryResponse{}
	must(t, c.Call(ctx, "Messages.History", &pb.HistoryRequest{ConversationId: dialogs.Dialogs[0].ConversationId}, page))
	return page.Events
}

func TestATownEndsWhenItIsToldTo(t *testing.T) {
	s := serve(t, t.TempDir())
	log := filepath.Join(t.TempDir(), "2006-06-01.txt")
	must(t, os.WriteFile(log, []byte(smallDay), 0o600))
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		over <- town.Run(ctx, town.Config{
			URL:   "ws://" + s.webSocket() + "/connection/websocket",
			Token: func(user string) (string, error) { return townToken(s.config, user) },
			Logs:  []string{log}, Pace: 0.001, Say: func(string) { close(began) },
		})
	}()
	<-began
	stop()
	select {
	case err := <-over:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
}
