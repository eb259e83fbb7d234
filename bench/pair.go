package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/centrifugal/protocol"
	"google.golang.org/protobuf/encoding/protowire"

	"kith/actors/pb"
	"kith/gateway/wire"
)

const (
	// TextBytes is the size of a message's text.
	TextBytes = 128
	// firstID is the id of the first message's command. From here on ids take as
	// many bytes as each other, in both protocols, so that a frame is made by
	// writing digits into the last one.
	firstID = 100_000_000
)

// A Pair is two users who write to each other.
type Pair struct {
	People [2]Person

	conversation uint64
	mu           sync.Mutex // guards the counters of both
}

// A Person is one of a pair, at one connection. He makes frames out of a
// template and reads no more of the server's than he has to, so that little of
// what is measured is his.
type Person struct {
	pair    *Pair
	other   *Person
	dialect wire.Dialect
	name    string

	send    []byte // the frame of the last message
	id      []byte // the part of it that is the command's id
	request []byte // the digits that end its request id

	answered int // of the commands that come before messages

	sent, replied, heard uint64
	acked                []uint64 // seqs of my messages that the other has not heard
}

// NewPair returns the n-th pair of a tenant. conversation is the number of their
// direct.
func NewPair(d wire.Dialect, n int, conversation func(a, b string) uint64) (*Pair, error) {
	p := &Pair{}
	a, b := &p.People[0], &p.People[1]
	a.name, b.name = fmt.Sprintf("user-%04d", 2*n), fmt.Sprintf("user-%04d", 2*n+1)
	a.other, b.other = b, a
	p.conversation = conversation(a.name, b.name)
	for i := range p.People {
		me := &p.People[i]
		me.pair, me.dialect = p, d
		if err := me.template(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Name is the user id.
func (p *Person) Name() string { return p.name }

// Answered is how many replies he has to Connect and Open. Only who calls Read
// may ask.
func (p *Person) Answered() int { return p.answered }

// Verify reports whether nothing was lost: who wrote has a reply to each
// message, and both have heard the same.
func (p *Pair) Verify() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, b := &p.People[0], &p.People[1]
	if a.sent == a.replied && b.sent == b.replied && a.heard == b.heard && a.heard >= a.sent+b.sent {
		return nil
	}
	return fmt.Errorf("%s and %s sent %d and %d messages; acknowledged are %d and %d, and they have heard up to %d and %d",
		a.name, b.name, a.sent, b.sent, a.replied, b.replied, a.heard, b.heard)
}

// Connect is the frame that begins a connection.
func (p *Person) Connect(token string) ([]byte, error) {
	payload := fmt.Sprintf(`{"payload":%q,"app":"bench"}`, p.dialect.Payload)
	return p.frame(&protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: token, Data: []byte(payload)}})
}

// Open is the frame that opens the direct of the pair.
func (p *Person) Open() ([]byte, error) {
	data, err := p.dialect.Payload.Append(nil, &pb.OpenDirectRequest{UserId: p.other.name, RequestId: "open"})
	if err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	return p.frame(&protocol.Command{Id: 2, Rpc: &protocol.RPCRequest{Method: "Directs.Open", Data: data}})
}

// Pong is the frame that answers a ping.
func (p *Person) Pong() ([]byte, error) { return p.frame(&protocol.Command{}) }

// Send returns the frame of the next message, valid until the next call.
func (p *Person) Send() []byte {
	p.pair.mu.Lock()
	id := firstID + p.sent
	p.sent++
	p.pair.mu.Unlock()
	if p.dialect.Protocol == wire.Protobuf {
		binary.PutUvarint(p.id, id)
	} else {
		strconv.AppendUint(p.id[:0], id, 10)
	}
	for i, n := len(p.request)-1, id; i >= 0; i, n = i-1, n>>4 {
		p.request[i] = "0123456789abcdef"[n&15]
	}
	return p.send
}

// template makes the frame that Send writes into.
func (p *Person) template() error {
	const requestID = "0198c5a2-7e1b-7cc3-98a1-5f0e8d3c2b1a"
	text := strings.Repeat("See you at the station at half past six. ", 4)[:TextBytes]
	data, err := p.dialect.Payload.Append(nil, &pb.SendRequest{
		ConversationId: p.pair.conversation, RequestId: requestID,
		Content: &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: text}}},
	})
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	p.send, err = p.frame(&protocol.Command{Id: firstID, Rpc: &protocol.RPCRequest{Method: "Messages.Send", Data: data}})
	if err != nil {
		return err
	}
	digits := []byte(strconv.Itoa(firstID))
	if p.dialect.Protocol == wire.Protobuf {
		digits = binary.AppendUvarint(nil, firstID)
	}
	at := bytes.Index(p.send, digits)
	p.id = p.send[at : at+len(digits) : at+len(digits)]
	end := bytes.Index(p.send, []byte(requestID)) + len(requestID)
	p.request = p.send[end-12 : end]
	return nil
}

// frame puts a command into a client's frame. Its mask is zero, which the server
// applies like any other; so a frame can be sent as often as one likes.
func (p *Person) frame(c *protocol.Command) ([]byte, error) {
	var message []byte
	var err error
	if p.dialect.Protocol == wire.Protobuf {
		if message, err = c.MarshalVT(); err == nil {
			message = append(binary.AppendUvarint(nil, uint64(len(message))), message...)
		}
	} else {
		message, err = protocol.NewJSONCommandEncoder().Encode(c)
	}
	if err != nil {
		return nil, fmt.Errorf("encode a command: %w", err)
	}
	const masked = 0x80
	f := wire.AppendFrame(nil, p.dialect.Protocol.Opcode(), message)
	f[1] |= masked
	size := len(f) - len(message)
	return append(append(append([]byte{}, f[:size]...), 0, 0, 0, 0), message...), nil
}

