package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"kith/actors/entity"
)

// MaxPayloadBytes bounds what a payload is parsed from. The doors have smaller
// limits for requests; replies to our own clients are paged to 256 KiB.
const MaxPayloadBytes = 1 << 20

// UnmarshalJSON reads a message of kith.v1 from JSON as protojson does: fields
// by proto name or in lowerCamelCase, 64-bit integers as numbers or strings,
// enums by name or number, bytes in any base64, null for absent. A field that
// the message does not have is refused by name. Unlike protojson it takes no
// exponent in whole numbers, and at most MaxDepth levels.
//
// The error is an *entity.Error whose sentence a client may see.
func UnmarshalJSON(b []byte, m proto.Message) error {
	if err := checkSize(b); err != nil {
		return err
	}
	pl, err := planOf(m.ProtoReflect().Descriptor())
	if err != nil {
		return err
	}
	// Written in protobuf first, and read from that by generated code: setting
	// fields through protoreflect costs an allocation or two for each.
	// 16 → 7 allocs, BenchmarkUnmarshalJSON.
	p := parser{scanner: scanner{b: b, max: MaxDepth}, out: make([]byte, 0, len(b))}
	if p.peek() == 0 {
		return entity.Errorf(entity.Invalid, "there must be a JSON object")
	}
	p.message(pl)
	if !p.end() {
		return &entity.Error{Code: entity.Invalid, Msg: p.err.Error()}
	}
	return unmarshal(p.out, m)
}

func checkSize(b []byte) error {
	if len(b) > MaxPayloadBytes {
		return entity.Errorf(entity.TooLarge, "a payload may have at most %d bytes", MaxPayloadBytes)
	}
	return nil
}

// unmarshal reads a message from protobuf that we made, or that is stored.
func unmarshal(b []byte, m proto.Message) error {
	if vt, ok := m.(interface{ UnmarshalVT([]byte) error }); ok {
		proto.Reset(m)
		return vt.UnmarshalVT(b)
	}
	return proto.Unmarshal(b, m)
}

// UnmarshalProto reads a message from protobuf. Strings must be UTF-8 and
// messages nested at most MaxDepth deep. The error is an *entity.Error.
func UnmarshalProto(b []byte, m proto.Message) error {
	if err := checkSize(b); err != nil {
		return err
	}
	if parseProto(b, m) != nil {
		return entity.Errorf(entity.Invalid, "the bytes are not a protobuf message %s", m.ProtoReflect().Descriptor().Name())
	}
	return nil
}

// parser reads a message in JSON and writes it in protobuf.
type parser struct {
	scanner
	out  []byte
	path [MaxDepth]*field // to the field that it is in
	deep int              // length of path
}

// wrong says what is wrong with the field that is being read.
func (p *parser) wrong(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%s %s", p.where(""), fmt.Sprintf(format, args...))
	}
}

// where names a field of the message that is being read; without a name, the
// field that it is.
func (p *parser) where(name string) string {
	if p.deep == 0 && name == "" {
		return "the request"
	}
	var b strings.Builder
	for _, f := range p.path[:p.deep] {
		b.WriteString(f.name)
		b.WriteByte('.')
	}
	return strings.TrimSuffix(b.String()+name, ".")
}

// begins checks the first byte of a value, so that a value of the wrong kind is
// not taken for malformed JSON.
func (p *parser) begins(with, what string) bool {
	c := p.peek()
	if p.err == nil && c != 0 && strings.IndexByte(with, c) < 0 {
		p.wrong("must be %s", what)
	}
	return p.err == nil
}

func (p *parser) message(pl *plan) {
	if !p.begins("{", "an object") {
		return
	}
	if pl.event {
		p.event(pl)
		return
	}
	var seen, set uint64
	for more := p.enter('{'); more; more = p.more('}') {
		f := p.field(pl, &seen)
		if f == nil {
			continue
		}
		if both := set & f.rivals; both != 0 {
			rival := pl.fields[bits.TrailingZeros64(both)]
			p.err = fmt.Errorf("%s and %s exclude each other", p.where(rival.name), p.where(f.name))
			return
		}
		set |= f.bit
		p.value(f)
	}
}

