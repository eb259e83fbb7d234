package feature_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/sim"
)

// month is the recovery window of the default policy, in days, and longer than every
// other window in which something is kept for a while.
const month = 30

// Two months later a table may be larger by slack, and by few rows of some bytes,
// without growing: what people do is chance.
const (
	slack    = 1.3
	few      = 24
	rowBytes = 64
)

// bounded are the tables that may grow for a long time, and why they end to.
var bounded = map[string]string{
	"Hidden":       "he who deleted a message forgets it when it is gone and he has read 1,024 messages more",
	"HiddenLately": "the last 64 times of each member of each conversation",
	"Marked":       "a row for 1,024 messages that its owner has not read, with a byte for 8 of them",
	"ViewChange":   "two for each time that somebody has come to a channel, but one for each of its events at most",
}

// kept are those that grow while messages are kept, and why.
var kept = map[string]string{
	"Log HISTORY":    "the messages",
	"Reaction":       "a part of a message",
	"ReactionCounts": "a part of a message",
	"Grant":          "a part of a message that was forwarded",
	"HiddenCount":    "a part of a message that somebody has deleted for himself",
	"PinnedMessage":  "a part of a message, and 100 at most in a conversation",
}

// TestSoak lets a town live for four months. When the windows of the policy have
// passed once, what it stores grows no more, but for what people keep.
func TestSoak(t *testing.T) {
	policy, _ := entity.Profile("kaliu")
	for name, keep := range map[string]time.Duration{"messages are kept for good": 0, "messages are kept for a day": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			soak := sim.Soak{
				Seed: *seed, Policy: policy, PerDay: *perDay, Keep: uint32(keep.Seconds()),
				Census: []int{month, 2 * month, 3 * month, 4 * month},
			}
			all, tally, err := soak.Run(feature.All...)
			if err != nil {
				t.Fatal(err)
			}
			if testing.Verbose() {
				printCensus(all)
			}
			for method, n := range tally {
				if n.OK == 0 {
					t.Errorf("%s never succeeded: nothing is shown about what it stores", method)
				}
			}
			mayGrow := maps.Clone(bounded)
			if keep == 0 {
				maps.Copy(mayGrow, kept)
			}
			compareCensus(t, all[1], all[3], mayGrow)
		})
	}
}

// compareCensus finds the tables that have grown and may not, and what is left of the
// others' files.
func compareCensus(t *testing.T, before, after sim.Census, mayGrow map[string]string) {
	t.Helper()
	was, is := before.All, after.All
	for _, name := range sim.Tables([]sim.Census{before, after}) {
		then, now := before.Tables[name], after.Tables[name]
		if mayGrow[name] != "" {
			was.Bytes, is.Bytes = was.Bytes-then.Bytes, is.Bytes-now.Bytes
			continue
		}
		if now.Rows > int(slack*float64(then.Rows))+few {
			t.Errorf("%s has %d rows on day %d and %d on day %d: it grows", name, then.Rows, before.Day, now.Rows, after.Day)
		}
		if now.Bytes > int(slack*float64(then.Bytes))+few*rowBytes {
			t.Errorf("%s has %d bytes on day %d and %d on day %d: it grows", name, then.Bytes, before.Day, now.Bytes, after.Day)
		}
	}
	if is.Bytes > int(slack*float64(was.Bytes)) {
		t.Errorf("the store holds %d bytes on day %d and %d on day %d: it grows", was.Bytes, before.Day, is.Bytes, after.Day)
	}
	// What compactions have not reached yet comes and goes: a log and some tables.
	const unreached = 1 << 20
	if grown := after.Disk - before.Disk; grown > unreached+int64(after.All.Bytes-before.All.Bytes) {
		t.Errorf("the files have grown by %d bytes and the rows by %d", grown, after.All.Bytes-before.All.Bytes)
	}
}

func printCensus(all []sim.Census) {
	line := func(name string, of func(c sim.Census) string) {
		fmt.Printf("%-16s", name)
		for _, c := range all {
			fmt.Printf(" %17s", of(c))
		}
		fmt.Println()
	}
	cell := func(n sim.Counted) string { return fmt.Sprintf("%d %8dB", n.Rows, n.Bytes) }
	line("day", func(c sim.Census) string { return fmt.Sprint(c.Day) })
	for _, name := range slices.DeleteFunc(sim.Tables(all), func(name string) bool { return name == "Stamped" || name == "Tenanted" }) {
		line(name, func(c sim.Census) string { return cell(c.Tables[name]) })
	}
	line("all", func(c sim.Census) string { return cell(c.All) })
	line("files", func(c sim.Census) string { return fmt.Sprintf("%dB", c.Disk) })
}
