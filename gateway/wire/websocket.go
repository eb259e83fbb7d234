package wire

import (
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"
)

// An Opcode says what a WebSocket frame holds.
type Opcode uint8

// The opcodes of RFC 6455. The others are reserved, and refused.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

const (
	finBit  = 0x80
	rsvBits = 0x70
	opBits  = 0x0F
	maskBit = 0x80
	lenBits = 0x7F

	len16 = 126 // the length is in the next 2 bytes
	len64 = 127 // the length is in the next 8 bytes

	maxControlBytes = 125 // RFC 6455 §5.5
	maskBytes       = 4
)

// maxFragments bounds the fragments of one message. Browsers send one, Go and
// Java clients a few; more only make us reassemble.
const maxFragments = 64

// Control reports whether frames of the opcode may stand between the fragments
// of a message.
func (op Opcode) Control() bool { return op&0x8 != 0 }

// A Message is a whole WebSocket message, or a control frame. Data may alias
// the bytes that Decoder.Next was given.
type Message struct {
	Op   Opcode // never Continuation, except in the zero Message
	Data []byte // of a Close: see Closing
}

// Closing returns the code and the reason of a Close message. A peer that gave
// no code has 0.
func (m Message) Closing() (code uint16, reason string) {
	if len(m.Data) < 2 {
		return 0, ""
	}
	return binary.BigEndian.Uint16(m.Data), string(m.Data[2:])
}

// A Decoder takes messages out of the bytes that a client sent. The zero value
// is ready. Between messages it holds no memory; within a fragmented message it
// holds the fragments so far, which are within the limit given to Next.
type Decoder struct {
	partial   []byte // the fragments so far, unmasked
	op        Opcode // of the message they belong to; Continuation: none
	fragments uint8
}

// Next takes the next message out of b, which begins where the bytes consumed
// before end. It returns how many bytes it consumed: the caller discards them
// once it is done with the message. The zero Message means that b holds no
// whole message; n may still be positive, for fragments are taken as they come.
//
// Payloads are unmasked in place. limit is the most bytes a message may have;
// a frame is refused as soon as its header declares more. After an error the
// connection is over.
func (d *Decoder) Next(b []byte, limit int) (m Message, n int, err error) {
	for {
		h, size, err := parseHeader(b[n:])
		if err != nil || size == 0 {
			return Message{}, n, err
		}
		if err := d.admit(h, limit); err != nil {
			return Message{}, n, err
		}
		if have := len(b) - n - size; have < 0 || uint64(have) < h.length {
			return Message{}, n, nil
		}
		payload := b[n+size:][:h.length]
		n += size + len(payload)
		mask(payload, h.key)
		m, err := d.take(h, payload)
		if err != nil || m.Op != Continuation {
			return m, n, err
		}
	}
}

// Held is how many bytes of an unfinished message the decoder keeps.
func (d *Decoder) Held() int { return len(d.partial) }

// header is what a frame says before its payload.
type header struct {
	op     Opcode
	fin    bool
	length uint64
	key    uint32 // little endian, as mask wants it
}

// parseHeader reads a frame's header and returns its size, or 0 if b ends before
// the length does. b may end before the mask.
func parseHeader(b []byte) (h header, size int, err error) {
	if len(b) < 2 {
		return h, 0, nil
	}
	h.op, h.fin = Opcode(b[0]&opBits), b[0]&finBit != 0
	h.length = uint64(b[1] & lenBits)
	switch {
	case b[0]&rsvBits != 0:
		return h, 0, broken("a reserved bit is set, but no extension was agreed on")
	case h.op > Binary && h.op < Close || h.op > Pong:
		return h, 0, broken("the opcode %#x is reserved", uint8(h.op))
	case b[1]&maskBit == 0:
		return h, 0, broken("a client must mask its frames")
	case h.op.Control() && !h.fin:
		return h, 0, broken("a control frame must not be fragmented")
	case h.op.Control() && h.length > maxControlBytes:
		return h, 0, broken("a control frame has at most %d bytes", maxControlBytes)
	}

	size = 2
	switch h.length {
	case len16:
		size += 2
	case len64:
		size += 8
	}
	if len(b) < size {
		return h, 0, nil
	}
	switch size {
	case 2 + 2:
		h.length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 2 + 8:
		h.length = binary.BigEndian.Uint64(b[2:])
	}
	if !shortest(size, h.length) {
		return h, 0, broken("a frame's length must be written in the shortest form")
	}
	if len(b) >= size+maskBytes {
		h.key = binary.LittleEndian.Uint32(b[size:])
	}
	return h, size + maskBytes, nil
}

