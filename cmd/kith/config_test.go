package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/gateway/auth"
	"kith/gateway/httpapi"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write puts a configuration into a file and returns its path.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kith.toml")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestWithoutAnythingThereIsADemoTenantOnLoopback(t *testing.T) {
	c, err := Load(ConfigFlags{}, nil)
	must(t, err)
	if want := Default(); !reflect.DeepEqual(c, want) {
		t.Errorf("config = %+v\nwant %+v", c, want)
	}
	dev, _ := entity.Profile("dev")
	if len(c.Tenants) != 1 || c.Tenants["demo"].Policy != dev {
		t.Errorf("tenants = %+v, want demo with the profile dev", c.Tenants)
	}
	if c.publicDoor() != "" {
		t.Errorf("%s is public", c.publicDoor())
	}
}

const full = `
data_dir = "/var/lib/kith"
origins = ["https://app.example.org", "http://localhost:3000"]
max_connections = 500
max_connections_per_address = 50
max_unauthenticated = 100
shutdown_timeout = "20s"

[listen]
ws = "127.0.0.1:9000"
tcp = "127.0.0.1:9003"
http = "[::1]:9001"
internal = ":9002"

[storage]
cache_bytes = "1GiB"
mem_table_bytes = 33554432
min_free_bytes = 0

[http]
max_conns = 300
max_body_bytes = "64KiB"
call_timeout = "5s"

[log]
level = "debug"
format = "json"

[tenants.acme]
profile = "chatters"
audience = "kith"
[tenants.acme.policy]
create_users = false
request_window = "2d"
edit_window = "unlimited"
max_text_utf16 = 8192
out_queue_bytes = "512KiB"
[tenants.acme.keys]
jwks = "/etc/kith/acme.json"

[tenants.other-one]
profile = "easemob"
`

func TestAFileSetsEachKind(t *testing.T) {
	c, err := Load(ConfigFlags{File: write(t, full)}, nil)
	must(t, err)
	acme, _ := entity.Profile("chatters")
	acme.CreateUsers = false
	acme.RequestWindow = 48 * time.Hour
	acme.EditWindow = entity.Unlimited
	acme.MaxTextUTF16 = 8192
	acme.OutQueueBytes = 512 << 10
	other, _ := entity.Profile("easemob")
	want := Config{
		DataDir: "/var/lib/kith",
		Listen:  Listen{WS: "127.0.0.1:9000", TCP: "127.0.0.1:9003", HTTP: "[::1]:9001", Internal: ":9002"},
		Storage: Storage{1 << 30, 32 << 20, 0},
		Tenants: map[string]Tenant{
			"acme":      {Profile: "chatters", Policy: acme, Audience: "kith", Keys: KeyFiles{JWKS: "/etc/kith/acme.json"}},
			"other-one": {Profile: "easemob", Policy: other},
		},
		Origins:         []string{"https://app.example.org", "http://localhost:3000"},
		MaxConnections:  500,
		HTTP:            httpapi.DefaultConfig(),
		Log:             Log{slog.LevelDebug, "json"},
		ShutdownTimeout: 20 * time.Second,

		MaxConnectionsPerAddress: 50,
		MaxUnauthenticated:       100,
	}
	want.HTTP.MaxConns, want.HTTP.MaxBodyBytes, want.HTTP.CallTimeout = 300, 64<<10, 5*time.Second
	if !reflect.DeepEqual(c, want) {
		t.Errorf("config = %+v\nwant %+v", c, want)
	}
}

func TestFlagsOverrideTheEnvironmentAndItTheFile(t *testing.T) {
	path := write(t, full)
	environ := []string{
		"KITH_LISTEN__WS=127.0.0.1:1", "KITH_LISTEN__HTTP=127.0.0.1:2", "KITH_MAX_CONNECTIONS=7", "KITH_ORIGINS=https://a.example, https://b.example",
		"KITH_TENANTS__ACME__POLICY__MAX_ENTITIES=9", "KITH_TENANTS__ACME__POLICY__CREATE_USERS=true", "KITH_TENANTS__OTHER-ONE__PROFILE=kaliu",
		"KITH_CONFIG=" + path, "PATH=/bin", "KITHLIKE=1",
	}
	c, err := Load(ConfigFlags{ListenWS: "127.0.0.1:3", Set: []string{"listen.ws=127.0.0.1:4", "tenants.acme.policy.max_entities=10"}}, environ)
	must(t, err)
	acme := c.Tenants["acme"]
	if c.Listen != (Listen{WS: "127.0.0.1:3", TCP: "127.0.0.1:9003", HTTP: "127.0.0.1:2", Internal: ":9002"}) {
		t.Errorf("listen = %+v", c.Listen)
	}
	if c.MaxConnections != 7 || !slices.Equal(c.Origins, []string{"https://a.example", "https://b.example"}) {
		t.Errorf("max_connections = %d, origins = %q", c.MaxConnections, c.Origins)
	}
	if acme.Policy.MaxEntities != 10 || !acme.Policy.CreateUsers || acme.Policy.MaxTextUTF16 != 8192 || acme.Audience != "kith" {
		t.Errorf("acme = %+v", acme)
	}
	if p := c.Tenants["other-one"].Policy.Name; p != "kaliu" {
		t.Errorf("profile = %q, want kaliu", p)
	}
}