// maxNameShown bounds what is quoted of a name that does not exist.
const maxNameShown = 64

// field reads a key and finds its field; nil: its value is null, or there is an
// error.
func (p *parser) field(pl *plan, seen *uint64) *field {
	key := p.key()
	if p.err != nil {
		return nil
	}
	f := pl.byName[string(key)]
	if f == nil {
		p.err = fmt.Errorf("there is no field %q", p.where(string(key[:min(len(key), maxNameShown)])))
		return nil
	}
	if *seen&f.bit != 0 {
		p.err = fmt.Errorf("%s is there twice", p.where(f.name))
		return nil
	}
	*seen |= f.bit
	if p.null() {
		return nil
	}
	return f
}

// value reads the value of a field.
func (p *parser) value(f *field) {
	p.path[p.deep] = f // There is room: each entry has an open object.
	p.deep++
	switch {
	case !f.list:
		p.element(f)
	case p.begins("[", "an array"):
		for more := p.enter('['); more; more = p.more(']') {
			p.element(f)
		}
	}
	p.deep--
}

// element reads one value and writes it with its tag.
func (p *parser) element(f *field) {
	p.out = binary.AppendUvarint(p.out, f.tag)
	if f.plan == nil {
		p.scalar(f)
		return
	}
	mark := len(p.out)
	p.out = append(p.out, 0)
	p.message(f.plan)
	size := uint64(len(p.out) - mark - 1)
	p.out[mark] = byte(size)
	if size >= 0x80 {
		var room [binary.MaxVarintLen64]byte
		length := binary.AppendUvarint(room[:0], size)
		p.out[mark] = length[0]
		p.out = insert(p.out, mark+1, length[1:])
	}
}

func (p *parser) scalar(f *field) {
	switch f.kind {
	case protoreflect.StringKind:
		if p.begins(`"`, "a string") {
			p.bytes(p.str())
		}
	case protoreflect.BytesKind:
		p.bytes(p.base64())
	case protoreflect.BoolKind:
		if p.begins("tf", "true or false") {
			p.varint(protowire.EncodeBool(p.boolean()))
		}
	case protoreflect.EnumKind:
		p.varint(uint64(p.enum(f)))
	case protoreflect.Int32Kind:
		p.varint(uint64(p.int(32)))
	case protoreflect.Int64Kind:
		p.varint(uint64(p.int(64)))
	case protoreflect.Uint32Kind:
		p.varint(p.uint(32))
	case protoreflect.Uint64Kind:
		p.varint(p.uint(64))
	case protoreflect.Sint32Kind:
		p.varint(protowire.EncodeZigZag(p.int(32)))
	case protoreflect.Sint64Kind:
		p.varint(protowire.EncodeZigZag(p.int(64)))
	case protoreflect.Fixed32Kind:
		p.out = binary.LittleEndian.AppendUint32(p.out, uint32(p.uint(32)))
	case protoreflect.Sfixed32Kind:
		p.out = binary.LittleEndian.AppendUint32(p.out, uint32(p.int(32)))
	case protoreflect.FloatKind:
		p.out = binary.LittleEndian.AppendUint32(p.out, math.Float32bits(float32(p.float(32))))
	case protoreflect.Fixed64Kind:
		p.out = binary.LittleEndian.AppendUint64(p.out, p.uint(64))
	case protoreflect.Sfixed64Kind:
		p.out = binary.LittleEndian.AppendUint64(p.out, uint64(p.int(64)))
	case protoreflect.DoubleKind:
		p.out = binary.LittleEndian.AppendUint64(p.out, math.Float64bits(p.float(64)))
	}
}

func (p *parser) varint(v uint64) { p.out = binary.AppendUvarint(p.out, v) }

func (p *parser) bytes(b []byte) { p.out = protowire.AppendBytes(p.out, b) }

const numeric = "-0123456789"

// digits reads a number, which may be in a string.
func (p *parser) digits(what string) []byte {
	if !p.begins(numeric+`"`, what) {
		return nil
	}
	if p.peek() != '"' {
		return p.number()
	}
	text := p.str()
	if p.err == nil && (len(text) == 0 || numberSize(text) != len(text)) {
		p.wrong("must be %s", what)
	}
	return text
}

