package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"

	"kith/actors/entity"
	"kith/gateway/httpapi"
	"kith/storage"
)

// storeFolder is where the store lies in a data folder.
const storeFolder = "store"

// BackupCmd has a running server copy its store.
type BackupCmd struct {
	AdminFlags

	Dest string `arg:"" help:"Directory to make, on the server's machine. It must not exist."`
	JSON bool   `name:"json" help:"Print the result as one line of JSON."`
}

// Help is what `kith backup --help` says below its first line.
func (BackupCmd) Help() string {
	return `Examples:

  kith backup /backups/$(date +%F)
  kith backup /backups/now && kith verify /backups/now

The server goes on meanwhile. The copy has everything that was acknowledged before the command began. On
the same disk it takes milliseconds and shares files with the store until they are rewritten, so copy it
elsewhere to survive the disk. Keys (<data_dir>/keys) and the configuration are not in it.`
}

// Run backs up.
func (c *BackupCmd) Run() error { return c.run(os.Stdout) }

func (c *BackupCmd) run(out io.Writer) error {
	dir, err := filepath.Abs(c.Dest)
	if err != nil {
		return err
	}
	var done httpapi.BackupResult
	if err := c.ask(context.Background(), http.MethodPost, "/admin/backup", httpapi.BackupRequest{Dir: dir}, &done); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(out, done)
	}
	_, err = fmt.Fprintf(out, "backed up to %s in %d ms\n", done.Dir, done.TookMs)
	return err
}

// RestoreCmd makes a data folder of a backup.
type RestoreCmd struct {
	Src  string `arg:"" help:"Checkpoint that kith backup made, or a data folder or store that nobody serves."`
	Dest string `arg:"" help:"Data folder to make. It may exist if it is empty or has keys only."`

	NoVerify bool `help:"Do not look for damage first."`
	JSON     bool `name:"json" help:"Print the result as one line of JSON."`
}

// Help is what `kith restore --help` says below its first line.
func (RestoreCmd) Help() string {
	return `Examples:

  kith restore /backups/2026-03-01 /var/lib/kith
  kith serve --data-dir /var/lib/kith

What is restored is a new store: clients that come back with what they heard of the old one are told so,
and begin again with what is there. Keys are not in a backup: put those of the old server into DEST/keys, or
the server makes new ones and every token that it minted is void.`
}

// Run restores.
func (c *RestoreCmd) Run() error { return c.run(os.Stdout, os.Stderr) }

// A restored is what --json prints.
type restored struct {
	From     string `json:"from"`
	DataDir  string `json:"data_dir"`
	Verified bool   `json:"verified"`
	storage.Copied
}

func (c *RestoreCmd) run(out, terminal io.Writer) error {
	from, err := storeDir(c.Src)
	if err != nil {
		return err
	}
	if err := mayRestore(c.Dest); err != nil {
		return err
	}
	if !c.NoVerify {
		report, err := verify(from, terminal, func(entity.Problem, int) error { return nil }, 1)
		if err != nil {
			return err
		}
		if !report.OK {
			return fmt.Errorf("the copy has %d problems, the first: %s %s; `kith verify %s` shows them, --no-verify restores it all the same",
				report.Counts.Problems, report.Problems[0].Entity, report.Problems[0].Text, c.Src)
		}
	}
	to := filepath.Join(c.Dest, storeFolder)
	far := &progress{out: terminal}
	done, err := storage.Copy(from, to, func(so storage.Copied) { far.show("%d files, %d MiB", so.Files, so.Bytes>>20) })
	far.clear()
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(out, restored{From: from, DataDir: c.Dest, Verified: !c.NoVerify, Copied: done})
	}
	_, err = fmt.Fprintf(out, "restored %d files, %d bytes; kith serve --data-dir %s starts from there\n", done.Files, done.Bytes, c.Dest)
	return err
}

// mayRestore refuses a folder that has anything but keys.
func mayRestore(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Name() != "keys" || !f.IsDir() {
			return fmt.Errorf("%s is not empty: it has %s; name another folder", dir, f.Name())
		}
	}
	return nil
}
