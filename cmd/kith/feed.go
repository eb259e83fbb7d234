package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/client"
	"kith/loadtest/irc"
)

// FeedCmd puts the people of a chat log into a group, each through a connection
// of his own, and reads the history back.
type FeedCmd struct {
	ConfigFlags

	Log    string `arg:"" type:"existingfile" help:"A day of an IRC channel: lines such as \"[11:22] <nick> text\" and \"=== nick [host] has joined #channel\"."`
	URL    string `name:"url" placeholder:"URL" help:"WebSocket address of the server. Default: that of the configuration."`
	Tenant string `placeholder:"NAME" help:"Tenant of the people. Default: the only one of the configuration."`
	Limit  int    `placeholder:"N" help:"Stop after N messages."`
}

// Help is what `kith feed --help` says below its first line.
func (FeedCmd) Help() string {
	return "Who speaks or comes joins the group, who goes leaves it. Each message waits for its acknowledgement. " +
		"At the end the history is read and compared with the file; the exit code is 1 if they differ. " +
		"The server must run on this machine, with the same data folder: the command mints tokens with its key."
}

// Run feeds the log to the server.
func (c *FeedCmd) Run() error {
	config, err := Load(c.ConfigFlags, os.Environ())
	if err != nil {
		return err
	}
	if c.URL == "" {
		c.URL = "ws://" + config.Listen.WS + "/connection/websocket"
	}
	file, err := os.Open(c.Log)
	if err != nil {
		return err
	}
	f := &feed{cmd: c, config: config, out: os.Stdout, present: map[string]*client.Client{}, people: map[string]bool{}, run: fmt.Sprint(time.Now().UnixNano())}
	defer f.hangUp()
	if err := f.create(); err != nil {
		return errors.Join(err, file.Close())
	}
	err = irc.Read(file, f.line)
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	f.progress(true)
	return f.compare()
}

const (
	// callTimeout bounds one call of a feed.
	callTimeout = 30 * time.Second
	// feedOwner is the user who makes the group.
	feedOwner = "irc-log"
	// feedPage is how much of the history is read at a time.
	feedPage = 100
)

// errEnough ends a feed at its limit.
var errEnough = errors.New("enough")

// A feed is one replay.
type feed struct {
	cmd    *FeedCmd
	config Config
	out    io.Writer
	run    string // makes request ids of this run unlike those of another

	owner   *client.Client
	group   uint64
	present map[string]*client.Client // by nick
	people  map[string]bool           // who was ever there, by nick
	moves   int                       // comings and goings
	said    []irc.Line
	shown   time.Time
}

// create makes the group.
func (f *feed) create() (err error) {
	if f.owner, err = f.dial(feedOwner); err != nil {
		return err
	}
	name := strings.TrimSuffix(filepath.Base(f.cmd.Log), filepath.Ext(f.cmd.Log))
	reply := &pb.CreateGroupResponse{}
	err = f.call(f.owner, "Groups.Create", &pb.CreateGroupRequest{
		RequestId: "feed-" + f.run, Name: name, JoinRule: pb.JoinRule_OPEN,
	}, reply)
	f.group = reply.ConversationId
	return err
}

// dial connects a person.
func (f *feed) dial(user string) (*client.Client, error) {
	token := TokenCmd{Tenant: f.cmd.Tenant, User: user, Device: "feed", TTL: "1h"}
	claims, err := token.claims(f.config, time.Now())
	if err != nil {
		return nil, err
	}
	signed, err := mint(f.config, claims)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return client.Dial(ctx, client.Config{URL: f.cmd.URL, Token: signed, App: "kith feed"})
}

