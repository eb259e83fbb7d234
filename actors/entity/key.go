package entity

import "encoding/binary"

// Shards is the number of slices of the key space. It is fixed when a store is
// created; in a cluster a shard is what moves.
const Shards = 64

// A Key orders the rows of a table. Keys built from the same sequence of part
// types sort as their parts do.
type Key []byte

// U64 appends n, so that keys sort by it.
func (k Key) U64(n uint64) Key { return binary.BigEndian.AppendUint64(k, n) }

// U32 appends n, so that keys sort by it.
func (k Key) U32(n uint32) Key { return binary.BigEndian.AppendUint32(k, n) }

// Str appends s and a terminator, so that "a" sorts before "aa". s has no zero
// byte: the doors refuse identifiers with one.
func (k Key) Str(s string) Key { return append(append(k, s...), 0) }

// TakeU64 splits off a leading U64.
func (k Key) TakeU64() (uint64, Key) { return binary.BigEndian.Uint64(k), k[8:] }

// TakeU32 splits off a leading U32.
func (k Key) TakeU32() (uint32, Key) { return binary.BigEndian.Uint32(k), k[4:] }

// TakeStr splits off a leading Str.
func (k Key) TakeStr() (string, Key) {
	for i, b := range k {
		if b == 0 {
			return string(k[:i]), k[i+1:]
		}
	}
	panic("entity: no string in key")
}

// Shard is the shard of an entity: a stable hash of its whole name.
func (r Ref) Shard() uint16 {
	h := uint64(r.Tenant)<<8 | uint64(r.Kind)
	h = mix(h) ^ r.ID
	return uint16(mix(h) % Shards)
}

// mix is the finaliser of splitmix64. Source: Steele, Lea, Flood: "Fast
// splittable pseudorandom number generators", OOPSLA 2014.
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// refKey appends shard(2) tenant(4) kind(1) id(8): the start of an entity's
// rows.
func refKey(b []byte, r Ref) []byte {
	b = binary.BigEndian.AppendUint16(b, r.Shard())
	b = binary.BigEndian.AppendUint32(b, uint32(r.Tenant))
	b = append(b, byte(r.Kind))
	return binary.BigEndian.AppendUint64(b, r.ID)
}

// maxTable is the largest number that tableKey can write.
const maxTable = 0x7FFF

// tableKey appends a table's number in one byte or two, so that keys sort by it.
func tableKey(b []byte, table uint32) []byte {
	if table < 0x80 {
		return append(b, byte(table))
	}
	return append(b, 0x80|byte(table>>8), byte(table))
}

// rowKey is the full key of a row: entity, table, key.
func rowKey(b []byte, r Ref, table uint32, k Key) []byte {
	return append(tableKey(refKey(b, r), table), k...)
}

// after returns the first key past every key that starts with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
