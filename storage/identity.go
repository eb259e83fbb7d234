package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FormatVersion is the newest format of a store that this program reads, and
// the one it writes.
const FormatVersion = 1

// Why a directory is refused.
var (
	ErrInUse   = errors.New("another process has it open, or this one has it open already; stop that one first")
	ErrForeign = errors.New("the directory holds files of another program; give an empty one")
	ErrNewer   = errors.New("it was written by a newer version of this program; use that one")
	ErrDamaged = errors.New("the store is damaged; restore a checkpoint or ask for help before changing anything")
	ErrMissing = errors.New("there is no store")
	ErrFull    = errors.New("the disk is full; free some space first")
	ErrStuck   = errors.New("the disk is stuck")
)

// A directory is a store once it holds identityFile. While one is being made it
// holds birthFile instead: what else is there was never given to anybody and is
// ours to throw away. So a store that lost its data is not taken for a new one,
// and a half made one is not taken for damaged.
const (
	identityFile = "KITH"
	birthFile    = "KITH.birth"
	draftSuffix  = ".draft" // of either, until it is durable
)

// maxIdentityBytes bounds what is read of an identity file, which has about 70.
const maxIdentityBytes = 4 << 10

// directory is a locked directory that is a store or may become one.
type directory struct {
	lock  *pebble.Lock
	fresh bool // it is to be made, or to be made to the end
	found identity
}

// openDir makes cfg.Dir if it is missing, locks it and says what it is. It
// looks before it locks too: to lock leaves a file, which has no place in a
// directory that is not ours.
func openDir(cfg *Config) (*directory, error) {
	disk := cfg.disk()
	if err := makeDir(cfg, disk); err != nil {
		return nil, err
	}
	if _, err := isStore(cfg, disk); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(cfg.Dir, disk)
	if err != nil {
		return nil, explainLock(err)
	}
	dir := &directory{lock: lock}
	if err = dir.inspect(cfg, disk); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return dir, nil
}

// makeDir makes the directory durably. On the machine's disk it also gives it
// its one true name: Pebble's lock knows directories by name, and a second name
// for one would pass it.
func makeDir(cfg *Config, disk vfs.FS) error {
	if cfg.FS == nil {
		abs, err := filepath.Abs(cfg.Dir)
		if err != nil {
			return err
		}
		cfg.Dir = abs
	}
	var parents []string // of directories that are missing, the nearest first
	for path := cfg.Dir; ; path = disk.PathDir(path) {
		_, err := disk.Stat(path)
		if err == nil || path == disk.PathDir(path) {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		parents = append(parents, disk.PathDir(path))
	}
	if len(parents) > 0 && cfg.MustExist {
		return ErrMissing
	}
	if err := disk.MkdirAll(cfg.Dir, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := syncDir(disk, parent); err != nil {
			return err
		}
	}
	if cfg.FS == nil {
		resolved, err := filepath.EvalSymlinks(cfg.Dir)
		if err != nil {
			return err
		}
		cfg.Dir = resolved
	}
	return nil
}

// explainLock tells a lock that is held from a lock file that cannot be made.
// The bare numbers are fcntl's; a failed creation comes with its path.
func explainLock(err error) error {
	var path *fs.PathError
	held := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) ||
		strings.Contains(err.Error(), "lock held by current process")
	if held && !errors.As(err, &path) {
		return ErrInUse
	}
	return fmt.Errorf("lock the directory: %w", err)
}

// inspect reads the identity, or begins a new store where there is none.
func (dir *directory) inspect(cfg *Config, disk vfs.FS) error {
	if !cfg.ReadOnly { // Then what is replayed stays in memory.
		if err := checkSpace(cfg, disk); err != nil {
			return err
		}
	}
	is, err := isStore(cfg, disk)
	if err != nil {
		return err
	}
	if is {
		if dir.found, err = readIdentity(disk, disk.PathJoin(cfg.Dir, identityFile)); err != nil {
			return err
		}
		if err := checkRecords(disk, cfg.Dir); err != nil || cfg.ReadOnly {
			return err
		}
		return remove(disk, disk.PathJoin(cfg.Dir, birthFile))
	}
	dir.fresh = true
	return begin(cfg, disk)
}

// begin marks the directory as a store that is being made, after it has cleared
// away what an earlier attempt left: a power cut can leave Pebble's half made
// files in a state that Pebble does not open.
func begin(cfg *Config, disk vfs.FS) error {
	if err := writeIdentity(disk, cfg.Dir, birthFile, identity{format: FormatVersion}); err != nil {
		return err
	}
	names, err := disk.List(cfg.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if ours(name) {
			continue
		}
		if err := disk.Remove(disk.PathJoin(cfg.Dir, name)); err != nil {
			return err
		}
	}
	return syncDir(disk, cfg.Dir)
}

