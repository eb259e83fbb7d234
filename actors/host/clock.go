package host

import (
	"sync/atomic"
	"time"
)

// maxJump is how far the clock may move against the clock that nobody sets.
// Beyond it retention waits for an operator: a wrong clock must erase nothing.
const maxJump = time.Hour

// A clockWatch notices a clock that jumped. Sends go on in any case: a Step
// sees no time earlier than its entity's last event.
type clockWatch struct {
	held    atomic.Bool
	agreed  bool
	wall    time.Time
	elapsed time.Duration
}

// start takes the first look. A clock that stands before the last commit has
// jumped while the server was down; one that stands after it may just be late.
func (w *clockWatch) start(clock Clock, lastCommit time.Time, agreed bool) {
	w.wall, w.elapsed, w.agreed = clock.Now(), clock.Elapsed(), agreed
	w.held.Store(!agreed && lastCommit.Sub(w.wall) > maxJump)
}

// look compares the two clocks and returns a jump that was just noticed, or 0.
func (w *clockWatch) look(clock Clock) time.Duration {
	wall, elapsed := clock.Now(), clock.Elapsed()
	jump := wall.Round(0).Sub(w.wall.Round(0)) - (elapsed - w.elapsed)
	w.wall, w.elapsed = wall, elapsed
	if jump.Abs() <= maxJump || w.agreed {
		return 0
	}
	w.held.Store(true)
	return jump
}
