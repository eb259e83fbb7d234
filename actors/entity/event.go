package entity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"kith/actors/pb"
)

// An Event is one durable fact in an entity's log, or, with Seq 0, a signal.
// It is shared by everybody who hears it and never changes.
type Event struct {
	Ref   Ref
	Seq   uint64 // from 1, dense, never reused, even when a message is revoked
	Stamp uint64 // of its commit; 0 until it is durable
	At    int64  // unix milliseconds
	By    string // user id of the author; empty: the server
	Type  *EventType
	Body  proto.Message // nil: the row could not be read

	Audience *Audience // who hears it live; nil in pages
	Leaving  uint64    // the number of the user for whom this is the last event of the log; 0: nobody; or Everybody

	header header
}

// Everybody, as the user of EmitLast, is all who hear the log. Nobody has it as his
// number: it does not fit NumberBits.
const Everybody = ^uint64(0)

// Ends reports whether this is the last event of the log that a user hears.
func (e *Event) Ends(user uint64) bool { return e.Leaving == user || e.Leaving == Everybody }

// Ordinal is how many history events there were in the log up to this event,
// itself included.
func (e *Event) Ordinal() uint64 { return e.header.ordinal }

// An Audience is who hears an event: the sessions of some users, and, where
// there are too many users to name, whoever watches the log at the moment. It is
// shared by many events and never changes.
type Audience struct {
	Users    []uint64 // by number, sorted
	Watchers bool     // also every session that has the log's channel
}

// WhoeverWatches is the audience of what has too many hearers to name.
var WhoeverWatches = &Audience{Watchers: true}

// An EventType is a message with an (event) option.
type EventType struct {
	Number uint32
	Name   string // "MessageSent"
	Class  pb.Class

	body   protoreflect.MessageType
	joined []join
}

// A join is a field that is read from another event when it is delivered.
type join struct {
	field protoreflect.FieldDescriptor
	seq   protoreflect.FieldDescriptor
}

// hasJoined reports whether a body carries a field that is not stored with it.
func (t *EventType) hasJoined(body proto.Message) bool {
	for _, j := range t.joined {
		if body.ProtoReflect().Has(j.field) {
			return true
		}
	}
	return false
}

// eventTypes finds an EventType by its number or by the type of a body.
type eventTypes struct {
	byNumber map[uint32]*EventType
	byName   map[protoreflect.FullName]*EventType
}

// newEventTypes collects every message with an (event) option.
func newEventTypes(types *protoregistry.Types) (*eventTypes, error) {
	all := &eventTypes{map[uint32]*EventType{}, map[protoreflect.FullName]*EventType{}}
	var errs []error
	taken := numbers{}
	for _, d := range declaring(types, isEvent) {
		opt := proto.GetExtension(d.Options(), pb.E_Event).(*pb.EventType)
		body, err := types.FindMessageByName(d.FullName())
		if err != nil {
			return nil, err
		}
		t := &EventType{Number: opt.Number, Name: string(d.Name()), Class: opt.Class, body: body}
		taken.take(t.Number, t.Name)
		if t.Number == 0 {
			errs = append(errs, fmt.Errorf("event %s has no number", d.Name()))
		}
		if t.Class == pb.Class_CLASS_UNSPECIFIED {
			errs = append(errs, fmt.Errorf("event %s has no class", d.Name()))
		}
		if hasMap(d) {
			errs = append(errs, fmt.Errorf("event %s has a map, which has no order of bytes", d.FullName()))
		}
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			name, _ := proto.GetExtension(f.Options(), pb.E_Joined).(string)
			if name == "" {
				continue
			}
			seq := d.Fields().ByName(protoreflect.Name(name))
			if seq == nil || seq.Kind() != protoreflect.Uint64Kind || f.Message() == nil {
				errs = append(errs, fmt.Errorf("event %s: %s must be a message joined by a uint64", d.FullName(), f.Name()))
				continue
			}
			t.joined = append(t.joined, join{f, seq})
		}
		all.byNumber[t.Number], all.byName[d.FullName()] = t, t
	}
	return all, errors.Join(append(errs, taken.clashes("event")...)...)
}

