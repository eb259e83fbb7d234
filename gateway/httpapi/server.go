package httpapi

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
)

// server is a fasthttp server on a listener with limits, and its end.
type server struct {
	http       *fasthttp.Server
	limits     limits
	conns      prometheus.Gauge
	turnedAway prometheus.Counter

	mu      sync.Mutex // guards what is below
	ln      *listener
	stopped bool
}

func newServer(http *fasthttp.Server, l limits, conns prometheus.Gauge, turnedAway prometheus.Counter) *server {
	return &server{http: http, limits: l, conns: conns, turnedAway: turnedAway}
}

// settings is what the servers of this package have in common.
func settings(read, idle, write time.Duration) *fasthttp.Server {
	return &fasthttp.Server{
		ReadTimeout: read, IdleTimeout: idle, WriteTimeout: write,
		CloseOnShutdown:              true,
		DisablePreParseMultipartForm: true,
		NoDefaultContentType:         true,
		NoDefaultServerHeader:        true,
		SecureErrorLogMessage:        true,
		Logger:                       mute{},
	}
}

// mute is where fasthttp's log goes: it quotes header fields, and so tokens. What
// it has to say is answered, counted, or returned by Serve.
type mute struct{}

func (mute) Printf(string, ...any) {}

// serve serves ln until shutdown, or until ln fails.
func (s *server) serve(ln net.Listener) error {
	s.mu.Lock()
	limited := newListener(ln, s.limits, s.conns, s.turnedAway)
	s.ln = limited
	stopped := s.stopped
	s.mu.Unlock()
	if stopped {
		return ln.Close()
	}
	if err := s.http.Serve(limited); err != nil {
		return fmt.Errorf("accept http connections: %w", err)
	}
	return nil
}

// shutdown ends serve; see Door.Shutdown.
func (s *server) shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	ln := s.ln
	s.mu.Unlock()
	if ln == nil {
		return nil
	}
	err := s.http.ShutdownWithContext(ctx)
	// fasthttp goes on serving what does not end in time, and knows nothing yet of a
	// listener that it was given a moment ago.
	if cut := ln.shut(); err != nil {
		return fmt.Errorf("shut down http: %w; %d connections were cut", err, cut)
	}
	return nil
}
