package storage

import (
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// SyncHook is for crash simulation: a file system that calls hook right before
// each sync of a write-ahead log, on the goroutine that syncs. The last commit
// is visible to Pebble by then and not durable: a power cut here is the one
// that catches who told of it too early. hook may block, to hold a commit in
// flight, and may clone the file system.
func SyncHook(fs vfs.FS, hook func()) vfs.FS { return hookFS{fs, hook} }

type hookFS struct {
	vfs.FS
	hook func()
}

func (h hookFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.Create(name, category)
	return h.wrap(name, f, err)
}

func (h hookFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.ReuseForWrite(oldname, newname, category)
	return h.wrap(newname, f, err)
}

func (h hookFS) Unwrap() vfs.FS { return h.FS }

func (h hookFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || filepath.Ext(name) != ".log" {
		return f, err
	}
	return hookFile{f, h.hook}, nil
}

type hookFile struct {
	vfs.File
	hook func()
}

func (f hookFile) Sync() error {
	f.hook()
	return f.File.Sync()
}

func (f hookFile) SyncData() error {
	f.hook()
	return f.File.SyncData()
}

func (f hookFile) SyncTo(length int64) (fullSync bool, err error) {
	f.hook()
	return f.File.SyncTo(length)
}