func TestTheDemoTenantCanBeChangedAndReplaced(t *testing.T) {
	c, err := Load(ConfigFlags{Set: []string{"tenants.demo.policy.edit_window=1h"}}, nil)
	must(t, err)
	if demo := c.Tenants["demo"]; demo.Profile != "dev" || demo.Policy.EditWindow != time.Hour {
		t.Errorf("demo = %+v, want dev with an edit window of 1h", demo)
	}
	c, err = Load(ConfigFlags{}, []string{"KITH_TENANTS__ACME__PROFILE=baba"})
	must(t, err)
	if len(c.Tenants) != 1 || c.Tenants["acme"].Policy.Name != "baba" {
		t.Errorf("tenants = %+v, want acme alone", c.Tenants)
	}
}

func TestMistakesAreNamedWithWhatIsAllowed(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`lisen = 1`, "lisen is not a setting; did you mean listen?"},
		{`[listen]` + "\n" + `wss = "x"`, "listen.wss is not a setting; did you mean listen.ws?"},
		{`level = "debug"`, "level is not a setting; did you mean log.level?"},
		{`surprise = 1`, "surprise is not a setting; the settings there are data_dir, listen, storage"},
		{`[tenants.demo.policy]` + "\n" + `max_channel = 1`, "tenants.demo.policy.max_channel is not a setting; did you mean tenants.demo.policy.max_channels?"},
		{`[tenants.demo.policy]` + "\n" + `name = "x"`, "tenants.demo.policy.name is not a setting"},
		{`[tenants.demo.policy]` + "\n" + `"-" = "x"`, "tenants.demo.policy.- is not a setting"},
		{`[tenants.demo.keys]` + "\n" + `eddas = "x"`, "did you mean tenants.demo.keys.eddsa?"},
		{`listen = "127.0.0.1:1"`, "listen is a section, not a setting; its settings are ws, tcp, http, internal"},
		{`tenants = ["a"]`, "tenants is a section of tenants, as [tenants.demo]"},
		{`tenants.demo = "dev"`, "tenants.demo is a section, not a setting; its settings are profile, policy, audience, keys, webhook"},
		{`data_dir = 5`, "data_dir is 5; it must be text in quotes"},
		{`data_dir = ""`, "data_dir is empty"},
		{`max_connections = 1.5`, "max_connections is 1.5; it must be a whole number"},
		{`max_connections = "many"`, `max_connections is "many"; it must be a whole number`},
		{`max_connections = 0`, "max_connections is 0; it must be from 1 to 1000000"},
		{`max_connections_per_address = 0`, "max_connections_per_address is 0; it must be from 1 to 1000000"},
		{`max_unauthenticated = 0`, "max_unauthenticated is 0; it must be from 1 to 1000000"},
		{`http.max_conns = 0`, "http.max_conns is 0; it must be from 1 to 1048576"},
		{`http.call_timeout = "1h"`, "http.call_timeout is 1h0m0s; it must be more than 0 and at most 10m0s"},
		{`http.origins = "*"`, "http.origins is not a setting"},
		{`max_connections = true`, "max_connections is true; it must be a whole number"},
		{`max_connections = "1KiB"`, "it must be a whole number"},
		{`shutdown_timeout = 10`, "shutdown_timeout is 10; it must be a duration as 30s, 5m, 24h or 30d"},
		{`shutdown_timeout = "-5s"`, `shutdown_timeout is "-5s"; it must be a duration`},
		{`shutdown_timeout = "99999999d"`, "it must be a duration"},
		{`shutdown_timeout = 2020-01-01`, "it must be a duration"},
		{`shutdown_timeout = "1h"`, "shutdown_timeout is 1h0m0s; it must be from 1s to 10m"},
		{`storage.cache_bytes = "9999999999GiB"`, `or text as "64KiB"`},
		{`storage.cache_bytes = "1 GB"`, `or text as "64KiB"`},
		{`storage.cache_bytes = 1`, "storage.cache_bytes is 1; it must be from 1048576"},
		{`origins = "*,x"`, `origins has "x"; an origin is`},
		{`origins = ["https://a.example/"]`, "an origin is"},
		{`origins = [1]`, "origins is [1]; it must be a list of texts"},
		{`log.level = "loud"`, `log.level is "loud"; it must be one of debug, info, warn, error`},
		{`log.level = 4`, "log.level is 4; it must be one of"},
		{`log.format = "xml"`, `log.format is "xml"; it must be text or json`},
		{`listen.ws = "127.0.0.1"`, `listen.ws is "127.0.0.1"; it must be host:port`},
		{`listen.ws = "127.0.0.1:99999"`, "it must be host:port"},
		{`listen.ws = "127.0.0.1:http"`, "it must be host:port"},
		{`listen.ws = "127.0.0.1:8001"`, "listen.ws and listen.http are both 127.0.0.1:8001"},
		{`listen.tcp = "8003"`, `listen.tcp is "8003"; it must be host:port`},
		{`listen.tcp = "127.0.0.1:8000"`, "listen.ws and listen.tcp are both 127.0.0.1:8000"},
		{`[tenants.acme]`, "tenants.acme.profile is missing; it must be one of kaliu, baba, easemob, chatters, dev, bench"},
		{`[tenants.acme]` + "\n" + `profile = "chater"`, `tenants.acme.profile is "chater"; it must be one of`},
		{`[tenants.acme]` + "\n" + `profile = 1`, "tenants.acme.profile is 1; it must be text"},
		{`[tenants.Acme]`, "tenants.Acme is no name for a tenant"},
		{`[tenants."a.b"]`, "is no name for a tenant"},
		{`[tenants."../x"]`, "is no name for a tenant"},
		{`[tenants.""]`, "is no name for a tenant"},
		{`tenants.demo.policy.request_window = "1h"`, "tenants.demo.policy: request_window is 1h0m0s; it must be from 24h0m0s to 720h0m0s"},
		{`tenants.demo.policy.request_window = "unlimited"`, "request_window is unlimited"},
		{`tenants.demo.policy.create_users = "yes"`, `tenants.demo.policy.create_users is "yes"; it must be true or false`},
		{"[tenants.acme]\nprofile = \"chatters\"\npolicy.revoke_window_group = \"47h\"", "promises at least 48h"},
		{`a = `, ":1:5: "},
		{"a = 1\na = 2", "kith.toml"},
		{"\xff", "kith.toml"},
		{strings.Repeat("#", maxFileBytes+1), "larger than"},
	} {
		_, err := Load(ConfigFlags{File: write(t, c.text)}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s\n%v\nwant an error with %q", c.text, err, c.want)
		}
	}
}

