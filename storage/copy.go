package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A Copied says how much Copy has copied.
type Copied struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Copy copies a checkpoint, or a store that nobody serves, into a directory that
// does not exist or is empty, durably. What is opened from the copy is a store
// with an incarnation of its own: its history parts from the original's, so what
// clients were told of that one's positions is not believed of this one. A copy
// that was cut short does not open. progress, if not nil, hears of each file.
func Copy(from, to string, progress func(Copied)) (done Copied, err error) {
	cfg := Config{Dir: from, ReadOnly: true}
	cfg.setDefaults()
	dir, err := openDir(&cfg)
	if err != nil {
		return done, fmt.Errorf("open the store in %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, dir.lock.Close()) }()
	if err := emptyDir(to); err != nil {
		return done, err
	}
	files, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return done, fmt.Errorf("list the store in %s: %w", from, err)
	}
	for _, f := range files {
		if ours(f.Name()) || f.Name() == identityFile || !f.Type().IsRegular() {
			continue
		}
		n, err := copyFile(filepath.Join(cfg.Dir, f.Name()), filepath.Join(to, f.Name()))
		if err != nil {
			return done, fmt.Errorf("copy the store to %s: %w", to, err)
		}
		done.Files++
		done.Bytes += n
		if progress != nil {
			progress(done)
		}
	}
	// Last, after everything that it speaks for.
	if err := writeIdentity(cfg.disk(), to, identityFile, identity{format: dir.found.format}); err != nil {
		return done, fmt.Errorf("copy the store to %s: %w", to, err)
	}
	return done, nil
}

// emptyDir makes a directory durably, or sees that it is empty.
func emptyDir(path string) error {
	cfg := Config{Dir: path}
	if err := makeDir(&cfg, cfg.disk()); err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	files, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("list %s: %w", path, err)
	}
	if len(files) > 0 {
		return fmt.Errorf("%s is not empty: it has %s; name a new directory", path, files[0].Name())
	}
	return nil
}

// copyFile copies a file, durably but for its name.
func copyFile(from, to string) (n int64, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return n, errors.Join(err, out.Close())
}

// IsStore reports whether a directory holds a store or a checkpoint.
func IsStore(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
