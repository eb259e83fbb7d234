package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"kith/loadtest/town"
)

// DevCmd runs one node with a town in it.
type DevCmd struct {
	ConfigFlags

	Logs string  `default:"../shared/data/ubuntu-irc" placeholder:"DIR" help:"Folder of chat logs, one day in each file, as kith feed takes them."`
	Days int     `default:"3" placeholder:"N" help:"How many days go on at once, each as a group."`
	Pace float64 `default:"10" placeholder:"N" help:"How much faster than then it goes; 1: as it was."`
	Seed uint64  `placeholder:"N" help:"Which days, and who reacts to what. Default: others each time."`
	Keep bool    `help:"Use the data folder of the configuration, and leave it. Default: a new folder that goes at the end."`
}

// Help is what `kith dev --help` says below its first line.
func (DevCmd) Help() string {
	return "It is kith serve with people in it: days of a chat log become groups, in which they join, type, talk, answer, mention, " +
		"react and read, each through a connection of his own. Who connects with a printed token sees it, and may join in. " +
		"Without the logs the town is empty. It ends on Ctrl-C."
}

// Run lives until it is told to stop.
func (c *DevCmd) Run() (err error) {
	config, err := Load(c.ConfigFlags, os.Environ())
	if err != nil {
		return err
	}
	if c.Pace <= 0 {
		return fmt.Errorf("--pace is %v; it must be above 0", c.Pace)
	}
	if !c.Keep {
		if config.DataDir, err = os.MkdirTemp("", "kith-dev-"); err != nil {
			return fmt.Errorf("make a data folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(config.DataDir)) }()
	}
	tuneMemory(os.Getenv, os.DirFS("/"))
	n, err := newNode(config, newLog(config.Log), false)
	if err != nil {
		return err
	}
	go giveBack(n.draining) // Until the node is told to stop.
	if err := n.start(); err != nil {
		return errors.Join(err, n.db.Close())
	}
	serve := ServeCmd{}
	if err := serve.welcome(os.Stdout, n); err != nil {
		return err
	}
	return c.live(n)
}

// live has the town go on until the node ends.
func (c *DevCmd) live(n *node) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	over := make(chan error, 1)
	go func() { over <- c.town(ctx, n) }()
	ended := n.wait()
	stop()
	return errors.Join(ended, <-over)
}

// town replays days until ctx is over: when all have ended, others begin.
func (c *DevCmd) town(ctx context.Context, n *node) error {
	logs, err := filepath.Glob(filepath.Join(c.Logs, "*.txt"))
	if err != nil {
		return fmt.Errorf("--logs: %w", err)
	}
	if len(logs) == 0 || c.Days < 1 {
		fmt.Printf("There are no chat logs in %s, so the town is empty: --logs says where there are.\n", c.Logs)
		return nil
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	fmt.Printf("\nThe town, of which ann, bob and cat are (to look on: kith tail c:NUMBER --as ann --data-dir %s):\n\n", n.config.DataDir)
	rng := rand.New(rand.NewPCG(c.Seed, 0))
	for ctx.Err() == nil {
		slices.Sort(logs)
		rng.Shuffle(len(logs), func(i, j int) { logs[i], logs[j] = logs[j], logs[i] })
		err := town.Run(ctx, town.Config{
			URL:   "ws://" + n.socket.Addrs()[0].String() + "/connection/websocket",
			Token: func(user string) (string, error) { return townToken(n.config, user) },
			Logs:  logs[:min(c.Days, len(logs))], Pace: c.Pace, Visitors: people, Seed: rng.Uint64(),
			Say: func(sentence string) { fmt.Println(" ", sentence) },
		})
		if err != nil {
			return fmt.Errorf("the town: %w", err)
		}
	}
	return nil
}

// townToken mints a token for somebody of the town, or for a visitor who is
// about to be made a member.
func townToken(config Config, user string) (string, error) {
	token := TokenCmd{User: user, Device: "town", TTL: "24h"}
	claims, err := token.claims(config, time.Now())
	if err != nil {
		return "", err
	}
	return mint(config, claims)
}
