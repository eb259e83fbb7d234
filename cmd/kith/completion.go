package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"kith/actors/entity"
	"kith/actors/feature"
)

// CompletionCmd prints a script that completes commands in a shell.
type CompletionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is what `kith completion --help` says below its first line.
func (CompletionCmd) Help() string {
	return `Examples:

  source <(kith completion bash)                            in ~/.bashrc
  source <(kith completion zsh)                             in ~/.zshrc, after compinit
  kith completion fish > ~/.config/fish/completions/kith.fish

It completes commands, flags, and the names of methods.`
}

// Run prints the script.
func (c *CompletionCmd) Run() error {
	_, err := io.WriteString(os.Stdout, completions[c.Shell])
	return err
}

// completions are the scripts. Each asks the program itself, with the words up to
// the cursor, and falls back to files.
var completions = map[string]string{
	"bash": `_kith() {
    local words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    local IFS=$'\n'
    COMPREPLY=($(kith __complete -- "${words[@]}" 2>/dev/null))
    [[ ${COMPREPLY[0]} == *. ]] && compopt -o nospace
}
complete -o default -F _kith kith
`,
	"zsh": `_kith() {
    local -a found
    found=("${(@f)$(kith __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[*]}" ]]; then
        compadd -Q -- "${found[@]}"
    else
        _files
    fi
}
compdef _kith kith
`,
	"fish": `function __kith_complete
    set -l words (commandline -opc) (commandline -ct)
    kith __complete -- $words[2..-1] 2>/dev/null
end
complete -c kith -a '(__kith_complete)'
`,
}

// CompleteCmd is what the scripts call.
type CompleteCmd struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"The command line without the program's name, up to the cursor."`
}

// Run prints what the last word may become, a line each.
func (c *CompleteCmd) Run(ctx *kong.Context) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	if len(words) == 0 {
		words = []string{""}
	}
	registry, err := entity.New(feature.All...)
	if err != nil {
		return fmt.Errorf("the features do not fit together: %w", err)
	}
	var methods []string
	for _, m := range registry.Methods() {
		if !m.Internal {
			methods = append(methods, m.Name)
		}
	}
	for _, found := range complete(ctx.Model.Node, words, methods) {
		if _, err := fmt.Fprintln(os.Stdout, found); err != nil {
			return err
		}
	}
	return nil
}

// complete returns what the last of words may become. root is the command line.
func complete(root *kong.Node, words, methods []string) []string {
	last := words[len(words)-1]
	node, given, value := root, 0, false
	for _, word := range words[:len(words)-1] {
		switch {
		case value:
			value = false
		case strings.HasPrefix(word, "-"):
			value = takesValue(node, word)
		default:
			if below := child(node, word); below != nil {
				node = below
			} else {
				given++ // An argument.
			}
		}
	}
	var all []string
	switch {
	case value:
	case strings.HasPrefix(last, "-"):
		all = flagNames(node)
	case len(node.Children) > 0:
		for _, below := range node.Children {
			if !below.Hidden {
				all = append(all, below.Name)
			}
		}
	case given < len(node.Positional) && node.Positional[given].Name == "method":
		all = methods
	case given < len(node.Positional):
		all = node.Positional[given].EnumSlice()
	}
	all = slices.DeleteFunc(slices.Clone(all), func(name string) bool {
		return name == "" || !strings.HasPrefix(strings.ToLower(name), strings.ToLower(last))
	})
	slices.Sort(all)
	return all
}

func child(node *kong.Node, name string) *kong.Node {
	for _, below := range node.Children {
		if below.Name == name {
			return below
		}
	}
	return nil
}

// takesValue reports whether the word after a flag is its value.
func takesValue(node *kong.Node, word string) bool {
	for _, group := range node.AllFlags(false) {
		for _, f := range group {
			if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
				return !f.IsBool()
			}
		}
	}
	return false
}

func flagNames(node *kong.Node) []string {
	var names []string
	for _, group := range node.AllFlags(true) {
		for _, f := range group {
			names = append(names, "--"+f.Name)
		}
	}
	return names
}
