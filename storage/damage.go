package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// Pebble takes the first bad record of its manifest or of its newest log for
// the place where a power cut tore the last write, drops what comes after it,
// and removes the tables that the rest of the manifest named: one bad byte can
// empty a store without an error. But both files are written by one writer that
// syncs each record before it writes the next. So a whole record that begins
// after a bad one proves damage, and checkRecords looks for it before Pebble
// can open anything. Damage to the very last record cannot be told from a torn
// write and passes.
func checkRecords(disk vfs.FS, dir string) error {
	name, err := atomicfs.ReadMarker(disk, dir, "manifest")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if name != "" { // else Pebble says that there is no store
		if err := checkManifest(disk, disk.PathJoin(dir, name)); err != nil {
			return err
		}
	}
	logs, err := wal.Scan(wal.Dir{FS: disk, Dirname: dir})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if len(logs) == 0 {
		return nil
	}
	return checkLog(logs[len(logs)-1]) // the older ones were closed: there Pebble forgives nothing
}

func checkManifest(disk vfs.FS, path string) error {
	f, err := disk.Open(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	records := record.NewReader(f, 0)
	for n := 0; ; n++ {
		bad := records.Offset()
		r, err := records.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		switch {
		case err == nil:
			continue
		case n == 0: // the first was synced before anything pointed to the file
			err = fmt.Errorf("%w: %s begins with a bad record: %w", ErrDamaged, path, err)
		case errors.Is(err, io.EOF):
			err = nil
		default:
			err = lookBehind(f, path, bad, plainChunks)
		}
		return errors.Join(err, f.Close())
	}
}

func checkLog(log wal.LogicalLog) error {
	records := log.OpenForRead()
	for {
		_, at, err := records.NextRecord()
		if err == nil {
			continue
		}
		if err := records.Close(); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		disk, path := log.SegmentLocation(0)
		f, err := disk.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(lookBehind(f, path, at.Physical, logChunks(uint32(log.Num))), f.Close())
	}
}

// Pebble's record format, which is LevelDB's with two later headers: blocks of
// 32 KiB with chunks of crc(4) length(2) kind(1) and, in logs, log(4) and,
// since 2025, offset(8). Kinds 1, 5 and 9 are whole records, 2, 6 and 10 begin
// one.
const (
	recordBlock   = 32 << 10
	chunkHeader   = 7
	chunkLogBytes = 4
	chunkOffBytes = 8
)

// A chunkKind gives the header length of a chunk that begins a record, 0 for
// other bytes.
type chunkKind func(b []byte) int

func plainChunks(b []byte) int {
	if kind := b[6]; kind == 1 || kind == 2 {
		return chunkHeader
	}
	return 0
}

// logChunks knows the chunks of one log; a recycled file has those of others.
func logChunks(log uint32) chunkKind {
	return func(b []byte) int {
		if len(b) < chunkHeader+chunkLogBytes || binary.LittleEndian.Uint32(b[chunkHeader:]) != log {
			return 0
		}
		switch b[6] {
		case 5, 6:
			return chunkHeader + chunkLogBytes
		case 9, 10:
			return chunkHeader + chunkLogBytes + chunkOffBytes
		default:
			return 0
		}
	}
}

// lookBehind is ErrDamaged if a whole chunk begins a record after the bad one.
func lookBehind(f vfs.File, path string, bad int64, header chunkKind) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	start := bad - bad%recordBlock
	b := make([]byte, max(0, info.Size()-start))
	if n, err := f.ReadAt(b, start); err != nil && !(errors.Is(err, io.EOF) && n == len(b)) {
		return err
	}
	for at := int(bad-start) + 1; at+chunkHeader <= len(b); at++ {
		block := b[at:min(len(b), at-at%recordBlock+recordBlock)]
		if len(block) < chunkHeader {
			continue
		}
		n := header(block)
		end := n + int(binary.LittleEndian.Uint16(block[4:]))
		if n == 0 || end > len(block) {
			continue
		}
		if sum := crc32.Checksum(block[6:end], castagnoli); binary.LittleEndian.Uint32(block) == (sum>>15|sum<<17)+0xa282ead8 {
			return fmt.Errorf("%w: %s has a bad record at %d and a good one at %d", ErrDamaged, path, bad, start+int64(at))
		}
	}
	return nil
}
