package channels

import (
	"fmt"
	"maps"
	"slices"

	"kith/actors/entity"
)

// check recounts the views: what each level says is what the level below says, no
// post has more viewers than there are, or fewer than none.
func check(v *entity.View, say func(sentence string)) {
	report := func(format string, args ...any) { say(fmt.Sprintf(format, args...)) }
	viewers, head := int64(0), v.Head().Seq
	for key, row := range viewed.Scan(v, nil) {
		viewers++
		if number, _ := key.TakeU32(); row.Seq == 0 || row.Seq > head {
			report("member %d has viewed up to %d, and the last event is %d", number, row.Seq, head)
		}
	}
	below := map[uint64]int64{}
	for level := range uint32(levels) {
		here := map[uint64]int64{}
		for key, row := range changes.Scan(v, entity.Key{}.U32(level)) {
			place, _ := key.TakeU64()
			here[place] = row.By
		}
		if level == 0 {
			checkSums(here, viewers, report)
		} else if !maps.Equal(here, raised(below)) {
			report("the views of level %d do not add up to those of level %d", level-1, level)
		}
		below = here
	}
}

// raised is what the level above must say. What cancels out has no row.
func raised(level map[uint64]int64) map[uint64]int64 {
	above := map[uint64]int64{}
	for place, by := range level {
		above[place>>levelBits] += by
	}
	maps.DeleteFunc(above, func(_ uint64, by int64) bool { return by == 0 })
	return above
}

// checkSums adds up the changes from the last one on.
func checkSums(changes map[uint64]int64, viewers int64, report func(format string, args ...any)) {
	sum := int64(0)
	for _, seq := range slices.Backward(slices.Sorted(maps.Keys(changes))) {
		if sum += changes[seq]; sum < 0 || sum > viewers {
			report("event %d has %d views by %d viewers", seq, sum, viewers)
		}
	}
	if sum != 0 {
		report("%d views are of events before the first", sum)
	}
}
