package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"kith/gateway/auth"
)

// TokenCmd mints a token for development, with the key that the server made for
// a tenant that has none of its own.
type TokenCmd struct {
	File    string   `name:"config" short:"c" placeholder:"FILE" help:"Configuration file of the server. Default: $$KITH_CONFIG, or none."`
	DataDir string   `name:"data-dir" placeholder:"DIR" help:"Data folder of the server (data_dir; default: data)."`
	Set     []string `name:"set" sep:"none" placeholder:"KEY=VALUE" help:"Any setting of the server, by its key. May be repeated."`

	User   string `arg:"" help:"User id: the token's subject. Whoever it names exists from the first connection on."`
	Device string `default:"cli" help:"Device that the token is for. Each installation of an app has one of its own."`
	Tenant string `placeholder:"NAME" help:"Tenant of the user. Default: the only one of the configuration."`
	TTL    string `name:"ttl" default:"24h" help:"How long the token is valid: 30m, 24h, 7d."`
	JSON   bool   `name:"json" help:"Print the token and what it says as JSON, rather than the token alone."`
}

// Help is what `kith token --help` says below its first line.
func (TokenCmd) Help() string {
	return "Prints the token and nothing else, so that it fits into a script:\n\n" +
		"  curl -H \"Authorization: Bearer $(kith token ann)\" …\n\n" +
		"It is signed with <data-dir>/keys/<tenant>.key, which the server makes when it first starts. " +
		"The tokens of a tenant with keys of its own are signed by whoever holds them."
}

// Run prints a token on standard output.
func (c *TokenCmd) Run() error { return c.run(os.Stdout, os.Environ(), time.Now()) }

func (c *TokenCmd) run(out io.Writer, environ []string, now time.Time) error {
	config, err := Load(ConfigFlags{File: c.File, DataDir: c.DataDir, Set: c.Set}, environ)
	if err != nil {
		return err
	}
	claims, err := c.claims(config, now)
	if err != nil {
		return err
	}
	token, err := mint(config, claims)
	if err != nil {
		return err
	}
	if !c.JSON {
		_, err = fmt.Fprintln(out, token)
		return err
	}
	pretty := json.NewEncoder(out)
	pretty.SetIndent("", "  ")
	return pretty.Encode(struct {
		Token string `json:"token"`
		auth.Claims
	}{token, claims})
}

// claims is what the token is to say.
func (c *TokenCmd) claims(config Config, now time.Time) (auth.Claims, error) {
	names := slices.Sorted(maps.Keys(config.Tenants))
	name := c.Tenant
	if name == "" && len(names) == 1 {
		name = names[0]
	}
	if name == "" {
		return auth.Claims{}, fmt.Errorf("there are several tenants, so say which with --tenant: %s", strings.Join(names, ", "))
	}
	tenant, ok := config.Tenants[name]
	if !ok {
		return auth.Claims{}, fmt.Errorf("there is no tenant %q; there is %s", name, strings.Join(names, ", "))
	}
	if tenant.Keys.any() {
		return auth.Claims{}, fmt.Errorf("tenant %s has keys of its own, so its tokens are signed by whoever holds them, not here", name)
	}
	ttl, ok := toDuration(c.TTL)
	if !ok || ttl < time.Second {
		return auth.Claims{}, fmt.Errorf("--ttl is %q; it must be a duration of at least a second, as 30m, 24h or 7d", c.TTL)
	}
	if most := tenant.Policy.TokenMaxLife; ttl > most {
		return auth.Claims{}, fmt.Errorf("--ttl is %v; tenant %s accepts tokens of at most %v (its policy's token_max_life)", ttl, name, most)
	}
	return auth.Claims{
		User: c.User, Tenant: name, Device: c.Device, Audience: tenant.Audience,
		IssuedAt: now.Unix(), Expires: now.Add(ttl).Unix(),
	}, nil
}

// subject is the user that a token names. It is not verified here: the server does.
func subject(token string) (string, error) {
	var claims auth.Claims
	parts := strings.Split(token, ".")
	if len(parts) == 3 {
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil && json.Unmarshal(text, &claims) == nil && claims.User != "" {
			return claims.User, nil
		}
	}
	return "", usage("the token is none: it does not say of which user it is")
}

// mint signs claims with their tenant's key in the data folder.
func mint(config Config, claims auth.Claims) (string, error) {
	path := auth.OwnKeyPath(config.DataDir, claims.Tenant)
	private, err := auth.ReadOwnKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no key for tenant %s at %s: start the server with this data folder once, and it makes one", claims.Tenant, path)
	}
	if err != nil {
		return "", err
	}
	return auth.Mint(private, claims)
}
