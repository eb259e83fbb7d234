package wire

import (
	"bytes"
	"unicode/utf8"

	"github.com/centrifugal/protocol"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of what a client sends: github.com/centrifugal/protocol
// v0.19.2, client.proto. The library's own decoder is not used: it follows a
// SubscribeRequest's filter as deep as it goes, 8 MiB of stack and 18 ms for a
// message of 64 KiB, and lets strings be what they want.
const (
	commandID            = 1
	commandConnect       = 4
	commandSubscribe     = 5
	commandUnsubscribe   = 6
	commandPublish       = 7
	commandPresence      = 8
	commandPresenceStats = 9
	commandHistory       = 10
	commandPing          = 11
	commandSend          = 12
	commandRPC           = 13
	commandRefresh       = 14
	commandSubRefresh    = 15

	connectToken   = 1
	connectData    = 2
	connectSubs    = 3
	connectName    = 4
	connectVersion = 5
	entryKey       = 1
	entryValue     = 2

	subscribeChannel     = 1
	subscribeToken       = 2
	subscribeRecover     = 3
	subscribeEpoch       = 6
	subscribeOffset      = 7
	subscribeData        = 8
	subscribePositioned  = 9
	subscribeRecoverable = 10

	unsubscribeChannel = 1
	rpcData            = 1
	rpcMethod          = 2
	sendData           = 1
	refreshToken       = 1
)

// fields reads the fields of a protobuf message from the front. The first error
// makes it bad, and ends it.
type fields struct {
	b   []byte
	bad *bool // shared with the messages within

	number protowire.Number
	kind   protowire.Type
	value  []byte // of a field with a length
	n      uint64 // of a varint
}

// next moves to the next field.
func (f *fields) next() bool {
	if *f.bad || len(f.b) == 0 {
		return false
	}
	number, kind, size := protowire.ConsumeTag(f.b)
	if size < 0 {
		return f.fail()
	}
	f.number, f.kind, f.b = number, kind, f.b[size:]
	f.value, f.n = nil, 0
	switch kind {
	case protowire.VarintType:
		f.n, size = protowire.ConsumeVarint(f.b)
	case protowire.BytesType:
		f.value, size = protowire.ConsumeBytes(f.b)
	case protowire.Fixed32Type:
		_, size = protowire.ConsumeFixed32(f.b)
	case protowire.Fixed64Type:
		_, size = protowire.ConsumeFixed64(f.b)
	default:
		size = -1 // A group: nothing that we speak with has any.
	}
	if size < 0 {
		return f.fail()
	}
	f.b = f.b[size:]
	return true
}

func (f *fields) fail() bool {
	*f.bad = true
	return false
}

// is reports whether the field is of a kind, which it must be.
func (f *fields) is(kind protowire.Type) bool { return f.kind == kind || f.fail() }

func (f *fields) varint() uint64 {
	f.is(protowire.VarintType)
	return f.n
}

func (f *fields) data() []byte {
	f.is(protowire.BytesType)
	return bytes.Clone(f.value)
}

func (f *fields) text() string {
	if f.is(protowire.BytesType) && !utf8.Valid(f.value) {
		f.fail()
	}
	return string(f.value)
}

// message returns the fields of a message within.
func (f *fields) message() *fields {
	f.is(protowire.BytesType)
	return &fields{b: f.value, bad: f.bad}
}

// parseProtobufCommand reads a command in protobuf. Fields that it does not
// know are skipped: newer SDKs send them.
func parseProtobufCommand(b []byte) (*protocol.Command, error) {
	c := new(protocol.Command)
	f := fields{b: b, bad: new(bool)}
	for f.next() {
		switch f.number {
		case commandID:
			c.Id = uint32(f.varint())
		case commandConnect:
			c.Connect = f.message().connect()
		case commandSubscribe:
			c.Subscribe = f.message().subscribe()
		case commandUnsubscribe:
			c.Unsubscribe = &protocol.UnsubscribeRequest{Channel: f.message().only(unsubscribeChannel)}
		case commandRPC:
			c.Rpc = f.message().rpc()
		case commandRefresh:
			c.Refresh = &protocol.RefreshRequest{Token: f.message().only(refreshToken)}
		case commandSend:
			c.Send = f.message().send()
		case commandPing:
			c.Ping = &protocol.PingRequest{}
		case commandPublish:
			c.Publish = &protocol.PublishRequest{}
		case commandPresence:
			c.Presence = &protocol.PresenceRequest{}
		case commandPresenceStats:
			c.PresenceStats = &protocol.PresenceStatsRequest{}
		case commandHistory:
			c.History = &protocol.HistoryRequest{}
		case commandSubRefresh:
			c.SubRefresh = &protocol.SubRefreshRequest{}
		}
	}
	if *f.bad {
		return nil, malformed("a command is not the protobuf message Command")
	}
	return c, nil
}

// only reads a message of which one text matters.
func (f *fields) only(number protowire.Number) (text string) {
	for f.next() {
		if f.number == number {
			text = f.text()
		}
	}
	return text
}

func (f *fields) rpc() *protocol.RPCRequest {
	r := new(protocol.RPCRequest)
	for f.next() {
		switch f.number {
		case rpcMethod:
			r.Method = f.text()
		case rpcData:
			r.Data = f.data()
		}
	}
	return r
}

func (f *fields) send() *protocol.SendRequest {
	r := new(protocol.SendRequest)
	for f.next() {
		if f.number == sendData {
			r.Data = f.data()
		}
	}
	return r
}

func (f *fields) connect() *protocol.ConnectRequest {
	r := new(protocol.ConnectRequest)
	for f.next() {
		switch f.number {
		case connectToken:
			r.Token = f.text()
		case connectData:
			r.Data = f.data()
		case connectSubs:
			if r.Subs == nil {
				r.Subs = make(map[string]*protocol.SubscribeRequest)
			}
			channel, sub := f.message().entry()
			r.Subs[channel] = sub
		case connectName:
			r.Name = f.text()
		case connectVersion:
			r.Version = f.text()
		}
	}
	return r
}

// entry reads an entry of the map of channels.
func (f *fields) entry() (channel string, sub *protocol.SubscribeRequest) {
	sub = new(protocol.SubscribeRequest)
	for f.next() {
		switch f.number {
		case entryKey:
			channel = f.text()
		case entryValue:
			sub = f.message().subscribe()
		}
	}
	return channel, sub
}

func (f *fields) subscribe() *protocol.SubscribeRequest {
	r := new(protocol.SubscribeRequest)
	for f.next() {
		switch f.number {
		case subscribeChannel:
			r.Channel = f.text()
		case subscribeToken:
			r.Token = f.text()
		case subscribeRecover:
			r.Recover = f.varint() != 0
		case subscribeEpoch:
			r.Epoch = f.text()
		case subscribeOffset:
			r.Offset = f.varint()
		case subscribeData:
			r.Data = f.data()
		case subscribePositioned:
			r.Positioned = f.varint() != 0
		case subscribeRecoverable:
			r.Recoverable = f.varint() != 0
		}
	}
	return r
}
