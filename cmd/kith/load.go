package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"kith/gateway/wire"
	"kith/loadtest"
	"kith/loadtest/echo"
	"kith/loadtest/talk"
)

// LoadCmd is the load tool.
type LoadCmd struct {
	Direct LoadDirectCmd `cmd:"" help:"People in pairs who write to each other."`
	Group  LoadGroupCmd  `cmd:"" help:"One group: some members write, all hear."`
	Idle   LoadIdleCmd   `cmd:"" help:"People who are connected and say nothing: the server's memory for each."`
	Echo   LoadEchoCmd   `cmd:"" help:"As direct, but on a bare echo server: what the machine's sockets take at least."`

	EchoServer EchoServerCmd `cmd:"" name:"echo-server" hidden:"" help:"The echo server, until its standard input ends."`
}

// Help is what `kith load --help` says below its first line.
func (LoadCmd) Help() string {
	return "Each sender keeps so many messages under way; a slot is free again when the message is acknowledged and everybody else has it. " +
		"Every message is known again by a keyed hash: what is lost, doubled, invented or out of order is counted, and makes the exit code 1. " +
		"At the end the history of some conversations is read and compared.\n\n" +
		"  kith load direct --spawn --inflight 8 --json direct.json"
}

// loadFlags are the flags of every load.
type loadFlags struct {
	Spawn    bool     `help:"Start a server for the load: durable, in a temporary folder, ended with the load."`
	Dir      string   `placeholder:"DIR" help:"Folder for that server's store: on the disk to measure. Default: the system's for temporary files."`
	Addr     string   `placeholder:"HOST:PORT" help:"Address of a running server. Default: that of the configuration."`
	Internal string   `placeholder:"HOST:PORT" help:"Its internal listener, asked for CPU, memory and fsyncs. Default: without --addr that of the configuration."`
	File     string   `name:"config" short:"c" placeholder:"FILE" help:"Configuration file of the running server, which is on this machine: tokens are minted with its key."`
	DataDir  string   `name:"data-dir" placeholder:"DIR" help:"Data folder of the running server (data_dir; default: data)."`
	Set      []string `name:"set" sep:"none" placeholder:"KEY=VALUE" help:"Any setting of the running server, by its key. May be repeated."`
	Tenant   string   `placeholder:"NAME" help:"Tenant of the people. Default: the only one of the configuration."`
	JSON     string   `name:"json" placeholder:"FILE" help:"Also write the report as JSON; - is standard output."`
	Profile  string   `placeholder:"FILE" help:"Save a profile of the server: of its CPU while it is measured, of its memory when it is idle."`

	Raw        bool `help:"Speak protobuf over raw TCP rather than WebSocket. --addr is then that of raw TCP, and WebSockets, for reading history back, are where the configuration has them."`
	NoProgress bool `name:"no-progress" help:"Show no progress. Without a terminal there is none anyway."`
}

// talkFlags are the flags of loads in which somebody says something.
type talkFlags struct {
	InFlight int           `name:"inflight" default:"8" help:"Messages under way of each sender."`
	Size     int           `default:"128" help:"Bytes of text in a message."`
	Duration time.Duration `default:"10s" help:"How long to measure."`
	Warmup   time.Duration `default:"2s" help:"How long to run before that."`
	Protocol string        `default:"protobuf" enum:"protobuf,json" help:"What clients speak: protobuf or json."`
}

func (t talkFlags) plan(kind string) (loadtest.Plan, error) {
	switch {
	case t.InFlight < 1 || t.InFlight > loadtest.MaxInFlight:
		return loadtest.Plan{}, fmt.Errorf("--inflight is %d; it must be from 1 to %d", t.InFlight, loadtest.MaxInFlight)
	case t.Duration < time.Second || t.Warmup < 0:
		return loadtest.Plan{}, errors.New("--duration must be at least 1s, and --warmup not negative")
	}
	codec := talk.Centrifuge{Dialect: wire.Dialect{Protocol: wire.Protobuf, Payload: wire.ProtoPayload}}
	if t.Protocol == "json" {
		codec.Dialect = wire.Dialect{Protocol: wire.JSON, Payload: wire.JSONPayload}
	}
	return loadtest.Plan{Kind: kind, InFlight: t.InFlight, Size: t.Size, Duration: t.Duration, Warmup: t.Warmup, Codec: codec}, nil
}

