package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/v2"
	gotoml "github.com/pelletier/go-toml/v2"

	"kith/actors/entity"
	"kith/gateway/httpapi"
	"kith/gateway/outbound"
)

const (
	// envPrefix starts the names of our environment variables; two underscores
	// go down a level: KITH_LISTEN__WS is listen.ws.
	envPrefix = "KITH_"
	// envFile names the configuration file, for who gives no --config.
	envFile = envPrefix + "CONFIG"
	// demoTenant is the tenant of a server that was told of none.
	demoTenant = "demo"
	// demoProfile is what it may do.
	demoProfile = "dev"
	// maxFileBytes bounds the configuration file. 1 MiB: a thousand tenants with
	// every key of their policies have 0.9 MB.
	maxFileBytes = 1 << 20
)

// Config is what an operator decides. Its keys, in the koanf tags, are those of
// the TOML file. The environment overrides the file, and flags the environment.
// Every field has a default (Default); what is in none of the three keeps it.
type Config struct {
	// DataDir is the folder of the store and of the keys that the server makes.
	// Default "data", in the working directory.
	DataDir string `koanf:"data_dir"`
	// Listen has the addresses of the doors.
	Listen Listen `koanf:"listen"`
	// Storage has the sizes of the store.
	Storage Storage `koanf:"storage"`
	// Tenants are the isolated customers by name. Default: one, "demo", with the
	// profile "dev". A file that names tenants replaces it.
	Tenants map[string]Tenant `koanf:"tenants"`
	// Origins are the web pages that may connect, as browsers name them:
	// "https://app.example.org", "http://localhost:3000", or "*" for all. A client
	// that is no browser names none and is not concerned. Default: only pages of
	// the server's own host and port.
	Origins []string `koanf:"origins"`
	// MaxConnections bounds the open WebSockets and raw TCP connections together.
	// Default 10,000. The file descriptors that the system grants (RLIMIT_NOFILE) must
	// suffice for them, http.max_conns, the store and the internal listener; otherwise
	// the server does not start.
	MaxConnections int `koanf:"max_connections"`
	// MaxConnectionsPerAddress bounds those of one address: an IPv4 address, or an
	// IPv6 network of 64 bits. Default 200: an office behind one address.
	// Loopback has no such bound. Behind a proxy on another machine all come from one
	// address: set it to max_connections there.
	MaxConnectionsPerAddress int `koanf:"max_connections_per_address"`
	// MaxUnauthenticated bounds those that have not shown a valid token yet. Default
	// 3,000: each has tenants.*.policy.auth_timeout to do so, the longest of all
	// tenants.
	MaxUnauthenticated int `koanf:"max_unauthenticated"`
	// HTTP has the limits of the HTTP door.
	HTTP httpapi.Config `koanf:"http"`
	// Log says what is logged, to standard error.
	Log Log `koanf:"log"`
	// ShutdownTimeout is how long clients get to leave when the server is told to
	// stop. Default 10 s: orchestrators kill after 30. What was acknowledged is
	// durable however short it is.
	ShutdownTimeout time.Duration `koanf:"shutdown_timeout"`
}

// Listen is addresses, each "host:port". An empty host is every address of the
// machine; port 0 is one that the system picks. The defaults are loopback: a
// server that is public was made so on purpose.
type Listen struct {
	// WS is for Centrifuge clients over WebSocket. Default "127.0.0.1:8000".
	WS string `koanf:"ws"`
	// TCP is for Kith's own clients: the same protocol, in protobuf, over raw TCP.
	// Default none: nothing listens, and every port that is open is one to guard.
	// The documentation uses "127.0.0.1:8003".
	TCP string `koanf:"tcp"`
	// HTTP is for the same methods over HTTP. Default "127.0.0.1:8001".
	HTTP string `koanf:"http"`
	// Internal is for operators: health, readiness, metrics. It asks for no token,
	// so it never belongs on a public address. Default "127.0.0.1:8002".
	Internal string `koanf:"internal"`
}

// Storage is the sizes of the store, in bytes; in text also "64MiB", "1GiB".
type Storage struct {
	// CacheBytes is the memory for blocks read from disk. Default 256 MiB: the
	// recent history of about a million messages.
	CacheBytes int64 `koanf:"cache_bytes"`
	// MemTableBytes is the size at which writes in memory go to a file. Default
	// 64 MiB; up to four of them exist while files are being written.
	MemTableBytes int64 `koanf:"mem_table_bytes"`
	// MinFreeBytes is the free space on disk below which writes are refused.
	// Default 1 GiB: enough for compactions to end and for an operator to look.
	MinFreeBytes int64 `koanf:"min_free_bytes"`
}

