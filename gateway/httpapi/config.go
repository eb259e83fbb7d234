package httpapi

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"kith/gateway/wire"
)

// A Config is the limits of the public door. DefaultConfig says what each value
// usually is, and the fields say why.
type Config struct {
	// MaxBodyBytes bounds a request's body. 1 MiB: it is allocated when its
	// length is announced, and the largest message has 24 KiB.
	MaxBodyBytes int `koanf:"max_body_bytes"`
	// MaxHeaderBytes bounds a request's first line and header fields. 8 KiB: as
	// proxies do. Each connection that sends has a buffer of this size.
	MaxHeaderBytes int `koanf:"max_header_bytes"`

	// HeaderTimeout is how long the header may take to arrive, from the first
	// byte on a connection that was idle, from the start on a new one. 5 s.
	HeaderTimeout time.Duration `koanf:"header_timeout"`
	// BodyTimeout is how long the body may take after the header. 15 s.
	BodyTimeout time.Duration `koanf:"body_timeout"`
	// IdleTimeout is how long a connection may wait for its next request. 60 s.
	IdleTimeout time.Duration `koanf:"idle_timeout"`
	// WriteTimeout is how long the client may take to read the answer. 15 s.
	WriteTimeout time.Duration `koanf:"write_timeout"`
	// CallTimeout is how long a call may take. 10 s: an answer waits for a few
	// syncs at most, so beyond it the disk is sick, and the client better asks again.
	CallTimeout time.Duration `koanf:"call_timeout"`

	// MaxConns bounds the open connections. 2,048: with bodies of 1 MiB on all of
	// them, 2 GiB. Their descriptors count towards the process's limit.
	MaxConns int `koanf:"max_conns"`
	// MaxConnsPerIP bounds those from one address: an IPv4 address, or an IPv6
	// network of 64 bits, which is what one customer has. 200. Behind a proxy all
	// come from one address: set it to MaxConns there.
	MaxConnsPerIP int `koanf:"max_conns_per_ip"`

	// Origins are the web origins whose pages may call ("https://app.example.com");
	// "*" is all. None by default. Tokens are never in cookies, so a page that is
	// not listed can do no more than a stranger. Both doors have the same, so they
	// are no key of this section.
	Origins []string `koanf:"-"`
}

// DefaultConfig returns the values that the fields of Config name.
func DefaultConfig() Config {
	return Config{
		MaxBodyBytes:   1 << 20,
		MaxHeaderBytes: 8 << 10,
		HeaderTimeout:  5 * time.Second,
		BodyTimeout:    15 * time.Second,
		IdleTimeout:    60 * time.Second,
		WriteTimeout:   15 * time.Second,
		CallTimeout:    10 * time.Second,
		MaxConns:       2048,
		MaxConnsPerIP:  200,
	}
}

// The bounds of every Config. A timeout of zero would be none at all.
const (
	minBodyBytes   = 1 << 10
	minHeaderBytes = 1 << 10 // A token in EdDSA has 300 bytes.
	maxHeaderBytes = 64 << 10
	maxConns       = 1 << 20
	maxTimeout     = 10 * time.Minute
	maxOrigins     = 1000
)

// Validate says everything that is wrong with c, by its key.
func (c Config) Validate() error {
	var errs []error
	number := func(key string, v, floor, ceiling int) {
		if v < floor || v > ceiling {
			errs = append(errs, fmt.Errorf("%s is %d; it must be from %d to %d", key, v, floor, ceiling))
		}
	}
	timeout := func(key string, v time.Duration) {
		if v <= 0 || v > maxTimeout {
			errs = append(errs, fmt.Errorf("%s is %v; it must be more than 0 and at most %v", key, v, maxTimeout))
		}
	}
	number("max_body_bytes", c.MaxBodyBytes, minBodyBytes, wire.MaxPayloadBytes)
	number("max_header_bytes", c.MaxHeaderBytes, minHeaderBytes, maxHeaderBytes)
	timeout("header_timeout", c.HeaderTimeout)
	timeout("body_timeout", c.BodyTimeout)
	timeout("idle_timeout", c.IdleTimeout)
	timeout("write_timeout", c.WriteTimeout)
	timeout("call_timeout", c.CallTimeout)
	number("max_conns", c.MaxConns, 1, maxConns)
	number("max_conns_per_ip", c.MaxConnsPerIP, 1, maxConns)
	number("the length of origins", len(c.Origins), 0, maxOrigins)
	for _, o := range c.Origins {
		if !validOrigin(o) {
			errs = append(errs, fmt.Errorf("origins has %q; an origin is a scheme and a host, as in https://app.example.com, or *", o))
		}
	}
	return errors.Join(errs...)
}

// validOrigin reports whether o is what browsers send as an Origin, or "*".
func validOrigin(o string) bool {
	if o == anyOrigin {
		return true
	}
	u, err := url.Parse(o)
	return err == nil && u.Scheme != "" && u.Host != "" && u.Scheme+"://"+u.Host == o
}