func TestMistakesInTheEnvironmentAreNamedAsThere(t *testing.T) {
	for pair, want := range map[string]string{
		"KITH_LISTEN__WSS=x":    "environment: KITH_LISTEN__WSS is not a setting; did you mean KITH_LISTEN__WS?",
		"KITH_LISTEN_WS=x":      "environment: KITH_LISTEN_WS is not a setting; did you mean KITH_LISTEN__WS?",
		"KITH_DATADIR=x":        "did you mean KITH_DATA_DIR?",
		"KITH_=x":               "environment: KITH_ is not a setting",
		"KITH___=x":             "is not a setting",
		"KITH_LISTEN=x":         "KITH_LISTEN is a section",
		"KITH_DATA_DIR__X=x":    "KITH_DATA_DIR is map[x:x]; it must be text",
		"KITH_MAX_CONNECTIONS=": `KITH_MAX_CONNECTIONS is ""; it must be a whole number`,
		"KITH_TENANTS__DEMO__POLICY__EDIT_WINDO=1h": "did you mean KITH_TENANTS__DEMO__POLICY__EDIT_WINDOW?",
		"KITH_CONFIG=/nowhere/kith.toml":            "read the configuration: open /nowhere/kith.toml: no such file or directory",
	} {
		_, err := Load(ConfigFlags{}, []string{pair})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v\nwant an error with %q", pair, err, want)
		}
	}
	_, err := Load(ConfigFlags{}, []string{"KITH_LISTEN=x", "KITH_LISTEN__WS=127.0.0.1:1"})
	if err == nil || !strings.Contains(err.Error(), "KITH_LISTEN is a section") {
		t.Errorf("a value where a section is: %v", err)
	}
}