// Log says what is logged.
type Log struct {
	// Level is the least that is logged: debug, info, warn or error. Default info.
	Level slog.Level `koanf:"level"`
	// Format is "text" for people or "json" for machines. Default text.
	Format string `koanf:"format"`
}

// A Tenant is one isolated customer.
type Tenant struct {
	// Profile is the built-in policy profile to begin with. Required.
	Profile string `koanf:"profile"`
	// Policy is the profile's numbers; the keys that are given replace them.
	Policy entity.Policy `koanf:"policy"`
	// Audience must be in a token's claim "aud". Default: the claim is not looked
	// at. Set it if the issuer of the tokens makes some for other servers, too.
	Audience string `koanf:"audience"`
	// Keys verify the tenant's tokens. Default: a key that the server makes in
	// <data_dir>/keys, for `kith token`; not on a public address.
	Keys KeyFiles `koanf:"keys"`
	// Webhook hears what happens in the tenant's conversations. Default: none.
	Webhook outbound.Webhook `koanf:"webhook"`
}

// KeyFiles names the files with a tenant's keys, any of them. A relative path
// begins at the working directory. A token is accepted only with the algorithm
// that its key is listed for.
type KeyFiles struct {
	// EdDSA, RS256 and ES256 are public keys in PEM.
	EdDSA string `koanf:"eddsa"`
	RS256 string `koanf:"rs256"`
	ES256 string `koanf:"es256"`
	// HS256 is a file with a secret of at least 32 bytes that only its owner can
	// read (mode 0600).
	HS256 string `koanf:"hs256"`
	// JWKS is a set of public keys, told apart by the key id of tokens (kid).
	JWKS string `koanf:"jwks"`
}

// ConfigFlags are the flags of the commands that need the configuration. What is
// empty was not given.
type ConfigFlags struct {
	File           string   `name:"config" short:"c" placeholder:"FILE" help:"Configuration file in TOML. Default: $$KITH_CONFIG, or none."`
	DataDir        string   `name:"data-dir" placeholder:"DIR" help:"Folder of the store and of the keys (data_dir; default: data)."`
	ListenWS       string   `name:"listen-ws" placeholder:"HOST:PORT" help:"Address for WebSocket (listen.ws; default: 127.0.0.1:8000)."`
	ListenTCP      string   `name:"listen-tcp" placeholder:"HOST:PORT" help:"Address for raw TCP, which Kith's own clients speak (listen.tcp; default: none)."`
	ListenHTTP     string   `name:"listen-http" placeholder:"HOST:PORT" help:"Address for HTTP (listen.http; default: 127.0.0.1:8001)."`
	ListenInternal string   `name:"listen-internal" placeholder:"HOST:PORT" help:"Address for health and metrics (listen.internal; default: 127.0.0.1:8002)."`
	LogLevel       string   `name:"log-level" placeholder:"LEVEL" help:"debug, info, warn or error (log.level; default: info)."`
	Set            []string `name:"set" sep:"none" placeholder:"KEY=VALUE" help:"Any setting by its key in the file, as tenants.demo.policy.edit_window=1h. May be repeated."`
}

// Default returns the configuration of a server that was told nothing.
func Default() Config {
	policy, _ := entity.Profile(demoProfile) // A built-in one.
	return Config{
		DataDir: "data",
		Listen:  Listen{WS: "127.0.0.1:8000", HTTP: "127.0.0.1:8001", Internal: "127.0.0.1:8002"},
		Storage: Storage{CacheBytes: 256 << 20, MemTableBytes: 64 << 20, MinFreeBytes: 1 << 30},
		Tenants: map[string]Tenant{demoTenant: {Profile: demoProfile, Policy: policy}},

		MaxConnections:           10_000,
		MaxConnectionsPerAddress: 200,
		MaxUnauthenticated:       3000,

		HTTP:            httpapi.DefaultConfig(),
		Log:             Log{Level: slog.LevelInfo, Format: "text"},
		ShutdownTimeout: 10 * time.Second,
	}
}

// Load composes the configuration of the file, the environment (as os.Environ
// gives it) and the flags. Its error has a line for everything that is wrong.
func Load(flags ConfigFlags, environ []string) (Config, error) {
	file, err := fileLayer(flags.File, environ)
	if err != nil {
		return Config{}, err
	}
	given, err := flagLayer(flags)
	if err != nil {
		return Config{}, err
	}
	return compose(file, envLayer(environ), given)
}

