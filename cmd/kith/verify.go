package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/storage"
)

// VerifyCmd looks for everything in a store that cannot be.
type VerifyCmd struct {
	Dir  string `arg:"" optional:"" help:"Store or checkpoint to look at, or a data folder with a store in it. Default: the data folder of the configuration."`
	Most int    `default:"100" placeholder:"N" help:"Print no more than N problems; the rest is counted."`
	JSON bool   `name:"json" help:"Print problems and counts as one line of JSON."`
}

// Help is what `kith verify --help` says below its first line.
func (VerifyCmd) Help() string {
	return `Examples:

  kith verify                         the store in ./data, of a server that is stopped
  kith verify /backups/2026-03-01     a checkpoint, as kith backup makes them
  kith verify --json | jq .problems

It reads every row and changes none: seqs must be dense above their floors, rows decodable and of known
tables, ordinals and stamps in order, counts what is counted, and pending tells and timers such as can be
delivered. The exit code is 1 if something is wrong.`
}

// Run verifies.
func (c *VerifyCmd) Run() error { return c.run(os.Stdout, os.Stderr) }

// A verifyReport is what --json prints.
type verifyReport struct {
	OK       bool            `json:"ok"`
	Store    string          `json:"store"`
	Counts   entity.Verified `json:"counts"`
	Problems []verifyProblem `json:"problems"` // the first of them
}

type verifyProblem struct {
	Entity string `json:"entity,omitempty"` // "<tenant>/<kind>/<id>"
	Text   string `json:"text"`
}

func (c *VerifyCmd) run(out, terminal io.Writer) error {
	dir, err := storeDir(c.Dir)
	if err != nil {
		return err
	}
	report, err := verify(dir, terminal, func(p entity.Problem, n int) error {
		if c.JSON || n > c.Most {
			return nil
		}
		_, err := fmt.Fprintln(out, p)
		return err
	}, c.Most)
	if err != nil {
		return err
	}
	n := report.Counts.Problems
	if c.JSON {
		err = printJSON(out, report)
	} else {
		_, err = fmt.Fprintf(out, "%s: %d entities, %d events, %d rows, %d timers, %d tells pending, %d dead letters; problems: %d\n",
			dir, report.Counts.Entities, report.Counts.Events, report.Counts.Rows, report.Counts.Timers, report.Counts.Tells, report.Counts.DeadLetters, n)
	}
	switch {
	case err != nil:
		return err
	case n == 1:
		return errors.New("the store has a problem")
	case n > 0:
		return fmt.Errorf("the store has %d problems", n)
	}
	return nil
}

// storeDir is the directory of a store: dir itself, or the one in a data folder.
func storeDir(dir string) (string, error) {
	if dir == "" {
		config, err := Load(ConfigFlags{}, os.Environ())
		if err != nil {
			return "", err
		}
		dir = config.DataDir
	}
	is, err := storage.IsStore(dir)
	if err != nil || is {
		return dir, err
	}
	below := filepath.Join(dir, storeFolder)
	if is, err = storage.IsStore(below); err != nil || is {
		return below, err
	}
	return "", fmt.Errorf("there is no store in %s, nor a checkpoint", dir)
}

// verify looks at a store that nobody serves. found hears each problem with its
// number, from 1; the report holds the first most.
func verify(dir string, terminal io.Writer, found func(p entity.Problem, n int) error, most int) (report verifyReport, err error) {
	registry, err := entity.New(feature.All...)
	if err != nil {
		return report, fmt.Errorf("the features do not fit together: %w", err)
	}
	db, err := storage.Open(storage.Config{Dir: dir, ReadOnly: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	view := db.View()
	defer func() { err = errors.Join(err, view.Close()) }()

	far := &progress{out: terminal}
	defer far.clear()
	report = verifyReport{Store: dir, Problems: []verifyProblem{}}
	n := 0
	var broken error
	report.Counts, err = registry.Verify(view, func(p entity.Problem) {
		n++
		if broken == nil {
			far.clear()
			broken = found(p, n)
		}
		if len(report.Problems) < most {
			report.Problems = append(report.Problems, problemOf(p))
		}
	}, func(so entity.Verified) {
		far.show("%d rows, %d entities, %d problems", so.Rows, so.Entities, so.Problems)
	})
	report.OK = report.Counts.Problems == 0
	return report, errors.Join(err, broken)
}

func problemOf(p entity.Problem) verifyProblem {
	if p.Ref == (entity.Ref{}) {
		return verifyProblem{Text: p.Text}
	}
	return verifyProblem{Entity: p.Ref.String(), Text: p.Text}
}