func isEvent(d protoreflect.MessageDescriptor) bool {
	return d.Options() != nil && proto.HasExtension(d.Options(), pb.E_Event)
}

func (ts *eventTypes) of(body proto.Message) *EventType {
	t := ts.byName[body.ProtoReflect().Descriptor().FullName()]
	if t == nil {
		panic("entity: " + string(body.ProtoReflect().Descriptor().FullName()) + " has no (event) option")
	}
	return t
}

// An event row is
//
//	format(1) stamp(8, little endian) header body
//
// The header is in clear, the body may be sealed by the key that the header
// names. Seq is in the key.
const eventFormat = 1

// header is what an event row says in clear.
type header struct {
	class   pb.Class
	number  uint32 // of the EventType
	ordinal uint64 // how many history events there were, this one included
	prev    uint64 // seq of the history event before this event; 0: none
	at      int64  // unix milliseconds
	by      uint32 // the author's number in this entity's member table; 0: the server
	keyID   uint64 // 0: the body is plain
	origin  uint64 // hash of device and request id; 0: none
}

// stampAt is where a stamp lies in the value of a row that has one.
const stampAt = 1

// PutStamp fills in the stamp of a Stamped write.
func PutStamp(val []byte, stamp uint64) { binary.LittleEndian.PutUint64(val[stampAt:], stamp) }

func getStamp(val []byte) uint64 { return binary.LittleEndian.Uint64(val[stampAt:]) }

// maxHeaderBytes bounds the header with format and stamp: 9 fixed bytes, a
// class, six varints of at most 10 bytes and the origin.
const maxHeaderBytes = 9 + 1 + 6*binary.MaxVarintLen64 + 8

// appendEvent appends an event row, but for its stamp, which is zero.
func appendEvent(b []byte, seq uint64, h *header, body Message) ([]byte, error) {
	b = append(b, eventFormat, 0, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, byte(h.class))
	b = binary.AppendUvarint(b, uint64(h.number))
	b = binary.AppendUvarint(b, h.ordinal)
	b = binary.AppendUvarint(b, seq-h.prev) // A distance: one byte as a rule.
	b = binary.AppendUvarint(b, uint64(h.at))
	b = binary.AppendUvarint(b, uint64(h.by))
	b = binary.AppendUvarint(b, h.keyID)
	b = binary.LittleEndian.AppendUint64(b, h.origin)
	return appendMessage(b, body)
}

// appendMessage appends the bytes of a message, without a slice of their own.
func appendMessage(b []byte, m Message) ([]byte, error) {
	start, n := len(b), m.SizeVT()
	b = slices.Grow(b, n)[:start+n]
	_, err := m.MarshalToSizedBufferVT(b[start:])
	return b, err
}

var errEventRow = errors.New("an event row is damaged or of a newer format")

// parseEvent splits an event row, but for its stamp. A row has one encoding:
// what appendEvent would not have written is damaged.
func parseEvent(seq uint64, val []byte) (h header, body []byte, err error) {
	if len(val) < 10 || val[0] != eventFormat {
		return h, nil, errEventRow
	}
	h.class = pb.Class(val[9])
	rest := val[10:]
	var fields [6]uint64
	for i := range fields {
		v, n := binary.Uvarint(rest)
		if n <= 0 || n > 1 && rest[n-1] == 0 {
			return h, nil, errEventRow
		}
		fields[i], rest = v, rest[n:]
	}
	distance := fields[2]
	if len(rest) < 8 || distance == 0 || distance > seq || fields[0] > math.MaxUint32 || fields[4] > math.MaxUint32 {
		return h, nil, errEventRow
	}
	h.number, h.ordinal, h.prev = uint32(fields[0]), fields[1], seq-distance
	h.at, h.by, h.keyID = int64(fields[3]), uint32(fields[4]), fields[5]
	h.origin = binary.LittleEndian.Uint64(rest)
	return h, rest[8:], nil
}

// hole makes the event that stands for a range which a viewer may not see.
func (r *Registry) hole(ref Ref, from, through uint64) *Event {
	body := &pb.Hole{From: from, Through: through}
	return &Event{Ref: ref, Seq: through, Type: r.events.of(body), Body: body}
}
