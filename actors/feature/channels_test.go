package feature_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/sim"
)

// A readership is a channel of alice with some subscribers.
type readership struct {
	*server
	id          uint64
	subscribers []entity.Caller
}

func newReadership(t *testing.T) *readership {
	r := &readership{server: newServer(t)}
	req := &pb.CreateChannelRequest{Name: "news", Public: true}
	r.id = do[*pb.CreateChannelResponse](r.server, caller(1, "alice"), "Channels.Create", req).ConversationId
	for i := range 5 {
		who := caller(1, fmt.Sprint("subscriber", i))
		do[*pb.JoinResponse](r.server, who, "Groups.Join", &pb.JoinRequest{ConversationId: r.id})
		r.subscribers = append(r.subscribers, who)
	}
	return r
}

// views asks for the views of posts.
func (r *readership) views(seqs ...uint64) map[uint64]uint32 {
	r.t.Helper()
	reply := do[*pb.ViewsResponse](r.server, caller(1, "alice"), "Channels.Views", &pb.ViewsRequest{ConversationId: r.id, Seqs: seqs})
	got := map[uint64]uint32{}
	for _, p := range reply.Posts {
		got[p.Seq] = p.Views
	}
	return got
}

// watch lets subscribers view up to random posts, and compares what is counted with
// how far each has come.
func (r *readership) watch(posts []uint64, rounds int) {
	r.t.Helper()
	rng := rand.New(rand.NewPCG(1, 1))
	seen := make([]uint64, len(r.subscribers))
	for round := range rounds {
		who, seq := rng.IntN(len(seen)), posts[rng.IntN(len(posts))]
		do[*pb.ViewResponse](r.server, r.subscribers[who], "Channels.View", &pb.ViewRequest{ConversationId: r.id, Seq: seq})
		seen[who] = max(seen[who], seq)
		first := rng.IntN(len(posts))
		asked := posts[first:min(first+1+rng.IntN(100), len(posts))]
		if asked[len(asked)-1]-asked[0] > 1024 {
			asked = asked[:1]
		}
		got := r.views(asked...)
		for _, seq := range asked {
			want := uint32(0)
			for _, far := range seen {
				if far >= seq {
					want++
				}
			}
			if got[seq] != want {
				r.t.Fatalf("round %d: post %d has %d views, want %d; they have viewed up to %v", round, seq, got[seq], want, seen)
			}
		}
	}
}

func TestEachPostIsViewedOnceByEach(t *testing.T) {
	r := newReadership(t)
	var posts []uint64
	for i := range 700 { // More than two ranges of 256.
		posts = append(posts, r.send(caller(1, "alice"), r.id, fmt.Sprint(i)))
	}
	r.watch(posts, 60)
	if found := r.damaged(nil); found != "" {
		t.Errorf("the recount says\n%s", found)
	}
}

