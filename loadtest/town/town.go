// Package town makes a server live: days of chat that people once had become
// groups, in which they join and leave, type, talk, answer, mention, react and
// read, each through a connection of his own, at the pace at which it happened or
// faster. Whoever joins sees a conversation going on.
package town

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kith/actors/pb"
	"kith/gateway/client"
	"kith/loadtest/irc"
)

// A Config says what town it is.
type Config struct {
	// URL is the address of the server: see client.Config.
	URL string
	// Token mints a connect token for a user.
	Token func(user string) (string, error)
	// Logs are the days, each a file that package irc reads. Each becomes a group.
	Logs []string
	// Pace is how much faster than then it goes; 1: as it was.
	Pace float64
	// Visitors are users who are members of every group from the beginning.
	Visitors []string
	// Seed decides who reacts to what.
	Seed uint64
	// Say hears in a sentence what happens in the town. Optional.
	Say func(sentence string)
}

const (
	// callTimeout bounds one call.
	callTimeout = 30 * time.Second
	// maxPresent bounds the connections of one group: who has said nothing for the
	// longest time hangs up, and stays a member.
	maxPresent = 80
	// dialAgain is how long a street waits when the server does not answer.
	dialAgain = time.Second
	// mayor makes the groups.
	mayor = "town"
)

// Run lives in the town until ctx is over, which is no error, or all days are.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Say == nil {
		cfg.Say = func(string) {}
	}
	var streets sync.WaitGroup
	errs := make([]error, len(cfg.Logs))
	for i, log := range cfg.Logs {
		streets.Go(func() {
			s := &street{Config: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, uint64(i))), present: map[string]*person{}, members: map[string]bool{}}
			defer s.hangUp()
			if err := s.live(ctx, log); err != nil && ctx.Err() == nil {
				errs[i] = fmt.Errorf("%s: %w", filepath.Base(log), err)
			}
		})
	}
	streets.Wait()
	return errors.Join(errs...)
}

// A street is one day as a group.
type street struct {
	Config
	rng   *rand.Rand
	group uint64

	present map[string]*person // by nick
	members map[string]bool    // by nick
	order   []string           // of those who are present, who spoke longest ago first
	last    uint64             // seq of the last message
	began   time.Time
	minute  int // of the log at which it began; -1: it has not
	passed  int // minutes since
	lines   int // in this minute so far
}

// A person is somebody who is connected.
type person struct {
	*client.Client
	user string
	last uint64 // seq of the last message that he said
}

// live makes the group and does what the log says.
func (s *street) live(ctx context.Context, log string) error {
	name := "#ubuntu " + strings.TrimSuffix(filepath.Base(log), filepath.Ext(log))
	if err := s.found(ctx, name); err != nil {
		return err
	}
	file, err := os.Open(log)
	if err != nil {
		return err
	}
	s.began, s.minute = time.Now(), -1
	s.Say(fmt.Sprintf("%s is conversation %d", name, s.group))
	err = irc.Read(file, func(l irc.Line) error {
		if err := s.wait(ctx, l); err != nil {
			return err
		}
		return s.happen(ctx, l)
	})
	if err == nil {
		s.Say(name + ": the day is over")
	}
	return errors.Join(err, file.Close())
}

// found makes the group, and the visitors its members.
func (s *street) found(ctx context.Context, name string) error {
	founder, err := s.dial(ctx, mayor)
	if err != nil {
		return err
	}
	defer founder.Close()
	made := &pb.CreateGroupResponse{}
	req := &pb.CreateGroupRequest{RequestId: fmt.Sprint(time.Now().UnixNano(), name), Name: name, JoinRule: pb.JoinRule_OPEN}
	if err := call(ctx, founder, "Groups.Create", req, made); err != nil {
		return err
	}
	s.group = made.ConversationId
	for _, user := range s.Visitors {
		visitor, err := s.dial(ctx, user)
		if err != nil {
			return err
		}
		err = call(ctx, visitor, "Groups.Join", &pb.JoinRequest{ConversationId: s.group}, &pb.JoinResponse{})
		visitor.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// wait waits until it is time for a line. The log knows minutes: the lines of one
// are spread over it.
func (s *street) wait(ctx context.Context, l irc.Line) error {
	if l.Minute < 0 {
		return ctx.Err()
	}
	if s.minute < 0 {
		s.minute = l.Minute
	}
	const day = 24 * 60
	if passed := (l.Minute - s.minute + day) % day; passed != s.passed {
		s.passed, s.lines = passed, 0
	}
	then := time.Duration(s.passed)*time.Minute + min(time.Duration(s.lines)*lineEvery, time.Minute)
	s.lines++
	at := s.began.Add(time.Duration(float64(then) / s.Pace))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(at)):
		return nil
	}
}

