package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// Pebble takes the first bad record of its manifest or of its newest log for
// the place where a power cut tore the last write, drops what comes after it,
// and removes the tables that the rest of the manifest named: one bad byte can
// empty a store without an error. But both files are written by one writer that
// syncs each record before it writes the next. So a record that begins after a
// bad one proves damage, and checkRecords looks for it before Pebble can open
// anything. Damage to the very last record cannot be told from a torn write and
// passes.
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
			err = lookBehind(f, path, bad)
		}
		return errors.Join(err, f.Close())
	}
}

func checkLog(log wal.LogicalLog) error {
	disk, path := log.SegmentLocation(0)
	f, err := disk.Open(path)
	if err != nil {
		return err
	}
	end, err := endOfRecords(f, uint32(log.Num))
	if err == nil {
		err = followLog(f, path, end, uint32(log.Num))
	}
	return errors.Join(err, f.Close())
}

// Pebble's record format, which is LevelDB's with two later headers: blocks of
// 32 KiB with chunks of crc(4) length(2) kind(1) and, in logs, log(4) and,
// since 2025, offset(8). Kinds 1, 5 and 9 are whole records; 2, 6 and 10 begin
// one, 3, 7 and 11 go on with it, 4, 8 and 12 end it.
const (
	recordBlock   = 32 << 10
	chunkHeader   = 7
	chunkLogBytes = 4
	chunkOffBytes = 8
	logHeader     = chunkHeader + chunkLogBytes // the least of a chunk in a log
	sector        = 512                         // what a disk writes whole or not at all; many write more
)

// endOfRecords is where the good records of a log end. Pebble's own reader
// would try every bit of a bad chunk for one that flipped, which takes seconds.
func endOfRecords(f vfs.File, log uint32) (end int64, err error) {
	block, open := make([]byte, recordBlock), false // a record is open: it has begun and not ended
	for start := int64(0); ; start += recordBlock {
		n, err := f.ReadAt(block, start)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for at := 0; at+logHeader <= n; {
			if recordBlock-at < logHeader+chunkOffBytes && !landed(block[:n], at) {
				break // what is left of the block holds no header
			}
			c, ok := parseLogChunk(block[at:n], log)
			if !ok || !c.sumsUp || c.begins == open {
				return end, nil
			}
			at += c.size
			if open = !c.ends; !open {
				end = start + int64(at)
			}
		}
		if n < recordBlock {
			return end, nil
		}
	}
}

// followLog is ErrDamaged if what a log has from the end of its good records on
// is more than one torn write. Messages are in the log as their authors wrote
// them, so they may hold what looks like chunks: only what stands where Pebble
// must have put a header counts, at the end itself, behind the chunks that
// follow from there, and at the start of each later block. A header that
// reached the disk is Pebble's own, for a log never begins with the bytes of an
// older one (freshLogs). So whatever is there and does not belong to the one
// record that may be torn was written after that one was synced.
//
// Two kinds of damage still pass for a torn write and hide what comes after it
// in its block: a length that became so large that it leads past the end of the
// log, and zeros from the first byte of a header to the end of its sector.
func followLog(f vfs.File, path string, end int64, log uint32) error {
	b, start, err := readFrom(f, end)
	if err != nil {
		return err
	}
	first := int(end - start)
	if left := recordBlock - first; left < logHeader || left < logHeader+chunkOffBytes && !landed(b, first) {
		first = recordBlock // what is left of the block holds no header
	}
	for at, next := first, 0; at+logHeader <= len(b); at = next {
		next = at - at%recordBlock + recordBlock
		if !landed(b, at) {
			continue
		}
		c, ok := parseLogChunk(b[at:min(next, len(b))], log)
		switch {
		case at == first && c.trailer:
			return nil // the log was closed
		case !ok || at+c.size > next || at != first && c.begins || c.sumsUp && c.synced > uint64(end):
			return fmt.Errorf("%w: %s has a bad record at %d and more behind it at %d", ErrDamaged, path, end, start+int64(at))
		}
		if after := at + c.size; next-after >= logHeader+chunkOffBytes {
			next = after
		}
	}
	return nil
}

// landed says whether the header at at has reached the disk, as far as a torn
// write goes: each sector of it does or does not. Before a write all is zero
// from where it begins.
func landed(b []byte, at int) bool {
	for from := at; from < min(at+logHeader, len(b)); from += sector - from%sector {
		if end := min(from-from%sector+sector, len(b)); !slices.ContainsFunc(b[from:end], func(c byte) bool { return c != 0 }) {
			return false
		}
	}
	return true
}

// logChunk is what a chunk's header says.
type logChunk struct {
	size    int    // with the header
	begins  bool   // a record
	ends    bool   // a record
	trailer bool   // it is what a log ends with that was closed
	sumsUp  bool   // its checksum is right
	synced  uint64 // what of the log was durable before it was written; 0: it does not say
}

// parseLogChunk reads a header of one log; not ok: it is none.
func parseLogChunk(b []byte, log uint32) (c logChunk, ok bool) {
	sum, length, kind := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint16(b[4:])), b[6]
	number := binary.LittleEndian.Uint32(b[chunkHeader:])
	if kind == 5 && number == log+1 && length == 0 && sum == 0 {
		return logChunk{trailer: true}, false
	}
	if kind < 5 || kind > 12 || number != log {
		return c, false
	}
	c.size = logHeader + length
	if kind >= 9 {
		c.size += chunkOffBytes
	}
	c.begins = kind == 5 || kind == 6 || kind == 9 || kind == 10
	c.ends = kind == 5 || kind == 8 || kind == 9 || kind == 12
	c.sumsUp = c.size <= len(b) && sum == chunkSum(b[6:c.size])
	if kind >= 9 && c.sumsUp {
		c.synced = binary.LittleEndian.Uint64(b[logHeader:])
	}
	return c, true
}

// lookBehind is ErrDamaged if a whole chunk begins a record after the bad one,
// anywhere in a manifest: the bytes of its records are Pebble's own but for the
// first and last key of each table, and the text in keys has no control
// characters and no NUL, so nobody can forge the kind of a chunk in it.
func lookBehind(f vfs.File, path string, bad int64) error {
	b, start, err := readFrom(f, bad)
	if err != nil {
		return err
	}
	for at := int(bad-start) + 1; at+chunkHeader <= len(b); at++ {
		block := b[at:min(len(b), at-at%recordBlock+recordBlock)]
		if len(block) < chunkHeader || block[6] != 1 && block[6] != 2 {
			continue
		}
		end := chunkHeader + int(binary.LittleEndian.Uint16(block[4:]))
		if end <= len(block) && binary.LittleEndian.Uint32(block) == chunkSum(block[6:end]) {
			return fmt.Errorf("%w: %s has a bad record at %d and a good one at %d", ErrDamaged, path, bad, start+int64(at))
		}
	}
	return nil
}

// readFrom reads a file from the start of the block that at is in.
func readFrom(f vfs.File, at int64) (b []byte, start int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	start = at - at%recordBlock
	b = make([]byte, max(0, info.Size()-start))
	if n, err := f.ReadAt(b, start); err != nil && !(errors.Is(err, io.EOF) && n == len(b)) {
		return nil, 0, err
	}
	return b, start, nil
}

// chunkSum is the checksum of a chunk from its kind on, masked as LevelDB's are.
func chunkSum(b []byte) uint32 {
	sum := crc32.Checksum(b, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}
