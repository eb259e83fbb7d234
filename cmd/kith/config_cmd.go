package main

import (
	_ "embed" // for configTemplate
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// ConfigCmd makes, checks and shows configurations.
type ConfigCmd struct {
	Init  ConfigInitCmd  `cmd:"" help:"Print a configuration file with every setting, its default and what it is for."`
	Check ConfigCheckCmd `cmd:"" help:"Say everything that is wrong with a configuration; the exit code is 1 if there is something."`
	Show  ConfigShowCmd  `cmd:"" help:"Show the configuration that a server would have, after file, environment and flags."`
}

// ConfigInitCmd prints a configuration to begin with.
type ConfigInitCmd struct {
	File string `arg:"" optional:"" help:"File to make. It must not exist yet. Default: print it."`
}

// Help is what `kith config init --help` says below its first line.
func (ConfigInitCmd) Help() string {
	return "Examples:\n\n  kith config init kith.toml\n  kith config init | less\n\n" +
		"Settings are commented out: what a file does not say keeps its default, also when a newer version has a better one."
}

// configTemplate has every setting. A test writes it from the comments and the
// defaults of the code.
//
//go:embed config_init.toml
var configTemplate string

// Run prints the file, or makes it.
func (c *ConfigInitCmd) Run() error {
	if c.File == "" {
		_, err := io.WriteString(os.Stdout, configTemplate)
		return err
	}
	f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already, and is left as it is", c.File)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, configTemplate)
	return errors.Join(err, f.Close())
}

// ConfigCheckCmd looks for what is wrong.
type ConfigCheckCmd struct {
	ConfigFlags

	Path string `arg:"" optional:"" help:"Configuration file to check. Default: that of --config or $$KITH_CONFIG."`
	JSON bool   `name:"json" help:"Print what is wrong as one line of JSON."`
}

// Help is what `kith config check --help` says below its first line.
func (ConfigCheckCmd) Help() string {
	return "Examples:\n\n  kith config check /etc/kith.toml\n  kith config check --config kith.toml --set listen.http=:8080\n\n" +
		"The environment and the flags are checked with the file, and the files with keys that it names are read."
}

// A configFault is one thing that is wrong with a configuration.
type configFault struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"` // 0: it is in no line of the file
	Text string `json:"text"`
}

func (f configFault) String() string {
	switch {
	case f.Line != 0:
		return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text)
	default:
		return f.Text
	}
}

// Run checks, and fails if something is wrong.
func (c *ConfigCheckCmd) Run() error { return c.run(os.Stdout, os.Environ()) }

func (c *ConfigCheckCmd) run(out io.Writer, environ []string) error {
	if c.Path != "" && c.File != "" {
		return usage("name one file, as an argument or by --config")
	}
	flags := c.ConfigFlags
	if c.Path != "" {
		flags.File = c.Path
	}
	config, err := Load(flags, environ)
	if err == nil {
		err = config.readKeys()
	}
	file, _ := fileLayer(flags.File, environ) // What is wrong with reading it is in err.
	faults := placeFaults(file.name, err)
	if c.JSON {
		if err := printJSON(out, struct {
			OK       bool          `json:"ok"`
			File     string        `json:"file,omitempty"`
			Problems []configFault `json:"problems"`
		}{len(faults) == 0, file.name, faults}); err != nil {
			return err
		}
	} else {
		for _, f := range faults {
			if _, err := fmt.Fprintln(out, f); err != nil {
				return err
			}
		}
	}
	switch {
	case len(faults) == 1:
		return errors.New("the configuration has a problem")
	case len(faults) > 1:
		return fmt.Errorf("the configuration has %d problems", len(faults))
	case !c.JSON:
		_, err = fmt.Fprintln(out, "the configuration is good")
		return err
	}
	return nil
}

// readKeys reads the key files that tenants name.
func (c Config) readKeys() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Tenants)) {
		if _, err := c.Tenants[name].Keys.Load(); err != nil {
			for line := range strings.Lines(err.Error()) {
				errs = append(errs, fmt.Errorf("tenants.%s.keys: %s", name, strings.TrimSpace(line)))
			}
		}
	}
	return errors.Join(errs...)
}

// placeFaults splits an error into its lines and finds where in the file each is
// about.
func placeFaults(file string, err error) []configFault {
	faults := []configFault{}
	if err == nil {
		return faults
	}
	text, _ := os.ReadFile(file) // Without it there are no lines.
	lines := keyLines(string(text))
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimSpace(line)
		f := configFault{Text: line}
		said := strings.TrimPrefix(line, file+": ")
		key, _, _ := strings.Cut(said, " ")
		// One of environment or flags begins with that, and is in no line.
		if n := lineOf(lines, strings.TrimSuffix(key, ":")); n != 0 && file != "" {
			f.File, f.Line, f.Text = file, n, said
		}
		faults = append(faults, f)
	}
	return faults
}

// keyLines returns the line of every key and section of a TOML file.
func keyLines(text string) map[string]int {
	at, section, n := map[string]int{}, "", 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			name, _, _ = strings.Cut(name, "]")
			section = bare(name)
			at[section] = n
			continue
		}
		if key, _, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			at[join(section, bare(key))] = n
		}
	}
	return at
}

// bare is a key without quotes and spaces.
func bare(key string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("\"' \t", r) {
			return -1
		}
		return r
	}, key)
}

// lineOf is the line of a key, or else that of the section around it. The problems
// of a policy are about its profile, too, if they are about a default.
func lineOf(lines map[string]int, key string) int {
	for key != "" {
		if n := lines[key]; n != 0 {
			return n
		}
		key = key[:max(0, strings.LastIndexByte(key, '.'))]
	}
	return 0
}

// ConfigShowCmd shows the effective configuration.
type ConfigShowCmd struct {
	ConfigFlags

	JSON bool `name:"json" help:"Print it as one line of JSON."`
}

// Help is what `kith config show --help` says below its first line.
func (ConfigShowCmd) Help() string {
	return "Examples:\n\n  kith config show --config kith.toml\n  kith config show --json | jq .tenants.demo.policy\n\n" +
		"Secrets are not shown. What is printed is a configuration file, but for them."
}

// Run shows it.
func (c *ConfigShowCmd) Run() error { return c.run(os.Stdout, os.Environ()) }

func (c *ConfigShowCmd) run(out io.Writer, environ []string) error {
	config, err := Load(c.ConfigFlags, environ)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(out, configTree(config))
	}
	_, err = io.WriteString(out, configText(config))
	return err
}