// lineEvery is how far apart the lines of one minute are: a busy one has ten.
const lineEvery = 6 * time.Second

// happen does what a line says. What the server refuses to one person does not
// stop the others.
func (s *street) happen(ctx context.Context, l irc.Line) error {
	var err error
	switch l.What {
	case irc.Joined:
		_, err = s.enter(ctx, l.Nick)
	case irc.Left:
		err = s.leave(ctx, l.Nick)
	default:
		err = s.say(ctx, l)
	}
	var refused *client.Error
	switch {
	case err == nil || ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &refused):
		s.Say(fmt.Sprintf("%s: %s", l.Nick, refused.Msg))
		return nil
	}
	s.Say(fmt.Sprintf("%s: %v", l.Nick, err))
	s.drop(l.Nick) // He connects again when he has something to say.
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(dialAgain):
		return nil
	}
}

// say has a person type and then say something, and others take it in.
func (s *street) say(ctx context.Context, l irc.Line) error {
	speaker, err := s.enter(ctx, l.Nick)
	if err != nil {
		return err
	}
	if s.rng.IntN(2) == 0 {
		typing := &pb.TypeRequest{ConversationId: s.group}
		if err := call(ctx, speaker.Client, "Typing.Type", typing, &pb.TypeResponse{}); err != nil {
			return err
		}
	}
	text := &pb.Text{Text: l.Words()}
	req := &pb.SendRequest{ConversationId: s.group, Content: &pb.Content{Type: &pb.Content_Text{Text: text}}}
	if nick, ok := addressed(l.Text); ok && s.members[nick] {
		text.Entities = []*pb.TextEntity{{Type: "mention", Length: uint32(len(nick)), Value: irc.UserID(nick)}}
		if other := s.present[nick]; other != nil && other.last != 0 {
			req.Reply = &pb.Reply{Seq: other.last}
		}
	}
	sent := &pb.SendResponse{}
	if err := call(ctx, speaker.Client, "Messages.Send", req, sent); err != nil {
		return err
	}
	speaker.last, s.last = sent.Seq, sent.Seq
	return s.takeIn(ctx, l.Nick)
}

// addressed is whom a line is for, as people wrote it: "nick: text".
func addressed(text string) (nick string, ok bool) {
	nick, _, ok = strings.Cut(text, ":")
	if !ok {
		nick, _, ok = strings.Cut(text, ",")
	}
	plain := !strings.ContainsFunc(nick, func(r rune) bool { return r <= ' ' || r > '~' })
	return nick, ok && nick != "" && plain
}

// reactions are what people thought before there were any.
var reactions = [...]string{"👍", "😂", "❤️", "🎉", "😮", "🙏"}

// takeIn has somebody else read what was said, and now and then react to it.
func (s *street) takeIn(ctx context.Context, author string) error {
	nick := s.order[s.rng.IntN(len(s.order))]
	reader := s.present[nick]
	if nick == author || reader == nil {
		return nil
	}
	read := &pb.MarkReadRequest{ConversationId: s.group, Seq: s.last}
	if err := call(ctx, reader.Client, "Receipts.MarkRead", read, &pb.MarkReadResponse{}); err != nil {
		return err
	}
	if s.rng.IntN(8) != 0 {
		return nil
	}
	react := &pb.ReactRequest{ConversationId: s.group, Seq: s.last, Emoji: []string{reactions[s.rng.IntN(len(reactions))]}}
	return call(ctx, reader.Client, "Reactions.React", react, &pb.ReactResponse{})
}
