package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// received is what came out of a Decoder: messages, then perhaps an error.
type received struct {
	messages []Message
	err      *Error
}

func (r received) String() string {
	var b strings.Builder
	for _, m := range r.messages {
		fmt.Fprintf(&b, "%x(%d bytes %.20q) ", uint8(m.Op), len(m.Data), m.Data)
	}
	if r.err != nil {
		fmt.Fprintf(&b, "error %d %v %q", r.err.Code, r.err.TooLarge, r.err.Msg)
	}
	return b.String()
}

// feed gives a stream to a Decoder as it would come from a socket: in chunks of
// the given sizes, in turn.
func feed(stream []byte, limit int, chunks ...int) (r received) {
	var d Decoder
	var held []byte
	stream = bytes.Clone(stream)
	for i := 0; len(stream) > 0; i++ {
		n := min(max(1, chunks[i%len(chunks)]), len(stream))
		held, stream = append(held, stream[:n]...), stream[n:]
		for {
			m, n, err := d.Next(held, limit)
			if err != nil {
				errors.As(err, &r.err)
				return r
			}
			if m.Op != Continuation {
				r.messages = append(r.messages, Message{m.Op, bytes.Clone(m.Data)})
			}
			held = held[n:]
			if m.Op == Continuation {
				break
			}
		}
	}
	return r
}

func text(s string) []byte { return clientFrame(Text, true, []byte(s)) }

// begin, more and last are the fragments of a message.
func begin(op Opcode, s string) []byte { return clientFrame(op, false, []byte(s)) }
func more(s string) []byte             { return clientFrame(Continuation, false, []byte(s)) }
func last(s string) []byte             { return clientFrame(Continuation, true, []byte(s)) }

func closing(code uint16, reason string) []byte {
	return clientFrame(Close, true, append(binary.BigEndian.AppendUint16(nil, code), reason...))
}

// bent is a good frame with its first two bytes changed.
func bent(frame []byte, set0, clear1 byte) []byte {
	frame = bytes.Clone(frame)
	frame[0] |= set0
	frame[1] &^= clear1
	return frame
}

func said(op Opcode, s string) Message { return Message{op, []byte(s)} }

const testLimit = 1000

