package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kith/actors/entity"
)

// TestARangeRowByRowLeavesWhatTheRangeDoes commits random groups as they are, and
// with as many rows of ranges deleted one by one as may be.
func TestARangeRowByRowLeavesWhatTheRangeDoes(t *testing.T) {
	for _, most := range []int{0, 1, 7, 30, maxPoints} {
		rng := rand.New(rand.NewPCG(uint64(most), 1))
		d := mustOpen(t, small(vfs.NewMem()))
		want := model{}
		for range rounds(100, 1000) {
			group := randomGroup(rng, 40)
			want.apply(group)
			spelled, err := d.points(group, most)
			if err != nil {
				t.Fatal(err)
			}
			if most == maxPoints && slices.ContainsFunc(spelled, isRange) {
				t.Fatal("a range is left, and there are 60 rows")
			}
			if rows, err := d.group.fill(spelled); err != nil || rows > 0 && d.apply() != nil || d.advance() != nil {
				t.Fatalf("%d rows: %v", rows, err)
			}
			check(t, d, want, rng)
		}
		mustClose(t, d)
	}
}

func TestALargeRangeIsDeletedAsOne(t *testing.T) {
	d := mustOpen(t, small(vfs.NewMem()))
	defer mustClose(t, d)
	for i := range 10 {
		mustCommit(t, d, row(fmt.Sprintf("k%d", i), "v"))
	}
	const most = 9
	for _, c := range []struct {
		from, to string
		want     int
		asOne    bool
	}{{"k0", "k9", 9, false}, {"k0", "kz", 1, true}, {"l", "m", 0, false}} {
		got, err := d.points([]entity.Write{goneRange(c.from, c.to)}, most)
		if err != nil {
			t.Fatal(err)
		}
		if one := slices.ContainsFunc(got, isRange); len(got) != c.want || one != c.asOne {
			t.Errorf("[%s, %s) takes %d deletions, as one: %v; want %d and %v", c.from, c.to, len(got), one, c.want, c.asOne)
		}
	}
}
