package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"kith/gateway/client"
)

// envToken holds a token for those commands that talk to a server.
const envToken = envPrefix + "TOKEN"

// DoorFlags say which server a command talks to, and as whom.
type DoorFlags struct {
	File    string   `name:"config" short:"c" placeholder:"FILE" help:"Configuration file of the server, for its addresses and keys. Default: $$KITH_CONFIG, or none."`
	DataDir string   `name:"data-dir" placeholder:"DIR" help:"Data folder of the server, for --as (data_dir; default: data)."`
	Set     []string `name:"set" sep:"none" placeholder:"KEY=VALUE" help:"Any setting of the server, by its key. May be repeated."`

	Addr   string `placeholder:"ADDRESS" help:"Door of the server: http://host:port, ws://host:port or tcp://host:port. Default: the one of the configuration, on this machine."`
	Token  string `placeholder:"TOKEN" help:"Token of who calls. Default: $$KITH_TOKEN."`
	As     string `placeholder:"USER" help:"Call as this user, with a token that is minted here as kith token does: on the server's machine, in development."`
	Device string `default:"cli" help:"Device of --as."`
	Tenant string `placeholder:"NAME" help:"Tenant of --as. Default: the only one of the configuration."`
}

// callTTL is how long a token of --as is valid: a call takes no longer, and who
// connects again gets another.
const callTTL = "1h"

// config is the server's, as far as it is known here.
func (f *DoorFlags) config() (Config, error) {
	return Load(ConfigFlags{File: f.File, DataDir: f.DataDir, Set: f.Set}, os.Environ())
}

// token returns a token to connect with.
func (f *DoorFlags) token() (string, error) {
	given := f.Token
	if given == "" && f.As == "" {
		given = os.Getenv(envToken)
	}
	switch {
	case f.Token != "" && f.As != "":
		return "", usage("give --token or --as, not both")
	case given != "":
		return given, nil
	case f.As == "":
		return "", usage("say who calls: --as USER on the server's machine, or --token TOKEN or " + envToken)
	}
	config, err := f.config()
	if err != nil {
		return "", err
	}
	claims, err := (&TokenCmd{Tenant: f.Tenant, User: f.As, Device: f.Device, TTL: callTTL}).claims(config, time.Now())
	if err != nil {
		return "", err
	}
	return mint(config, claims)
}

// socketPath is where the WebSocket is at its door.
const socketPath = "/connection/websocket"

// address is the door to talk to, as a URL. Without --addr it is that of the
// configuration for a scheme, http or ws.
func (f *DoorFlags) address(scheme string) (*url.URL, error) {
	given := f.Addr
	if given == "" {
		config, err := f.config()
		if err != nil {
			return nil, err
		}
		given = scheme + "://" + config.Listen.HTTP
		if scheme == "ws" {
			given = scheme + "://" + config.Listen.WS
		}
	}
	if !strings.Contains(given, "://") {
		given = scheme + "://" + given
	}
	u, err := url.Parse(given)
	if err != nil || u.Host == "" {
		return nil, usage(fmt.Sprintf("--addr %s is no address; one is http://127.0.0.1:8001 or ws://127.0.0.1:8000", given))
	}
	if u.Hostname() == "" || u.Hostname() == "0.0.0.0" || u.Hostname() == "::" {
		u.Host = "127.0.0.1:" + u.Port() // Every address of the machine is this one, too.
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if (u.Scheme == "ws" || u.Scheme == "wss") && u.Path == "" {
		u.Path = socketPath
	}
	return u, nil
}

// call runs a method with a request in JSON, at whichever door is named.
func (f *DoorFlags) call(ctx context.Context, method string, request []byte) ([]byte, error) {
	u, err := f.address("http")
	if err != nil {
		return nil, err
	}
	token, err := f.token()
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "http", "https":
		return client.Post(ctx, u.String(), token, method, request)
	case "ws", "wss", "tcp":
		c, err := client.Dial(ctx, client.Config{URL: u.String(), Token: token, App: "kith call"})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.CallJSON(ctx, method, request)
	default:
		return nil, usage(fmt.Sprintf("--addr %s is no door; one begins with http, https, ws, wss or tcp", u))
	}
}

// A codedError ends the program with an exit code of its own.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }

// usage is the error of a command that could not be understood.
func usage(sentence string) error { return codedError{errors.New(sentence), exitUsage} }

// refusal gives an error that is the server's refusal its code in words, and the
// program an exit code by which scripts tell it from a server that is not there.
func refusal(err error) error {
	var refused *client.Error
	if !errors.As(err, &refused) {
		return err
	}
	name := refused.Name()
	if name == "" {
		name = fmt.Sprint("code ", refused.Code)
	}
	return codedError{fmt.Errorf("%s: %w", name, err), exitRefused}
}

// exitCode is what the program ends with after an error.
func exitCode(err error) int {
	var coded codedError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitError
}
