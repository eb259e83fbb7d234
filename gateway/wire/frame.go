package wire

import (
	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
)

// A Dialect is how one session is spoken to.
type Dialect struct {
	Protocol Protocol
	Payload  Payload
}

// Dialect returns the protocol with the payload that a client named: "json",
// "proto", or nothing, which is json.
func (p Protocol) Dialect(payload string) (Dialect, error) {
	switch {
	case payload == "" || payload == "json":
		return Dialect{p, JSONPayload}, nil
	case payload != "proto":
		return Dialect{}, entity.Errorf(entity.Invalid, "payload must be json or proto")
	case p == JSON:
		return Dialect{}, entity.Errorf(entity.Invalid, "payload must be json in the JSON protocol, which cannot carry bytes")
	}
	return Dialect{p, ProtoPayload}, nil
}

// AppendResult appends the result of an rpc. If it fails, dst is as it was.
func (d Dialect) AppendResult(dst []byte, id uint32, m proto.Message) ([]byte, error) {
	mark := len(dst)
	if d.Protocol == JSON {
		out, err := d.Payload.Append(d.Protocol.openResult(dst, id, 0), m)
		if err != nil {
			return dst, err
		}
		return d.Protocol.closeResult(out), nil
	}
	out, err := d.Payload.Append(dst, m)
	if err != nil {
		return dst, err
	}
	var room [64]byte
	return insert(out, mark, d.Protocol.openResult(room[:0], id, len(out)-mark)), nil
}

// A Frame is one event on its way to many sessions: a publication, or for a
// signal (Seq 0) a message, each in a frame of its own. It is encoded when the
// first session of a dialect asks, and once; a Stream's bytes are those of
// Protobuf without the WebSocket's header. The zero Frame is ready for Reset; one
// goroutine uses it.
type Frame struct {
	channel string
	event   *entity.Event
	data    [payloads]encoded
	framed  [payloads * encodings]framed
	failed  bool
}

// framed is a WebSocket frame. Its memory is kept for the next event.
type framed struct {
	b    []byte
	head int // the size of its header
}

// encoded is the event in one payload. Its memory is kept for the next event.
type encoded struct {
	b    []byte
	done bool
}

const (
	payloads  = 2
	encodings = 2 // JSON and protobuf, whatever lies around them
	// maxKept bounds the memory that a buffer keeps from one event to the next.
	maxKept = 64 << 10
)

// Reset prepares the frame for an event of a channel, which of a signal may be
// empty. What For returned before is void.
func (f *Frame) Reset(channel string, e *entity.Event) {
	f.channel, f.event, f.failed = channel, e, false
	for i := range f.data {
		f.data[i] = encoded{b: kept(f.data[i].b)}
	}
	for i := range f.framed {
		f.framed[i] = framed{b: kept(f.framed[i].b)}
	}
}

func kept(b []byte) []byte {
	if cap(b) > maxKept {
		return nil
	}
	return b[:0]
}

// For returns the frame in a dialect. The bytes are shared by all sessions and
// valid until Reset.
func (f *Frame) For(d Dialect) []byte {
	at := &f.framed[int(d.Payload)]
	if d.Protocol != JSON {
		at = &f.framed[payloads+int(d.Payload)]
	}
	if len(at.b) == 0 {
		data := f.payload(d.Payload)
		dst := OpenFrame(at.b)
		if f.event.Seq == 0 {
			dst = d.Protocol.AppendMessage(dst, data)
		} else {
			dst = d.Protocol.AppendPublication(dst, f.channel, f.event.Seq, data)
		}
		size := len(dst) - commonHeader
		at.b = CloseFrame(dst, 0, d.Protocol.Opcode())
		at.head = len(at.b) - size
	}
	if d.Protocol == Stream {
		return at.b[at.head:]
	}
	return at.b
}

func (f *Frame) payload(p Payload) []byte {
	e := &f.data[p]
	if !e.done {
		channel := ""
		if f.event.Seq == 0 {
			channel = f.channel // Its push will name none.
		}
		var ok bool
		e.b, ok = AppendEvent(e.b, p, f.event, channel)
		e.done = true
		f.failed = f.failed || !ok
	}
	return e.b
}

// Unreadable reports whether the event could not be encoded, in any dialect
// asked for since Reset.
func (f *Frame) Unreadable() bool { return f.failed }