// shortest reports whether a length is written as RFC 6455 wants it.
func shortest(size int, length uint64) bool {
	switch size {
	case 2 + 2:
		return length >= len16
	case 2 + 8:
		return length > math.MaxUint16 && length <= math.MaxInt64
	}
	return true
}

// admit refuses a frame that the message so far, or the limit, has no room for.
func (d *Decoder) admit(h header, limit int) error {
	switch {
	case h.op.Control():
		return nil
	case h.op == Continuation && d.op == Continuation:
		return broken("there is no message to continue")
	case h.op != Continuation && d.op != Continuation:
		return broken("a message began before the last one ended")
	case h.length > uint64(max(0, limit-len(d.partial))):
		return tooLarge("a message may have at most %d bytes", limit)
	case !h.fin && d.fragments >= maxFragments-1:
		return tooLarge("a message may have at most %d fragments", maxFragments)
	}
	return nil
}

// take adds a frame to the message so far. It returns the zero Message if that
// is not yet whole.
func (d *Decoder) take(h header, payload []byte) (Message, error) {
	switch {
	case h.op.Control():
		if h.op == Close {
			return Message{h.op, payload}, checkClose(payload)
		}
		return Message{h.op, payload}, nil
	case h.fin && h.op != Continuation:
		return whole(h.op, payload)
	}

	if h.op != Continuation {
		d.op = h.op
	}
	d.fragments++
	d.partial = append(slices.Grow(d.partial, len(payload)), payload...)
	if !h.fin {
		return Message{}, nil
	}
	op, data := d.op, d.partial
	*d = Decoder{}
	return whole(op, data)
}

func whole(op Opcode, data []byte) (Message, error) {
	if op == Text && !utf8.Valid(data) {
		return Message{}, errNotUTF8
	}
	return Message{op, data}, nil
}

// checkClose checks the payload of a close frame: nothing, or a code that may
// be sent and a reason.
func checkClose(payload []byte) error {
	if len(payload) == 0 {
		return nil
	}
	if len(payload) == 1 {
		return broken("a close frame has a code of two bytes, or nothing")
	}
	code := binary.BigEndian.Uint16(payload)
	// 1004 is reserved; 1005, 1006 and 1015 say what no peer can say. 1012 to
	// 1014 were registered after the RFC.
	sendable := code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)
	if !sendable && (code < 3000 || code > 4999) {
		return broken("the close code %d may not be sent", code)
	}
	if !utf8.Valid(payload[2:]) {
		return errNotUTF8
	}
	return nil
}

// mask applies a masking key, eight bytes at a time.
func mask(b []byte, key uint32) {
	wide := uint64(key)<<32 | uint64(key)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(key >> (8 * (i & 3)))
	}
}

// AppendFrame appends an unfragmented frame.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return append(appendHeader(dst, op, len(payload)), payload...)
}

func appendHeader(dst []byte, op Opcode, length int) []byte {
	dst = append(dst, finBit|byte(op))
	switch {
	case length < len16:
		return append(dst, byte(length))
	case length <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, len16), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, len64), uint64(length))
}

// maxReasonBytes is what a close frame has left for its reason.
const maxReasonBytes = maxControlBytes - 2

// AppendClose appends a close frame. The reason is cut to what fits. Code 0
// answers a close frame that had none.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	if code == 0 {
		return append(dst, finBit|byte(Close), 0)
	}
	if len(reason) > maxReasonBytes {
		cut := maxReasonBytes
		for cut > 0 && !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	dst = append(dst, finBit|byte(Close), byte(2+len(reason)))
	return append(binary.BigEndian.AppendUint16(dst, code), reason...)
}

// OpenFrame appends room for a frame's header. What is appended next is its
// payload, until CloseFrame is given the length that dst had before.
//
//	mark := len(dst)
//	dst = OpenFrame(dst)
//	dst = … // the payload
//	dst = CloseFrame(dst, mark, Text)
func OpenFrame(dst []byte) []byte { return append(dst, make([]byte, commonHeader)...) }

// commonHeader is the size of the header of a frame with 126 to 65,535 bytes.
// Others are moved to where they belong: the smaller cost little, the larger
// are rare.
const commonHeader = 4

// CloseFrame writes the header of the frame that OpenFrame began at mark.
func CloseFrame(dst []byte, mark int, op Opcode) []byte {
	var room [2 + 8]byte
	payload := mark + commonHeader
	h := appendHeader(room[:0], op, len(dst)-payload)
	switch missing := len(h) - commonHeader; {
	case missing > 0:
		dst = insert(dst, payload, room[:missing])
	case missing < 0:
		dst = append(dst[:payload+missing], dst[payload:]...)
	}
	copy(dst[mark:], h)
	return dst
}
