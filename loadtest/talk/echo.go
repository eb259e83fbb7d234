package talk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kith/actors/entity"
	"kith/loadtest/echo"
)

// Echo talks to an echo server.
type Echo struct{}

var errNoCommands = errors.New("an echo server takes no commands")

// Hello is of Codec.
func (Echo) Hello(p *Person) []byte {
	return echo.AppendHello(nil, uint32(p.conversation.number), byte(p.member))
}

// Connect is of Codec.
func (Echo) Connect(uint32, string) ([]byte, error) { return nil, errNoCommands }

// Call is of Codec.
func (Echo) Call(uint32, string, entity.Message) ([]byte, error) { return nil, errNoCommands }

// Subscribe is of Codec.
func (Echo) Subscribe(uint32, string) ([]byte, error) { return nil, errNoCommands }

// Decode is of Codec.
func (Echo) Decode([]byte, entity.Message) error { return errNoCommands }

// Pong is of Codec.
func (Echo) Pong() []byte { return nil }

// Echoes is of Codec.
func (Echo) Echoes() bool { return false }

// Message is of Codec.
func (Echo) Message(_ string, _ uint64, textBytes int) (*Message, error) {
	m := &Message{frame: echo.Begin(nil, echo.Message, echo.NumberBytes+textBytes), put: binary.BigEndian.PutUint64}
	m.frame = append(m.frame, make([]byte, echo.NumberBytes)...)
	m.frame = append(m.frame, filler(textBytes)...)
	m.id, m.Text = m.frame[echo.HeadBytes:][:echo.NumberBytes], m.frame[echo.HeadBytes+echo.NumberBytes:]
	return m, nil
}

// Read is of Codec.
func (Echo) Read(b []byte, h Hearer) (n int, err error) {
	kind, rest, n := echo.Next(b)
	switch {
	case n == 0:
		return 0, nil
	case kind == echo.Hello:
		return n, h.Greeted()
	case kind == echo.Done && len(rest) == 2*echo.NumberBytes:
		return n, h.Acked(uint32(binary.BigEndian.Uint64(rest)), binary.BigEndian.Uint64(rest[echo.NumberBytes:]))
	case kind == echo.Told && len(rest) > echo.NumberBytes:
		return n, h.Heard(nil, binary.BigEndian.Uint64(rest), rest[echo.NumberBytes:])
	}
	return n, fmt.Errorf("the echo server wrote what is no frame of its own: %.40q", b)
}
