package wire

import (
	"bytes"
	"encoding/binary"
	"iter"

	"github.com/centrifugal/protocol"
)

// A Protocol is an encoding of Centrifuge's client protocol, version 2, and how it
// lies on a connection.
type Protocol uint8

const (
	// JSON: one object per command or reply, joined by newlines in a text message.
	JSON Protocol = iota
	// Protobuf: one message per command or reply, each after its length as a
	// varint, in a binary message.
	Protobuf
	// Stream: the same on raw TCP, without WebSockets. Each command and each reply
	// is a frame.
	Stream
)

func (p Protocol) String() string {
	switch p {
	case Protobuf:
		return "protobuf"
	case Stream:
		return "stream"
	}
	return "json"
}

// Opcode is the kind of WebSocket message that holds the protocol. What a Stream
// has is Binary, though nothing there says so.
func (p Protocol) Opcode() Opcode {
	if p == JSON {
		return Text
	}
	return Binary
}

const (
	// MaxCommands bounds the commands of one message. SDKs batch the
	// subscriptions of a page after connecting.
	MaxCommands = 64
	// MaxSubs bounds the channels of a connect command: five times what a session
	// may have.
	MaxSubs = 1000
)

// badCommand is Centrifuge's disconnect code "bad request", after which SDKs do
// not come back: the same program would send the same again.
const badCommand = 3501

func malformed(sentence string) *Error { return &Error{Code: badCommand, Msg: sentence} }

// Commands yields the commands of one message, in order, until there is an
// *Error. A command owns its memory.
func (p Protocol) Commands(message []byte) iter.Seq2[*protocol.Command, error] {
	return func(yield func(*protocol.Command, error) bool) {
		if len(message) == 0 {
			yield(nil, malformed("a message holds at least one command"))
			return
		}
		for n := 0; len(message) > 0; n++ {
			if n == MaxCommands {
				yield(nil, tooLarge("a message may hold at most %d commands", MaxCommands))
				return
			}
			var cmd *protocol.Command
			var err error
			cmd, message, err = p.next(message)
			if err == nil && len(cmd.Connect.GetSubs()) > MaxSubs {
				err = tooLarge("a connect command may name at most %d channels", MaxSubs)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(cmd, nil) {
				return
			}
		}
	}
}

// next splits the first command off a message.
func (p Protocol) next(message []byte) (cmd *protocol.Command, rest []byte, err error) {
	if p == JSON {
		line, rest, _ := bytes.Cut(message, []byte{'\n'})
		cmd, err = parseJSONCommand(line)
		return cmd, rest, err
	}
	size, n := binary.Uvarint(message)
	if n <= 0 || size > uint64(len(message)-n) {
		return nil, nil, malformed("a command ends after its message does")
	}
	body, rest := message[n:n+int(size)], message[n+int(size):]
	cmd, err = parseProtobufCommand(body)
	return cmd, rest, err
}

// IsPong reports whether a command is the answer to a ping: an empty one.
func IsPong(c *protocol.Command) bool {
	return c.Id == 0 && c.Connect == nil && c.Subscribe == nil && c.Unsubscribe == nil && c.Rpc == nil &&
		c.Refresh == nil && c.Send == nil && c.Ping == nil && !Unserved(c)
}

// Unserved reports whether a command is one that Kith does not offer: error 108.
func Unserved(c *protocol.Command) bool {
	return c.Publish != nil || c.Presence != nil || c.PresenceStats != nil || c.History != nil || c.SubRefresh != nil
}
