package feature_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/sim"
)

var (
	seed    = flag.Uint64("seed", 0, "run the crash simulation with this seed alone")
	steps   = flag.Int("steps", 4000, "how much happens in one simulation")
	timeBox = flag.Duration("for", 3*time.Second, "how long to try new seeds")
	perDay  = flag.Int("perday", 60, "how many calls a day has in the soak")
)

// longRun is the time box from which on a method that never succeeds is a
// fault: the simulation has had every chance to call it as it wants to be.
const longRun = time.Minute

// TestCrash runs simulations with new seeds until the time is up: nothing that
// anybody was told is lost, doubled, reordered, or shown to who may not see it.
// With -v it prints how often each method did what it was asked to.
func TestCrash(t *testing.T) {
	if *seed != 0 {
		if err := sim.Crash(sim.Run{Seed: *seed, Steps: *steps, Trace: t.Logf}, feature.All...); err != nil {
			t.Fatal(err)
		}
		return
	}
	start := time.Now()
	first := uint64(start.UnixNano())
	tally := map[string]sim.Tally{}
	n := 0
	for ; n == 0 || time.Since(start) < *timeBox; n++ {
		if err := sim.Crash(sim.Run{Seed: first + uint64(n), Steps: *steps, Tally: tally}, feature.All...); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Printf("%d simulations of %d steps\n", n, *steps)
	reportTally(t, tally)
}

// reportTally looks for public methods that nothing was heard of.
func reportTally(t *testing.T, tally map[string]sim.Tally) {
	reg, err := entity.New(feature.All...)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range reg.Methods() {
		if m.Internal {
			continue // Calls of these are told, or made by the doors.
		}
		got := tally[m.Name]
		if testing.Verbose() {
			fmt.Printf("%-24s %8d ok %8d refused\n", m.Name, got.OK, got.Refused)
		}
		if got.OK == 0 && *timeBox >= longRun {
			t.Errorf("%s never succeeded: the simulation does not know how to call it (actors/sim/calls.go)", m.Name)
		}
	}
}

// plantedSeeds is how many seeds may pass before a planted bug is found.
const plantedSeeds = 60

// TestPlanted plants each bug in the real code; the simulation must find it.
func TestPlanted(t *testing.T) {
	for _, bug := range entity.Bugs() {
		t.Run(bug.String(), func(t *testing.T) {
			for s := range uint64(plantedSeeds) {
				err := sim.Crash(sim.Run{Seed: s + 1, Steps: *steps, Bug: bug}, feature.All...)
				if err != nil {
					t.Logf("found by seed %d: %.300s", s+1, err)
					return
				}
			}
			t.Errorf("%d seeds did not find it", plantedSeeds)
		})
	}
}