// whole reads the digits of a whole number. Languages that have only floats
// write 5.0; an exponent says that it was never meant to be one.
func (p *parser) whole() []byte {
	text := p.digits("a whole number")
	if dot := bytes.IndexByte(text, '.'); dot > 0 && len(bytes.Trim(text[dot+1:], "0")) == 0 {
		text = text[:dot]
	}
	return text
}

func (p *parser) uint(bits int) uint64 {
	text := p.whole()
	if string(text) == "-0" {
		return 0
	}
	n, err := strconv.ParseUint(string(text), 10, bits)
	if err != nil {
		p.wrong("must be a whole number from 0 to %d", uint64(math.MaxUint64)>>(64-bits))
	}
	return n
}

func (p *parser) int(bits int) int64 {
	n, err := strconv.ParseInt(string(p.whole()), 10, bits)
	if err != nil {
		p.wrong("must be a whole number of %d bits", bits)
	}
	return n
}

// float reads a number, or what AppendJSON writes for what is none.
func (p *parser) float(bits int) float64 {
	if at := p.i; p.peek() == '"' {
		switch string(p.str()) {
		case "NaN":
			return math.NaN()
		case "Infinity":
			return math.Inf(1)
		case "-Infinity":
			return math.Inf(-1)
		}
		p.i = at
	}
	f, err := strconv.ParseFloat(string(p.digits("a number")), bits)
	if err != nil {
		p.wrong("must be a number of %d bits", bits)
	}
	return f
}

func (p *parser) enum(f *field) protoreflect.EnumNumber {
	if !p.begins(numeric+`"`, "the name of a value") {
		return 0
	}
	if p.peek() != '"' {
		return protoreflect.EnumNumber(p.int(32))
	}
	name := p.str()
	values := f.enum.Values()
	if v := values.ByName(protoreflect.Name(name)); v != nil {
		return v.Number()
	}
	var names []string
	for i := range values.Len() {
		names = append(names, string(values.Get(i).Name()))
	}
	p.wrong("must be one of %s", strings.Join(names, ", "))
	return 0
}

// base64 reads bytes in the alphabet for MIME or for URLs, padded or not.
func (p *parser) base64() []byte {
	if !p.begins(`"`, "bytes in base64") {
		return nil
	}
	text := p.str()
	enc := base64.StdEncoding
	if bytes.ContainsAny(text, "-_") {
		enc = base64.URLEncoding
	}
	if len(text)%4 != 0 {
		enc = enc.WithPadding(base64.NoPadding)
	}
	out, err := enc.AppendDecode(make([]byte, 0, enc.DecodedLen(len(text))), text)
	if err != nil {
		p.wrong("must be bytes in base64")
	}
	return out
}

// event reads what AppendJSON makes of an Event: the type is a name, the body
// an object of that type.
func (p *parser) event(pl *plan) {
	var seen uint64
	var number uint32
	body := -1 // where it begins
	for more := p.enter('{'); more; more = p.more('}') {
		f := p.field(pl, &seen)
		switch {
		case f == nil:
		case f.name == "type":
			number = p.eventType(f)
		case f.name == "body":
			p.peek()
			body = p.i
			p.skip()
		default:
			p.value(f)
		}
	}
	if p.err != nil || body < 0 {
		return
	}
	t := bodies().byNumber[number]
	if t == nil {
		p.wrong("has a body but no type")
		return
	}
	bodyPlan, err := planOf(t.Descriptor())
	if err != nil {
		p.err = err
		return
	}
	// The body may stand before the type, so it is read at the end.
	after := p.i
	p.i = body
	p.depth++
	f := *pl.byName["body"]
	f.plan = bodyPlan
	p.value(&f)
	p.depth--
	p.i = after
}

func (p *parser) eventType(f *field) uint32 {
	if !p.begins(`"`, "the name of a type of event") {
		return 0
	}
	name := p.str()
	number, known := bodies().byName[string(name)]
	if !known {
		if p.err == nil {
			p.err = fmt.Errorf("%s must be the name of a type of event", p.where(f.name))
		}
		return 0
	}
	p.out = appendVarint(p.out, eventType, uint64(number))
	return number
}