// TestViewsAreCountedInALongLog has posts on both sides of the borders of every
// level, in a log whose other events are long gone.
func TestViewsAreCountedInALongLog(t *testing.T) {
	young := newReadership(t)
	post := young.send(caller(1, "alice"), young.id, "hello")
	ref := entity.Conversation(1, young.id)
	val, ok, err := young.Rows().Get(rowKey(ref, logTable, entity.Key{}.U64(post)))
	if err != nil || !ok {
		t.Fatal("there is no post", err)
	}
	old := &readership{server: newServer(t), id: young.id, subscribers: young.subscribers}
	var posts []uint64
	for _, border := range []uint64{256, 512, 1 << 16, 1<<16 + 256, 1 << 17, 1<<24 + 1<<16} {
		posts = append(posts, border-1, border, border+1)
	}
	var writes []entity.Write
	err = young.Rows().Scan(nil, nil, false, func(key, val []byte) bool {
		writes = append(writes, entity.Write{Key: bytes.Clone(key), Val: bytes.Clone(val)})
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range posts {
		writes = append(writes, entity.Write{Key: rowKey(ref, logTable, entity.Key{}.U64(seq)), Val: val})
	}
	old.Rows().Commit(writes)
	old.watch(posts, 200)
}

const (
	logTable    = 0x01
	staffTable  = 0x1C
	viewedTable = 0x88
	viewTable   = 0x89
)

// wideKey is rowKey in a table whose number takes two bytes.
func wideKey(ref entity.Ref, table byte, k entity.Key) []byte {
	key := rowKey(ref, 0x80, nil)
	return append(append(key, table), k...)
}

// damaged damages a copy of the rows and returns what a recount finds.
func (r *readership) damaged(damage func(rows *sim.Model, ref entity.Ref)) string {
	r.t.Helper()
	rows := r.Rows().Clone()
	rows.Commit([]entity.Write{entity.TenantRow("acme", 1), entity.StampRow(1_000_000, time.Now())})
	if damage != nil {
		damage(rows, entity.Conversation(1, r.id))
	}
	var found []string
	if _, err := r.reg.Verify(rows, func(p entity.Problem) { found = append(found, p.String()) }, nil); err != nil {
		r.t.Fatal(err)
	}
	return strings.Join(found, "\n")
}

func TestWhatDoesNotCountInAChannelIsReported(t *testing.T) {
	r := newReadership(t)
	var posts []uint64
	for i := range 300 {
		posts = append(posts, r.send(caller(1, "alice"), r.id, fmt.Sprint(i)))
	}
	first, last := posts[0], posts[len(posts)-1]
	do[*pb.ViewResponse](r.server, r.subscribers[0], "Channels.View", &pb.ViewRequest{ConversationId: r.id, Seq: last})
	place := func(level uint32, at uint64) entity.Key { return entity.Key{}.U32(level).U64(at) }
	put := func(rows *sim.Model, key []byte, row entity.Message) {
		val, err := row.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		rows.Commit([]entity.Write{{Key: key, Val: append([]byte{}, val...)}})
	}
	for _, c := range []struct {
		name   string
		damage func(rows *sim.Model, ref entity.Ref)
		want   string
	}{
		{"more views than viewers", func(rows *sim.Model, ref entity.Ref) {
			put(rows, wideKey(ref, viewTable, place(0, last)), &pb.ViewChange{By: 2})
		}, fmt.Sprintf("event %d has 2 views by 1 viewers", last)},
		{"fewer than none", func(rows *sim.Model, ref entity.Ref) {
			put(rows, wideKey(ref, viewTable, place(0, last)), &pb.ViewChange{By: -1})
		}, "has -1 views by 1 viewers"},
		{"views of nothing", func(rows *sim.Model, ref entity.Ref) {
			rows.Commit([]entity.Write{{Key: wideKey(ref, viewTable, place(0, first-2)), End: wideKey(ref, viewTable, place(0, first))}})
		}, "1 views are of events before the first"},
		{"a range that does not add up", func(rows *sim.Model, ref entity.Ref) {
			put(rows, wideKey(ref, viewTable, place(1, last>>8)), &pb.ViewChange{By: 3})
		}, "the views of level 0 do not add up to those of level 1"},
		{"a view of what is not there", func(rows *sim.Model, ref entity.Ref) {
			put(rows, wideKey(ref, viewedTable, entity.Key{}.U32(2)), &pb.Viewed{Seq: last + 1})
		}, fmt.Sprintf("member 2 has viewed up to %d, and the last event is %d", last+1, last)},
		{"an admin who is none", func(rows *sim.Model, ref entity.Ref) {
			put(rows, rowKey(ref, staffTable, entity.Key{}.U64(r.subscribers[0].Number)), &pb.Staff{})
		}, "is an admin in one table and not in another"},
		{"an admin who was never there", func(rows *sim.Model, ref entity.Ref) {
			put(rows, rowKey(ref, staffTable, entity.Key{}.U64(7)), &pb.Staff{})
		}, "the user 7 is an admin and was never a member"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if found := r.damaged(c.damage); !strings.Contains(found, c.want) {
				t.Errorf("found\n%s\nwant %q", found, c.want)
			}
		})
	}
	if found := r.damaged(nil); found != "" {
		t.Errorf("before any damage:\n%s", found)
	}
}