// compose puts layers on each other, the last on top, and all on the defaults.
func compose(layers ...layer) (Config, error) {
	all := koanf.New(".")
	var errs []error
	for _, l := range layers {
		errs = append(errs, l.check()...)
		if err := all.Load(l, nil); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	merged := layer{name: "configuration", values: all.Raw(), spell: dotted}
	addDemo(merged.values)
	c := Default()
	if problems := decode(&c, merged.values); len(problems) > 0 {
		return Config{}, errors.Join(merged.errors(problems)...)
	}
	return c, c.Validate()
}

// addDemo gives the tenant "demo" its profile, if no other tenant is named and
// it has none.
func addDemo(values map[string]any) {
	tenants, _ := values["tenants"].(map[string]any)
	demo, named := tenants[demoTenant].(map[string]any)
	if len(tenants) > 1 || len(tenants) == 1 && !named {
		return
	}
	if demo == nil {
		demo = map[string]any{}
	}
	if _, ok := demo["profile"]; !ok {
		demo["profile"] = demoProfile
	}
	values["tenants"] = map[string]any{demoTenant: demo}
}

// A layer is one source of settings, as a tree of them. It is what koanf calls
// a provider.
type layer struct {
	name   string // for people
	values map[string]any
	spell  func(key string) string // what a dotted key is called in this source
}

func (l layer) Read() (map[string]any, error) { return l.values, nil }
func (l layer) ReadBytes() ([]byte, error)    { return nil, errors.ErrUnsupported }

// check says what is wrong in this layer, by the names that it uses itself.
func (l layer) check() []error {
	var scratch Config
	return l.errors(decode(&scratch, l.values))
}

func (l layer) errors(problems []problem) []error {
	var errs []error
	for _, p := range problems {
		text := fmt.Sprintf("%s: %s %s", l.name, l.spell(p.key), p.text)
		if p.nearest != "" {
			text += fmt.Sprintf("; did you mean %s?", l.spell(p.nearest))
		}
		errs = append(errs, errors.New(text))
	}
	return errs
}

func dotted(key string) string { return key }

// fileLayer reads the configuration file, if one is named.
func fileLayer(path string, environ []string) (layer, error) {
	for _, pair := range environ {
		if value, ok := strings.CutPrefix(pair, envFile+"="); ok && path == "" {
			path = value
		}
	}
	l := layer{name: path, spell: dotted}
	if path == "" {
		return l, nil
	}
	text, err := readBounded(path)
	if err != nil {
		return l, fmt.Errorf("read the configuration: %w", err)
	}
	l.values, err = parse(path, text)
	return l, err
}

// parse reads the text of a configuration file; errors say where in it.
func parse(path string, text []byte) (map[string]any, error) {
	values, err := toml.Parser().Unmarshal(text)
	var syntax *gotoml.DecodeError
	if errors.As(err, &syntax) {
		row, column := syntax.Position()
		return nil, fmt.Errorf("%s:%d:%d: %w", path, row, column, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return values, nil
}

// readBounded reads a file of at most maxFileBytes.
func readBounded(path string) (text []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err = io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(text) > maxFileBytes {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it is larger than %d bytes", maxFileBytes)}
	}
	return text, err
}

// envLayer is the variables that begin with KITH_. One that is no setting is an
// error, as a wrong key in the file is: nobody misses a setting by a letter.
func envLayer(environ []string) layer {
	l := layer{name: "environment", values: map[string]any{}, spell: func(key string) string {
		return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "__"))
	}}
	environ = slices.Sorted(slices.Values(environ))
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if key, ours := strings.CutPrefix(name, envPrefix); ours && name != envFile && name != envToken {
			insert(l.values, strings.Split(strings.ToLower(key), "__"), value)
		}
	}
	return l
}

// flagLayer is what the flags say; --set first, so that a flag of its own wins.
func flagLayer(f ConfigFlags) (layer, error) {
	l := layer{name: "flags", values: map[string]any{}, spell: dotted}
	for _, pair := range f.Set {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return l, fmt.Errorf("flags: --set %s has no value; it is --set KEY=VALUE", pair)
		}
		insert(l.values, strings.Split(key, "."), value)
	}
	for _, given := range []struct{ key, value string }{
		{"data_dir", f.DataDir},
		{"listen.ws", f.ListenWS},
		{"listen.tcp", f.ListenTCP},
		{"listen.http", f.ListenHTTP},
		{"listen.internal", f.ListenInternal},
		{"log.level", f.LogLevel},
	} {
		if given.value != "" {
			insert(l.values, strings.Split(given.key, "."), given.value)
		}
	}
	return l, nil
}

// insert puts a value into a tree. Where a section and a value have the same
// key the value stays, and decode says that it is in the wrong place.
func insert(tree map[string]any, path []string, value string) {
	for _, section := range path[:len(path)-1] {
		next, there := tree[section]
		if !there {
			next = map[string]any{}
			tree[section] = next
		}
		below, ok := next.(map[string]any)
		if !ok {
			return
		}
		tree = below
	}
	tree[path[len(path)-1]] = value
}
