package storage

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kith/actors/entity"
)

func TestAGroupIsAppliedInItsOrder(t *testing.T) {
	for _, c := range []struct {
		name  string
		group []entity.Write
		want  string
	}{
		{"the last write of a key wins", []entity.Write{row("k", "1"), row("a", "0"), row("k", "2")}, "a=0 k=2 old=0 "},
		{"a delete after a write", []entity.Write{row("k", "1"), gone("k")}, "old=0 "},
		{"a write after a delete", []entity.Write{gone("old"), row("old", "1")}, "old=1 "},
		{"an empty value is a row", []entity.Write{row("k", "")}, "k= old=0 "},
		{"a range covers what came before it", []entity.Write{row("m", "1"), goneRange("a", "z")}, ""},
		{"a range spares what comes after it", []entity.Write{goneRange("a", "z"), row("m", "1")}, "m=1 "},
		{"a range spares its end", []entity.Write{row("p", "1"), goneRange("a", "p")}, "p=1 "},
		{"between two ranges", []entity.Write{goneRange("a", "z"), row("m", "1"), goneRange("n", "z"), row("y", "2")}, "m=1 y=2 "},
		{"an empty range deletes nothing", []entity.Write{goneRange("z", "a"), goneRange("old", "old")}, "old=0 "},
		{"an empty group", nil, "old=0 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := mustOpen(t, small(vfs.NewMem()))
			defer mustClose(t, d)
			mustCommit(t, d, row("old", "0"))
			mustCommit(t, d, c.group...)
			if got := dump(t, d); got != c.want {
				t.Errorf("rows = %q, want %q", got, c.want)
			}
		})
	}
}

// model is what a store should hold.
type model map[string]string

func (m model) apply(group []entity.Write) {
	for _, w := range group {
		switch {
		case w.End != nil:
			maps.DeleteFunc(m, func(k, _ string) bool { return k >= string(w.Key) && k < string(w.End) })
		case w.Val == nil:
			delete(m, string(w.Key))
		default:
			m[string(w.Key)] = string(w.Val)
		}
	}
}

// scan is what a Scan of the model yields.
func (m model) scan(lower, upper string, reverse bool) []string {
	var rows []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if k >= lower && (upper == "" || k < upper) {
			rows = append(rows, k+"="+m[k])
		}
	}
	if reverse {
		slices.Reverse(rows)
	}
	return rows
}

// randomGroup has few keys, so that they repeat within and between groups.
func randomGroup(rng *rand.Rand, n int) []entity.Write {
	key := func() string { return fmt.Sprintf("k%02d", rng.IntN(60)) }
	group := make([]entity.Write, rng.IntN(n))
	for i := range group {
		switch rng.IntN(12) {
		case 0:
			group[i] = goneRange(key(), key())
		case 1, 2, 3:
			group[i] = gone(key())
		default:
			group[i] = row(key(), strings.Repeat("v", rng.IntN(400))+fmt.Sprint(rng.IntN(1000)))
		}
	}
	return group
}

