package entity

import (
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
)

// requests remembers what was answered to commands with a request id, so that
// a retry gets the first result. Rows lie in buckets of time, so that old ones
// go in one range. What a user sent in the window is loaded once; from then on
// what is not known is known to be absent. Of who sent too much for that, each
// id is looked up.
type requests struct {
	known  map[requestKey]*requested
	loaded map[uint64]loaded // by user number
	bytes  int               // of what is known
	swept  uint32            // buckets below are gone
}

// loaded says what was loaded of a user: all from a bucket on, or, because that
// was too much, nothing.
type loaded struct {
	from  uint32
	whole bool
}

// requestKey names a request: the user, and a hash of his device and the id.
type requestKey struct {
	user uint64
	hash uint64
}

// requested is one remembered request.
type requested struct {
	key     requestKey
	bucket  uint32
	request uint64 // hash of the canonical request
	reply   []byte
	version uint64
}

// bucketHours is the width of a bucket. A request is kept for the window and
// at most one bucket longer.
const bucketHours = 8

// maxRequestBytes bounds what an entity remembers in memory; more is read
// again. It holds the requests of two minutes of a client that sends 125 a
// second.
const maxRequestBytes = 2 << 20

// maxLoaded is how many requests of one user are loaded at once.
const maxLoaded = 4096

// requestedBytes is what one remembered request takes beside its reply.
const requestedBytes = 128

var requestedTable = NewTable[pb.Requested]()

func bucketOf(t time.Time) uint32 { return uint32(t.Unix() / (bucketHours * 3600)) }

// originOf hashes device and request id; 0: there is no request id.
func originOf(c *Call) uint64 {
	if c.RequestID == "" {
		return 0
	}
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(c.Caller.Device) // A hash never fails.
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(c.RequestID)
	return max(1, d.Sum64())
}

// find looks a call up. It returns what the call would be remembered as, or
// nil if it has no request id, and what is known of it, or nil.
func (q *requests) find(m *Memory, c *Call, turn Turn) (asked, known *requested) {
	origin := originOf(c)
	if origin == 0 {
		return nil, nil
	}
	asked = &requested{
		key:     requestKey{c.Caller.Number, origin},
		bucket:  bucketOf(turn.Now),
		request: requestHash(m, c),
	}
	oldest := bucketOf(turn.Now.Add(-turn.Policy.RequestWindow))
	if turn.Hold {
		oldest = 0 // Nothing ends by a clock that may be wrong.
	}
	if q.known == nil {
		q.known, q.loaded = map[requestKey]*requested{}, map[uint64]loaded{}
	}
	from := max(oldest, q.swept) // Below it everything is gone, or its deletion is pending.
	had, ok := q.loaded[asked.key.user]
	if !ok || from < had.from {
		had = loaded{from, m.planted == ForgetRequests || q.load(m, asked.key.user, from)}
		q.loaded[asked.key.user] = had
	}
	known = q.known[asked.key]
	if known == nil && !had.whole {
		known = q.lookUp(m, asked.key, from)
	}
	if known != nil && known.bucket < oldest {
		return asked, nil
	}
	return asked, known
}

// requestHash hashes the method and the canonical bytes of its request.
func requestHash(m *Memory, c *Call) uint64 {
	b := append(append(m.scratch[:0], c.Method.Name...), 0)
	b, err := appendMessage(b, c.Req.(Message))
	if err != nil {
		panic(fault{err})
	}
	if cap(b) <= maxScratchBytes {
		m.scratch = b
	}
	return xxhash.Sum64(b)
}

// load reads what a user sent in the window, and reports whether that is all of
// it.
func (q *requests) load(m *Memory, user uint64, oldest uint32) bool {
	var all []*requested
	q.walk(m, oldest, requestKey{user: user}, func(r *requested) bool {
		all = append(all, r)
		return len(all) <= maxLoaded
	})
	if len(all) > maxLoaded {
		return false
	}
	for _, r := range all {
		if q.known[r.key] == nil { // What is pending is newer than what is stored.
			q.know(r)
		}
	}
	return true
}

// lookUp reads one request of who sent too much to load.
func (q *requests) lookUp(m *Memory, k requestKey, oldest uint32) (found *requested) {
	q.walk(m, oldest, k, func(r *requested) bool {
		if r.key == k {
			found = r
		}
		return false
	})
	return found
}

