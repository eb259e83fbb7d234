package wire

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/centrifugal/protocol"
	"google.golang.org/protobuf/encoding/protowire"
)

// AppendReply appends any reply or push, with the library's codecs. What is sent
// often has a function of its own below, which allocates nothing.
func (p Protocol) AppendReply(dst []byte, r *protocol.Reply) ([]byte, error) {
	if p == JSON {
		b, err := protocol.DefaultJsonReplyEncoder.Encode(r)
		if err != nil {
			return dst, err
		}
		return append(dst, b...), nil
	}
	size := r.SizeVT()
	out := binary.AppendUvarint(dst, uint64(size))
	out = slices.Grow(out, size)
	out = out[:len(out)+size]
	if _, err := r.MarshalToSizedBufferVT(out[len(out)-size:]); err != nil {
		return dst, err
	}
	return out, nil
}

// Join prepares a message that holds replies for one more.
func (p Protocol) Join(dst []byte) []byte {
	if p == JSON {
		return append(dst, '\n')
	}
	return dst
}

// AppendPing appends a ping: an empty reply, to which SDKs answer with an empty
// command.
func (p Protocol) AppendPing(dst []byte) []byte {
	if p == JSON {
		return append(dst, "{}"...)
	}
	return append(dst, 0)
}

// AppendError appends the refusal of a command.
func (p Protocol) AppendError(dst []byte, id, code uint32, temporary bool, sentence string) []byte {
	if p == JSON {
		dst = append(dst, `{"id":`...)
		dst = strconv.AppendUint(dst, uint64(id), 10)
		dst = append(dst, `,"error":{"code":`...)
		dst = strconv.AppendUint(dst, uint64(code), 10)
		dst = append(dst, `,"message":`...)
		dst = appendText(dst, sentence)
		if temporary {
			dst = append(dst, `,"temporary":true`...)
		}
		return append(dst, `}}`...)
	}
	size := sizeVarint(uint64(code)) + sizeBytes(len(sentence))
	if temporary {
		size += 2
	}
	dst = binary.AppendUvarint(dst, uint64(sizeVarint(uint64(id))+sizeBytes(size)))
	dst = appendVarint(dst, replyID, uint64(id))
	dst = appendLength(dst, replyError, size)
	dst = appendVarint(dst, errorCode, uint64(code))
	dst = append(appendLength(dst, errorMessage, len(sentence)), sentence...)
	if temporary {
		dst = appendVarint(dst, errorTemporary, 1)
	}
	return dst
}

// AppendResult appends the result of an rpc. In the JSON protocol data is JSON
// without newlines.
func (p Protocol) AppendResult(dst []byte, id uint32, data []byte) []byte {
	dst = p.openResult(dst, id, len(data))
	return p.closeResult(append(dst, data...))
}

// AppendPublication appends a publication to a channel. In the JSON protocol
// data is JSON without newlines.
func (p Protocol) AppendPublication(dst []byte, channel string, offset uint64, data []byte) []byte {
	if p == JSON {
		dst = append(dst, `{"push":{"channel":`...)
		dst = appendText(dst, channel)
		dst = append(dst, `,"pub":{"data":`...)
		dst = append(dst, data...)
		dst = append(dst, `,"offset":`...)
		dst = strconv.AppendUint(dst, offset, 10)
		return append(dst, `}}}`...)
	}
	pub := sizeVarint(offset) + sizeBytes(len(data))
	push := sizeBytes(len(channel)) + sizeBytes(pub)
	dst = binary.AppendUvarint(dst, uint64(sizeBytes(push)))
	dst = appendLength(dst, replyPush, push)
	dst = append(appendLength(dst, pushChannel, len(channel)), channel...)
	dst = appendLength(dst, pushPublication, pub)
	dst = appendVarint(dst, publicationOffset, offset)
	return append(appendLength(dst, publicationData, len(data)), data...)
}

// AppendMessage appends a message that belongs to no channel: a signal. In the
// JSON protocol data is JSON without newlines.
func (p Protocol) AppendMessage(dst, data []byte) []byte {
	if p == JSON {
		dst = append(dst, `{"push":{"message":{"data":`...)
		return append(append(dst, data...), `}}}`...)
	}
	push := sizeBytes(sizeBytes(len(data)))
	dst = binary.AppendUvarint(dst, uint64(sizeBytes(push)))
	dst = appendLength(dst, replyPush, push)
	dst = appendLength(dst, pushMessage, sizeBytes(len(data)))
	return append(appendLength(dst, messageData, len(data)), data...)
}

// openResult appends what stands before the data of an rpc's result.
func (p Protocol) openResult(dst []byte, id uint32, size int) []byte {
	if p == JSON {
		dst = append(dst, `{"id":`...)
		dst = strconv.AppendUint(dst, uint64(id), 10)
		return append(dst, `,"rpc":{"data":`...)
	}
	result := sizeBytes(size)
	dst = binary.AppendUvarint(dst, uint64(sizeVarint(uint64(id))+sizeBytes(result)))
	dst = appendVarint(dst, replyID, uint64(id))
	dst = appendLength(dst, replyRPC, result)
	return appendLength(dst, resultData, size)
}

// closeResult appends what stands after it.
func (p Protocol) closeResult(dst []byte) []byte {
	if p == JSON {
		return append(dst, `}}`...)
	}
	return dst
}

// Field numbers of github.com/centrifugal/protocol v0.19.2, client.proto; a test
// compares what is made with them to what the library makes. All are below 16:
// their tags take one byte.
const (
	replyID    = 1
	replyError = 2
	replyPush  = 4
	replyRPC   = 13

	errorCode      = 1
	errorMessage   = 2
	errorTemporary = 3

	pushChannel     = 2
	pushPublication = 4
	pushMessage     = 8

	publicationData   = 4
	publicationOffset = 6
	messageData       = 1
	resultData        = 1
)

// sizeVarint is the size of a field with a number, tag included.
func sizeVarint(v uint64) int { return 1 + protowire.SizeVarint(v) }

// sizeBytes is the size of a field with so many bytes, tag included.
func sizeBytes(n int) int { return 1 + protowire.SizeBytes(n) }

func appendVarint(dst []byte, field protowire.Number, v uint64) []byte {
	return binary.AppendUvarint(protowire.AppendTag(dst, field, protowire.VarintType), v)
}

func appendLength(dst []byte, field protowire.Number, n int) []byte {
	return binary.AppendUvarint(protowire.AppendTag(dst, field, protowire.BytesType), uint64(n))
}
