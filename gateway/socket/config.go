package socket

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kith/gateway/session"
)

// Config is what a Server is made of. Hub is required.
type Config struct {
	Hub *session.Hub

	// Listen are the addresses for WebSockets, host and port each; default
	// 127.0.0.1:8000.
	Listen []string
	// ListenTCP are the addresses for raw TCP: wire.Stream, and no handshake.
	// Default none.
	ListenTCP []string
	// Path is where WebSockets are; default /connection/websocket, which is what
	// the SDKs' documentation uses.
	Path string
	// Origins are the pages that browsers may connect from, as in the header
	// Origin ("https://chat.example.com"); "*" is any. A page of the server's own
	// host always may, and so does whatever is not a browser and sends no Origin.
	Origins []string

	// MaxConnections caps the connections at all addresses together; 0: as many as the
	// limit of open files allows, less FileReserve. More are closed at once and
	// counted.
	MaxConnections int
	// FileReserve is how many open files are left to the store and the other
	// listeners, each at its own limit; default 2,000. Who runs out of them loses
	// every connection.
	FileReserve int
	// MaxPerAddress caps the connections of one IPv4 address or one IPv6 network of
	// 64 bits; default 200: an office behind one address. Loopback has no cap.
	MaxPerAddress int
	// MaxStrangers caps the connections that have not shown a valid token yet;
	// default 3,000: ten thousand who come back within 10 s are far fewer at a time.
	MaxStrangers int
	// MaxStrangerBytes bounds what is kept of the unfinished messages of strangers;
	// default 64 MiB. Beyond it their first message has at most 4 KiB.
	MaxStrangerBytes int
	// Loops is the number of event loops; default one per core.
	Loops int

	// HandshakeTimeout is how long a connection may take to become a WebSocket;
	// default 5 s.
	HandshakeTimeout time.Duration
	// SendBufferBytes is what the kernel keeps of what a client has not taken;
	// default 64 KiB. It would take 4 MB of its own accord.
	SendBufferBytes int

	Now     func() time.Time
	Log     *slog.Logger
	Metrics prometheus.Registerer

	addressOf func(net.Addr) netip.Prefix // what connections are counted by; a test has a rule of its own
}

const (
	defaultListen           = "127.0.0.1:8000"
	defaultPath             = "/connection/websocket"
	defaultFileReserve      = 2000
	defaultMaxPerAddress    = 200
	defaultMaxStrangers     = 3000
	defaultMaxStrangerBytes = 64 << 20
	defaultHandshakeTimeout = 5 * time.Second
	defaultSendBufferBytes  = 64 << 10
)

// withDefaults completes a Config and checks it against the limit of open files.
func (c Config) withDefaults() (Config, error) {
	if c.Hub == nil {
		return c, errors.New("a socket server needs a hub")
	}
	if len(c.Listen) == 0 {
		c.Listen = []string{defaultListen}
	}
	if c.Path == "" {
		c.Path = defaultPath
	}
	if c.FileReserve == 0 {
		c.FileReserve = defaultFileReserve
	}
	if c.MaxPerAddress == 0 {
		c.MaxPerAddress = defaultMaxPerAddress
	}
	if c.MaxStrangers == 0 {
		c.MaxStrangers = defaultMaxStrangers
	}
	if c.MaxStrangerBytes == 0 {
		c.MaxStrangerBytes = defaultMaxStrangerBytes
	}
	if c.addressOf == nil {
		c.addressOf = addressOf
	}
	if c.Loops == 0 {
		c.Loops = runtime.GOMAXPROCS(0)
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = defaultHandshakeTimeout
	}
	if c.SendBufferBytes == 0 {
		c.SendBufferBytes = defaultSendBufferBytes
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	var err error
	c.MaxConnections, err = capConnections(c.MaxConnections, c.FileReserve)
	return c, err
}

// capConnections returns how many connections there may be. Running out of file
// descriptors would end the engine, and with it every connection.
func capConnections(wanted, reserve int) (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	files := int(min(limit.Cur, 1<<30))
	room := files - reserve
	switch {
	case room < 1:
		return 0, fmt.Errorf("the limit of open files is %d, and the store and the other listeners may need %d; raise it (ulimit -n)", files, reserve)
	case wanted > room:
		return 0, fmt.Errorf("max connections is %d, but the limit of open files is %d and %d are kept for the store and the other listeners; "+
			"at most %d are possible: lower it, or raise the limit (ulimit -n)", wanted, files, reserve, room)
	case wanted == 0:
		return room, nil
	}
	return wanted, nil
}