// A News is what some of the server's bytes meant.
type News struct {
	Mine, Theirs int  // slots that are free again: his own, the other's
	Ping         bool // the server wants a pong
	Read         int  // bytes that were whole frames
}

// Read takes what the server has written to him.
func (p *Person) Read(b []byte) (n News, err error) {
	p.pair.mu.Lock()
	defer p.pair.mu.Unlock()
	for {
		payload, size := serverFrame(b[n.Read:])
		if size == 0 {
			break
		}
		n.Read += size
		if p.dialect.Protocol == wire.Protobuf {
			err = p.readProtobuf(payload, &n)
		} else {
			err = p.readJSON(payload, &n)
		}
		if err != nil {
			return n, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	n.Mine, n.Theirs = p.free(), p.other.free()
	return n, nil
}

// free counts messages that are both acknowledged and delivered, and forgets
// them.
func (p *Person) free() (n int) {
	for n < len(p.acked) && p.acked[n] <= p.other.heard {
		n++
	}
	p.acked = append(p.acked[:0], p.acked[n:]...)
	return n
}

// serverFrame splits off a frame of the server's, which are whole messages.
func serverFrame(b []byte) (payload []byte, size int) {
	const len16, len64 = 126, 127
	if len(b) < 2 {
		return nil, 0
	}
	head, length := 2, int(b[1])
	switch {
	case length == len16 && len(b) >= 4:
		head, length = 4, int(binary.BigEndian.Uint16(b[2:]))
	case length == len64 && len(b) >= 10:
		head, length = 10, int(binary.BigEndian.Uint64(b[2:]))
	case length >= len16:
		return nil, 0
	}
	if len(b) < head+length {
		return nil, 0
	}
	return b[head : head+length], head + length
}

// reply takes the reply to a command.
func (p *Person) reply(id, seq uint64) error {
	switch {
	case id < firstID:
		p.answered++
	case id != firstID+p.replied:
		return fmt.Errorf("got the reply to command %d, want that to %d", id, firstID+p.replied)
	case seq == 0:
		return fmt.Errorf("command %d was refused", id)
	default:
		p.replied++
		p.acked = append(p.acked, seq)
	}
	return nil
}

// publication takes an event of the conversation.
func (p *Person) publication(offset uint64) error {
	if p.heard != 0 && offset != p.heard+1 {
		return fmt.Errorf("heard event %d after event %d", offset, p.heard)
	}
	p.heard = offset
	return nil
}

// field splits the next field off a protobuf message.
func field(b []byte) (number protowire.Number, n uint64, value, rest []byte) {
	number, kind, size := protowire.ConsumeTag(b)
	if size < 0 {
		return 0, 0, nil, nil
	}
	b = b[size:]
	if kind == protowire.BytesType {
		value, size = protowire.ConsumeBytes(b)
	} else {
		n, size = protowire.ConsumeVarint(b)
	}
	if size < 0 {
		return 0, 0, nil, nil
	}
	return number, n, value, b[size:]
}

// Field numbers of github.com/centrifugal/protocol, client.proto.
const (
	replyID, replyError, replyPush, replyRPC, resultData = 1, 2, 4, 13, 1

	pushChannel, pushPublication, publicationOffset = 2, 4, 6
)

func (p *Person) readProtobuf(b []byte, news *News) error {
	_, size := binary.Uvarint(b)
	if size == len(b) {
		news.Ping = true
		return nil
	}
	var id, seq uint64
	for b = b[size:]; len(b) > 0; {
		number, n, value, rest := field(b)
		switch number {
		case replyID:
			id = n
		case replyPush:
			return p.readPush(value)
		case replyRPC:
			_, _, data, _ := field(value) // An rpc's result has its data alone,
			_, seq, _, _ = field(data)    // and that of Send begins with its seq.
		case replyError:
			return fmt.Errorf("command %d was refused: %q", id, value)
		}
		b = rest
	}
	return p.reply(id, seq)
}

func (p *Person) readPush(b []byte) error {
	conversation := false
	for len(b) > 0 {
		number, _, value, rest := field(b)
		switch number {
		case pushChannel:
			conversation = value[0] == 'c'
		case pushPublication:
			for ; conversation && len(value) > 0; _, _, _, value = field(value) {
				if number, n, _, _ := field(value); number == publicationOffset {
					return p.publication(n)
				}
			}
		}
		b = rest
	}
	return nil
}

func (p *Person) readJSON(b []byte, news *News) error {
	switch {
	case len(b) == 2:
		news.Ping = true
		return nil
	case bytes.HasPrefix(b, []byte(`{"push":{"channel":"c:`)):
		at := bytes.LastIndex(b, []byte(`,"offset":`))
		if at < 0 || !bytes.Contains(b[:64], []byte(`"pub":`)) {
			return nil
		}
		return p.publication(digits(b[at+len(`,"offset":`):]))
	case !bytes.HasPrefix(b, []byte(`{"id":`)):
		return nil
	}
	id, seq := digits(b[len(`{"id":`):]), uint64(0)
	if at := bytes.Index(b, []byte(`"seq":`)); at >= 0 {
		seq = digits(b[at+len(`"seq":`):])
	}
	if seq == 0 && bytes.Contains(b, []byte(`"error":`)) {
		return fmt.Errorf("command %d was refused: %s", id, b)
	}
	return p.reply(id, seq)
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
