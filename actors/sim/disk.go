package sim

import (
	"errors"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"path"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// powerCut returns what is on the disk after a power cut: all that was synced,
// and of the rest, block by block, as much as the seed says. Pebble's own
// CrashClone draws in the order of a map, and then no seed can be replayed.
// Here each block's fate depends on the seed, the kind of file and the place in
// it, so that it is the same whatever else happens to be on the disk.
func powerCut(disk *vfs.MemFS, dir string, seed uint64) (*vfs.MemFS, error) {
	synced := disk.CrashClone(vfs.CrashCloneCfg{})
	full := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(seed, 0))})
	percent := int(fate(seed, "percent", 0) % 101)
	names, err := full.List(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		if err := tear(synced, full, path.Join(dir, name), seed, percent); err != nil {
			return nil, err
		}
	}
	folder, err := synced.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	return synced, errors.Join(folder.Sync(), folder.Close())
}

// blockBytes is what a disk writes whole or not at all.
const blockBytes = 4096

// tear adds to a file what was not synced and survives all the same.
func tear(synced, full *vfs.MemFS, name string, seed uint64, percent int) error {
	if info, err := full.Stat(name); err != nil || info.IsDir() {
		return err
	}
	all, err := read(full, name)
	if err != nil {
		return err
	}
	kept, err := read(synced, name)
	if err != nil && int(fate(seed, "entry"+path.Ext(name), 0)%100) >= percent {
		return nil // Its directory entry is lost, and the file with it.
	}
	for at := 0; at < len(all); at += blockBytes {
		if int(fate(seed, path.Ext(name), at)%100) >= percent {
			continue
		}
		block := all[at:min(at+blockBytes, len(all))]
		if grow := at + len(block) - len(kept); grow > 0 {
			kept = append(kept, make([]byte, grow)...)
		}
		copy(kept[at:], block)
	}
	f, err := synced.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(kept)
	return errors.Join(err, f.Sync(), f.Close())
}

func read(fs *vfs.MemFS, name string) (content []byte, err error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(f)
}

// fate is a number that depends on its arguments alone.
func fate(seed uint64, kind string, at int) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, kind) // A hash never fails.
	return rand.New(rand.NewPCG(seed^h.Sum64(), uint64(at))).Uint64()
}
