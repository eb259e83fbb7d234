package wire

import (
	"encoding/binary"

	"github.com/centrifugal/protocol"
)

// dialect is a Dialect with a name for subtests.
type dialect struct{ Dialect }

func (d dialect) name() string { return d.Protocol.String() + "-" + d.Payload.String() }

var dialects = []dialect{
	{Dialect{JSON, JSONPayload}},
	{Dialect{Protobuf, JSONPayload}},
	{Dialect{Protobuf, ProtoPayload}},
	{Dialect{Stream, JSONPayload}},
	{Dialect{Stream, ProtoPayload}},
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// maskKey is the masking key of every frame that tests send.
var maskKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// clientFrame makes a frame as a client does.
func clientFrame(op Opcode, fin bool, payload []byte) []byte {
	b := appendHeader(nil, op, len(payload))
	if !fin {
		b[0] &^= finBit
	}
	b[1] |= maskBit
	b = append(b, maskKey[:]...)
	at := len(b)
	b = append(b, payload...)
	mask(b[at:], binary.LittleEndian.Uint32(maskKey[:]))
	return b
}

// appendCommand encodes a command as SDKs do.
func appendCommand(dst []byte, p Protocol, c *protocol.Command) ([]byte, error) {
	if p == JSON {
		b, err := protocol.NewJSONCommandEncoder().Encode(c)
		return append(dst, b...), err
	}
	b, err := protocol.NewProtobufCommandEncoder().Encode(c)
	return append(dst, b...), err
}

// sent is a message as a client puts it on the connection.
func sent(p Protocol, message []byte) []byte {
	if p == Stream {
		return message
	}
	return clientFrame(p.Opcode(), true, message)
}

// arrived takes the first message out of what a client sent.
func arrived(p Protocol, b []byte) ([]byte, error) {
	if p == Stream {
		message, _, err := NextDelimited(b, 64<<10)
		return message, err
	}
	var ws Decoder
	m, _, err := ws.Next(b, 64<<10)
	return m.Data, err
}

func rpc(id uint32, method string, data []byte) *protocol.Command {
	return &protocol.Command{Id: id, Rpc: &protocol.RPCRequest{Method: method, Data: data}}
}
