package wire

import (
	"github.com/centrifugal/protocol"
)

// On raw TCP a frame is one command, reply or push of the protobuf protocol after
// its length as a varint: the bytes that a WebSocket message would hold, and
// nothing around them. An empty frame, the single byte 0, is a ping of the server
// or the answer to it.

const (
	varintBits = 7    // of a length in each of its bytes
	varintMore = 0x80 // another byte follows
)

// NextDelimited takes the next frame out of b, which begins where the frame before
// ended. The frame aliases b and has its length in front, as Protocol.Commands
// wants it. n is how many bytes it had; 0: b holds no whole frame.
//
// limit is the most bytes a frame may have behind its length. A frame is refused
// as soon as its length says more, and nothing is allocated for any. After an
// error the connection is over.
func NextDelimited(b []byte, limit int) (frame []byte, n int, err error) {
	size, head, err := parseLength(b, limit)
	if err != nil || head == 0 || len(b)-head < size {
		return nil, 0, err
	}
	n = head + size
	return b[:n], n, nil
}

// parseLength reads the length of a frame and returns its own size, or 0 if b ends
// before it does. What it says of the first bytes it says whatever follows them.
func parseLength(b []byte, limit int) (length, size int, err error) {
	for i, c := range b {
		shift := varintBits * i
		length |= int(c&^varintMore) << shift
		switch {
		case c == 0 && i > 0:
			return 0, 0, malformed("a frame's length must be written in the shortest form")
		case length > limit, c >= varintMore && 1<<(shift+varintBits) > limit:
			// In the shortest form a byte that follows is not 0.
			return 0, 0, tooLarge("a frame may have at most %d bytes", limit)
		case c < varintMore:
			return length, i + 1, nil
		}
	}
	return 0, 0, nil
}

// Open appends room for what stands before a message of the protocol on its
// connection: see OpenFrame. Close completes it.
func (p Protocol) Open(dst []byte) []byte {
	if p == Stream {
		return dst
	}
	return OpenFrame(dst)
}

// Close completes the message that Open began at mark.
func (p Protocol) Close(dst []byte, mark int) []byte {
	if p == Stream {
		return dst
	}
	return CloseFrame(dst, mark, p.Opcode())
}

// AppendEnd appends the last frame of a connection, which says why it ends: a close
// frame in a WebSocket, else Centrifuge's disconnect push.
func (p Protocol) AppendEnd(dst []byte, code uint16, reason string) []byte {
	if p != Stream {
		return AppendClose(dst, code, reason)
	}
	out, err := p.AppendReply(dst, &protocol.Reply{Push: &protocol.Push{
		Disconnect: &protocol.Disconnect{Code: uint32(code), Reason: reason},
	}})
	if err != nil {
		panic("wire: a disconnect cannot be encoded: " + err.Error())
	}
	return out
}
