package talk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// Centrifuge is how Kith's clients talk.
type Centrifuge struct {
	Dialect wire.Dialect
	// Raw leaves the WebSocket out: protobuf over TCP.
	Raw bool
}

// upgrade asks for a WebSocket. The server checks no more of the key than its
// length.
const upgrade = "GET /connection/websocket HTTP/1.1\r\nHost: load\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: centrifuge-%s\r\n\r\n"

// switching begins the answer to it.
const switching = "HTTP/1.1 "

// Hello is of Codec.
func (c Centrifuge) Hello(*Person) []byte {
	if c.Raw {
		return nil
	}
	return fmt.Appendf(nil, upgrade, c.Dialect.Protocol)
}

// Connect is of Codec.
func (c Centrifuge) Connect(id uint32, token string) ([]byte, error) {
	payload := fmt.Sprintf(`{"payload":%q,"app":"kith load"}`, c.Dialect.Payload)
	return c.frame(&protocol.Command{Id: id, Connect: &protocol.ConnectRequest{Token: token, Data: []byte(payload)}})
}

// Call is of Codec.
func (c Centrifuge) Call(id uint32, method string, req entity.Message) ([]byte, error) {
	data, err := c.Dialect.Payload.Append(nil, req)
	if err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	return c.frame(&protocol.Command{Id: id, Rpc: &protocol.RPCRequest{Method: method, Data: data}})
}

// Subscribe is of Codec.
func (c Centrifuge) Subscribe(id uint32, channel string) ([]byte, error) {
	return c.frame(&protocol.Command{Id: id, Subscribe: &protocol.SubscribeRequest{Channel: channel}})
}

// Pong is of Codec.
func (c Centrifuge) Pong() []byte {
	b, err := c.frame(&protocol.Command{})
	if err != nil {
		panic(err) // It is empty.
	}
	return b
}

// Echoes is of Codec.
func (Centrifuge) Echoes() bool { return true }

// Decode is of Codec.
func (c Centrifuge) Decode(data []byte, resp entity.Message) error {
	if err := c.Dialect.Payload.Unmarshal(data, resp); err != nil {
		return fmt.Errorf("decode a reply: %w", err)
	}
	return nil
}

// frame puts a command into a client's frame. Its mask is zero, which the server
// applies like any other; so a frame can be sent as often as one likes.
func (c Centrifuge) frame(cmd *protocol.Command) ([]byte, error) {
	var message []byte
	var err error
	if c.Dialect.Protocol == wire.Protobuf {
		if message, err = cmd.MarshalVT(); err == nil {
			message = append(binary.AppendUvarint(nil, uint64(len(message))), message...)
		}
	} else {
		message, err = protocol.NewJSONCommandEncoder().Encode(cmd)
	}
	if err != nil {
		return nil, fmt.Errorf("encode a command: %w", err)
	}
	if c.Raw {
		return message, nil
	}
	const masked = 0x80
	f := wire.AppendFrame(nil, c.Dialect.Protocol.Opcode(), message)
	f[1] |= masked
	size := len(f) - len(message)
	return append(append(append([]byte{}, f[:size]...), 0, 0, 0, 0), message...), nil
}

const (
	// requestDigits end a request id and are the message's number. 12: what is left
	// before them is the run's.
	requestDigits = 12
	requestMiddle = "-7e1b-7cc3-98a1-"
)

// Message is of Codec.
func (c Centrifuge) Message(run string, conversation uint64, textBytes int) (*Message, error) {
	requestID := run + requestMiddle + strings.Repeat("0", requestDigits)
	text := filler(textBytes)
	frame, err := c.Call(FirstID, "Messages.Send", &pb.SendRequest{
		ConversationId: conversation, RequestId: requestID,
		Content: &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: text}}},
	})
	if err != nil {
		return nil, err
	}
	m := &Message{frame: frame, put: func(b []byte, id uint64) { strconv.AppendUint(b[:0], id, 10) }}
	digits := strconv.AppendUint(nil, FirstID, 10)
	if c.Dialect.Protocol == wire.Protobuf {
		digits = binary.AppendUvarint(nil, FirstID)
		m.put = func(b []byte, id uint64) { binary.PutUvarint(b, id) }
	}
	m.id = part(frame, digits)
	m.request = part(frame, []byte(requestID))
	m.Text = part(frame, []byte(text))
	if m.id == nil || m.request == nil || m.Text == nil {
		return nil, errors.New("a message's frame does not have what is in the message")
	}
	m.request = m.request[len(m.request)-requestDigits:]
	return m, nil
}

// part is where a frame has something.
func part(frame, what []byte) []byte {
	at := bytes.Index(frame, what)
	if at < 0 {
		return nil
	}
	return frame[at : at+len(what) : at+len(what)]
}

// filler is a text of so many bytes.
func filler(n int) string {
	const line = "See you at the station at half past six. "
	return strings.Repeat(line, n/len(line)+1)[:n]
}

// Read is of Codec.
func (c Centrifuge) Read(b []byte, h Hearer) (n int, err error) {
	if c.Raw {
		size, head := binary.Uvarint(b)
		switch {
		case head < 0:
			return 0, errCut
		case head == 0 || uint64(len(b)-head) < size:
			return 0, nil
		}
		n = head + int(size)
		return n, readReply(b[head:n], h)
	}
	if bytes.HasPrefix(b, []byte(switching)) {
		return greeting(b, h)
	}
	op, payload, n := serverFrame(b)
	switch {
	case n == 0:
		return 0, nil
	case op == wire.Close:
		code, reason := wire.Message{Op: op, Data: payload}.Closing()
		return n, fmt.Errorf("the server closed the connection: %s (code %d)", reason, code)
	case op.Control():
		return n, nil
	case c.Dialect.Protocol == wire.Protobuf:
		return n, readProtobuf(payload, h)
	}
	return n, readJSON(payload, h)
}

// greeting takes the answer to an upgrade.
func greeting(b []byte, h Hearer) (n int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	if !bytes.HasPrefix(b[len(switching):], []byte("101 ")) {
		line, _, _ := bytes.Cut(b, []byte("\r\n"))
		return 0, fmt.Errorf("the server made no WebSocket of the connection: %s", line)
	}
	return end + len("\r\n\r\n"), h.Greeted()
}

// serverFrame splits off a frame of the server's, which are whole messages.
func serverFrame(b []byte) (op wire.Opcode, payload []byte, size int) {
	const opBits, len16, len64 = 0x0F, 126, 127
	if len(b) < 2 {
		return 0, nil, 0
	}
	head, length := 2, int(b[1])
	switch {
	case length == len16 && len(b) >= 4:
		head, length = 4, int(binary.BigEndian.Uint16(b[2:]))
	case length == len64 && len(b) >= 10:
		head, length = 10, int(binary.BigEndian.Uint64(b[2:]))
	case length >= len16:
		return 0, nil, 0
	}
	if len(b)-head < length {
		return 0, nil, 0
	}
	return wire.Opcode(b[0] & opBits), b[head : head+length], head + length
}
