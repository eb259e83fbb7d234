package entity_test

import (
	"bytes"
	"cmp"
	"strings"
	"testing"

	"kith/actors/entity"
	"kith/actors/pb"
)

// Shards are for ever: a store's rows lie by them.
func TestShardsAndNumbersAreGolden(t *testing.T) {
	for _, c := range []struct {
		ref   entity.Ref
		shard uint16
	}{
		{entity.Conversation(1, 1), 47},
		{entity.Conversation(1, 2), 51},
		{entity.Conversation(2, 1), 10},
		{entity.User(1, "ann"), 55},
		{entity.User(2, "ann"), 34},
		{entity.Ref{}, 47},
	} {
		if got := c.ref.Shard(); got != c.shard {
			t.Errorf("shard of %v = %d, want %d", c.ref, got, c.shard)
		}
	}
	for _, c := range []struct {
		name string
		got  uint64
		want uint64
	}{
		{"user ann", entity.UserNumber(1, "ann"), 1114925095955759},
		{"direct", entity.DirectNumber(1, "ann", "bob"), 4363633186630159},
		{"created", entity.CreatedNumber(1, "ann", "phone", "r"), 3898239467619670},
	} {
		if c.got != c.want {
			t.Errorf("number of %s = %d, want %d", c.name, c.got, c.want)
		}
	}
}

func TestNumbersDependOnEveryPart(t *testing.T) {
	if entity.DirectNumber(1, "ann", "bob") != entity.DirectNumber(1, "bob", "ann") {
		t.Error("a pair has two conversations")
	}
	seen := map[uint64]string{}
	for name, n := range map[string]uint64{
		"user": entity.UserNumber(1, "ann"), "user of another tenant": entity.UserNumber(2, "ann"), "another user": entity.UserNumber(1, "bob"),
		"direct": entity.DirectNumber(1, "ann", "bob"), "direct of another tenant": entity.DirectNumber(2, "ann", "bob"),
		"direct with oneself": entity.DirectNumber(1, "ann", "ann"), "a seam": entity.DirectNumber(1, "an", "nbob"),
		"created": entity.CreatedNumber(1, "ann", "phone", "r"), "by another device": entity.CreatedNumber(1, "ann", "laptop", "r"),
		"by another request": entity.CreatedNumber(1, "ann", "phone", "s"), "by another user": entity.CreatedNumber(1, "bob", "phone", "r"),
		"in another tenant": entity.CreatedNumber(2, "ann", "phone", "r"), "another seam": entity.CreatedNumber(1, "ann", "phoner", ""),
	} {
		if other := seen[n]; other != "" || n == 0 || n >= 1<<entity.NumberBits {
			t.Errorf("%s has number %d, like %q", name, n, other)
		}
		seen[n] = name
	}
}

func TestShardsAreEven(t *testing.T) {
	var users, conversations [entity.Shards]int
	for id := range uint64(64_000) {
		users[entity.Ref{Tenant: 1, Kind: pb.Kind_USER, ID: id}.Shard()]++
		conversations[entity.Conversation(3, id<<20).Shard()]++
	}
	for shard := range users {
		for _, n := range []int{users[shard], conversations[shard]} {
			if n < 800 || n > 1200 {
				t.Errorf("shard %d has %d of 64,000 entities, want about 1,000", shard, n)
			}
		}
	}
}

func TestTheKeyOfAMessageIsShort(t *testing.T) {
	ref := entity.Conversation(1<<32-1, 1<<entity.NumberBits-1)
	if n := len(entity.LogKey(ref, 1<<63)); n > 32 {
		t.Errorf("%d bytes, want at most 32", n)
	}
}

// A part is of a kind and a value; keys of the same kinds sort as their values.
func FuzzKeysSortAsTheirParts(f *testing.F) {
	f.Add(uint64(1), uint64(256), uint32(1), uint32(2), "a", "aa", uint32(1), uint32(200))
	f.Add(uint64(0), uint64(0), uint32(0), uint32(0), "", "\x01", uint32(0x7f), uint32(0x80))
	f.Add(uint64(9), uint64(9), uint32(9), uint32(9), "x", "x", uint32(0xff), uint32(0x100))
	f.Fuzz(func(t *testing.T, a1, b1 uint64, a2, b2 uint32, a3, b3 string, ta, tb uint32) {
		if strings.Contains(a3+b3, "\x00") {
			t.Skip()
		}
		a := entity.Key(nil).Str(a3).U64(a1).U32(a2)
		b := entity.Key(nil).Str(b3).U64(b1).U32(b2)
		want := cmp.Or(strings.Compare(a3, b3), cmp.Compare(a1, b1), cmp.Compare(a2, b2))
		if got := bytes.Compare(a, b); got != want {
			t.Errorf("%x sorts %d to %x, want %d", a, got, b, want)
		}
		s, rest := a.TakeStr()
		n, rest := rest.TakeU64()
		m, rest := rest.TakeU32()
		if s != a3 || n != a1 || m != a2 || len(rest) > 0 {
			t.Errorf("%x is read as %q %d %d %x", a, s, n, m, rest)
		}
		ta, tb = ta&0x7FFF, tb&0x7FFF
		ref := entity.Conversation(1, 1)
		if got, want := bytes.Compare(entity.RowKey(ref, ta, nil), entity.RowKey(ref, tb, nil)), cmp.Compare(ta, tb); got != want {
			t.Errorf("table %#x sorts %d to %#x, want %d", ta, got, tb, want)
		}
		// The rows of a table lie together: none of another table's between them.
		lower, upper := entity.Range(ref, ta)
		row := entity.RowKey(ref, tb, a)
		if in := bytes.Compare(row, lower) >= 0 && bytes.Compare(row, upper) < 0; in != (ta == tb) {
			t.Errorf("a row of table %#x is among those of %#x: %v", tb, ta, in)
		}
	})
}

func TestAShardsOwnRowsComeBeforeItsEntities(t *testing.T) {
	for id := range uint64(1000) {
		ref := entity.Conversation(1, id)
		_, end := entity.System(ref.Shard(), 0x7FFF)
		if row := entity.RowKey(ref, 1, nil); bytes.Compare(end, row) > 0 {
			t.Fatalf("a row of %v is among those of its shard", ref)
		}
		if lower, _ := entity.System(entity.NodeShard, 1); bytes.Compare(lower, entity.RowKey(ref, 0x7FFF, nil)) < 0 {
			t.Fatalf("a row of %v comes after those of the node", ref)
		}
	}
}
