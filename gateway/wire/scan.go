package wire

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth bounds how deep objects, arrays and messages may be nested in what
// clients send. Ours nest five deep; a stack must not grow with a stranger's
// brackets.
const MaxDepth = 32

// A scanner reads strict JSON (RFC 8259) from the front. The first error
// sticks: afterwards every method returns zero, so that callers check once.
type scanner struct {
	b     []byte
	i     int
	depth int // how many objects and arrays are open
	max   int // of depth
	err   error
}

// fail says what is wrong at the present byte.
func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("the JSON is malformed at byte %d: %s", s.i, fmt.Sprintf(format, args...))
	}
}

// peek skips white space and returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.err != nil {
		return 0
	}
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return c
		}
	}
	return 0
}

// enter opens an object or an array and reports whether there is anything in
// it:
//
//	for more := s.enter('{'); more; more = s.more('}') {
//		key := s.key()
//		… // the value
//	}
func (s *scanner) enter(open byte) bool {
	if s.peek() != open {
		s.fail("%q must stand here", open)
		return false
	}
	if s.depth == s.max {
		s.fail("it is nested too deep")
		return false
	}
	s.depth++
	s.i++
	if s.peek() == open+2 { // ']' and '}' are two after '[' and '{'.
		s.i++
		s.depth--
		return false
	}
	return s.err == nil
}

// more reports whether another element follows, or closes the object or array.
func (s *scanner) more(end byte) bool {
	switch s.peek() {
	case ',':
		s.i++
		return true
	case end:
		s.i++
		s.depth--
	default:
		s.fail("a comma or %q must stand here", end)
	}
	return false
}

// key reads the key of an object's member, and the colon.
func (s *scanner) key() []byte {
	k := s.str()
	if s.peek() != ':' {
		s.fail("a colon must stand here")
		return nil
	}
	s.i++
	return k
}

// end reports whether nothing but white space is left.
func (s *scanner) end() bool {
	if s.peek() != 0 || s.i < len(s.b) {
		s.fail("there is something after the value")
	}
	return s.err == nil
}

// literal takes true, false or null if it stands here.
func (s *scanner) literal(word string) bool {
	s.peek()
	if s.err != nil || !bytes.HasPrefix(s.b[s.i:], []byte(word)) {
		return false
	}
	s.i += len(word)
	return true
}

// null takes a null if it stands here.
func (s *scanner) null() bool { return s.literal("null") }

// boolean reads true or false.
func (s *scanner) boolean() bool {
	if s.literal("true") {
		return true
	}
	if !s.literal("false") {
		s.fail("true or false must stand here")
	}
	return false
}

// str reads a string. Without escapes it is a part of the input.
func (s *scanner) str() []byte {
	if s.peek() != '"' {
		s.fail("a string must stand here")
		return nil
	}
	start, escaped, ascii := s.i+1, false, true
	for i := start; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			raw := s.b[start:i]
			if !ascii && !utf8.Valid(raw) {
				s.fail("a string is not valid UTF-8")
				return nil
			}
			s.i = i + 1
			if escaped {
				return s.unescape(raw, start)
			}
			return raw
		case c == '\\':
			escaped = true
			i++ // Whatever follows, it does not end the string.
		case c < ' ':
			s.i = i
			s.fail("a control character must be escaped")
			return nil
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	s.i = len(s.b)
	s.fail("a string does not end")
	return nil
}

// unescape resolves the escapes of a string that began at start.
func (s *scanner) unescape(raw []byte, start int) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			i++
			continue
		}
		r, size := unescapeRune(raw[i:])
		if size == 0 {
			s.i = start + i
			s.fail("an escape is malformed")
			return nil
		}
		out = utf8.AppendRune(out, r)
		i += size
	}
	return out
}

// unescapeRune resolves the escape at the beginning of b; size 0 means that it
// is none. Half of a surrogate pair is none: it is not text.
func unescapeRune(b []byte) (r rune, size int) {
	switch b[1] { // A backslash is never the last byte: it escapes the quote.
	case '"', '\\', '/':
		return rune(b[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	r, ok := hexRune(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hexRune(b[6:])
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// hexRune reads \uXXXX.
func hexRune(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number reads a number and returns its text.
func (s *scanner) number() []byte {
	s.peek()
	if s.err != nil {
		return nil
	}
	n := numberSize(s.b[s.i:])
	if n == 0 {
		s.fail("a number must stand here")
		return nil
	}
	s.i += n
	return s.b[s.i-n : s.i]
}

// numberSize is the size of the number at the beginning of b; 0: there is none.
func numberSize(b []byte) int {
	i := 0
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	at := func(set string) bool { return i < len(b) && bytes.IndexByte([]byte(set), b[i]) >= 0 }

	if at("-") {
		i++
	}
	if at("0") {
		i++
	} else if !digits() {
		return 0
	}
	if at(".") {
		if i++; !digits() {
			return 0
		}
	}
	if at("eE") {
		if i++; at("+-") {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}

// unsigned reads a whole number of so many bits.
func (s *scanner) unsigned(bits int) uint64 {
	n, err := strconv.ParseUint(string(s.number()), 10, bits)
	if err != nil {
		s.fail("a whole number of at most %d bits must stand here", bits)
	}
	return n
}

// raw skips a value of any kind, checking it, and returns its text.
func (s *scanner) raw() []byte {
	s.peek()
	start := s.i
	s.skip()
	if s.err != nil {
		return nil
	}
	return s.b[start:s.i]
}

func (s *scanner) skip() {
	switch c := s.peek(); c {
	case '{':
		for more := s.enter('{'); more; more = s.more('}') {
			s.key()
			s.skip()
		}
	case '[':
		for more := s.enter('['); more; more = s.more(']') {
			s.skip()
		}
	case '"':
		s.str()
	case 't', 'f':
		s.boolean()
	case 'n':
		if !s.null() {
			s.fail("a value must stand here")
		}
	default:
		s.number()
	}
}
