// Package talk is the people of a load: what each writes to the server, and what
// he makes of what the server writes to him. Bytes in, bytes out: it does no I/O.
// A Person belongs to one goroutine, and so do all of a conversation.
//
// A load shares the machine with the server that it measures, so it is cheap: a
// message's frame is made once and only its digits change, what comes is read in
// place, and neither allocates.
package talk

import (
	"kith/actors/entity"
)

// A Codec is a way to talk to a server.
type Codec interface {
	// Hello is what a person writes first, before any command. A server answers it
	// (Hearer.Greeted); nil: it wants none.
	Hello(p *Person) []byte
	// Connect, Call and Subscribe are the frames of commands.
	Connect(id uint32, token string) ([]byte, error)
	Call(id uint32, method string, req entity.Message) ([]byte, error)
	Subscribe(id uint32, channel string) ([]byte, error)
	// Pong answers a ping.
	Pong() []byte
	// Message makes the frame of a message whose text has so many bytes. run is
	// eight characters that no other run has.
	Message(run string, conversation uint64, textBytes int) (*Message, error)
	// Decode reads the data of a reply.
	Decode(data []byte, resp entity.Message) error
	// Read takes the first frame off b and tells h what is in it. n is 0 if b has no
	// whole frame. What h hears is valid until it returns.
	Read(b []byte, h Hearer) (n int, err error)
	// Echoes says whether a sender is sent his own messages, too.
	Echoes() bool
}

// A Hearer hears what the server says.
type Hearer interface {
	Greeted() error
	Pinged()
	Replied(id uint32, data []byte) error
	Refused(id, code uint32, sentence []byte) error
	// Acked is the reply to a message.
	Acked(id uint32, seq uint64) error
	// Heard is an event of a channel. text is that of a message, nil for any other
	// event.
	Heard(channel []byte, seq uint64, text []byte) error
}

// FirstID is the id of the first message's command. From here on ids take as
// many bytes as each other, in both protocols, so that a frame is made by writing
// digits into the last one. Commands before it are the person's script.
const FirstID = 100_000_000

// A Message is the frame of a message, for any number of them.
type Message struct {
	Text []byte // the part of the frame that is the text; its owner changes it

	frame   []byte
	id      []byte // the part that is the command's id
	request []byte // the digits that end the request id
	put     func(b []byte, id uint64)
}

// Numbered returns the frame of the n-th message, valid until the next call.
func (m *Message) Numbered(n uint64) []byte {
	m.put(m.id, FirstID+n)
	for i := len(m.request) - 1; i >= 0; i, n = i-1, n>>4 {
		m.request[i] = "0123456789abcdef"[n&15]
	}
	return m.frame
}