// The cases follow Autobahn's test suite: its chapters are in the names.
var decoderCases = []struct {
	name   string
	stream [][]byte
	want   []Message
	code   uint16
	large  bool
}{
	{"1 an empty text", [][]byte{text("")}, []Message{said(Text, "")}, 0, false},
	{"1 a text of 125 bytes", [][]byte{text(strings.Repeat("*", 125))}, []Message{said(Text, strings.Repeat("*", 125))}, 0, false},
	{"1 a text of 126 bytes", [][]byte{text(strings.Repeat("*", 126))}, []Message{said(Text, strings.Repeat("*", 126))}, 0, false},
	{"1 binary is not checked for UTF-8", [][]byte{clientFrame(Binary, true, []byte("\xfe"))}, []Message{said(Binary, "\xfe")}, 0, false},
	{"1 two messages", [][]byte{text("a"), text("b")}, []Message{said(Text, "a"), said(Text, "b")}, 0, false},
	{"1 a length in 2 bytes that fits 7 bits", [][]byte{{0x81, 0xfe, 0, 5, 1, 2, 3, 4, 0, 0, 0, 0, 0}}, nil, CloseProtocol, false},
	{"1 a length in 8 bytes that fits 2", [][]byte{{0x81, 0xff, 0, 0, 0, 0, 0, 0, 1, 0}}, nil, CloseProtocol, false},
	{"1 a length with the highest bit", [][]byte{{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}}, nil, CloseProtocol, false},

	{"2 a ping", [][]byte{clientFrame(Ping, true, []byte("hi"))}, []Message{said(Ping, "hi")}, 0, false},
	{"2 a ping of 125 bytes", [][]byte{clientFrame(Ping, true, make([]byte, 125))}, []Message{said(Ping, string(make([]byte, 125)))}, 0, false},
	{"2 a ping of 126 bytes", [][]byte{clientFrame(Ping, true, make([]byte, 126))}, nil, CloseProtocol, false},
	{"2 a pong nobody asked for", [][]byte{clientFrame(Pong, true, nil), text("x")}, []Message{said(Pong, ""), said(Text, "x")}, 0, false},

	{"3 reserved bit 1", [][]byte{bent(text("x"), 0x40, 0)}, nil, CloseProtocol, false},
	{"3 reserved bit 2 after a good message", [][]byte{text("a"), bent(text("x"), 0x20, 0)}, []Message{said(Text, "a")}, CloseProtocol, false},
	{"3 reserved bit 3 in a ping", [][]byte{bent(clientFrame(Ping, true, nil), 0x10, 0)}, nil, CloseProtocol, false},

	{"4 opcode 3", [][]byte{clientFrame(3, true, nil)}, nil, CloseProtocol, false},
	{"4 opcode 7", [][]byte{clientFrame(7, true, []byte("x"))}, nil, CloseProtocol, false},
	{"4 opcode 11", [][]byte{clientFrame(11, true, nil)}, nil, CloseProtocol, false},
	{"4 opcode 15", [][]byte{clientFrame(15, true, nil)}, nil, CloseProtocol, false},

	{"5 a ping in two fragments", [][]byte{clientFrame(Ping, false, []byte("a")), last("b")}, nil, CloseProtocol, false},
	{"5 a text in two fragments", [][]byte{begin(Text, "a"), last("b")}, []Message{said(Text, "ab")}, 0, false},
	{"5 empty fragments", [][]byte{begin(Text, ""), more(""), last("")}, []Message{said(Text, "")}, 0, false},
	{"5 a ping between fragments", [][]byte{begin(Text, "a"), clientFrame(Ping, true, []byte("p")), last("b")}, []Message{said(Ping, "p"), said(Text, "ab")}, 0, false},
	{"5 pings between five fragments", [][]byte{begin(Text, "1"), clientFrame(Ping, true, nil), more("2"), more("3"), clientFrame(Ping, true, nil), more("4"), last("5")}, []Message{said(Ping, ""), said(Ping, ""), said(Text, "12345")}, 0, false},
	{"5 a continuation of nothing", [][]byte{last("x")}, nil, CloseProtocol, false},
	{"5 an open continuation of nothing", [][]byte{more("x"), text("y")}, nil, CloseProtocol, false},
	{"5 a text within a text", [][]byte{begin(Text, "a"), text("b"), last("c")}, nil, CloseProtocol, false},
	{"5 a binary begun within a text", [][]byte{begin(Text, "a"), begin(Binary, "b")}, nil, CloseProtocol, false},
	{"5 two fragmented messages", [][]byte{begin(Text, "a"), last("b"), begin(Binary, "c"), last("d")}, []Message{said(Text, "ab"), said(Binary, "cd")}, 0, false},

	{"6 a text in Greek", [][]byte{text("κόσμε")}, []Message{said(Text, "κόσμε")}, 0, false},
	{"6 a character in two fragments", [][]byte{begin(Text, "\xce"), last("\xba")}, []Message{said(Text, "κ")}, 0, false},
	{"6 a character in four fragments with a ping", [][]byte{begin(Text, "\xf0"), more("\x9f"), clientFrame(Ping, true, nil), more("\x98"), last("\x80")}, []Message{said(Ping, ""), said(Text, "😀")}, 0, false},
	{"6 a text that is not UTF-8", [][]byte{text("\xce\xba\xed\xa0\x80")}, nil, CloseInvalidUTF8, false},
	{"6 fragments that are not UTF-8 together", [][]byte{begin(Text, "\xce"), last("x")}, nil, CloseInvalidUTF8, false},
	{"6 half a character at the end", [][]byte{begin(Text, "a"), last("\xf0\x9f")}, nil, CloseInvalidUTF8, false},

	{"7 close without a code", [][]byte{clientFrame(Close, true, nil)}, []Message{said(Close, "")}, 0, false},
	{"7 close with half a code", [][]byte{clientFrame(Close, true, []byte{3})}, nil, CloseProtocol, false},
	{"7 close with code and reason", [][]byte{closing(1000, "bye")}, []Message{said(Close, "\x03\xe8bye")}, 0, false},
	{"7 close with the longest reason", [][]byte{closing(1000, strings.Repeat("r", 123))}, []Message{said(Close, "\x03\xe8"+strings.Repeat("r", 123))}, 0, false},
	{"7 close with a reason that is too long", [][]byte{closing(1000, strings.Repeat("r", 124))}, nil, CloseProtocol, false},
	{"7 close with a reason that is not UTF-8", [][]byte{closing(1000, "\xff")}, nil, CloseInvalidUTF8, false},
	{"7 close within a message", [][]byte{begin(Text, "a"), closing(1001, "")}, []Message{said(Close, "\x03\xe9")}, 0, false},

	{"9 a message of the limit", [][]byte{text(strings.Repeat("x", testLimit))}, []Message{said(Text, strings.Repeat("x", testLimit))}, 0, false},
	{"9 a message above the limit, of which only the length is there", [][]byte{text(strings.Repeat("x", testLimit+1))[:4]}, nil, 0, true},
	{"9 a length of 2^62", [][]byte{{0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0}}, nil, 0, true},
	{"9 fragments above the limit together", [][]byte{begin(Text, strings.Repeat("x", testLimit)), last("y")}, nil, 0, true},
	{"9 as many fragments as may be", [][]byte{begin(Text, "x"), bytes.Repeat(more("x"), maxFragments-2), last("x")}, []Message{said(Text, strings.Repeat("x", maxFragments))}, 0, false},
	{"9 one fragment more", [][]byte{begin(Text, "x"), bytes.Repeat(more("x"), maxFragments-1)}, nil, 0, true},

	{"a frame without a mask", [][]byte{bent(text("x"), 0, maskBit)}, nil, CloseProtocol, false},
}

