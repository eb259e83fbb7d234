package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write config_init.toml from the comments and the defaults of the code")

// configSources are the files in which the structs of the configuration are
// declared.
var configSources = []string{"config.go", "../../gateway/httpapi/config.go", "../../actors/entity/policy.go", "../../gateway/outbound/webhook.go"}

// documented returns what the comments say about each field, by "package.Type.Field", and
// the key of each field's name.
func documented(t *testing.T) (comments, keys map[string]string) {
	t.Helper()
	comments, keys = map[string]string{}, map[string]string{}
	for _, path := range configSources {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			fields, ok := spec.Type.(*ast.StructType)
			if !ok {
				return false
			}
			for _, f := range fields.Fields.List {
				if f.Tag == nil || !strings.Contains(f.Tag.Value, "koanf:") {
					continue
				}
				tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`"))
				for _, name := range f.Names {
					comments[file.Name.Name+"."+spec.Name.Name+"."+name.Name] = f.Doc.Text()
					keys[name.Name] = tag.Get("koanf")
				}
			}
			return false
		})
	}
	return comments, keys
}

// template writes the file that `kith config init` prints.
func template(t *testing.T) string {
	comments, keys := documented(t)
	var b strings.Builder
	b.WriteString(`# The configuration of a Kith server. Every setting is here with its default;
# those that begin with # keep it. KITH_LISTEN__WS in the environment is ws of
# [listen], and flags override both. "kith config check FILE" says what is wrong.
#
# Durations are "30s", "5m", "24h", "30d", or "unlimited" where there may be no
# limit; sizes whose name ends in _bytes are numbers, or "64KiB", "256MiB", "1GiB".

`)
	w := templateWriter{&b, comments, keys}
	w.section(reflect.TypeFor[Config](), sectionOf(reflect.ValueOf(Default()), ""))
	return b.String()
}

type templateWriter struct {
	b              *strings.Builder
	comments, keys map[string]string
}

var goName = regexp.MustCompile(`\b[A-Z][A-Za-z0-9]+\b`)

// about writes a comment, in which keys are called as they are in the file.
func (w templateWriter) about(text string) {
	text = goName.ReplaceAllStringFunc(text, func(name string) string {
		if key, ok := w.keys[name]; ok && key != "-" && !plainWords[name] {
			return key
		}
		return name
	})
	for line := range strings.Lines(text) {
		fmt.Fprintf(w.b, "# %s\n", strings.TrimSpace(line))
	}
}

// plainWords are names of fields that are also words, or names of other things.
var plainWords = map[string]bool{"HTTP": true, "TCP": true, "WS": true, "JWKS": true, "Name": true, "Level": true, "Format": true, "Storage": true, "Log": true, "Keys": true, "Policy": true}

func (w templateWriter) section(of reflect.Type, s settings) {
	for _, v := range s.values {
		if text := w.comments[of.String()+"."+v.field.Name]; text != "" {
			w.b.WriteByte('\n')
			w.about(strings.Replace(text, v.field.Name+" ", v.name+" ", 1))
		}
		mark := "#"
		if of == reflect.TypeFor[Tenant]() && v.name == "profile" {
			mark = ""
		}
		fmt.Fprintf(w.b, "%s%s = %s\n", mark, v.name, v.toml())
	}
	for _, below := range s.below {
		fmt.Fprintf(w.b, "\n[%s]\n", below.key)
		w.section(typeOfSection(of, below.key), below)
	}
}

// typeOfSection is the struct that a section is.
func typeOfSection(of reflect.Type, key string) reflect.Type {
	last := key[strings.LastIndexByte(key, '.')+1:]
	for i := range of.NumField() {
		switch f := of.Field(i); {
		case f.Tag.Get("koanf") == last:
			return f.Type
		case f.Type == reflect.TypeFor[map[string]Tenant]() && strings.HasPrefix(key, "tenants."):
			return reflect.TypeFor[Tenant]()
		}
	}
	panic("no section " + key)
}

func TestTheFileToBeginWithIsWhatTheCodeSays(t *testing.T) {
	want := template(t)
	if *rewrite {
		must(t, os.WriteFile("config_init.toml", []byte(want), 0o644))
		return
	}
	if configTemplate != want {
		t.Error("config_init.toml is not what the comments and defaults of the code say: go test ./cmd/kith -run TestTheFileToBeginWith -rewrite")
	}
}

// uncomment takes the # from what are settings.
func uncomment(text string) string {
	return regexp.MustCompile(`(?m)^#([a-z])`).ReplaceAllString(text, "$1")
}

func TestTheFileToBeginWithIsGoodAndHasEveryDefault(t *testing.T) {
	for name, text := range map[string]string{"as it is": configTemplate, "with every setting": uncomment(configTemplate)} {
		c, err := Load(ConfigFlags{File: write(t, text)}, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(normal(c), normal(Default())) {
			t.Errorf("%s it is\n%+v, want\n%+v", name, c, Default())
		}
	}
	lines, all := keyLines(uncomment(configTemplate)), sectionOf(reflect.ValueOf(Default()), "")
	for todo := []settings{all}; len(todo) > 0; todo = todo[1:] {
		for _, v := range todo[0].values {
			if key := join(todo[0].key, v.name); lines[key] == 0 {
				t.Errorf("%s is not in it", key)
			}
		}
		todo = append(todo, todo[0].below...)
	}
}

// normal makes an empty list none.
func normal(c Config) Config {
	if len(c.Origins) == 0 {
		c.Origins = nil
	}
	return c
}

func TestWhatIsShownCanBeRead(t *testing.T) {
	path := write(t, full)
	c, err := Load(ConfigFlags{File: path}, nil)
	must(t, err)
	var out strings.Builder
	must(t, (&ConfigShowCmd{ConfigFlags: ConfigFlags{File: path}}).run(&out, nil))
	again, err := Load(ConfigFlags{File: write(t, out.String())}, nil)
	if err != nil || !reflect.DeepEqual(normal(again), normal(c)) {
		t.Errorf("it was shown as\n%s\nwhich is %+v (%v), want %+v", out.String(), again, err, c)
	}
}

func TestTheEnvironmentAndFlagsAreInWhatIsShown(t *testing.T) {
	var out strings.Builder
	show := ConfigShowCmd{ConfigFlags: ConfigFlags{Set: []string{"tenants.demo.policy.edit_window=90m"}}, JSON: true}
	must(t, show.run(&out, []string{"KITH_LISTEN__WS=127.0.0.1:9000", "KITH_TOKEN=for other commands"}))
	for _, want := range []string{`"ws":"127.0.0.1:9000"`, `"edit_window":"90m"`, `"demo":{`, `"cache_bytes":268435456`, `"level":"info"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in %s", want, out.String())
		}
	}
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("it is not one line: %s", out.String())
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"webhook_secret", "hunter2", redacted},
		{"password", "hunter2", redacted},
		{"secret", "", ""},
		{"url", "https://ann:hunter2@example.org/x", "https://not-shown@example.org/x"},
		{"url", "https://example.org/x?key=hunter2", "https://example.org/x?not-shown"},
		{"url", "https://example.org/x", "https://example.org/x"},
		{"hs256", "/etc/kith/secret", "/etc/kith/secret"},
	} {
		if got := withoutSecret(c.name, c.value); got != c.want {
			t.Errorf("%s = %q is shown as %q, want %q", c.name, c.value, got, c.want)
		}
	}
}

func TestDurationsAreShownAsTheyAreWritten(t *testing.T) {
	for _, d := range []time.Duration{0, -1, time.Millisecond, 1500 * time.Millisecond, time.Second, 90 * time.Second, time.Hour, 36 * time.Hour, 720 * time.Hour, time.Second + 1} {
		if got, ok := toDuration(durationText(d)); !ok || got != d {
			t.Errorf("%v is written %q, which is %v (%v)", d, durationText(d), got, ok)
		}
	}
}

func TestACheckNamesTheLineOfEveryProblem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kith.toml")
	must(t, os.WriteFile(path, []byte(`data_dir = "x"
max_conections = 5
[listen]
ws = 5
[log]
format = "xml"

[tenants.acme]
profile = "chatters"
[tenants.acme.keys]
jwks = "/nowhere"
[tenants.acme.policy]
edit_window = "soon"
`), 0o600))
	var out strings.Builder
	err := (&ConfigCheckCmd{Path: path}).run(&out, []string{"KITH_LOG__LEVEL=loud"})
	if err == nil || err.Error() != "the configuration has 4 problems" {
		t.Errorf("check = %v\n%s", err, out.String())
	}
	for _, want := range []string{
		":2: max_conections is not a setting; did you mean max_connections?",
		":4: listen.ws is 5; it must be text in quotes",
		":13: tenants.acme.policy.edit_window is \"soon\"",
		"environment: KITH_LOG__LEVEL is \"loud\"",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	// What can only be seen when all is read has its line, too.
	must(t, os.WriteFile(path, []byte("[log]\nformat = \"xml\"\n[listen]\nws = \"here\"\n"), 0o600))
	out.Reset()
	if err := (&ConfigCheckCmd{Path: path, JSON: true}).run(&out, nil); err == nil {
		t.Error("a wrong format is good")
	}
	for _, want := range []string{`"ok":false`, `"line":2,"text":"log.format is`, `"line":4,"text":"listen.ws is`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	must(t, os.WriteFile(path, []byte("[tenants.acme]\nprofile = \"dev\"\n[tenants.acme.keys]\njwks = \"/nowhere\"\n"), 0o600))
	out.Reset()
	if err := (&ConfigCheckCmd{Path: path}).run(&out, nil); err == nil || !strings.Contains(out.String(), ":3: tenants.acme.keys: ") {
		t.Errorf("a key file that is not there: %v\n%s", err, out.String())
	}
	must(t, os.WriteFile(path, []byte("data_dir = \"x\"\n"), 0o600))
	out.Reset()
	if err := (&ConfigCheckCmd{Path: path}).run(&out, nil); err != nil || out.String() != "the configuration is good\n" {
		t.Errorf("check = %v\n%s", err, out.String())
	}
}
