package talk

import (
	"fmt"
	"strconv"

	"github.com/HdrHistogram/hdrhistogram-go"

	"kith/loadtest/oracle"
)

// Times is how long messages took, in microseconds: from before a message is
// written until its reply (Acked) or until a member hears it (Delivered).
type Times struct {
	Acked, Delivered *hdrhistogram.Histogram
}

// NewTimes returns times of nothing.
func NewTimes() *Times {
	// From 1 µs to a minute, within a thousandth.
	histogram := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }
	return &Times{histogram(), histogram()}
}

// Take returns them and begins anew.
func (t *Times) Take() *Times {
	u := &Times{t.Acked.Clone(), t.Delivered.Clone()}
	t.Acked.Reset()
	t.Delivered.Reset()
	return u
}

// record counts a time in nanoseconds. Longer than a minute is a minute.
func record(h *hdrhistogram.Histogram, nanos int64) {
	if h.RecordValue(nanos/1000) != nil {
		_ = h.RecordValue(h.HighestTrackableValue()) // It fits.
	}
}

// Rules is what the conversations of a load are like.
type Rules struct {
	Codec     Codec
	Run       string // eight characters that no other run has
	TextBytes int
	InFlight  int
	Senders   int // the first so many people of each conversation
	Seal      *oracle.Seal
	Times     *Times // nil: nobody wants to know

	Now     func() int64 // in nanoseconds since any moment
	May     func() bool  // asked before each message; no: it waits
	Through func()       // hears of each message that is acknowledged and delivered
}

// A Conversation is people who hear each other.
type Conversation struct {
	Account *oracle.Account
	People  []*Person

	rules   *Rules
	number  int    // in this run
	id      uint64 // at the server; 0: not known yet
	channel string
	free    []*Person // who have free slots
	spare   []*Person
	out     []byte
}

// NewConversation returns the n-th conversation of a run, with people by name.
func NewConversation(r *Rules, n int, names []string) *Conversation {
	c := &Conversation{rules: r, number: n}
	c.Account = oracle.NewAccount(r.Seal, oracle.Rules{
		Number: n, Members: len(names), Senders: r.Senders, InFlight: r.InFlight, HearOwn: r.Codec.Echoes(),
	})
	for i, name := range names {
		c.People = append(c.People, &Person{Name: name, conversation: c, member: i})
	}
	c.Account.Free = func(sender int) {
		r.Through()
		c.People[sender].Give(1)
	}
	return c
}

// Is says which conversation it is at the server.
func (c *Conversation) Is(id uint64) {
	c.id, c.channel = id, ChannelOf(id)
}

// ChannelOf is the channel that a conversation's events come on.
func ChannelOf(id uint64) string { return "c:" + strconv.FormatUint(id, 10) }

// ID is which one it is.
func (c *Conversation) ID() uint64 { return c.id }

// Channel is what it is called in commands.
func (c *Conversation) Channel() string { return c.channel }

// Senders are the people who send.
func (c *Conversation) Senders() []*Person { return c.People[:c.rules.Senders] }

// Send has everybody use his free slots. What a person sends at once leaves in one
// write.
func (c *Conversation) Send() error {
	free := c.free
	c.free = c.spare[:0]
	for _, p := range free {
		p.waiting = false
		if err := p.use(); err != nil {
			return err
		}
	}
	c.spare = free
	return nil
}

// A Link is a connection, for writing.
type Link interface {
	// Write takes over b, or copies it.
	Write(b []byte) error
}

// A Step is a command of a script, and what to make of its reply, if anything.
type Step struct {
	Frame func(p *Person, id uint32) ([]byte, error)
	Reply func(p *Person, data []byte) error
	// Fine is the code of a refusal that is as good as a reply; 0: none is.
	Fine uint32
}

// A Person is a member of a conversation at one connection. He says hello, does
// what his script says, a command at a time, and then talks.
type Person struct {
	Name   string
	Script []Step
	Link   Link

	conversation *Conversation
	member       int
	greeted      bool
	answered     int // of the script
	message      *Message
	slots        int    // that are free
	waiting      bool   // among those who have free slots
	out          []byte // what he has to write
	now          int64
}

// Codec is how he talks.
func (p *Person) Codec() Codec { return p.conversation.rules.Codec }

// Conversation is where he is a member.
func (p *Person) Conversation() *Conversation { return p.conversation }

// Member is his number there; he sends if it is below the number of senders.
func (p *Person) Member() int { return p.member }

