package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const generatedSuffix = ".pb.go"

// drift is the difference between the generated files that are there and those
// that should be: paths from the repository's root, sorted.
type drift struct {
	missing     []string
	stale       []string
	superfluous []string // Their .proto file is gone.
}

// compare reads the generated files below actors/. Other files there are not
// its business.
func compare(root string, fresh map[string][]byte) (drift, error) {
	var d drift
	for _, name := range slices.Sorted(maps.Keys(fresh)) {
		present, err := os.ReadFile(filepath.Join(root, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			d.missing = append(d.missing, name)
		case err != nil:
			return drift{}, err
		case !bytes.Equal(present, fresh[name]):
			d.stale = append(d.stale, name)
		}
	}
	err := fs.WalkDir(os.DirFS(root), sourceDir, func(name string, e fs.DirEntry, err error) error {
		if _, ok := fresh[name]; err == nil && !ok && strings.HasSuffix(name, generatedSuffix) {
			d.superfluous = append(d.superfluous, name)
		}
		return err
	})
	return d, err
}

// err says which files are not fresh, or nothing.
func (d drift) err() error {
	var lines []string
	for _, g := range []struct {
		what  string
		names []string
	}{{"missing", d.missing}, {"stale", d.stale}, {"superfluous", d.superfluous}} {
		for _, name := range g.names {
			lines = append(lines, fmt.Sprintf("  %s is %s", name, g.what))
		}
	}
	if lines == nil {
		return nil
	}
	return fmt.Errorf("the generated code is not fresh; run make generate\n%s", strings.Join(lines, "\n"))
}

// repair writes what is missing or stale and removes what is superfluous.
// Fresh files are not touched.
func (d drift) repair(root string, fresh map[string][]byte) error {
	for _, name := range slices.Concat(d.missing, d.stale) {
		if err := replace(filepath.Join(root, name), fresh[name]); err != nil {
			return err
		}
	}
	for _, name := range d.superfluous {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return nil
}

// replace puts a whole file in place at once, so that a build which runs
// meanwhile never reads half of one.
func replace(path string, content []byte) error {
	half := path + ".tmp"
	if err := os.WriteFile(half, content, 0o644); err != nil {
		return err
	}
	return os.Rename(half, path)
}
