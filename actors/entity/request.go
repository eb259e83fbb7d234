package entity

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
)

// requests remembers what was answered to commands with a request id, so that
// a retry gets the first result. Rows lie in buckets of time, so that old ones
// go in one range. What a user asked in the window is loaded once, as a set of
// words without a pointer; from then on what is not in it is known to be
// absent, and what is in it is read. Of who asked too much for that, each
// request is looked up.
//
// The set takes 24 bytes for a request and the collector does not look into it.
// To keep the replies took 250, which made a third of the garbage collection
// of a busy server.
type requests struct {
	seen    []seen            // rising
	words   int               // in seen
	pending []requested       // not durable, oldest first
	loaded  map[uint64]loaded // by user number
	swept   uint32            // buckets below are gone
}

// seen is what was asked in one bucket by who is loaded. More than there was
// does no harm: what is in it is read.
type seen struct {
	bucket uint32
	words  map[uint64]struct{}
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
	hash uint64 // 0: the call has no request id
}

// word stands for the key in a set.
func (k requestKey) word() uint64 { return k.hash ^ mix(k.user) }

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
// again. It holds the requests of six minutes of a client that sends 125 a
// second.
const maxRequestBytes = 1 << 20

// requestBytes is what one remembered request takes.
const requestBytes = 24

// maxLoaded is how many requests of one user are loaded at once: some
// milliseconds of reading. All that is loaded takes at most half of the memory,
// so that as many requests again can be made before it is loaded anew.
const maxLoaded = 16 << 10

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

// find looks a call up. It returns what the call would be remembered as, and
// what is known of it, or nil. Known of a call without a request id is nothing.
func (q *requests) find(m *Memory, c *Call, turn Turn) (asked requested, known *requested) {
	asked.key = requestKey{c.Caller.Number, originOf(c)}
	if asked.key.hash == 0 {
		return asked, nil
	}
	asked.bucket, asked.request = bucketOf(turn.Now), requestHash(m, c)
	oldest := bucketOf(turn.Now.Add(-turn.Policy.RequestWindow))
	if turn.Hold {
		oldest = 0 // Nothing ends by a clock that may be wrong.
	}
	from := max(oldest, q.swept) // Below it everything is gone, or its deletion is pending.
	had, ok := q.loaded[asked.key.user]
	if !ok || from < had.from {
		had = loaded{from, m.planted == ForgetRequests || q.load(m, asked.key.user, from)}
		if q.loaded == nil {
			q.loaded = map[uint64]loaded{}
		}
		q.loaded[asked.key.user] = had
	}
	if had.whole && !q.has(asked.key, from) {
		return asked, nil
	}
	for i := len(q.pending) - 1; i >= 0; i-- {
		if r := &q.pending[i]; r.key == asked.key && r.bucket >= from {
			return asked, r
		}
	}
	return asked, q.lookUp(m, asked.key, from)
}

// has reports whether a request may have been made since a bucket by somebody
// of whom all is loaded.
func (q *requests) has(k requestKey, from uint32) bool {
	for _, s := range q.seen {
		if _, ok := s.words[k.word()]; ok && s.bucket >= from {
			return true
		}
	}
	return false
}