func TestDecoder(t *testing.T) {
	for _, c := range decoderCases {
		stream := slices.Concat(c.stream...)
		for _, chunks := range [][]int{{len(stream)}, {1}, {2, 3}, {7, 1, 64}} {
			t.Run(fmt.Sprint(c.name, " in chunks of ", chunks), func(t *testing.T) {
				got := feed(stream, testLimit, chunks...)
				want := received{messages: c.want}
				if c.code != 0 || c.large {
					want.err = &Error{Code: c.code, TooLarge: c.large}
					if got.err == nil {
						t.Fatalf("got %v, want error %d, too large %v", got, c.code, c.large)
					}
					want.err.Msg = got.err.Msg
				}
				if got.String() != want.String() || !slices.EqualFunc(got.messages, want.messages, equalMessages) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		}
	}
}

func equalMessages(a, b Message) bool { return a.Op == b.Op && bytes.Equal(a.Data, b.Data) }

func TestCloseCodes(t *testing.T) {
	good := map[uint16]bool{
		1000: true, 1001: true, 1002: true, 1003: true, 1007: true, 1008: true, 1009: true, 1010: true, 1011: true,
		1012: true, 1013: true, 1014: true, 3000: true, 3999: true, 4000: true, 4999: true,
		0: false, 1: false, 999: false, 1004: false, 1005: false, 1006: false, 1015: false, 1016: false, 1100: false,
		2000: false, 2999: false, 5000: false, 65535: false,
	}
	for code, want := range good {
		got := feed(closing(code, "x"), testLimit, 1)
		if (got.err == nil) != want {
			t.Errorf("code %d: %v, want good = %v", code, got, want)
		}
		if got.err != nil && got.err.Code != CloseProtocol {
			t.Errorf("code %d is answered with %d, want %d", code, got.err.Code, CloseProtocol)
		}
		if want {
			if c, reason := got.messages[0].Closing(); c != code || reason != "x" {
				t.Errorf("Closing() = %d %q, want %d \"x\"", c, reason, code)
			}
		}
	}
}

func TestLimitMayChangeBetweenFragments(t *testing.T) {
	var d Decoder
	if _, _, err := d.Next(begin(Text, strings.Repeat("x", 100)), 100); err != nil {
		t.Fatal(err)
	}
	var tooBig *Error
	if _, _, err := d.Next(last("y"), 50); !errors.As(err, &tooBig) || !tooBig.TooLarge {
		t.Errorf("a fragment above the smaller limit: %v, want too large", err)
	}
	if m, _, err := d.Next(last("y"), 101); err != nil || len(m.Data) != 101 {
		t.Errorf("a fragment below the larger limit: %d bytes, %v, want 101", len(m.Data), err)
	}
}

func TestDecoderHoldsNothingBetweenMessages(t *testing.T) {
	var d Decoder
	stream := slices.Concat(begin(Text, "a"), last("b"))
	m, n, err := d.Next(stream, testLimit)
	if err != nil || n != len(stream) || string(m.Data) != "ab" {
		t.Fatalf("Next = %v %d %v", m, n, err)
	}
	if d.partial != nil || d.op != Continuation || d.fragments != 0 {
		t.Errorf("the decoder holds %+v", d)
	}
	if size := unsafe.Sizeof(d); size > 32 {
		t.Errorf("an idle decoder has %d bytes", size)
	}
	frame, buf := text("hello"), make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		_, _, _ = d.Next(buf[:copy(buf, frame)], testLimit) // Only its allocations matter here.
	}); n != 0 {
		t.Errorf("a whole frame costs %v allocations", n)
	}
}

func TestFramesAreWrittenAsTheyAreRead(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 1000, 65535, 65536, 100_000} {
		payload := bytes.Repeat([]byte{'x'}, size)
		want := AppendFrame([]byte("before"), Binary, payload)

		dst := []byte("before")
		mark := len(dst)
		dst = append(OpenFrame(dst), payload...)
		if got := CloseFrame(dst, mark, Binary); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: CloseFrame differs from AppendFrame: %.20x, want %.20x", size, got, want)
		}

		// A client's frame is a server's with a mask.
		frame := clientFrame(Binary, true, payload)
		got := feed(frame, size, len(frame))
		if len(got.messages) != 1 || !bytes.Equal(got.messages[0].Data, payload) {
			t.Errorf("%d bytes: read back as %v", size, got)
		}
	}
}

func TestAppendClose(t *testing.T) {
	if got := AppendClose(nil, 0, "ignored"); !bytes.Equal(got, []byte{0x88, 0}) {
		t.Errorf("no code: %x", got)
	}
	if got := AppendClose(nil, 3501, "bad request"); string(got) != "\x88\x0d\x0d\xadbad request" {
		t.Errorf("code and reason: %q", got)
	}
	long := strings.Repeat("x", 122) + "é and more"
	got := AppendClose(nil, 1000, long)
	if string(got[4:]) != strings.Repeat("x", 122) {
		t.Errorf("the reason is cut to %q", got[4:])
	}
}