// LoadDirectCmd is people in pairs.
type LoadDirectCmd struct {
	loadFlags
	talkFlags
	Users    int  `default:"400" help:"People; each pair of them has a direct conversation."`
	WithEcho bool `name:"echo" help:"Run the same load on a bare echo server first, and say how many times slower Kith delivers."`
}

// Run measures.
func (c *LoadDirectCmd) Run() error {
	plan, err := c.plan("direct")
	if err != nil {
		return err
	}
	plan.Users = c.Users
	return c.measure(plan, c.Users, func(ctx context.Context, s *loadtest.Server, p loadtest.Plan) (*loadtest.Report, error) {
		if !c.WithEcho {
			return loadtest.Direct(ctx, s, p)
		}
		bare, err := echoLoad(ctx, p)
		if err != nil {
			return nil, err
		}
		report, err := loadtest.Direct(ctx, s, p)
		if report != nil {
			report.Echo = bare
		}
		return report, err
	})
}

// LoadGroupCmd is one group.
type LoadGroupCmd struct {
	loadFlags
	talkFlags
	Members int `default:"1000" help:"Members of the group, all connected."`
	Senders int `default:"10" help:"How many of them write."`
}

// Run measures.
func (c *LoadGroupCmd) Run() error {
	plan, err := c.plan("group")
	if err != nil {
		return err
	}
	plan.Members, plan.Senders = c.Members, c.Senders
	return c.measure(plan, c.Members, loadtest.Group)
}

// LoadIdleCmd is silence.
type LoadIdleCmd struct {
	loadFlags
	Connections int           `default:"15000" help:"Connections, each of a user of his own. What memory grows by from the first third of them on is divided by the rest."`
	Warmup      time.Duration `default:"8s" help:"How long the server may calm down after the first third and after all, before its memory is read."`
}

// Run measures.
func (c *LoadIdleCmd) Run() error {
	codec := talk.Centrifuge{Dialect: wire.Dialect{Protocol: wire.Protobuf, Payload: wire.ProtoPayload}}
	plan := loadtest.Plan{Kind: "idle", Connections: c.Connections, Warmup: c.Warmup, Codec: codec, Size: loadtest.MaxSize}
	return c.measure(plan, c.Connections, loadtest.Idle)
}

// LoadEchoCmd is the floor.
type LoadEchoCmd struct {
	talkFlags
	Users      int    `default:"400" help:"People; each pair of them is one the server passes messages between."`
	JSON       string `name:"json" placeholder:"FILE" help:"Also write the report as JSON; - is standard output."`
	NoProgress bool   `name:"no-progress" help:"Show no progress. Without a terminal there is none anyway."`
}

// Run measures.
func (c *LoadEchoCmd) Run() error {
	plan, err := c.plan("echo")
	if err != nil {
		return err
	}
	plan.Users = c.Users
	flags := loadFlags{JSON: c.JSON, NoProgress: c.NoProgress}
	return flags.report(plan, func(ctx context.Context, p loadtest.Plan) (*loadtest.Report, error) { return echoLoad(ctx, p) })
}

// echoLoad runs a direct load on an echo server that it starts.
func echoLoad(ctx context.Context, p loadtest.Plan) (report *loadtest.Report, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	child, err := loadtest.SpawnEcho(ctx, program)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, child.Stop()) }()
	p.Kind, p.Codec, p.Profile = "echo", talk.Echo{}, ""
	return loadtest.Direct(ctx, &child.Server, p)
}

// spareConnections is what a server that we start has beside a load's: those that
// make a group and read the history.
const spareConnections = 50

