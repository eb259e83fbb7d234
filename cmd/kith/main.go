// Command kith is the server and its tools in one binary. main wires parts
// together and does nothing else: each subcommand has a file of its own.
package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"
)

// version is what `kith version` and /version say; a release sets it when it
// links.
var version = "dev"

// cli is the command line.
type cli struct {
	Serve ServeCmd `cmd:"" help:"Run one node with a store of its own."`
	Dev   DevCmd   `cmd:"" help:"Run one node with a town in it: people who talk."`
	Token TokenCmd `cmd:"" help:"Mint a token for development."`
	Feed  FeedCmd  `cmd:"" help:"Replay a chat log through real sockets as one group, and read it back."`
	Load  LoadCmd  `cmd:"" help:"Measure a server: direct, group, idle, echo; prove that nothing was lost."`

	Call        CallCmd        `cmd:"" help:"Call a method of a running server, or list the methods."`
	Tail        TailCmd        `cmd:"" help:"Show what happens in a conversation, as it happens."`
	Config      ConfigCmd      `cmd:"" help:"Make, check and show configurations."`
	Verify      VerifyCmd      `cmd:"" help:"Look for everything in a store that cannot be."`
	Backup      BackupCmd      `cmd:"" help:"Have a running server copy its store."`
	Restore     RestoreCmd     `cmd:"" help:"Make a new data folder of a backup."`
	DeadLetters DeadLettersCmd `cmd:"" name:"deadletters" help:"List and replay what could not be delivered."`
	Completion  CompletionCmd  `cmd:"" help:"Print a script that completes commands in a shell."`
	Complete    CompleteCmd    `cmd:"" name:"__complete" hidden:"" help:"What a word may become."`
	About       VersionCmd     `cmd:"" name:"version" help:"Say what this program is: version, commit, format of the store."`

	Version kong.VersionFlag `help:"Print the version."`
}

// The exit codes. A storage fault ends the process with storage.ExitFault (3).
const (
	exitError = 1 // what was asked could not be done
	exitUsage = 2 // it could not be understood

	exitRefused = 4 // the server understood it and refused
)

func main() {
	var c cli
	parser := kong.Must(&c,
		kong.Name("kith"),
		kong.Description("A self-hosted server for social messengers."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"version": version},
	)
	ctx, err := parser.Parse(os.Args[1:])
	if err != nil {
		parser.Errorf("%s", err)
		os.Exit(exitUsage)
	}
	if err := ctx.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "kith:", err)
		os.Exit(exitCode(err))
	}
}
