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
)

// TestCrash runs simulations with new seeds until the time is up: nothing that
// anybody was told is lost, doubled, reordered, or shown to who may not see it.
func TestCrash(t *testing.T) {
	if *seed != 0 {
		if err := sim.Crash(sim.Run{Seed: *seed, Steps: *steps, Trace: t.Logf}, feature.All...); err != nil {
			t.Fatal(err)
		}
		return
	}
	start := time.Now()
	first := uint64(start.UnixNano())
	n := 0
	for ; n == 0 || time.Since(start) < *timeBox; n++ {
		if err := sim.Crash(sim.Run{Seed: first + uint64(n), Steps: *steps}, feature.All...); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Printf("%d simulations of %d steps\n", n, *steps)
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
