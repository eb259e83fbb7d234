package storage

import "github.com/cockroachdb/pebble/v2/vfs"

// freshLogs is a file system on which a log begins empty. Pebble would write
// over the file of an older log, to spare the metadata that a growing file
// costs an fsync. Then what follows the last record after a crash is messages
// of the older log, and Pebble takes them for records if their authors made
// them look so: anybody could write any row. The log number and the place can
// be guessed.
type freshLogs struct{ vfs.FS }

// ReuseForWrite may replace the old file by an empty one, as its contract says.
func (f freshLogs) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.Remove(oldname); err != nil {
		return nil, err
	}
	return f.Create(newname, category)
}

// Unwrap gives the file system below.
func (f freshLogs) Unwrap() vfs.FS { return f.FS }
