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
	held   atomic.Bool
	agreed bool
	last   atomic.Pointer[moment] // of the last look
}

// A moment is what both clocks said.
type moment struct {
	wall    time.Time
	elapsed time.Duration
}

func read(clock Clock) moment { return moment{clock.Now().Round(0), clock.Elapsed()} }

// jump is how far the clock has moved, up to a later moment, against the one
// that nobody sets.
func (m *moment) jump(later moment) time.Duration {
	return later.wall.Sub(m.wall) - (later.elapsed - m.elapsed)
}

// start takes the first look. A clock that stands before the last commit has
// jumped while the server was down; one that stands after it may just be late.
func (w *clockWatch) start(clock Clock, lastCommit time.Time, agreed bool) {
	now := read(clock)
	w.agreed = agreed
	w.held.Store(!agreed && lastCommit.Sub(now.wall) > maxJump)
	w.last.Store(&now)
}

// holds reports whether retention waits. A jump counts from the first Step
// after it, although it is noticed by the next look.
func (w *clockWatch) holds(now moment) bool {
	return w.held.Load() || !w.agreed && w.last.Load().jump(now).Abs() > maxJump
}

// look compares the two clocks and returns a jump that was just noticed, or 0.
func (w *clockWatch) look(clock Clock) time.Duration {
	now := read(clock)
	jump := w.last.Load().jump(now)
	if jump.Abs() <= maxJump || w.agreed {
		jump = 0
	} else {
		w.held.Store(true) // Before the jump is forgotten.
	}
	w.last.Store(&now)
	return jump
}
