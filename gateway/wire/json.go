package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"kith/actors/pb"
)

// AppendJSON appends a message of kith.v1 as compact JSON: fields by their proto
// names, 64-bit integers as numbers, enums by name, bytes in base64, zero values
// left out. An Event has its type's name and its body as an object. No control
// character, newline or line separator stands in it unescaped.
//
// It fails, and dst is as it was, if a string is not UTF-8 or messages are
// nested deeper than MaxDepth.
func AppendJSON(dst []byte, m proto.Message) ([]byte, error) {
	r := m.ProtoReflect()
	p, err := planOf(r.Descriptor())
	if err != nil {
		return dst, err
	}
	out, err := p.append(dst, r, 1)
	if err != nil {
		return dst, err
	}
	return out, nil
}

var (
	errTextNotUTF8 = errors.New("a string is not valid UTF-8")
	errTooDeep     = errors.New("messages are nested too deep")
)

func (p *plan) append(dst []byte, m protoreflect.Message, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return dst, errTooDeep
	}
	if p.event {
		if e, ok := m.Interface().(*pb.Event); ok {
			return appendStoredEvent(dst, e, depth)
		}
	}
	dst = append(dst, '{')
	start := len(dst)
	var err error
	for _, f := range p.turns {
		if f = p.member(f, m); f == nil {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, f.key...)
		if f.list {
			dst, err = f.appendList(dst, m.Get(f.desc).List(), depth)
		} else {
			dst, err = f.appendValue(dst, m.Get(f.desc), depth)
		}
		if err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func (f *field) appendList(dst []byte, l protoreflect.List, depth int) ([]byte, error) {
	dst = append(dst, '[')
	var err error
	for i := range l.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = f.appendValue(dst, l.Get(i), depth); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (f *field) appendValue(dst []byte, v protoreflect.Value, depth int) ([]byte, error) {
	switch f.kind {
	case protoreflect.StringKind:
		dst, ok := appendString(dst, v.String())
		if !ok {
			return dst, errTextNotUTF8
		}
		return dst, nil
	case protoreflect.MessageKind:
		return f.plan.append(dst, v.Message(), depth+1)
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v.Bool()), nil
	case protoreflect.EnumKind:
		return f.appendEnum(dst, v.Enum()), nil
	case protoreflect.BytesKind:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
		return append(dst, '"'), nil
	case protoreflect.FloatKind:
		return appendFloat(dst, v.Float(), 32), nil
	case protoreflect.DoubleKind:
		return appendFloat(dst, v.Float(), 64), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	}
	return strconv.AppendInt(dst, v.Int(), 10), nil
}

// appendEnum appends the name of a value; a value without one, which a newer
// server may have stored, is a number.
func (f *field) appendEnum(dst []byte, n protoreflect.EnumNumber) []byte {
	v := f.enum.Values().ByNumber(n)
	if v == nil {
		return strconv.AppendInt(dst, int64(n), 10)
	}
	dst = append(dst, '"')
	dst = append(dst, v.Name()...)
	return append(dst, '"')
}

// appendFloat appends the shortest number that reads back the same, in the
// notation of ECMAScript. JSON has no word for what is not a number; protojson
// has strings.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits)
}

// appendStoredEvent appends an event of a history page. A body that cannot be
// read makes the event Unreadable, as it does when it is delivered live.
func appendStoredEvent(dst []byte, e *pb.Event, depth int) ([]byte, error) {
	var body proto.Message
	if t := bodies().byNumber[e.Type]; t != nil {
		if body = t.New().Interface(); unmarshal(e.Body, body) != nil {
			body = nil
		}
	}
	mark, env := len(dst), envelope{e.Seq, e.At, e.By, e.Channel}
	if body != nil {
		name := string(body.ProtoReflect().Descriptor().Name())
		out, err := appendEventJSON(dst, name, env, body, depth)
		if err == nil {
			return out, nil
		}
	}
	return appendEventJSON(dst[:mark], unreadable, env.readable(), nil, depth)
}

// appendEventJSON appends an event with its body, or {} for nil.
func appendEventJSON(dst []byte, name string, e envelope, body proto.Message, depth int) ([]byte, error) {
	dst = append(dst, `{"type":"`...)
	dst = append(append(dst, name...), '"')
	if e.seq != 0 {
		dst = strconv.AppendUint(append(dst, `,"seq":`...), e.seq, 10)
	}
	if e.at != 0 {
		dst = strconv.AppendInt(append(dst, `,"at":`...), e.at, 10)
	}
	if e.by != "" {
		var ok bool
		if dst, ok = appendString(append(dst, `,"by":`...), e.by); !ok {
			return dst, errTextNotUTF8
		}
	}
	if e.channel != "" {
		dst = appendText(append(dst, `,"channel":`...), e.channel)
	}
	dst = append(dst, `,"body":`...)
	if body == nil {
		return append(dst, `{}}`...), nil
	}
	r := body.ProtoReflect()
	p, err := planOf(r.Descriptor())
	if err != nil {
		return dst, fmt.Errorf("the body of a %s: %w", name, err)
	}
	if dst, err = p.append(dst, r, depth+1); err != nil {
		return dst, fmt.Errorf("the body of a %s: %w", name, err)
	}
	return append(dst, '}'), nil
}

// appendText appends a string of our own; what is not UTF-8 becomes U+FFFD.
func appendText(dst []byte, s string) []byte {
	dst, _ = appendString(dst, s)
	return dst
}

// plain says which ASCII bytes stand for themselves in a string.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\' && c != 0x7f
	}
	return t
}()

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string, and reports whether it was UTF-8.
func appendString(dst []byte, s string) ([]byte, bool) {
	valid := true
	dst = append(dst, '"')
	from := 0 // s[from:i] stands for itself.
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if i++; plain[c] {
				continue
			}
			dst = appendEscape(append(dst, s[from:i-1]...), c)
			from = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			valid = false
			fallthrough
		case r == '\u2028', r == '\u2029':
			// Line ends in JavaScript's strings, which JSON once was not a part of.
			dst = append(dst, s[from:i]...)
			dst = append(dst, '\\', 'u', hexDigits[r>>12&0xf], hexDigits[r>>8&0xf], hexDigits[r>>4&0xf], hexDigits[r&0xf])
			from = i + size
		}
		i += size
	}
	return append(append(dst, s[from:]...), '"'), valid
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}