func (f *feed) call(as *client.Client, method string, req, resp entity.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := as.Call(ctx, method, req, resp); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// line does what a line says.
func (f *feed) line(l irc.Line) error {
	switch l.What {
	case irc.Joined:
		_, err := f.enter(l.Nick)
		return err
	case irc.Left:
		return f.leave(l.Nick)
	}
	speaker, err := f.enter(l.Nick)
	if err != nil {
		return err
	}
	req := &pb.SendRequest{
		ConversationId: f.group, RequestId: fmt.Sprintf("%s-%d", f.run, len(f.said)),
		Content: &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: l.Words()}}},
	}
	if err := f.call(speaker, "Messages.Send", req, &pb.SendResponse{}); err != nil {
		return err
	}
	f.said = append(f.said, l)
	f.progress(false)
	if f.cmd.Limit > 0 && len(f.said) >= f.cmd.Limit {
		return errEnough
	}
	return nil
}

// enter connects a person and makes him a member, once.
func (f *feed) enter(nick string) (*client.Client, error) {
	if c := f.present[nick]; c != nil {
		return c, nil
	}
	c, err := f.dial(irc.UserID(nick))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nick, err)
	}
	f.present[nick], f.people[nick] = c, true
	f.moves++
	req := &pb.JoinRequest{ConversationId: f.group, RequestId: fmt.Sprintf("%s-join-%d", f.run, f.moves)}
	return c, f.call(c, "Groups.Join", req, &pb.JoinResponse{})
}

// leave takes a person out of the group and hangs up.
func (f *feed) leave(nick string) error {
	c := f.present[nick]
	if c == nil {
		return nil // He went before he said anything.
	}
	delete(f.present, nick)
	defer c.Close()
	f.moves++
	req := &pb.LeaveRequest{ConversationId: f.group, RequestId: fmt.Sprintf("%s-leave-%d", f.run, f.moves)}
	return f.call(c, "Groups.Leave", req, &pb.LeaveResponse{})
}

// progress shows how far it is, on a terminal.
func (f *feed) progress(last bool) {
	if !onTerminal(f.out) {
		return
	}
	if !last && time.Since(f.shown) < progressEvery {
		return
	}
	f.shown = time.Now()
	fmt.Fprintf(f.out, "\r%d messages, %d people present ", len(f.said), len(f.present))
	if last {
		fmt.Fprint(f.out, "\r\033[K")
	}
}

// compare reads the history and compares it with what was said.
func (f *feed) compare() error {
	after, n := uint64(0), 0
	for more := true; more; {
		page := &pb.HistoryResponse{}
		req := &pb.HistoryRequest{ConversationId: f.group, Where: &pb.HistoryRequest_After{After: after}, Limit: feedPage}
		if err := f.call(f.owner, "Messages.History", req, page); err != nil {
			return err
		}
		for _, e := range page.Events {
			if err := f.same(n, e); err != nil {
				return err
			}
			after, n = e.Seq, n+1
		}
		more = page.MoreAfter && len(page.Events) > 0
	}
	if n != len(f.said) {
		return fmt.Errorf("the history has %d messages, the log has %d", n, len(f.said))
	}
	_, err := fmt.Fprintf(f.out, "conversation %d: %d messages by %d people; the history equals the log\n", f.group, n, len(f.people))
	return err
}

// same compares the n-th message of the history with the log.
func (f *feed) same(n int, e *pb.Event) error {
	body := &pb.MessageSent{}
	if err := body.UnmarshalVT(e.Body); err != nil {
		return fmt.Errorf("message %d cannot be read: %w", e.Seq, err)
	}
	if n >= len(f.said) {
		return fmt.Errorf("the history goes on after the last line, with message %d", e.Seq)
	}
	if l := f.said[n]; e.By != irc.UserID(l.Nick) || body.Content.GetText().GetText() != l.Words() {
		return fmt.Errorf("message %d is not what %s said", e.Seq, l.Nick)
	}
	return nil
}

// hangUp closes every connection.
func (f *feed) hangUp() {
	for _, c := range f.present {
		c.Close()
	}
	if f.owner != nil {
		f.owner.Close()
	}
}
