package httpapi

import (
	"bytes"
	"strings"
)

// once are the fields that must not be repeated: two of them could mean one thing
// to a proxy and another to us.
var once = [...][]byte{
	fieldHost:             []byte("host"),
	fieldContentLength:    []byte("content-length"),
	fieldTransferEncoding: []byte("transfer-encoding"),
	fieldContentType:      []byte("content-type"),
	fieldContentEncoding:  []byte("content-encoding"),
	fieldAuthorization:    []byte("authorization"),
	fieldIdempotencyKey:   []byte("idempotency-key"),
	fieldOrigin:           []byte("origin"),
	fieldExpect:           []byte("expect"),
}

const (
	fieldHost = iota
	fieldContentLength
	fieldTransferEncoding
	fieldContentType
	fieldContentEncoding
	fieldAuthorization
	fieldIdempotencyKey
	fieldOrigin
	fieldExpect
	singleFields
)

// header is what framingFault remembers of a header: the value of each field of
// once with the space around it, nil if it is not there.
type header [singleFields][]byte

func (h *header) has(field int) bool    { return h[field] != nil }
func (h *header) text(field int) []byte { return bytes.Trim(h[field], " \t") }

var (
	crlf    = []byte("\r\n")
	chunked = []byte("chunked")
)

// framingFault says why a request could mean one thing to a proxy and another to
// us, or nothing. raw is the header as it came, without the first line: fasthttp
// has normalised what it parsed, and with a Transfer-Encoding it forgets a
// Content-Length.
func framingFault(protocol, raw []byte) string {
	http10 := string(protocol) == "HTTP/1.0"
	if !http10 && string(protocol) != "HTTP/1.1" {
		return "only HTTP/1.1 and HTTP/1.0 are spoken here"
	}
	var h header
	for len(raw) > 0 {
		line, rest, ended := bytes.Cut(raw, crlf)
		if !ended {
			return "a header line does not end with a carriage return and a line feed"
		}
		if raw = rest; len(line) == 0 {
			break
		}
		if fault := h.add(line); fault != "" {
			return fault
		}
	}
	switch {
	case !validHost(h.text(fieldHost)):
		return "there must be exactly one Host, and it must be a host"
	case h.has(fieldContentLength) && !digits(h.text(fieldContentLength)):
		return "Content-Length must be a number"
	case !h.has(fieldTransferEncoding):
		return ""
	case h.has(fieldContentLength):
		return "there must not be both a Content-Length and a Transfer-Encoding"
	case http10:
		return "HTTP/1.0 has no Transfer-Encoding"
	case !bytes.EqualFold(h.text(fieldTransferEncoding), chunked):
		return "the only Transfer-Encoding is chunked"
	}
	return ""
}

// add takes a line of the header.
func (h *header) add(line []byte) (fault string) {
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok || !token(name) {
		// A line that continues the one before has a space here, as has "Host :".
		return "a header line is not a name, a colon and a value"
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "a header field has a control character"
		}
	}
	for i, single := range once {
		if len(name) != len(single) || !bytes.EqualFold(name, single) {
			continue
		}
		if h.has(i) {
			return string(single) + " is there twice"
		}
		h[i] = value
	}
	return ""
}

// token reports whether b can be the name of a field (RFC 9110 §5.6.2).
func token(b []byte) bool {
	for _, c := range b {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

// digits reports whether b is a number and nothing else.
func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// validHost reports whether b can be a host with or without a port: nothing that
// separates lists, users or paths.
func validHost(b []byte) bool {
	return len(b) > 0 && !bytes.ContainsAny(b, " \t,;@/\\?#<>\"'`{}|^%")
}