// add makes a request one of those that may have been made.
func (q *requests) add(k requestKey, bucket uint32) {
	i, ok := slices.BinarySearchFunc(q.seen, bucket, func(s seen, b uint32) int { return cmp.Compare(s.bucket, b) })
	if !ok {
		q.seen = slices.Insert(q.seen, i, seen{bucket, map[uint64]struct{}{}})
	}
	words := q.seen[i].words
	before := len(words)
	words[k.word()] = struct{}{}
	q.words += len(words) - before
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

// load reads what a user asked since a bucket, and reports whether that is all
// of it.
func (q *requests) load(m *Memory, user uint64, from uint32) bool {
	most := min(maxLoaded, maxRequestBytes/2/requestBytes-q.words)
	type made struct {
		key    requestKey
		bucket uint32
	}
	var all []made
	q.walk(m, from, requestKey{user: user}, func(k requestKey, bucket uint32, _ []byte) bool {
		all = append(all, made{k, bucket})
		return len(all) <= most
	})
	if len(all) > most {
		return false
	}
	for _, r := range all {
		q.add(r.key, r.bucket)
	}
	for _, r := range q.pending { // Durable later, and then nowhere else.
		if r.key.user == user {
			q.add(r.key, r.bucket)
		}
	}
	return true
}

// lookUp reads a request, as it was last made.
func (q *requests) lookUp(m *Memory, k requestKey, from uint32) (found *requested) {
	q.walk(m, from, k, func(key requestKey, bucket uint32, val []byte) bool {
		if key == k {
			found = readRequested(key, bucket, val)
		}
		return false
	})
	return found
}

// walk yields what a user sent, bucket by bucket from oldest on, in each from
// the hash of k until yield returns false. It asks the store which buckets
// there are: a clock that was wrong once has left some where none should be.
func (q *requests) walk(m *Memory, oldest uint32, k requestKey, yield func(k requestKey, bucket uint32, val []byte) bool) {
	prefix := rowKey(nil, m.ref, requestedTable.num, nil)
	end := after(prefix)
	for bucket, more := oldest, true; more; {
		more = false
		lower := rowKey(nil, m.ref, requestedTable.num, Key(nil).U32(bucket).U64(k.user).U64(k.hash))
		err := m.view().Scan(lower, end, false, func(key, val []byte) bool {
			at, rest := Key(key[len(prefix):]).TakeU32()
			user, rest := rest.TakeU64()
			hash, _ := rest.TakeU64()
			if at == bucket && user == k.user && yield(requestKey{user, hash}, at, val) {
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

// remember appends the row of a request that was just answered, and drops the
// buckets that are past the window in one range.
func (q *requests) remember(m *Memory, writes []Write, asked requested, reply proto.Message, turn Turn) []Write {
	if asked.key.hash == 0 {
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
	q.pending = append(q.pending, asked)
	if q.loaded[asked.key.user].whole {
		q.add(asked.key, asked.bucket)
	}
	key := Key(make([]byte, 0, 20)).U32(asked.bucket).U64(asked.key.user).U64(asked.key.hash)
	return append(writes, Write{Key: rowKey(make([]byte, 0, 36), m.ref, requestedTable.num, key), Val: val})
}

// sweep drops the buckets below oldest in one range, if there is a row in them.
func (q *requests) sweep(m *Memory, writes []Write, oldest uint32) []Write {
	from := q.swept // Below it everything is gone, or its deletion is pending.
	q.swept = oldest
	found := slices.ContainsFunc(q.pending, func(r requested) bool { return r.bucket >= from && r.bucket < oldest })
	for len(q.seen) > 0 && q.seen[0].bucket < oldest {
		q.words -= len(q.seen[0].words)
		q.seen = slices.Delete(q.seen, 0, 1)
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

// oldest is the first bucket that has something in it, if there is one.
func (q *requests) oldest(m *Memory) (bucket uint32, ok bool) {
	for _, r := range q.pending {
		if r.bucket >= q.swept && (!ok || r.bucket < bucket) {
			bucket, ok = r.bucket, true
		}
	}
	prefix := rowKey(nil, m.ref, requestedTable.num, nil)
	lower := rowKey(nil, m.ref, requestedTable.num, Key(nil).U32(q.swept))
	err := m.view().Scan(lower, after(prefix), false, func(key, _ []byte) bool {
		if at, _ := Key(key[len(prefix):]).TakeU32(); !ok || at < bucket {
			bucket, ok = at, true
		}
		return false
	})
	if err != nil {
		panic(fault{err})
	}
	return bucket, ok
}

// durable forgets the replies that can be read from now on.
func (q *requests) durable(version uint64) {
	n := 0
	for n < len(q.pending) && q.pending[n].version <= version {
		n++
	}
	q.pending = slices.Delete(q.pending, 0, n)
}

// bytes is what is held, but for what is pending.
func (q *requests) bytes() int { return requestBytes * (q.words + len(q.loaded)) }

// trim keeps the memory within its bound.
func (q *requests) trim() {
	if q.bytes() > maxRequestBytes {
		q.forget()
	}
}

// forget drops what can be read again.
func (q *requests) forget() {
	q.seen, q.words = nil, 0
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
