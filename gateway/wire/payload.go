package wire

import (
	"encoding/binary"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
)

// A Payload is how a session wants the messages of kith.v1 to be written: in
// what rpcs and publications carry, independent of the protocol around it.
type Payload uint8

const (
	// JSONPayload: see AppendJSON.
	JSONPayload Payload = iota
	// ProtoPayload: protobuf; only in the protobuf protocol, for JSON cannot
	// carry bytes.
	ProtoPayload
)

func (p Payload) String() string {
	if p == ProtoPayload {
		return "proto"
	}
	return "json"
}

// Append appends a message. If it fails, dst is as it was.
func (p Payload) Append(dst []byte, m proto.Message) ([]byte, error) {
	if p == JSONPayload {
		return AppendJSON(dst, m)
	}
	return appendProto(dst, m)
}

// Unmarshal reads a message. An empty payload is an empty message in both
// encodings: SDKs leave the data of an rpc out. The error is an *entity.Error.
func (p Payload) Unmarshal(b []byte, m proto.Message) error {
	switch {
	case len(b) == 0:
		proto.Reset(m)
		return nil
	case p == JSONPayload:
		return UnmarshalJSON(b, m)
	}
	return UnmarshalProto(b, m)
}

// unreadable is the name of pb.Unreadable, which stands for an event that cannot
// be encoded.
const unreadable = "Unreadable"

// Field numbers of pb.Event; a test compares what is made with them to what
// generated code makes. All are below 16.
const (
	eventType    = 1
	eventSeq     = 2
	eventAt      = 3
	eventBy      = 4
	eventBody    = 5
	eventChannel = 6
)

// An envelope is what an event says around its body, but for the type.
type envelope struct {
	seq     uint64
	at      int64
	by      string
	channel string // of a signal; "c:" and digits, or nothing
}

// readable is the envelope without the author if his id cannot be encoded.
func (e envelope) readable() envelope {
	if !utf8.ValidString(e.by) {
		e.by = ""
	}
	return e
}

// AppendEvent appends what a publication or a message carries: an Event. channel is
// the one of a signal, whose push names none. If its body cannot be encoded, an
// Unreadable takes its place at its seq, so that one event never holds up those
// behind it, and ok is false, so that it is counted.
func AppendEvent(dst []byte, p Payload, e *entity.Event, channel string) (out []byte, ok bool) {
	mark, env := len(dst), envelope{e.Seq, e.At, e.By, channel}
	if e.Body != nil && e.Type != nil {
		var err error
		if p == JSONPayload {
			out, err = appendEventJSON(dst, e.Type.Name, env, e.Body, 1)
		} else {
			out, err = appendEventProto(dst, e.Type.Number, env, e.Body)
		}
		if err == nil {
			return out, true
		}
		dst = out[:mark]
	}
	// Nothing is left that could fail.
	if p == JSONPayload {
		out, _ = appendEventJSON(dst, unreadable, env.readable(), nil, 1)
	} else {
		out, _ = appendEventProto(dst, bodies().byName[unreadable], env.readable(), nil)
	}
	return out, false
}

func appendEventProto(dst []byte, number uint32, e envelope, body proto.Message) ([]byte, error) {
	if !utf8.ValidString(e.by) {
		return dst, errTextNotUTF8
	}
	dst = appendVarint(dst, eventType, uint64(number))
	if e.seq != 0 {
		dst = appendVarint(dst, eventSeq, e.seq)
	}
	if e.at != 0 {
		dst = appendVarint(dst, eventAt, uint64(e.at))
	}
	if e.by != "" {
		dst = append(appendLength(dst, eventBy, len(e.by)), e.by...)
	}
	if body != nil {
		out, err := ProtoPayload.Append(dst, body)
		if err != nil {
			return dst, err
		}
		var room [1 + binary.MaxVarintLen64]byte
		dst = insert(out, len(dst), appendLength(room[:0], eventBody, len(out)-len(dst)))
	}
	if e.channel != "" {
		dst = append(appendLength(dst, eventChannel, len(e.channel)), e.channel...)
	}
	return dst, nil
}

// insert moves what dst has from mark on and puts b before it: the way to write
// a length before what has it.
func insert(dst []byte, mark int, b []byte) []byte {
	dst = append(dst, b...)
	copy(dst[mark+len(b):], dst[mark:len(dst)-len(b)])
	copy(dst[mark:], b)
	return dst
}