// walk yields what a user sent, bucket by bucket from oldest on, in each from
// the hash of k until yield returns false. It asks the store which buckets
// there are: a clock that was wrong once has left some where none should be.
func (q *requests) walk(m *Memory, oldest uint32, k requestKey, yield func(*requested) bool) {
	prefix := rowKey(nil, m.ref, requestedTable.num, nil)
	end := after(prefix)
	for bucket, more := oldest, true; more; {
		more = false
		lower := rowKey(nil, m.ref, requestedTable.num, Key(nil).U32(bucket).U64(k.user).U64(k.hash))
		err := m.view().Scan(lower, end, false, func(key, val []byte) bool {
			at, rest := Key(key[len(prefix):]).TakeU32()
			user, rest := rest.TakeU64()
			hash, _ := rest.TakeU64()
			if at == bucket && user == k.user && yield(readRequested(requestKey{user, hash}, at, val)) {
				return true
			}
			if at == bucket {
				at++ // The rest of this bucket is not asked for.
			}
			bucket, more = at, true
			return false
		})
		if err != nil {
			panic(fault{err})
		}
	}
}

func readRequested(k requestKey, bucket uint32, val []byte) *requested {
	var row pb.Requested
	if err := row.UnmarshalVT(val); err != nil {
		panic(fault{fmt.Errorf("decode a remembered request: %w", err)})
	}
	return &requested{key: k, bucket: bucket, request: row.Request, reply: row.Reply}
}

func (q *requests) know(r *requested) {
	if old := q.known[r.key]; old != nil {
		q.bytes -= requestedBytes + len(old.reply)
	}
	q.known[r.key] = r
	q.bytes += requestedBytes + len(r.reply)
}

func (q *requests) drop(r *requested) {
	delete(q.known, r.key)
	q.bytes -= requestedBytes + len(r.reply)
}

// remember appends the row of a request that was just answered, and drops the
// buckets that are past the window in one range.
func (q *requests) remember(m *Memory, writes []Write, asked *requested, reply proto.Message, turn Turn) []Write {
	if asked == nil {
		return writes
	}
	oldest := bucketOf(turn.Now.Add(-turn.Policy.RequestWindow))
	if q.swept < oldest && !turn.Hold {
		writes = q.sweep(m, writes, oldest)
	}
	// A pb.Requested, and the reply is remembered as a part of it: 3 → 1 allocs.
	size := reply.(Message).SizeVT()
	val := protowire.AppendTag(make([]byte, 0, 20+size), 1, protowire.Fixed64Type)
	val = protowire.AppendFixed64(val, asked.request)
	val = protowire.AppendVarint(protowire.AppendTag(val, 2, protowire.BytesType), uint64(size))
	val, err := appendMessage(val, reply.(Message))
	if err != nil {
		panic(fault{err})
	}
	asked.reply, asked.version = val[len(val)-size:], m.version+1
	q.know(asked)
	key := Key(make([]byte, 0, 20)).U32(asked.bucket).U64(asked.key.user).U64(asked.key.hash)
	return append(writes, Write{Key: rowKey(make([]byte, 0, 36), m.ref, requestedTable.num, key), Val: val})
}

// sweep drops the buckets below oldest in one range, if there is a row in them.
func (q *requests) sweep(m *Memory, writes []Write, oldest uint32) []Write {
	from := q.swept // Below it everything is gone, or its deletion is pending.
	q.swept = oldest
	found := false
	for _, r := range q.known {
		if r.bucket < oldest {
			found = found || r.version > m.durable
			q.drop(r)
		}
	}
	lower := rowKey(nil, m.ref, requestedTable.num, nil)
	upper := rowKey(nil, m.ref, requestedTable.num, Key(nil).U32(oldest))
	if !found {
		unswept := rowKey(nil, m.ref, requestedTable.num, Key(nil).U32(from))
		err := m.view().Scan(unswept, upper, false, func([]byte, []byte) bool {
			found = true
			return false
		})
		if err != nil {
			panic(fault{err})
		}
	}
	if !found {
		return writes
	}
	return append(writes, Write{Key: lower, End: upper})
}

// trim keeps the memory within its bound.
func (q *requests) trim(durable uint64) {
	if q.bytes > maxRequestBytes {
		q.forget(durable)
	}
}

// forget drops what can be read again.
func (q *requests) forget(durable uint64) {
	for _, r := range q.known {
		if r.version <= durable {
			q.drop(r)
		}
	}
	clear(q.loaded)
}

// outcome answers a request that was answered before.
func (r *requested) outcome(c *Call, asked *requested) Outcome {
	if r.request != asked.request {
		return Outcome{Err: Errorf(Conflict, "this request_id was used for another request")}
	}
	reply := c.Method.reply.New().Interface()
	if err := reply.(Message).UnmarshalVT(r.reply); err != nil {
		panic(fault{err})
	}
	return Outcome{Reply: reply, Repeat: true}
}