// isStore tells a store from a directory that may become one, and refuses the
// others.
func isStore(cfg *Config, disk vfs.FS) (bool, error) {
	names, err := disk.List(cfg.Dir)
	switch {
	case err != nil:
		return false, err
	case slices.Contains(names, identityFile):
		return true, nil
	case cfg.MustExist:
		return false, ErrMissing
	case slices.Contains(names, birthFile):
		return false, nil
	}
	foreign := slices.DeleteFunc(names, ours)
	if len(foreign) > 0 {
		slices.Sort(foreign)
		return false, fmt.Errorf("%w: it has %s", ErrForeign, strings.Join(foreign[:min(3, len(foreign))], ", "))
	}
	return false, nil
}

// ours says whether a file may lie in a directory before it is a store:
// the lock, what this file writes, and what the root of a file system has.
func ours(name string) bool {
	return name == "LOCK" || name == "lost+found" || name == birthFile ||
		name == birthFile+draftSuffix || name == identityFile+draftSuffix
}

// checkSpace refuses to open on a full disk, where Pebble would retry to flush
// what it replayed for ever.
func checkSpace(cfg *Config, disk vfs.FS) error {
	usage, err := disk.GetDiskUsage(cfg.Dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("measure the disk: %w", err)
	}
	if need := uint64(2 * cfg.MemTableBytes); usage.AvailBytes < need {
		return fmt.Errorf("%w: %d bytes are free, opening takes %d", ErrFull, usage.AvailBytes, need)
	}
	return nil
}

// settle makes the identity final and returns the incarnation. A new store and
// one made from a checkpoint draw theirs here, when everything else is durable.
func (dir *directory) settle(cfg *Config) (uint64, error) {
	if dir.found.incarnation != 0 {
		return dir.found.incarnation, nil
	}
	var b [8]byte
	if _, err := io.ReadFull(cfg.Random, b[:]); err != nil {
		return 0, fmt.Errorf("draw an incarnation: %w", err)
	}
	id := identity{format: FormatVersion, incarnation: max(1, binary.LittleEndian.Uint64(b[:]))}
	if err := writeIdentity(cfg.disk(), cfg.Dir, identityFile, id); err != nil {
		return 0, err
	}
	return id.incarnation, remove(cfg.disk(), cfg.disk().PathJoin(cfg.Dir, birthFile))
}

// remove removes a file that may be missing.
func remove(disk vfs.FS, path string) error {
	if err := disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// identity is what a store says of itself, in a file that a person can read:
//
//	kith store
//	format 1
//	incarnation 00c0ffee00c0ffee
//	crc32c 0badcafe
//
// The first two lines and the last are for ever; a newer format may have others
// between them.
type identity struct {
	format      uint64
	incarnation uint64 // 0: none yet; the next Open draws one
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (id identity) encode() []byte {
	b := fmt.Appendf(nil, "kith store\nformat %d\nincarnation %016x\n", id.format, id.incarnation)
	return fmt.Appendf(b, "crc32c %08x\n", crc32.Checksum(b, castagnoli))
}

// parseIdentity checks the sum first: a flipped bit is damage, not a newer
// format.
func parseIdentity(b []byte) (id identity, err error) {
	cut := bytes.LastIndex(b, []byte("crc32c "))
	if cut < 0 || string(b[cut:]) != fmt.Sprintf("crc32c %08x\n", crc32.Checksum(b[:cut], castagnoli)) {
		return id, fmt.Errorf("%w: the file %s does not add up", ErrDamaged, identityFile)
	}
	if _, err := fmt.Sscanf(string(b), "kith store\nformat %d\n", &id.format); err != nil {
		return id, fmt.Errorf("%w: the file %s is not an identity: %w", ErrDamaged, identityFile, err)
	}
	if id.format > FormatVersion {
		return id, fmt.Errorf("%w: the store has format %d, this program reads up to %d", ErrNewer, id.format, FormatVersion)
	}
	if _, err := fmt.Sscanf(string(b), "kith store\nformat %d\nincarnation %x\n", &id.format, &id.incarnation); err != nil {
		return id, fmt.Errorf("%w: the file %s is not an identity: %w", ErrDamaged, identityFile, err)
	}
	return id, nil
}

func readIdentity(disk vfs.FS, path string) (identity, error) {
	f, err := disk.Open(path)
	if err != nil {
		return identity{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxIdentityBytes))
	if err = errors.Join(err, f.Close()); err != nil {
		return identity{}, err
	}
	return parseIdentity(b)
}

// writeIdentity puts id into a file of dir, durably: whoever looks sees the old
// file or the new one, whole.
func writeIdentity(disk vfs.FS, dir, name string, id identity) error {
	path := disk.PathJoin(dir, name)
	f, err := disk.Create(path+draftSuffix, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(id.encode())
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := disk.Rename(path+draftSuffix, path); err != nil {
		return err
	}
	return syncDir(disk, dir)
}

func syncDir(disk vfs.FS, dir string) error {
	f, err := disk.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
