package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"kith/actors/entity"
	"kith/gateway/auth"
)

// mintWith runs `kith token` with args, and returns what it prints.
func mintWith(t *testing.T, now time.Time, args ...string) (string, error) {
	t.Helper()
	var c struct {
		Token TokenCmd `cmd:""`
	}
	parser, err := kong.New(&c, kong.Exit(func(int) { t.Error("kong exits") }))
	must(t, err)
	if _, err := parser.Parse(append([]string{"token"}, args...)); err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = c.Token.run(&out, nil, now)
	return out.String(), err
}

// twoTenants is a configuration with a server's keys.
func twoTenants(t *testing.T) (path string, v *auth.Verifier, now time.Time) {
	t.Helper()
	now = time.Unix(1_800_000_000, 0)
	path = write(t, "data_dir = \""+t.TempDir()+"\"\n[tenants.alpha]\nprofile = \"kaliu\"\naudience = \"kith\"\n[tenants.beta]\nprofile = \"dev\"\n")
	c, err := Load(ConfigFlags{File: path}, nil)
	must(t, err)
	var tenants []auth.Tenant
	for number, name := range []string{"", "alpha", "beta"} {
		if name == "" {
			continue
		}
		keys, err := c.VerifierKeys(name)
		must(t, err)
		policy := c.Tenants[name].Policy
		tenants = append(tenants, auth.Tenant{
			Name: name, Number: entity.Tenant(number), Audience: c.Tenants[name].Audience, Keys: keys, Policy: &policy,
		})
	}
	v, err = auth.NewVerifier(tenants, func() time.Time { return now })
	must(t, err)
	return path, v, now
}

func TestATokenIsPrintedAloneAndAccepted(t *testing.T) {
	path, v, now := twoTenants(t)
	out, err := mintWith(t, now, "ann", "--device", "phone", "--tenant", "alpha", "--ttl", "7d", "-c", path)
	must(t, err)
	token, rest, _ := strings.Cut(out, "\n")
	if rest != "" || strings.ContainsAny(token, " \t") {
		t.Errorf("printed %q, want a token and a line end", out)
	}
	caller, expires, refused := v.Verify(token)
	if refused != nil || caller.User != "ann" || caller.Device != "phone" || caller.Tenant != 1 || !expires.Equal(now.Add(7*24*time.Hour)) {
		t.Errorf("caller = %+v, %v, %v", caller, expires, refused)
	}
}

func TestATokenIsPrintedWithItsClaims(t *testing.T) {
	path, v, now := twoTenants(t)
	out, err := mintWith(t, now, "bob", "--tenant", "beta", "--json", "-c", path)
	must(t, err)
	var said struct {
		Token       string
		Sub, Device string
		Exp         int64
	}
	must(t, json.Unmarshal([]byte(out), &said))
	if said.Sub != "bob" || said.Device != "cli" || said.Exp != now.Unix()+24*60*60 {
		t.Errorf("printed %s", out)
	}
	if _, _, refused := v.Verify(said.Token); refused != nil {
		t.Error(refused)
	}
}

func TestTokensThatNobodyWouldAcceptAreNotMade(t *testing.T) {
	path, _, now := twoTenants(t)
	foreign := write(t, "data_dir = \""+t.TempDir()+"\"\n[tenants.demo]\nkeys.eddsa = \"demo.pub\"")
	shared := filepath.Join(t.TempDir(), "data")
	must(t, auth.MakeOwnKey(auth.OwnKeyPath(shared, "demo")))
	must(t, os.Chmod(auth.OwnKeyPath(shared, "demo"), 0o644))
	for _, c := range []struct{ args, want string }{
		{"", "expected \"<user>\""},
		{"ann -c " + path, "say which with --tenant: alpha, beta"},
		{"ann --tenant gamma -c " + path, `there is no tenant "gamma"; there is alpha, beta`},
		{"ann --tenant alpha --ttl 31d -c " + path, "accepts tokens of at most 720h0m0s"},
		{"ann --tenant alpha --ttl 0 -c " + path, "--ttl is \"0\"; it must be a duration of at least a second"},
		{"ann --tenant alpha --ttl unlimited -c " + path, "it must be a duration"},
		{"ann --tenant alpha --ttl soon -c " + path, "it must be a duration"},
		{"a:b --tenant alpha -c " + path, "is not a user id"},
		{"ann --tenant alpha --device= -c " + path, "is not a device"},
		{"ann -c " + foreign, "tenant demo has keys of its own"},
		{"ann --data-dir " + t.TempDir(), "start the server with this data folder once"},
		{"ann --data-dir " + shared, "can be read by others"},
		{"ann -c /nowhere", "no such file"},
		{"ann --set x=1", "x is not a setting"},
	} {
		out, err := mintWith(t, now, strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || out != "" {
			t.Errorf("kith token %s: printed %q, %v\nwant an error with %q", c.args, out, err, c.want)
		}
	}
}
