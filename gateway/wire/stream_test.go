package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"
	"google.golang.org/protobuf/proto"
)

// taken is what came out of a stream: frames, then perhaps an error.
type taken struct {
	frames [][]byte
	err    *Error
}

// takeFrames gives a stream to NextDelimited as it would come from a socket: in
// chunks of the given sizes, in turn.
func takeFrames(stream []byte, limit int, chunks ...int) (r taken) {
	var held []byte
	for i := 0; len(stream) > 0; i++ {
		n := min(max(1, chunks[i%len(chunks)]), len(stream))
		held, stream = append(held, stream[:n]...), stream[n:]
		for {
			frame, n, err := NextDelimited(held, limit)
			if err != nil {
				errors.As(err, &r.err)
				return r
			}
			if n == 0 {
				break
			}
			r.frames = append(r.frames, bytes.Clone(frame))
			held = held[n:]
		}
	}
	return r
}

func equalTaken(a, b taken) bool {
	return slices.EqualFunc(a.frames, b.frames, bytes.Equal) && (a.err == nil) == (b.err == nil) && (a.err == nil || *a.err == *b.err)
}

// delimited is a frame with so many bytes behind its length.
func delimited(n int) []byte {
	return append(binary.AppendUvarint(nil, uint64(n)), strings.Repeat("x", n)...)
}

var streamCases = []struct {
	name     string
	stream   []byte
	frames   int
	code     uint16 // of the error; 0 without tooLarge: there is none
	tooLarge bool
}{
	{name: "nothing"},
	{name: "a ping or its answer", stream: []byte{0}, frames: 1},
	{name: "three of them", stream: []byte{0, 0, 0}, frames: 3},
	{name: "two frames in one segment", stream: append(delimited(3), delimited(300)...), frames: 2},
	{name: "a frame that has not come", stream: delimited(200)[:200]},
	{name: "half a length", stream: []byte{0x80}},
	{name: "the largest", stream: delimited(testLimit), frames: 1},
	{name: "one byte more", stream: binary.AppendUvarint(nil, testLimit+1), tooLarge: true},
	{name: "a length of which the beginning is too large", stream: []byte{0, 0xff, 0xff}, frames: 1, tooLarge: true},
	{name: "the largest varint", stream: binary.AppendUvarint(nil, math.MaxUint64), tooLarge: true},
	{name: "a varint without end", stream: bytes.Repeat([]byte{0xff}, 100), tooLarge: true},
	{name: "zeros without end", stream: bytes.Repeat([]byte{0x80}, 100), tooLarge: true},
	{name: "an overlong nothing", stream: []byte{0x80, 0}, code: badCommand},
	{name: "an overlong one, after a frame", stream: []byte{1, 'x', 0x81, 0}, frames: 1, code: badCommand},
}

func TestFramesOfAStream(t *testing.T) {
	for _, c := range streamCases {
		t.Run(c.name, func(t *testing.T) {
			for _, chunks := range [][]int{{len(c.stream)}, {1}, {2, 5}} {
				r := takeFrames(c.stream, testLimit, chunks...)
				if len(r.frames) != c.frames {
					t.Errorf("in chunks of %d there are %d frames, want %d", chunks, len(r.frames), c.frames)
				}
				switch {
				case !c.tooLarge && c.code == 0:
					if r.err != nil {
						t.Errorf("in chunks of %d: %v", chunks, r.err)
					}
				case r.err == nil || r.err.TooLarge != c.tooLarge || r.err.Code != c.code:
					t.Errorf("in chunks of %d the error is %+v", chunks, r.err)
				}
			}
		})
	}
}

func TestAnnouncedFramesAllocateNothing(t *testing.T) {
	whole := append(delimited(64<<10), delimited(5)...)
	for _, stream := range [][]byte{whole, whole[:100], binary.AppendUvarint(nil, 1<<40)} {
		next := func() {
			for b := stream; len(b) > 0; {
				_, n, err := NextDelimited(b, 64<<10)
				if err != nil || n == 0 {
					break
				}
				b = b[n:]
			}
		}
		want := 0.0
		if _, _, err := NextDelimited(stream, 64<<10); err != nil {
			want = 5 // Its sentence.
		}
		if n := testing.AllocsPerRun(100, next); n > want {
			t.Errorf("a stream of %d bytes costs %v allocations", len(stream), n)
		}
	}
}

// What a client sends in one frame is one command, as in a WebSocket.
func TestAFrameIsACommand(t *testing.T) {
	for _, want := range served {
		stream := must(appendCommand(nil, Stream, want))
		frame, n, err := NextDelimited(append(stream, 0), 64<<10)
		if err != nil || n != len(stream) {
			t.Fatalf("%v: %d bytes of %d, %v", want, n, len(stream), err)
		}
		got := must(commands(Stream, frame))
		if len(got) != 1 || !proto.Equal(got[0], want) {
			t.Errorf("%v is read as %v", want, got)
		}
	}
	if got := must(commands(Stream, []byte{0})); len(got) != 1 || !IsPong(got[0]) {
		t.Errorf("the byte 0 is %v, want the answer to a ping", got)
	}
}

func TestAPingIsOneByte(t *testing.T) {
	if got := Stream.Close(Stream.AppendPing(Stream.Open(nil)), 0); !bytes.Equal(got, []byte{0}) {
		t.Errorf("a ping is %x, want 00", got)
	}
}

func TestTheLastFrameSaysWhy(t *testing.T) {
	for _, p := range []Protocol{JSON, Protobuf} {
		if got, want := p.AppendEnd([]byte("x"), 3008, "slow"), AppendClose([]byte("x"), 3008, "slow"); !bytes.Equal(got, want) {
			t.Errorf("%v ends with %x, want %x", p, got, want)
		}
	}
	replies := decodeReplies(t, Stream, Stream.AppendEnd(nil, 3008, "slow"))
	want := &protocol.Reply{Push: &protocol.Push{Disconnect: &protocol.Disconnect{Code: 3008, Reason: "slow"}}}
	if len(replies) != 1 || !proto.Equal(replies[0], want) {
		t.Errorf("a stream ends with %v, want %v", replies, want)
	}
}

func TestAStreamSharesTheBytesOfWebSockets(t *testing.T) {
	for _, size := range []int{1, 200, 70_000} { // Each has a header of another size.
		e := anEvent()
		e.By = strings.Repeat("x", size)
		for _, p := range []Payload{JSONPayload, ProtoPayload} {
			var f Frame
			f.Reset("c:1", e)
			stream := f.For(Dialect{Stream, p})
			socket := f.For(Dialect{Protobuf, p})
			if !bytes.HasSuffix(socket, stream) || &stream[0] != &socket[len(socket)-len(stream)] {
				t.Errorf("%d bytes in %v are encoded twice", size, p)
			}
		}
	}
}
