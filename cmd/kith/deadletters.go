package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"kith/gateway/httpapi"
)

// DeadLettersCmd shows and replays what could not be delivered.
type DeadLettersCmd struct {
	List   DeadLettersListCmd   `cmd:"" help:"List the tells that a running server has parked, without what they say."`
	Replay DeadLettersReplayCmd `cmd:"" help:"Have a running server deliver all of them again."`
}

// DeadLettersListCmd lists them.
type DeadLettersListCmd struct {
	AdminFlags

	JSON bool `name:"json" help:"Print them as one line of JSON."`
}

// Help is what `kith deadletters list --help` says below its first line.
func (DeadLettersListCmd) Help() string {
	return "Examples:\n\n  kith deadletters list\n  kith deadletters list --json | jq '.letters[].method'\n\n" +
		"A tell is a command from one entity to another. It is parked when its method panicked five times, is unknown to " +
		"this version, or was given up by the tenant's policy. The log of the server says more."
}

// Run lists them.
func (c *DeadLettersListCmd) Run() error { return c.run(os.Stdout) }

func (c *DeadLettersListCmd) run(out io.Writer) error {
	var list httpapi.DeadLetters
	if err := c.ask(context.Background(), http.MethodGet, "/admin/deadletters", nil, &list); err != nil {
		return err
	}
	switch {
	case c.JSON:
		return printJSON(out, list)
	case list.Total == 0:
		_, err := fmt.Fprintln(out, "there are no dead letters")
		return err
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PARKED\tMETHOD\tFROM\tTO A\tREASON")
	for _, l := range list.Letters {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", l.ParkedAt.Local().Format(time.DateTime), l.Method, l.From, strings.ToLower(l.To), printable(l.Reason))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if more := list.Total - len(list.Letters); more > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// DeadLettersReplayCmd replays them.
type DeadLettersReplayCmd struct {
	AdminFlags

	JSON bool `name:"json" help:"Print the result as one line of JSON."`
}

// Help is what `kith deadletters replay --help` says below its first line.
func (DeadLettersReplayCmd) Help() string {
	return "Example:\n\n  kith deadletters replay && kith deadletters list\n\n" +
		"Each is delivered once more, in the order in which they were sent, and parked again if it fails again."
}

// Run replays them.
func (c *DeadLettersReplayCmd) Run() error { return c.run(os.Stdout) }

func (c *DeadLettersReplayCmd) run(out io.Writer) error {
	var done httpapi.Replayed
	if err := c.ask(context.Background(), http.MethodPost, "/admin/deadletters/replay", struct{}{}, &done); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(out, done)
	}
	_, err := fmt.Fprintf(out, "dead letters that are delivered again: %d\n", done.Replayed)
	return err
}
