package talk

import (
	"bytes"
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of github.com/centrifugal/protocol, client.proto, and of Kith's
// own messages. Each is below 16.
const (
	replyID, replyError, replyPush, replyRPC = 1, 2, 4, 13

	errorCode, errorMessage = 1, 2
	resultData              = 1

	pushChannel, pushPublication, pushDisconnect = 2, 4, 12
	publicationData, publicationOffset           = 4, 6
	disconnectReason                             = 2

	eventType, eventBody = 1, 5
	sentContent          = 1
	contentText          = 1
	textText             = 1

	// messageSent is the number of the event MessageSent.
	messageSent = 0x10
)

var errCut = errors.New("the server's message ends in the middle")

// A field is one of a protobuf message.
type field struct {
	number protowire.Number
	n      uint64
	value  []byte
}

// next splits the first field off a message.
func next(b []byte) (f field, rest []byte, err error) {
	number, kind, size := protowire.ConsumeTag(b)
	if size < 0 {
		return f, nil, errCut
	}
	f.number = number
	b = b[size:]
	switch kind {
	case protowire.BytesType:
		f.value, size = protowire.ConsumeBytes(b)
	case protowire.VarintType:
		f.n, size = protowire.ConsumeVarint(b)
	default:
		size = protowire.ConsumeFieldValue(number, kind, b)
	}
	if size < 0 {
		return f, nil, errCut
	}
	return f, b[size:], nil
}

// find returns a field of a message, the zero field if it has none.
func find(b []byte, number protowire.Number) (f field, err error) {
	for len(b) > 0 {
		if f, b, err = next(b); err != nil || f.number == number {
			return f, err
		}
	}
	return field{}, nil
}

// within goes down a path of messages in messages; nil: there is none.
func within(b []byte, path ...protowire.Number) (value []byte, err error) {
	for _, number := range path {
		f, err := find(b, number)
		if err != nil || f.value == nil {
			return nil, err
		}
		b = f.value
	}
	return b, nil
}

// readProtobuf reads a message of replies, each after its length.
func readProtobuf(b []byte, h Hearer) error {
	for len(b) > 0 {
		size, head := binary.Uvarint(b)
		if head <= 0 || uint64(len(b)-head) < size {
			return errCut
		}
		if err := readReply(b[head:head+int(size)], h); err != nil {
			return err
		}
		b = b[head+int(size):]
	}
	return nil
}

// readReply reads one of them: a ping if there is nothing in it.
func readReply(b []byte, h Hearer) error {
	if len(b) == 0 {
		h.Pinged()
		return nil
	}
	var id uint32
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		switch f.number {
		case replyID:
			id = uint32(f.n)
		case replyPush:
			return readPush(f.value, h)
		case replyError:
			code, err := find(f.value, errorCode)
			if err != nil {
				return err
			}
			sentence, err := within(f.value, errorMessage)
			if err != nil {
				return err
			}
			return h.Refused(id, uint32(code.n), sentence)
		case replyRPC:
			data, err := within(f.value, resultData)
			if err != nil {
				return err
			}
			return readResult(id, data, h)
		}
		b = rest
	}
	return h.Replied(id, nil)
}

// readResult reads the result of a call. That of Messages.Send begins with its
// seq.
func readResult(id uint32, data []byte, h Hearer) error {
	if id < FirstID {
		return h.Replied(id, data)
	}
	f, err := find(data, 1)
	if err != nil {
		return err
	}
	return h.Acked(id, f.n)
}

// readPush reads a publication. Other pushes say nothing about messages.
func readPush(b []byte, h Hearer) error {
	var channel []byte
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		switch f.number {
		case pushChannel:
			channel = f.value
		case pushPublication:
			return readPublication(channel, f.value, h)
		case pushDisconnect:
			reason, err := within(f.value, disconnectReason)
			if err != nil {
				return err
			}
			return errors.New("the server ended the connection: " + string(reason))
		}
		b = rest
	}
	return nil
}

func readPublication(channel, b []byte, h Hearer) error {
	var seq uint64
	var event []byte
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		switch f.number {
		case publicationOffset:
			seq = f.n
		case publicationData:
			event = f.value
		}
		b = rest
	}
	kind, err := find(event, eventType)
	if err != nil || kind.n != messageSent {
		return errors.Join(err, h.Heard(channel, seq, nil))
	}
	text, err := within(event, eventBody, sentContent, contentText, textText)
	if err != nil {
		return err
	}
	return h.Heard(channel, seq, orEmpty(text))
}

// orEmpty is a text that is there, though it may be empty.
func orEmpty(text []byte) []byte {
	if text == nil {
		return []byte{}
	}
	return text
}

// readJSON reads a message of replies, each on a line of its own. It relies on
// the order in which the server writes members; package wire's tests fix it.
func readJSON(b []byte, h Hearer) error {
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte{'\n'})
		if err := readLine(line, h); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func readLine(b []byte, h Hearer) error {
	if len(b) == len(`{}`) {
		h.Pinged()
		return nil
	}
	if rest, ok := bytes.CutPrefix(b, []byte(`{"push":{"channel":"`)); ok {
		channel, rest, _ := bytes.Cut(rest, []byte{'"'})
		return readLinePush(channel, rest, h)
	}
	rest, ok := bytes.CutPrefix(b, []byte(`{"id":`))
	if !ok {
		if bytes.HasPrefix(b, []byte(`{"push":{"disconnect":`)) {
			return errors.New("the server ended the connection: " + string(b))
		}
		return nil // A push that says nothing about messages.
	}
	id := uint32(digits(rest))
	if refusal, ok := bytes.CutPrefix(bytes.TrimLeft(rest, "0123456789"), []byte(`,"error":{"code":`)); ok {
		return h.Refused(id, uint32(digits(refusal)), refusal)
	}
	_, data, _ := bytes.Cut(rest, []byte(`"data":`))
	data = bytes.TrimSuffix(data, []byte(`}}`))
	if id < FirstID {
		return h.Replied(id, data)
	}
	_, seq, _ := bytes.Cut(data, []byte(`"seq":`))
	return h.Acked(id, digits(seq))
}

// readLinePush reads a publication in JSON.
func readLinePush(channel, b []byte, h Hearer) error {
	event, ok := bytes.CutPrefix(b, []byte(`,"pub":{"data":`))
	at := bytes.LastIndex(event, []byte(`,"offset":`))
	if !ok || at < 0 {
		return nil
	}
	seq := digits(event[at+len(`,"offset":`):])
	if !bytes.HasPrefix(event, []byte(`{"type":"MessageSent"`)) {
		return h.Heard(channel, seq, nil)
	}
	_, text, _ := bytes.Cut(event, []byte(`"text":{"text":"`))
	text, _, _ = bytes.Cut(text, []byte{'"'}) // A sealed text has nothing that is escaped.
	return h.Heard(channel, seq, orEmpty(text))
}

// digits reads the number at the front of b.
func digits(b []byte) (n uint64) {
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}
