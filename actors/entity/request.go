package entity

import (
	"encoding/binary"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
)

// requests remembers what was answered to commands with a request id, so that
// a retry gets the first result. Rows lie in buckets of time, so that old ones
// go in one range. What a user sent in the window is loaded once; from then on
// what is not known is known to be absent.
type requests struct {
	known  map[requestKey]*requested
	loaded map[uint64]bool // user numbers
	swept  uint32          // buckets below are gone
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

// maxRequests bounds what an entity remembers in memory; more is read again.
const maxRequests = 4096

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
		request: requestHash(c.Req.(Message)),
	}
	oldest := bucketOf(turn.Now.Add(-turn.Policy.RequestWindow))
	if m.planted == ForgetRequests && !q.loaded[asked.key.user] {
		q.markLoaded(asked.key.user)
	}
	if !q.loaded[asked.key.user] {
		q.load(m, asked.key.user, oldest, asked.bucket)
	}
	if known = q.known[asked.key]; known != nil && known.bucket < oldest {
		return asked, nil
	}
	return asked, known
}

// requestHash hashes the canonical bytes of a request.
func requestHash(req Message) uint64 {
	b, err := req.MarshalVT()
	if err != nil {
		panic(fault{err})
	}
	return xxhash.Sum64(b)
}

// load reads what a user sent in the window.
func (q *requests) load(m *Memory, user uint64, oldest, newest uint32) {
	if len(q.known) > maxRequests {
		q.forget(m.durable)
	}
	q.markLoaded(user)
	if m.head.Seq == 0 {
		return // The entity is new: nobody has sent it anything.
	}
	for bucket := oldest; bucket <= newest; bucket++ {
		prefix := rowKey(nil, m.ref, requestedTable.num, Key(nil).U32(bucket).U64(user))
		err := m.view().Scan(prefix, after(prefix), false, func(key, val []byte) bool {
			var row pb.Requested
			if err := row.UnmarshalVT(val); err != nil {
				panic(fault{err})
			}
			k := requestKey{user, binary.BigEndian.Uint64(key[len(prefix):])}
			if q.known[k] == nil { // What is pending is newer than what is stored.
				q.known[k] = &requested{k, bucket, row.Request, row.Reply, 0}
			}
			return true
		})
		if err != nil {
			panic(fault{err})
		}
	}
}

func (q *requests) markLoaded(user uint64) {
	if q.known == nil {
		q.known, q.loaded = map[requestKey]*requested{}, map[uint64]bool{}
	}
	q.loaded[user] = true
}

// remember makes the row of a request that was just answered, and drops the
// buckets that are past the window in one range.
func (q *requests) remember(m *Memory, asked *requested, reply proto.Message, turn Turn) []Write {
	if asked == nil {
		return nil
	}
	var writes []Write
	oldest := bucketOf(turn.Now.Add(-turn.Policy.RequestWindow))
	if q.swept < oldest && !turn.Hold {
		writes = q.sweep(m, oldest)
	}
	b, err := reply.(Message).MarshalVT()
	if err != nil {
		panic(fault{err})
	}
	asked.reply, asked.version = b, m.version+1
	q.known[asked.key] = asked
	val, err := (&pb.Requested{Request: asked.request, Reply: b}).MarshalVT()
	if err != nil {
		panic(fault{err})
	}
	key := Key(make([]byte, 0, 20)).U32(asked.bucket).U64(asked.key.user).U64(asked.key.hash)
	return append(writes, Write{Key: rowKey(make([]byte, 0, 36), m.ref, requestedTable.num, key), Val: val})
}

// sweep drops the buckets below oldest in one range, if there is a row in them.
func (q *requests) sweep(m *Memory, oldest uint32) []Write {
	from := q.swept // Below it everything is gone, or its deletion is pending.
	q.swept = oldest
	found := false
	for k, r := range q.known {
		if r.bucket < oldest {
			found = found || r.version > m.durable
			delete(q.known, k)
		}
	}
	lower := rowKey(nil, m.ref, requestedTable.num, nil)
	upper := rowKey(nil, m.ref, requestedTable.num, Key(nil).U32(oldest))
	if !found && m.head.Seq > 0 {
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
		return nil
	}
	return []Write{{Key: lower, End: upper}}
}

// forget drops what can be read again.
func (q *requests) forget(durable uint64) {
	for k, r := range q.known {
		if r.version <= durable {
			delete(q.known, k)
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
