package entity

import (
	"time"

	"kith/actors/pb"
)

// A Parked is what an operator may know of a dead letter: everything but what it
// says and who it is made for.
type Parked struct {
	From, To Ref
	Number   uint64 // of the tell
	Method   string
	Reason   string
	Sent     time.Time
	ParkedAt time.Time
}

// ReadParked calls yield with every dead letter of a shard, by sender, receiver
// and number.
func ReadParked(rows Reader, shard uint16, yield func(Parked) bool) error {
	prefix := systemPrefix(shard, deadLetters.num)
	var bad error
	err := rows.Scan(prefix, after(prefix), false, func(key, val []byte) bool {
		row := &pb.DeadLetter{}
		if bad = row.UnmarshalVT(val); bad != nil {
			return false
		}
		p := Parked{
			Method: row.Tell.GetMethod(), Reason: row.Reason,
			Sent: time.UnixMilli(row.Tell.GetAt()), ParkedAt: time.UnixMilli(row.ParkedAt),
		}
		p.From, p.To, p.Number = splitTellKey(Key(key[len(prefix):]))
		return yield(p)
	})
	if bad != nil {
		err = bad
	}
	return err
}

// splitTellKey reads what a tell's key says after the prefix of its table.
func splitTellKey(k Key) (from, to Ref, number uint64) {
	var refs [2]Ref
	for i := range refs {
		var tenant uint32
		tenant, k = k.TakeU32()
		refs[i].Tenant, refs[i].Kind = Tenant(tenant), pb.Kind(k[0])
		refs[i].ID, k = k[1:].TakeU64()
	}
	number, _ = k.TakeU64()
	return refs[0], refs[1], number
}