func TestMistakesInFlagsAreNamed(t *testing.T) {
	for flag, want := range map[string]string{
		"listen.ws":     "--set listen.ws has no value",
		"listen.wss=1":  "flags: listen.wss is not a setting; did you mean listen.ws?",
		"=1":            "is not a setting",
		"log.level=all": "log.level is \"all\"",
	} {
		_, err := Load(ConfigFlags{Set: []string{flag}}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s\n%v\nwant an error with %q", flag, err, want)
		}
	}
}

func TestAllMistakesAreSaidAtOnce(t *testing.T) {
	_, err := Load(ConfigFlags{File: write(t, "a = 1\nb = 2"), LogLevel: "x"}, []string{"KITH_C=3"})
	if err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("%v\nwant four lines", err)
	}
}

func TestAPublicAddressNeedsKeys(t *testing.T) {
	for _, address := range []string{":8000", "0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000", "example.org:8000"} {
		for _, key := range []string{"listen.ws", "listen.tcp", "listen.http"} {
			_, err := Load(ConfigFlags{Set: []string{key + "=" + address}}, nil)
			if err == nil || !strings.Contains(err.Error(), "tenant demo has no keys of its own") {
				t.Errorf("%s=%s without keys: %v", key, address, err)
			}
			_, err = Load(ConfigFlags{Set: []string{key + "=" + address, "tenants.demo.keys.eddsa=demo.pub"}}, nil)
			if err != nil {
				t.Errorf("%s=%s with keys: %v", key, address, err)
			}
		}
	}
	for _, address := range []string{"localhost:8000", "127.0.5.1:8000", "[::1]:8000"} {
		if _, err := Load(ConfigFlags{ListenWS: address}, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestATenantsKeysAreThoseItNamesOrOneThatIsMade(t *testing.T) {
	dir := t.TempDir()
	c, err := Load(ConfigFlags{DataDir: dir}, nil)
	must(t, err)
	first, err := c.VerifierKeys("demo")
	must(t, err)
	again, err := c.VerifierKeys("demo")
	must(t, err)
	if len(first) != 1 || !reflect.DeepEqual(first, again) || first[0].Algorithm != auth.EdDSA {
		t.Errorf("keys = %v, then %v; want one for EdDSA", first, again)
	}
	secret := filepath.Join(dir, "secret")
	must(t, os.WriteFile(secret, []byte(strings.Repeat("k", 32)), 0o600))
	c, err = Load(ConfigFlags{DataDir: dir, Set: []string{"tenants.demo.keys.hs256=" + secret}}, nil)
	must(t, err)
	keys, err := c.VerifierKeys("demo")
	must(t, err)
	if len(keys) != 1 || keys[0].Algorithm != auth.HS256 {
		t.Errorf("keys = %v, want one for HS256 alone", keys)
	}
	c, err = Load(ConfigFlags{Set: []string{"tenants.demo.keys.hs256=/nowhere/a", "tenants.demo.keys.jwks=/nowhere/b"}}, nil)
	must(t, err)
	_, err = c.VerifierKeys("demo")
	if err == nil || !strings.Contains(err.Error(), "/nowhere/a") || !strings.Contains(err.Error(), "/nowhere/b") {
		t.Errorf("missing files: %v, want both named", err)
	}
}

// Each field of the configuration can be set, and the shape of a tag is a key's.
func TestEachFieldHasAKindThatCanBeSet(t *testing.T) {
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			tag := f.Tag.Get("koanf")
			switch {
			case tag == "-":
			case tag == "":
				t.Errorf("%s.%s has no key", v.Type(), f.Name)
			case isSection(f.Type):
				walk(v.Field(i))
			case f.Type.Kind() == reflect.Map:
				walk(reflect.New(f.Type.Elem()).Elem())
			default:
				assign(v.Field(i), "1", tag) // Panics on a kind that it does not know.
			}
		}
	}
	walk(reflect.ValueOf(&Config{}).Elem())
}

// FuzzFile wants no panic, and that what is accepted is valid.
func FuzzFile(f *testing.F) {
	f.Add(full)
	f.Add("tenants = 1")
	f.Add("[[tenants.demo]]\na = {b = [1, {c = 2}]}")
	f.Add("tenants.demo.policy.edit_window = 00:00:01")
	f.Fuzz(func(t *testing.T, text string) {
		values, err := parse("kith.toml", []byte(text))
		if err != nil {
			return
		}
		c, err := compose(layer{name: "kith.toml", values: values, spell: dotted})
		if err == nil && c.Validate() != nil {
			t.Error("accepted and not valid")
		}
	})
}