// Ready reports whether his script is done.
func (p *Person) Ready() bool { return p.greeted && p.answered == len(p.Script) }

// Begin has him say hello. Take has what he has to write.
func (p *Person) Begin() error {
	p.out = append(p.out, p.Codec().Hello(p)...)
	if len(p.out) > 0 {
		return nil
	}
	p.greeted = true
	return p.step()
}

// Take returns what he has to write, until the next call of any method.
func (p *Person) Take() []byte {
	b := p.out
	p.out = p.out[:0]
	return b
}

// step puts the next command of the script into out.
func (p *Person) step() error {
	if p.answered == len(p.Script) {
		return nil
	}
	b, err := p.Script[p.answered].Frame(p, uint32(p.answered+1))
	if err != nil {
		return err
	}
	p.out = append(p.out, b...)
	return nil
}

// Give gives him slots, for Conversation.Send to use.
func (p *Person) Give(slots int) {
	p.slots += slots
	if !p.waiting {
		p.waiting = true
		p.conversation.free = append(p.conversation.free, p)
	}
}

// Rest takes all his slots away.
func (p *Person) Rest() { p.slots = 0 }

// use sends as many messages as there are free slots.
func (p *Person) use() error {
	c := p.conversation
	out, now := c.out[:0], c.rules.Now()
	for ; p.slots > 0 && c.Account.CanSend(p.member) && c.rules.May(); p.slots-- {
		frame, err := p.Next(now)
		if err != nil {
			return err
		}
		out = append(out, frame...)
	}
	c.out = out
	if len(out) == 0 {
		return nil
	}
	if err := p.Link.Write(out); err != nil {
		return fmt.Errorf("%s: send: %w", p.Name, err)
	}
	return nil
}

// Next returns the frame of his next message, valid until the next call. The
// conversation's account must have room for it.
func (p *Person) Next(now int64) ([]byte, error) {
	c := p.conversation
	if p.message == nil {
		var err error
		if p.message, err = c.rules.Codec.Message(c.rules.Run, c.id, c.rules.TextBytes); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	n := c.Account.Send(p.member, p.message.Text, now)
	return p.message.Numbered(n), nil
}

// Read takes what the server has written to him and returns how much of it were
// whole frames.
func (p *Person) Read(b []byte) (read int, err error) {
	p.now = p.conversation.rules.Now()
	for read < len(b) {
		n, err := p.conversation.rules.Codec.Read(b[read:], p)
		if err != nil {
			return read, fmt.Errorf("%s: %w", p.Name, err)
		}
		if n == 0 {
			break
		}
		read += n
	}
	return read, nil
}

// Greeted is of Hearer.
func (p *Person) Greeted() error {
	p.greeted = true
	return p.step()
}

// Pinged is of Hearer.
func (p *Person) Pinged() { p.out = append(p.out, p.Codec().Pong()...) }

// Replied is of Hearer.
func (p *Person) Replied(id uint32, data []byte) error {
	if int(id) != p.answered+1 || p.answered == len(p.Script) {
		return fmt.Errorf("got the reply to command %d, want that to %d", id, p.answered+1)
	}
	if reply := p.Script[p.answered].Reply; reply != nil {
		if err := reply(p, data); err != nil {
			return err
		}
	}
	p.answered++
	return p.step()
}

// Refused is of Hearer.
func (p *Person) Refused(id, code uint32, sentence []byte) error {
	if int(id) == p.answered+1 && p.answered < len(p.Script) && code != 0 && code == p.Script[p.answered].Fine {
		p.answered++
		return p.step()
	}
	return fmt.Errorf("command %d was refused: %s", id, sentence)
}

// Acked is of Hearer.
func (p *Person) Acked(id uint32, seq uint64) error {
	at, ok := p.conversation.Account.Acked(p.member, uint64(id)-FirstID, seq)
	if t := p.conversation.rules.Times; ok && t != nil {
		record(t.Acked, p.now-at)
	}
	return nil
}

// Heard is of Hearer.
func (p *Person) Heard(channel []byte, seq uint64, text []byte) error {
	c := p.conversation
	if string(channel) != c.channel {
		return nil // His own log.
	}
	if text == nil {
		c.Account.Passed(p.member, seq)
		return nil
	}
	at, ok := c.Account.Delivered(p.member, seq, text)
	if t := c.rules.Times; ok && t != nil {
		record(t.Delivered, p.now-at)
	}
	return nil
}
