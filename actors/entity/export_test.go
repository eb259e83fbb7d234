package entity

import (
	"google.golang.org/protobuf/reflect/protoregistry"

	"kith/actors/pb"
)

// What tests outside the package need of its insides.

const (
	MaxMemoryBytes  = maxMemoryBytes
	MaxRequestBytes = maxRequestBytes
	RequestBytes    = requestBytes
	MaxLoaded       = maxLoaded
	ReplayReserve   = replayReserve
	NodeShard       = nodeShard
	ProgressRows    = progressRows
)

// A Header is what an event row says in clear.
type Header struct {
	Class   pb.Class
	Number  uint32
	Ordinal uint64
	Prev    uint64
	At      int64
	By      uint32
	KeyID   uint64
	Origin  uint64
}

func (h Header) internal() *header {
	return &header{h.Class, h.Number, h.Ordinal, h.Prev, h.At, h.By, h.KeyID, h.Origin}
}

// AppendEvent makes an event row, whose body is given in bytes.
func AppendEvent(seq uint64, h Header, body []byte) []byte {
	row, err := appendEvent(nil, seq, h.internal(), &pb.Unreadable{})
	if err != nil {
		panic(err)
	}
	return append(row, body...)
}

// ParseEvent splits an event row.
func ParseEvent(seq uint64, val []byte) (Header, []byte, error) {
	h, body, err := parseEvent(seq, val)
	return Header{h.class, h.number, h.ordinal, h.prev, h.at, h.by, h.keyID, h.origin}, body, err
}

// HeaderOf is the header of an event that was read.
func HeaderOf(e *Event) Header {
	h := e.header
	return Header{h.class, h.number, h.ordinal, h.prev, h.at, h.by, h.keyID, h.origin}
}

// LogKey is the key of an event row.
func LogKey(r Ref, seq uint64) []byte { return logKey(nil, r, seq) }

// RowKey is the key of any row.
func RowKey(r Ref, table uint32, k Key) []byte { return rowKey(nil, r, table, k) }

// Range is where the rows of a table of an entity lie.
func Range(r Ref, table uint32) (lower, upper []byte) {
	lower = rowKey(nil, r, table, nil)
	return lower, after(lower)
}

// System is where the rows of a shard's own table lie.
func System(shard uint16, table uint32) (lower, upper []byte) {
	lower = systemPrefix(shard, table)
	return lower, after(lower)
}

// Held is how much a Memory holds: rows, pending rows and events, requests.
func (m *Memory) Held() (rows, pending, events, requests int) {
	return len(m.rows), len(m.pending), len(m.events), m.requests.words
}

// Bytes is what a Memory believes that it holds.
func (m *Memory) Bytes() (rows, requests int) { return m.bytes, m.requests.bytes() }

// CheckTypes checks tables and events as New does.
func CheckTypes(types *protoregistry.Types) (tables, events error) {
	_, events = newEventTypes(types)
	return checkTables(types), events
}
