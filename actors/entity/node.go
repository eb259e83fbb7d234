package entity

import (
	"time"

	"kith/actors/pb"
)

// The node's own rows sort after every shard.
const nodeShard = 0xFFFF

var (
	stamped  = NewTable[pb.Stamped]()
	tenanted = NewTable[pb.Tenanted]()
)

func nodeKey(table uint32, k Key) []byte { return append(systemPrefix(nodeShard, table), k...) }

// StampRow returns the write that records the number and the time of a commit.
func StampRow(stamp uint64, now time.Time) Write {
	val, err := (&pb.Stamped{Stamp: stamp, At: now.UnixMilli()}).MarshalVT()
	if err != nil {
		panic(fault{err})
	}
	return Write{Key: nodeKey(stamped.num, nil), Val: val}
}

// ReadStamp returns the number and the time of the last commit; 0 if there was
// none.
func ReadStamp(rows Reader) (stamp uint64, at time.Time, err error) {
	val, ok, err := rows.Get(nodeKey(stamped.num, nil))
	if err != nil || !ok {
		return 0, time.Time{}, err
	}
	var row pb.Stamped
	if err := row.UnmarshalVT(val); err != nil {
		return 0, time.Time{}, err
	}
	return row.Stamp, time.UnixMilli(row.At), nil
}

// TenantRow returns the write that interns a tenant's name.
func TenantRow(name string, t Tenant) Write {
	val, err := (&pb.Tenanted{Number: uint32(t)}).MarshalVT()
	if err != nil {
		panic(fault{err})
	}
	return Write{Key: nodeKey(tenanted.num, Key(nil).Str(name)), Val: val}
}

// ReadTenants returns the number of every tenant that the store knows, by name.
func ReadTenants(rows Reader) (map[string]Tenant, error) {
	known := map[string]Tenant{}
	prefix := nodeKey(tenanted.num, nil)
	var bad error
	err := rows.Scan(prefix, after(prefix), false, func(key, val []byte) bool {
		var row pb.Tenanted
		if bad = row.UnmarshalVT(val); bad != nil {
			return false
		}
		name, _ := Key(key[len(prefix):]).TakeStr()
		known[name] = Tenant(row.Number)
		return true
	})
	if bad != nil {
		err = bad
	}
	return known, err
}

// A Snapshot is a Reader of the durable view at one moment. It is closed once,
// and soon: it keeps old rows on the disk.
type Snapshot interface {
	Reader
	Close() error
}
