package loadtest

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// Progress shows how far a load is, on one line of a terminal. nil shows nothing.
type Progress struct {
	Out  io.Writer
	last time.Time
}

// barWidth is how many characters the bar has.
const barWidth = 30

func (p *Progress) draw(what string, part float64, detail string) {
	part = min(max(part, 0), 1)
	full := int(part * barWidth)
	p.last = time.Now()
	fmt.Fprintf(p.Out, "\r\033[K%-18s [%s%s] %3.0f%%  %s", what, strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), 100*part, detail)
}

// stage returns what shows how many of n are done.
func (p *Progress) stage(what string, n int) func(done int) {
	return func(done int) {
		if p == nil || done < n && time.Since(p.last) < showEvery {
			return
		}
		p.draw(what, float64(done)/float64(n), fmt.Sprintf("%d of %d", done, n))
	}
}

// running returns what shows how much of d has passed, and how many messages are
// through, if somebody counts them.
func (p *Progress) running(what string, d time.Duration, through *atomic.Uint64) func() {
	began, before := time.Now(), uint64(0)
	if through != nil {
		before = through.Load()
	}
	return func() {
		if p == nil {
			return
		}
		passed, detail := time.Since(began), ""
		if through != nil {
			detail = fmt.Sprintf("%.0f messages/s", float64(through.Load()-before)/passed.Seconds())
		}
		p.draw(what, passed.Seconds()/d.Seconds(), detail)
	}
}

// clear takes the line away.
func (p *Progress) clear() {
	if p != nil {
		fmt.Fprint(p.Out, "\r\033[K")
	}
}
