package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"kith/actors/entity"
	"kith/gateway/auth"
)

// tenantName is what a tenant may be called: it is in the names of key files, in
// environment variables (which have no case here) and in metrics.
var tenantName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

const tenantRule = "1 to 32 lower-case letters, digits and hyphens, no hyphen first"

// maxAudienceBytes bounds an audience. 256: it is a name or a URL.
const maxAudienceBytes = 256

// checker collects what is wrong with a configuration.
type checker struct{ errs []error }

func (k *checker) refuse(format string, args ...any) {
	k.errs = append(k.errs, fmt.Errorf(format, args...))
}

// number refuses a value outside of low to high.
func (k *checker) number(key string, value, low, high int64) {
	if value < low || value > high {
		k.refuse("%s is %d; it must be from %d to %d", key, value, low, high)
	}
}

// lines refuses with each line of an error, if there is one.
func (k *checker) lines(before string, err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		k.refuse("%s%s", before, strings.TrimSpace(line))
	}
}

// Validate returns a line for everything in c that cannot work or is not safe.
func (c Config) Validate() error {
	var k checker
	if c.DataDir == "" {
		k.refuse("data_dir is empty; it must be a folder")
	}
	c.checkListen(&k)
	// The floors are what Pebble can work with, the ceilings typing errors.
	k.number("storage.cache_bytes", c.Storage.CacheBytes, 1<<20, 1<<40)
	k.number("storage.mem_table_bytes", c.Storage.MemTableBytes, 1<<20, 2<<30)
	k.number("storage.min_free_bytes", c.Storage.MinFreeBytes, 0, 1<<40)
	k.number("max_connections", int64(c.MaxConnections), 1, 1_000_000)
	k.number("max_connections_per_address", int64(c.MaxConnectionsPerAddress), 1, 1_000_000)
	k.number("max_unauthenticated", int64(c.MaxUnauthenticated), 1, 1_000_000)
	k.lines("http.", c.HTTP.Validate())
	for _, origin := range c.Origins {
		if !validOrigin(origin) {
			k.refuse("origins has %q; an origin is \"*\" or scheme://host, with a port if it is not the scheme's, and no path", origin)
		}
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		k.refuse("log.format is %q; it must be text or json", c.Log.Format)
	}
	if c.ShutdownTimeout < time.Second || c.ShutdownTimeout > 10*time.Minute {
		k.refuse("shutdown_timeout is %v; it must be from 1s to 10m", c.ShutdownTimeout)
	}
	c.checkTenants(&k)
	return errors.Join(k.errs...)
}

func (c Config) checkListen(k *checker) {
	doors := []struct{ key, address string }{
		{"listen.ws", c.Listen.WS}, {"listen.tcp", c.Listen.TCP}, {"listen.http", c.Listen.HTTP}, {"listen.internal", c.Listen.Internal},
	}
	taken := map[string]string{}
	for _, d := range doors {
		if d.key == "listen.tcp" && d.address == "" {
			continue // It is the one that need not be there.
		}
		_, port, err := net.SplitHostPort(d.address)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			k.refuse("%s is %q; it must be host:port, as 127.0.0.1:8000 or :8000", d.key, d.address)
			continue
		}
		if other, ok := taken[d.address]; ok && port != "0" {
			k.refuse("%s and %s are both %s; each needs a port of its own", other, d.key, d.address)
		}
		taken[d.address] = d.key
	}
}

func (c Config) checkTenants(k *checker) {
	if len(c.Tenants) == 0 {
		k.refuse("tenants is empty; a server needs at least one")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Tenants)) {
		t, key := c.Tenants[name], "tenants."+name
		if t.Profile == "" {
			k.refuse("%s.profile is missing; it must be one of %s", key, strings.Join(entity.ProfileNames(), ", "))
			continue
		}
		if len(t.Audience) > maxAudienceBytes {
			k.refuse("%s.audience has %d bytes; at most %d are accepted", key, len(t.Audience), maxAudienceBytes)
		}
		k.lines(key+".policy: ", t.Policy.Validate())
		k.lines(key+".webhook.", t.Webhook.Validate())
		if public := c.publicDoor(); public != "" && !t.Keys.any() {
			k.refuse("%s is an address that others can reach, and tenant %s has no keys of its own: name the files of those that sign its tokens "+
				"in %s.keys, or listen on 127.0.0.1", public, name, key)
		}
	}
}

// publicDoor says which address for clients is not loopback, if one is.
func (c Config) publicDoor() string {
	doors := []struct{ key, address string }{{"listen.ws", c.Listen.WS}, {"listen.tcp", c.Listen.TCP}, {"listen.http", c.Listen.HTTP}}
	for _, d := range doors {
		host, _, err := net.SplitHostPort(d.address)
		if err == nil && host != "localhost" && !net.ParseIP(host).IsLoopback() {
			return d.key + " " + d.address
		}
	}
	return ""
}

// validOrigin reports whether a browser could send origin.
func validOrigin(origin string) bool {
	if origin == "*" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && origin == u.Scheme+"://"+u.Host
}

// any reports whether a file is named.
func (f KeyFiles) any() bool { return f != KeyFiles{} }

// Load reads the keys. Every error names its file.
func (f KeyFiles) Load() ([]auth.Key, error) {
	var keys []auth.Key
	var errs []error
	for _, public := range []struct{ algorithm, path string }{{auth.EdDSA, f.EdDSA}, {auth.RS256, f.RS256}, {auth.ES256, f.ES256}} {
		if public.path != "" {
			key, err := auth.ReadPublicKey(public.algorithm, public.path)
			keys, errs = append(keys, key), append(errs, err)
		}
	}
	if f.HS256 != "" {
		key, err := auth.ReadSecretKey(f.HS256)
		keys, errs = append(keys, key), append(errs, err)
	}
	if f.JWKS != "" {
		set, err := auth.ReadJWKS(f.JWKS)
		keys, errs = append(keys, set...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return keys, nil
}

// VerifierKeys returns the keys that verify the tokens of a tenant: those that
// it names or else the one in the data folder, which is made if need be.
func (c Config) VerifierKeys(tenant string) ([]auth.Key, error) {
	if files := c.Tenants[tenant].Keys; files.any() {
		return files.Load()
	}
	path := auth.OwnKeyPath(c.DataDir, tenant)
	if err := auth.MakeOwnKey(path); err != nil {
		return nil, err
	}
	private, err := auth.ReadOwnKey(path)
	if err != nil {
		return nil, err
	}
	return []auth.Key{auth.OwnKey(private)}, nil
}
