package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"kith/actors/entity"
	"kith/gateway/auth"
)

// ServeCmd runs one node.
type ServeCmd struct {
	ConfigFlags

	AcceptClock bool `help:"Go on with retention although the clock has jumped: it is right."`
	JSON        bool `name:"json" help:"When ready, print addresses and development tokens as one line of JSON."`
}

// Help is what `kith serve --help` says below its first line.
func (ServeCmd) Help() string {
	return "Without a configuration it serves one tenant, \"demo\", on loopback, with a store in ./data, " +
		"and prints tokens to try it with. It ends on SIGINT or SIGTERM; a second one ends it at once."
}

// Run serves until it is told to stop.
func (c *ServeCmd) Run() error {
	config, err := Load(c.ConfigFlags, os.Environ())
	if err != nil {
		return err
	}
	tuneMemory(os.Getenv, os.DirFS("/"))
	log := newLog(config.Log)
	n, err := newNode(config, log, c.AcceptClock)
	if err != nil {
		return err
	}
	go giveBack(n.draining) // Until the node is told to stop.
	if err := n.start(); err != nil {
		return errors.Join(err, n.db.Close())
	}
	if err := c.welcome(os.Stdout, n); err != nil {
		return err
	}
	return n.wait()
}

// wait serves until a signal or a failure.
func (n *node) wait() error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	select {
	case err := <-n.failed:
		return err // What was acknowledged is durable; a supervisor starts the node again.
	case <-signals:
	}
	n.log.Info("stopping; clients are told to reconnect")
	ctx, cancel := context.WithTimeout(context.Background(), n.config.ShutdownTimeout)
	defer cancel()
	go func() {
		<-signals
		n.log.Warn("stopped at once")
		os.Exit(exitError)
	}()
	return n.stop(ctx)
}

// newLog returns the logger that the configuration asks for, on standard error.
func newLog(c Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// people get a token each in the welcome.
var people = []string{"ann", "bob", "cat"}

// welcomeTTL is how long the tokens of the welcome are valid.
const welcomeTTL = 24 * time.Hour

// A welcome is what a node says when it is ready.
type welcome struct {
	WebSocket string            `json:"websocket"`
	TCP       string            `json:"tcp,omitempty"`
	HTTP      string            `json:"http"`
	Internal  string            `json:"internal"`
	Tokens    map[string]string `json:"tokens,omitempty"` // by user, of the first tenant whose key is ours

	direct uint64 // the number of ann's conversation with bob
}

func (c *ServeCmd) welcome(out io.Writer, n *node) error {
	w := welcome{
		WebSocket: "ws://" + n.socket.Addrs()[0].String() + "/connection/websocket",
		HTTP:      "http://" + n.http.Addr().String(),
		Internal:  "http://" + n.ops.Addr().String(),
		Tokens:    map[string]string{},
	}
	for _, addr := range n.socket.TCPAddrs() {
		w.TCP = "tcp://" + addr.String()
	}
	if err := w.mint(n); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(out).Encode(w)
	}
	return w.print(out)
}

// mint makes tokens for a few people, if the key of some tenant is ours.
func (w *welcome) mint(n *node) error {
	for _, name := range slices.Sorted(maps.Keys(n.config.Tenants)) {
		tenant := n.config.Tenants[name]
		if tenant.Keys.any() {
			continue
		}
		now := time.Now()
		for _, user := range people {
			token, err := mint(n.config, auth.Claims{
				User: user, Tenant: name, Device: "laptop", Audience: tenant.Audience,
				IssuedAt: now.Unix(), Expires: now.Add(min(welcomeTTL, tenant.Policy.TokenMaxLife)).Unix(),
			})
			if err != nil {
				return err
			}
			w.Tokens[user] = token
		}
		if number, ok := n.host.Tenant(name); ok {
			w.direct = entity.DirectNumber(number, people[0], people[1])
		}
		return nil
	}
	return nil
}

// print shows how to talk to the node, in lines that work as they stand.
func (w *welcome) print(out io.Writer) error {
	tcp := w.TCP
	if tcp == "" {
		tcp = "closed; --listen-tcp opens it"
	}
	_, err := fmt.Fprintf(out, `
Kith %s is ready.

  WebSocket   %s
  Raw TCP     %s
  HTTP        %s
  Internal    %s   (/healthz /readyz /metrics /version)
`, version, w.WebSocket, tcp, w.HTTP, w.Internal)
	if err != nil || len(w.Tokens) == 0 {
		return err
	}
	_, err = fmt.Fprint(out, "\nTokens, valid for a day (kith token NAME makes more):\n\n")
	for _, user := range people {
		if err == nil {
			_, err = fmt.Fprintf(out, "  %s=%s\n", user, w.Tokens[user])
		}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, welcomeText, w.HTTP, w.Tokens["ann"], w.WebSocket, w.Tokens["bob"], w.direct)
	return err
}

// welcomeText is a first conversation: ann opens a direct with bob by curl, and
// bob hears her in node.
const welcomeText = `
Ann opens a conversation with bob, from a terminal:

curl -sS %[1]s/v1/Directs.Open -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' -d '{"user_id":"bob","request_id":"hello"}'

Bob listens and answers whatever he hears, in JavaScript (npm install centrifuge ws):

node --input-type=module <<'EOF'
import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';
const bob = new Centrifuge('%[3]s', { websocket: WebSocket, token: '%[4]s' });
bob.on('publication', async ({ channel, data: event }) => {
  console.log(channel, event);
  if (event.type === 'MessageSent' && event.by !== 'bob')
    console.log(await bob.rpc('Messages.Send', {
      conversation_id: Number(channel.slice(2)), request_id: 'answer-' + event.seq, content: { text: { text: 'hello!' } },
    }));
});
bob.on('connected', () => console.log('bob is connected')).on('error', console.error);
bob.connect();
EOF

Ann says something, in that conversation:

curl -sS %[1]s/v1/Messages.Send -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' -d '{"conversation_id":%[5]d,"request_id":"first","content":{"text":{"text":"hello, bob"}}}'

Stop with Ctrl-C. What was acknowledged is on the disk.
`
