package session

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kith/actors/entity"
	"kith/gateway/limit"
)

// A Backend runs calls and reads logs. The host is one. None of its methods
// blocks; each calls done once, as a rule from another goroutine, or at once if
// it refuses.
type Backend interface {
	// Submit runs a call. For a command, done is called before its events are
	// published.
	Submit(c *entity.Call, done func(entity.Result))
	// Positions reads where logs stand for a viewer, in the durable view. done
	// hears them in the order of refs.
	Positions(viewer entity.Caller, refs []entity.Ref, done func([]entity.Position))
	// Replay reads at most limit events after a seq, in the durable view.
	Replay(viewer entity.Caller, ref entity.Ref, after uint64, limit int, done func(entity.Page))
	// Policy returns the numbers of a tenant, or nil if there is no such tenant.
	Policy(t entity.Tenant) *entity.Policy
}

// A Verifier says whom a token speaks for, and until when.
type Verifier interface {
	Verify(token string) (entity.Caller, time.Time, *entity.Error)
}

// A Conn is the connection of one session.
type Conn interface {
	// Dirty says that Flush has something to write. It is called from any
	// goroutine, once until the next Flush, and must not block or call back.
	Dirty()
	// Write takes over as much of b as it can and returns how many bytes the
	// socket has not taken, earlier ones included. It is called by Flush alone,
	// also with nothing to write, and keeps no part of b.
	Write(b []byte) (unsent int)
}

// A Flusher writes what sessions have queued, soon and elsewhere. It wakes each
// event loop once, however many of its connections are dirty.
type Flusher interface{ Flush() }

// Config is what a Hub is made of. Registry is required.
type Config struct {
	Registry *entity.Registry
	// TokenExpired is what the Verifier answers for a token that was valid once. The
	// client gets error 109 for it, upon which SDKs ask for a new token.
	TokenExpired *entity.Error

	Version string // of the server, told to clients
	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer

	// Requests holds users to their rates; default one of its own. Another door
	// shares it, so that nobody has two budgets.
	Requests *limit.Requests

	// AuthTimeout is how long a connection may take to send its connect command,
	// from when it was accepted; default 5 s. Whose connection it is, and so which
	// policy, is not yet known: it is the longest that any tenant's policy gives.
	AuthTimeout time.Duration

	// PresenceDelay is how long a user's last session has to be gone before he is said
	// to be offline; default 10 s: a phone that goes from one network to another is
	// back by then, and nobody sees it flicker.
	PresenceDelay time.Duration

	// MaxRecover is how many events of one channel a client that was away is sent;
	// default 10,000. Who missed more is told so (recovered: false) and reads
	// history, which has pages.
	MaxRecover uint64
}

const (
	defaultAuthTimeout   = 5 * time.Second
	defaultPresenceDelay = 10 * time.Second
	defaultMaxRecover    = 10_000
)

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Requests == nil {
		c.Requests = limit.NewRequests()
	}
	if c.AuthTimeout == 0 {
		c.AuthTimeout = defaultAuthTimeout
	}
	if c.PresenceDelay == 0 {
		c.PresenceDelay = defaultPresenceDelay
	}
	if c.MaxRecover == 0 {
		c.MaxRecover = defaultMaxRecover
	}
	return c
}
