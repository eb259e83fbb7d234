package session

import (
	"sync"

	"github.com/centrifugal/protocol"

	"kith/gateway/wire"
)

const (
	// maxReplyBytes bounds one reply. Features page below it; what they make
	// beyond it is refused rather than sent to a phone.
	maxReplyBytes = 256 << 10
	// unauthenticatedBytes is the budget of a queue before the token is known: a
	// refusal or a ping, and room for a connect's reply.
	unauthenticatedBytes = 64 << 10

	firstBufferBytes = 4 << 10
	// keptBufferBytes bounds what a buffer keeps when it goes back to the pool: a
	// burst should not stay in memory for ever.
	keptBufferBytes = 64 << 10
)

// A queue is what waits to be written to one connection: whole frames, in the
// order in which they are to arrive. It has a buffer only while something
// waits.
type queue struct {
	buf    *buffer
	frames int  // in buf
	unsent int  // bytes that the socket had not taken when it was last written to
	budget int  // bytes
	told   bool // the connection knows that there is something to take
}

type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, firstBufferBytes)} }}

func getBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) release() {
	if b != nil && cap(b.b) <= keptBufferBytes {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// pending is the number of bytes that wait, here and behind a full socket.
func (q *queue) pending() int {
	if q.buf == nil {
		return q.unsent
	}
	return q.unsent + len(q.buf.b)
}

// stalled reports whether the socket took less than it was given.
func (q *queue) stalled() bool { return q.unsent > 0 }

// takesSignal reports whether a signal is worth its place.
func (q *queue) takesSignal(n int) bool { return q.pending()+n <= q.budget/2 }

// takesEvent reports whether an event may be queued. An empty queue takes any.
func (q *queue) takesEvent(n int) bool {
	pending := q.pending()
	return pending == 0 || pending+n <= q.budget
}

// takesReply reports whether a reply may be queued. Nobody else keeps a reply,
// and the client asked for it; so it may go over the budget, by a bound.
func (q *queue) takesReply(n int) bool { return q.pending()+n <= 2*q.budget+maxReplyBytes }

// room is how many bytes of missed events may be added: up to half the budget,
// so that what happens now still has the other half.
func (q *queue) room() int { return q.budget/2 - q.pending() }

func (q *queue) open() *buffer {
	if q.buf == nil {
		q.buf = getBuffer()
	}
	return q.buf
}

// append adds whole frames.
func (q *queue) append(frames []byte, n int) {
	b := q.open()
	b.b = append(b.b, frames...)
	q.frames += n
}

// take empties the queue; the caller releases the buffer. nil: it was empty.
func (q *queue) take() (b *buffer, frames int) {
	b, frames = q.buf, q.frames
	q.buf, q.frames, q.told = nil, 0, false
	return b, frames
}

// drop forgets what waits.
func (q *queue) drop() {
	b, _ := q.take()
	b.release()
}

// appendFramed appends a frame whose payload fill appends.
func appendFramed(dst []byte, p wire.Protocol, fill func([]byte) []byte) []byte {
	mark := len(dst)
	return p.Close(fill(p.Open(dst)), mark)
}

// appendReply appends a reply or a push in a frame of its own. What cannot be
// encoded is a bug of ours, since the texts that come from clients were checked
// when they came.
func appendReply(dst []byte, p wire.Protocol, r *protocol.Reply) []byte {
	return appendFramed(dst, p, func(dst []byte) []byte {
		out, err := p.AppendReply(dst, r)
		if err != nil {
			panic("session: a reply cannot be encoded: " + err.Error())
		}
		return out
	})
}