func check(t *testing.T, r entity.Reader, want model, rng *rand.Rand) {
	t.Helper()
	bounds := []string{"", "k10", "k25", "k25x", "k99"}
	for range 4 {
		lower, upper := bounds[rng.IntN(len(bounds))], bounds[rng.IntN(len(bounds))]
		reverse, limit := rng.IntN(2) == 0, 1+rng.IntN(70)
		var got []string
		err := r.Scan([]byte(lower), nilIfEmpty(upper), reverse, func(key, val []byte) bool {
			got = append(got, string(key)+"="+string(val))
			return len(got) < limit
		})
		if err != nil {
			t.Fatal(err)
		}
		rows := want.scan(lower, upper, reverse)
		if rows = rows[:min(limit, len(rows))]; !slices.Equal(got, rows) {
			t.Fatalf("Scan(%q, %q, %v) = %q, want %q", lower, upper, reverse, got, rows)
		}
	}
	key := fmt.Sprintf("k%02d", rng.IntN(60))
	val, ok, err := r.Get([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	if rowVal, there := want[key]; ok != there || string(val) != rowVal {
		t.Fatalf("Get(%s) = %q, %v, want %q, %v", key, val, ok, rowVal, there)
	}
}

func nilIfEmpty(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

func TestAStoreAnswersAsAMapDoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	fs := vfs.NewMem()
	d := mustOpen(t, small(fs))
	want := model{}
	for i := range rounds(300, 600) {
		group := randomGroup(rng, 40)
		mustCommit(t, d, group...)
		want.apply(group)
		check(t, d, want, rng)
		if i%100 == 99 {
			mustClose(t, d)
			d = mustOpen(t, small(fs))
			check(t, d, want, rng)
		}
	}
	if p := d.pebbleMetrics(); p.Flush.Count == 0 {
		t.Error("nothing was flushed: the test reads memory only")
	}
	mustClose(t, d)
}

func TestACommitThatReturnedSurvivesAPowerCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	mem := vfs.NewCrashableMem()
	want := model{}
	for range rounds(12, 30) {
		d := mustOpen(t, small(mem))
		check(t, d, want, rng)
		for range 1 + rng.IntN(20) {
			group := randomGroup(rng, 60)
			mustCommit(t, d, group...)
			want.apply(group)
		}
		clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		mustClose(t, d)
		mem = clone
	}
}

func TestAPowerCutWithinACommitLeavesAllOfItOrNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	all, nothing := 0, 0
	var clone *vfs.MemFS
	mem := vfs.NewCrashableMem()
	cfg := small(SyncHook(mem, func() {
		clone = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
	}))
	d := mustOpen(t, cfg)
	before := model{}
	for i := range rounds(40, 80) {
		group := append(randomGroup(rng, 80), row("k00", fmt.Sprint(i)))
		mustCommit(t, d, group...)
		after := maps.Clone(before)
		after.apply(group)

		crashed := mustOpen(t, small(clone))
		got := dump(t, crashed)
		switch got {
		case strings.Join(append(after.scan("", "", false), ""), " "):
			all++
		case strings.Join(append(before.scan("", "", false), ""), " "):
			nothing++
		default:
			t.Fatalf("after a cut within group %d the rows are neither those before it nor those after it:\n%s", i, got)
		}
		mustClose(t, crashed)
		before = after
	}
	mustClose(t, d)
	if all == 0 || nothing == 0 {
		t.Errorf("%d groups survived a cut within them and %d did not, want some of both", all, nothing)
	}
}

func TestCommitOfAnEmptyGroupWritesNothing(t *testing.T) {
	syncs := 0
	d := mustOpen(t, small(SyncHook(vfs.NewMem(), func() { syncs++ })))
	syncs = 0
	mustCommit(t, d)
	mustCommit(t, d, goneRange("b", "a"))
	if syncs != 0 {
		t.Errorf("%d syncs for nothing", syncs)
	}
	mustCommit(t, d, row("a", "1"), row("b", "2"))
	if syncs != 1 {
		t.Errorf("%d syncs for a group, want 1", syncs)
	}
	mustClose(t, d)
}

func TestAGroupLargerThanTheMemtableIsStored(t *testing.T) {
	fs := vfs.NewMem()
	d := mustOpen(t, small(fs))
	var group []entity.Write
	want := model{}
	for i := range 3000 {
		group = append(group, row(fmt.Sprintf("k%05d", i), strings.Repeat("v", 300)))
	}
	mustCommit(t, d, group...)
	mustCommit(t, d, row("k00007", "later"))
	want.apply(group)
	want.apply([]entity.Write{row("k00007", "later")})
	if got, want := dump(t, d), strings.Join(append(want.scan("", "", false), ""), " "); got != want {
		t.Error("a large group was not read back as it was written")
	}
	mustClose(t, d)
}
