package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/host"
	"kith/actors/pb"
	"kith/gateway/auth"
	"kith/gateway/httpapi"
	"kith/gateway/limit"
	"kith/gateway/outbound"
	"kith/gateway/session"
	"kith/gateway/socket"
	"kith/storage"
)

// A node is every part of one server, wired.
type node struct {
	config   Config
	log      *slog.Logger
	db       *storage.DB
	host     *host.Host
	socket   *socket.Server
	door     *httpapi.Door
	internal *httpapi.Internal

	http, ops net.Listener
	draining  chan struct{} // closed when the node is told to stop
	failed    chan error    // what ends the node against its will
	metrics   *prometheus.Registry
	requests  *limit.Requests // of each user, at both doors
	outbound  *outbound.Worker
	backingUp sync.Mutex // held while a backup is made
}

// newNode opens the store and wires the parts. Nothing listens yet.
func newNode(config Config, log *slog.Logger, acceptClock bool) (n *node, err error) {
	n = &node{
		config: config, log: log, metrics: prometheus.NewRegistry(),
		draining: make(chan struct{}), failed: make(chan error, 8),
	}
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry, err := entity.New(feature.All...)
	if err != nil {
		return nil, fmt.Errorf("the features do not fit together: %w", err)
	}
	if err := os.MkdirAll(config.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	n.db, err = storage.Open(storage.Config{
		Dir: filepath.Join(config.DataDir, storeFolder), CacheBytes: config.Storage.CacheBytes,
		MemTableBytes: config.Storage.MemTableBytes, MinFreeBytes: uint64(config.Storage.MinFreeBytes), Logger: log,
	})
	if err != nil {
		return nil, err
	}
	db := n.db // There is no n to return with an error.
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	policies, hooks := map[string]*entity.Policy{}, map[string]outbound.Webhook{}
	for name, t := range config.Tenants {
		policies[name], hooks[name] = &t.Policy, t.Webhook
	}
	n.requests = limit.NewRequests()
	// The host publishes to the hub as soon as it runs, which is before there is
	// anybody to hear it: what was told before the last end goes on at once.
	hub, err := session.NewHub(session.Config{
		Registry: registry, TokenExpired: auth.ErrExpired, Version: version, Log: n.log, Metrics: n.metrics,
		Requests: n.requests, AuthTimeout: config.authTimeout(),
	})
	if err != nil {
		return nil, err
	}
	n.outbound, err = outbound.New(outbound.Config{Registry: registry, Webhooks: hooks, Version: version, Log: log, Metrics: n.metrics})
	if err != nil {
		return nil, err
	}
	n.host, err = host.Start(host.Config{
		Registry: registry, Storage: n.db, Listener: hub, Outside: n.outbound, Online: hub.Online, Log: log, Tenants: policies,
		AcceptClock: acceptClock,
		Brief:       func(ref entity.Ref) bool { return ref.Kind == pb.Kind_USER },
		Fatal: func(err error) {
			log.Error("the node ends: storage failed", "error", err)
			os.Exit(storage.ExitFault)
		},
	})
	if err != nil {
		return nil, err
	}
	if err := n.wire(registry, hub); err != nil {
		n.outbound.Stop(context.Background())
		return nil, errors.Join(err, n.host.Stop(context.Background()))
	}
	return n, nil
}

// wire makes the doors.
func (n *node) wire(registry *entity.Registry, hub *session.Hub) error {
	verifier, err := n.verifier()
	if err != nil {
		return err
	}
	// A client comes back with the token that it had, at either door.
	tokens := auth.NewCache(verifier, auth.CacheTokens)
	hub.Serve(n.host, tokens)
	n.socket, err = socket.New(socket.Config{
		Hub: hub, Listen: []string{n.config.Listen.WS}, ListenTCP: n.config.listenTCP(), Origins: n.config.Origins,
		MaxConnections: n.config.MaxConnections, FileReserve: n.config.otherFiles(),
		MaxPerAddress: n.config.MaxConnectionsPerAddress, MaxStrangers: n.config.MaxUnauthenticated,
		Log: n.log, Metrics: n.metrics,
	})
	if err != nil {
		return fmt.Errorf("the socket door: %w", err)
	}
	limits := n.config.HTTP
	limits.Origins = n.config.Origins
	n.door, err = httpapi.New(limits, httpapi.Deps{
		Registry: registry, Submitter: n.host, Tokens: tokens, Requests: n.requests,
		Policy: n.host.Policy, Now: time.Now, Metrics: n.metrics, Log: n.log,
	})
	if err != nil {
		return fmt.Errorf("the HTTP door: %w", err)
	}
	if err := n.outbound.Serve(n.host); err != nil {
		return fmt.Errorf("webhooks: %w", err)
	}
	n.host.Register(n.metrics)
	n.metrics.MustRegister(n.db.Collector())
	n.internal, err = httpapi.NewInternal(httpapi.InternalDeps{
		Checks: n.checks(), Metrics: n.metrics, Admin: operator{n}, Version: version, Log: n.log,
	})
	return err
}

// verifier knows the keys of every tenant; those that have none get one.
func (n *node) verifier() (*auth.Verifier, error) {
	var tenants []auth.Tenant
	for name, t := range n.config.Tenants {
		keys, err := n.config.VerifierKeys(name)
		if err != nil {
			return nil, fmt.Errorf("the keys of tenant %s: %w", name, err)
		}
		number, ok := n.host.Tenant(name)
		if !ok {
			return nil, fmt.Errorf("tenant %s has no number", name)
		}
		tenants = append(tenants, auth.Tenant{Name: name, Number: number, Audience: t.Audience, Keys: keys, Policy: &t.Policy})
	}
	return auth.NewVerifier(tenants, time.Now)
}

// checks are what /readyz asks.
func (n *node) checks() []httpapi.Check {
	return []httpapi.Check{
		{Name: "serving", Ready: func() error {
			select {
			case <-n.draining:
				return errors.New("the node is going down")
			default:
				return nil
			}
		}},
		{Name: "disk", Ready: func() error {
			if n.db.Low() {
				return errors.New("the disk is nearly full: writes are refused")
			}
			return nil
		}},
	}
}

// start listens. What fails later is on n.failed.
func (n *node) start() error {
	var err error
	if n.http, err = net.Listen("tcp", n.config.Listen.HTTP); err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	if n.ops, err = net.Listen("tcp", n.config.Listen.Internal); err != nil {
		return errors.Join(fmt.Errorf("listen for operators: %w", err), n.http.Close())
	}
	n.serve("the socket door", n.socket.Run)
	n.serve("the HTTP door", func() error { return n.door.Serve(n.http) })
	n.serve("the internal listener", func() error { return n.internal.Serve(n.ops) })
	select {
	case <-n.socket.Started():
		return nil
	case err := <-n.failed:
		return err
	}
}

// serve runs a part until it ends. A part that ends unasked ends the node.
func (n *node) serve(what string, run func() error) {
	go func() {
		err := run()
		select {
		case <-n.draining:
			return
		default:
		}
		if err == nil {
			err = errors.New("it stopped")
		}
		n.failed <- fmt.Errorf("%s: %w", what, err)
	}()
}

// keptForEnd is how much of the time for stopping the doors leave to the host,
// which releases what it has accepted. 2 s: a few of its longest commits.
const keptForEnd = 2 * time.Second

// stop ends the node: clients are told to reconnect, at both doors at once,
// accepted calls are released, and the store is closed.
func (n *node) stop(ctx context.Context) error {
	close(n.draining)
	doors, cancel := context.WithTimeout(ctx, n.config.ShutdownTimeout-min(keptForEnd, n.config.ShutdownTimeout/2))
	defer cancel()
	sockets := make(chan error, 1)
	go func() { sockets <- n.socket.Drain(doors) }()
	closed := errors.Join(n.door.Shutdown(doors), <-sockets)
	n.outbound.Stop(ctx) // Before the host, which keeps what attempts came to.
	return errors.Join(
		closed,
		n.host.Stop(ctx),
		n.internal.Shutdown(ctx),
		n.db.Close(),
	)
}

// spareFiles is how many descriptors there are beside those that are counted: the
// store's logs and the files that it is writing, listeners, and what Go needs.
const spareFiles = 500

// listenTCP are the addresses for raw TCP: one, or none.
func (c Config) listenTCP() []string {
	if c.Listen.TCP == "" {
		return nil
	}
	return []string{c.Listen.TCP}
}

// otherFiles is how many descriptors everything but the sockets may need, each
// at its own limit. Whoever has them all cuts nobody's connection by it.
func (c Config) otherFiles() int {
	n := c.HTTP.MaxConns + httpapi.InternalConns + storage.DefaultMaxOpenFiles + spareFiles
	for _, t := range c.Tenants {
		if t.Webhook.Set() {
			return n + outbound.MaxConnections
		}
	}
	return n
}

// authTimeout is how long a connection may take to show a token: which tenant it
// belongs to, and so which policy, is not known until then.
func (c Config) authTimeout() (longest time.Duration) {
	for _, t := range c.Tenants {
		longest = max(longest, t.Policy.AuthTimeout)
	}
	return longest
}
