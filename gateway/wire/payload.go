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
	eventType = 1
	eventSeq  = 2
	eventAt   = 3
	eventBy   = 4
	eventBody = 5
)

// AppendEvent appends what a publication carries: an Event. If its body cannot
// be encoded, an Unreadable takes its place at its seq, so that one event never
// holds up those behind it, and ok is false, so that it is counted.
func AppendEvent(dst []byte, p Payload, e *entity.Event) (out []byte, ok bool) {
	mark := len(dst)
	if e.Body != nil && e.Type != nil {
		var err error
		if p == JSONPayload {
			out, err = appendEventJSON(dst, e.Type.Name, e.Seq, e.At, e.By, e.Body, 1)
		} else {
			out, err = appendEventProto(dst, e.Type.Number, e, e.By, e.Body)
		}
		if err == nil {
			return out, true
		}
		dst = out[:mark]
	}
	// Nothing is left that could fail.
	if p == JSONPayload {
		out, _ = appendEventJSON(dst, unreadable, e.Seq, e.At, readable(e.By), nil, 1)
	} else {
		out, _ = appendEventProto(dst, bodies().byName[unreadable], e, readable(e.By), nil)
	}
	return out, false
}

// readable returns the author, or nobody if his id cannot be encoded.
func readable(by string) string {
	if utf8.ValidString(by) {
		return by
	}
	return ""
}

func appendEventProto(dst []byte, number uint32, e *entity.Event, by string, body proto.Message) ([]byte, error) {
	if !utf8.ValidString(by) {
		return dst, errTextNotUTF8
	}
	dst = appendVarint(dst, eventType, uint64(number))
	if e.Seq != 0 {
		dst = appendVarint(dst, eventSeq, e.Seq)
	}
	if e.At != 0 {
		dst = appendVarint(dst, eventAt, uint64(e.At))
	}
	if by != "" {
		dst = append(appendLength(dst, eventBy, len(by)), by...)
	}
	if body == nil {
		return dst, nil
	}
	out, err := ProtoPayload.Append(dst, body)
	if err != nil {
		return dst, err
	}
	var room [1 + binary.MaxVarintLen64]byte
	return insert(out, len(dst), appendLength(room[:0], eventBody, len(out)-len(dst))), nil
}

// insert moves what dst has from mark on and puts b before it: the way to write
// a length before what has it.
func insert(dst []byte, mark int, b []byte) []byte {
	dst = append(dst, b...)
	copy(dst[mark+len(b):], dst[mark:len(dst)-len(b)])
	copy(dst[mark:], b)
	return dst
}