// A loadRun carries out a plan.
type loadRun func(ctx context.Context, s *loadtest.Server, p loadtest.Plan) (*loadtest.Report, error)

// measure finds the server, or starts one, and measures it.
func (c *loadFlags) measure(plan loadtest.Plan, connections int, run loadRun) error {
	return c.report(plan, func(ctx context.Context, p loadtest.Plan) (report *loadtest.Report, err error) {
		if !c.Spawn {
			server, err := c.running()
			if err != nil {
				return nil, err
			}
			return run(ctx, server, p)
		}
		if c.Addr != "" || c.Internal != "" {
			return nil, errors.New("--spawn starts a server; --addr and --internal are of one that runs already")
		}
		if err := loadtest.Fits(connections); err != nil {
			return nil, err
		}
		program, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		child, err := loadtest.Spawn(ctx, program, c.Dir, connections+spareConnections, c.Raw)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, child.Stop()) }()
		return run(ctx, &child.Server, p)
	})
}

// report says what is about to happen, has it done, and says what it came to.
func (c *loadFlags) report(plan loadtest.Plan, run func(context.Context, loadtest.Plan) (*loadtest.Report, error)) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	out := os.Stdout
	if c.JSON == "-" {
		out = os.Stderr // Standard output is for the machine.
	}
	if plan.Profile = c.Profile; c.Raw {
		plan.Codec = talk.Centrifuge{Dialect: wire.Dialect{Protocol: wire.Protobuf, Payload: wire.ProtoPayload}, Raw: true}
	}
	if !c.NoProgress && isTerminal(os.Stderr) {
		plan.Progress = &loadtest.Progress{Out: os.Stderr}
	}
	if _, err := fmt.Fprintln(out, "kith load", plan); err != nil {
		return err
	}
	report, err := run(ctx, plan)
	if report == nil {
		return err
	}
	return errors.Join(err, report.WriteTable(out, isTerminal(out) && os.Getenv("NO_COLOR") == ""), c.writeJSON(report))
}

// isTerminal reports whether somebody looks at a file.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (c *loadFlags) writeJSON(report *loadtest.Report) error {
	switch c.JSON {
	case "":
		return nil
	case "-":
		return report.WriteJSON(os.Stdout)
	}
	f, err := os.Create(c.JSON)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return errors.Join(report.WriteJSON(f), f.Close())
}

// running is the server of the flags.
func (c *loadFlags) running() (*loadtest.Server, error) {
	config, err := Load(ConfigFlags{File: c.File, DataDir: c.DataDir, Set: c.Set}, os.Environ())
	if err != nil {
		return nil, err
	}
	at, webSocket, internal := c.Addr, c.Addr, c.Internal
	if c.Addr == "" {
		at = config.Listen.WS
		if internal == "" {
			internal = config.Listen.Internal
		}
	}
	if c.Addr == "" || c.Raw {
		webSocket = config.Listen.WS
	}
	if c.Addr == "" && c.Raw {
		at = config.Listen.TCP
	}
	if at == "" {
		return nil, errors.New("the configuration has no address for raw TCP (listen.tcp); --addr says where the server has it")
	}
	s := &loadtest.Server{Address: at, URL: "ws://" + webSocket + "/connection/websocket"}
	if internal != "" {
		s.Internal = "http://" + internal
	}
	s.Token = func(user string) (string, error) {
		token := TokenCmd{Tenant: c.Tenant, User: user, Device: "load", TTL: "1h"}
		claims, err := token.claims(config, time.Now())
		if err != nil {
			return "", err
		}
		return mint(config, claims)
	}
	return s, nil
}

// EchoServerCmd is the echo server.
type EchoServerCmd struct{}

// Run serves until standard input ends.
func (*EchoServerCmd) Run() error {
	return echo.Serve(func(address string) error {
		return json.NewEncoder(os.Stdout).Encode(map[string]string{"address": address})
	}, io.Reader(os.Stdin))
}
