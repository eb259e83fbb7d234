package wire

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

const (
	// MaxHeaderBytes bounds an upgrade request. Browsers send about 600 bytes,
	// most of it cookies.
	MaxHeaderBytes = 8 << 10
	// maxHeaderLines bounds the work that a request makes.
	maxHeaderLines = 100

	webSocketVersion = "13"
	webSocketKeySize = 16
	webSocketGUID    = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §1.3

	subprotocolJSON     = "centrifuge-json"
	subprotocolProtobuf = "centrifuge-protobuf"
)

// An Upgrade is a well-formed request to speak WebSocket.
type Upgrade struct {
	Path   string // as it was sent, escapes and all; begins with '/'
	Query  string // what follows '?', as it was sent
	Host   string
	Origin string // empty: not a browser

	// Protocol is what the client asked for: by subprotocol, else by
	// `format=protobuf` or `cf_protocol=protobuf` in the query, else JSON.
	Protocol Protocol

	subprotocol string // to be echoed; empty: none was agreed on
	accept      [28]byte
}

// An UpgradeError says why a connection does not become a WebSocket.
type UpgradeError struct {
	Status int    // HTTP status; AppendRefusal knows it
	Msg    string // a sentence
}

func (e *UpgradeError) Error() string { return e.Msg }

func refuse(status int, format string, args ...any) *UpgradeError {
	return &UpgradeError{status, fmt.Sprintf(format, args...)}
}

// The statuses that a door to WebSockets needs.
const (
	StatusBadRequest      = 400
	StatusForbidden       = 403
	StatusNotFound        = 404
	StatusMethod          = 405
	StatusUpgradeRequired = 426
	StatusTooMany         = 429
	StatusHeaderTooLarge  = 431
	StatusUnavailable     = 503
	StatusHTTPVersion     = 505
)

var statusText = map[int]string{
	StatusBadRequest:      "Bad Request",
	StatusForbidden:       "Forbidden",
	StatusNotFound:        "Not Found",
	StatusMethod:          "Method Not Allowed",
	StatusUpgradeRequired: "Upgrade Required",
	StatusTooMany:         "Too Many Requests",
	StatusHeaderTooLarge:  "Request Header Fields Too Large",
	StatusUnavailable:     "Service Unavailable",
	StatusHTTPVersion:     "HTTP Version Not Supported",
}

var (
	method    = []byte("GET ")
	headerEnd = []byte("\r\n\r\n")
)

// ParseUpgrade parses the request at the beginning of b and returns its exact
// size: what follows is the client's first frames. n is 0 without an error if b
// does not hold the whole request. The error is an *UpgradeError.
func ParseUpgrade(b []byte) (u Upgrade, n int, err error) {
	if begun := min(len(b), len(method)); !bytes.Equal(b[:begun], method[:begun]) {
		return u, 0, refuse(StatusMethod, "this port speaks WebSocket: the method must be GET")
	}
	end := bytes.Index(b[:min(len(b), MaxHeaderBytes)], headerEnd)
	switch {
	case end < 0 && len(b) >= MaxHeaderBytes:
		return u, 0, refuse(StatusHeaderTooLarge, "the request's header may have at most %d bytes", MaxHeaderBytes)
	case end < 0:
		return u, 0, nil
	}
	n = end + len(headerEnd)
	lines := strings.Split(string(b[:end]), "\r\n")
	if len(lines)-1 > maxHeaderLines {
		return u, n, refuse(StatusHeaderTooLarge, "the request may have at most %d header lines", maxHeaderLines)
	}
	if err := u.parseTarget(lines[0]); err != nil {
		return Upgrade{}, n, err
	}
	var h handshake
	for _, line := range lines[1:] {
		if err := h.add(line); err != nil {
			return Upgrade{}, n, err
		}
	}
	if err := u.agree(&h); err != nil {
		return Upgrade{}, n, err
	}
	return u, n, nil
}

// parseTarget parses the request line.
func (u *Upgrade) parseTarget(line string) *UpgradeError {
	target, version, ok := strings.Cut(line[len(method):], " ")
	if !ok || !strings.HasPrefix(version, "HTTP/") {
		return refuse(StatusBadRequest, "the request line is malformed")
	}
	if version != "HTTP/1.1" {
		return refuse(StatusHTTPVersion, "the HTTP version must be 1.1")
	}
	if target == "" || target[0] != '/' {
		return refuse(StatusBadRequest, "the request target must be a path")
	}
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return refuse(StatusBadRequest, "the request target has a character that must be escaped")
		}
	}
	u.Path, u.Query, _ = strings.Cut(target, "?")
	return nil
}

// handshake is what the header lines of a request said. The fields of type
// once may stand in one line only.
type handshake struct {
	host, key, version, origin once
	length, encoding           once

	connection, upgrade bool // named the token they must name
	subprotocols        []string
}

// once is a header field that must not be repeated.
type once struct {
	value string
	seen  bool
}

// add takes one header line.
func (h *handshake) add(line string) *UpgradeError {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isToken(name) {
		return refuse(StatusBadRequest, "a header line is malformed")
	}
	value = strings.Trim(value, " \t")
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return refuse(StatusBadRequest, "the header %s has a control character", name)
		}
	}

	var field *once
	switch strings.ToLower(name) {
	case "host":
		field = &h.host
	case "sec-websocket-key":
		field = &h.key
	case "sec-websocket-version":
		field = &h.version
	case "origin":
		field = &h.origin
	case "content-length":
		field = &h.length
	case "transfer-encoding":
		field = &h.encoding
	case "connection":
		h.connection = h.connection || hasToken(value, "upgrade")
		return nil
	case "upgrade":
		h.upgrade = h.upgrade || hasToken(value, "websocket")
		return nil
	case "sec-websocket-protocol":
		h.subprotocols = append(h.subprotocols, value)
		return nil
	default:
		return nil
	}
	if field.seen {
		return refuse(StatusBadRequest, "the header %s is there twice", name)
	}
	*field = once{value, true}
	return nil
}

// agree checks what the client wants and fills in u.
func (u *Upgrade) agree(h *handshake) *UpgradeError {
	switch {
	case h.host.value == "":
		return refuse(StatusBadRequest, "the header Host is missing")
	case h.encoding.seen, h.length.seen && h.length.value != "0":
		// Its body would be taken for frames.
		return refuse(StatusBadRequest, "a request to upgrade has no body")
	case !h.upgrade, !h.connection:
		return refuse(StatusUpgradeRequired, "this address speaks WebSocket: send `Connection: Upgrade` and `Upgrade: websocket`")
	case h.version.value != webSocketVersion:
		return refuse(StatusUpgradeRequired, "the header Sec-WebSocket-Version must be %s", webSocketVersion)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(h.key.value)
	if err != nil || len(key) != webSocketKeySize {
		return refuse(StatusBadRequest, "the header Sec-WebSocket-Key must be %d bytes in base64", webSocketKeySize)
	}
	sum := sha1.Sum([]byte(h.key.value + webSocketGUID))
	base64.StdEncoding.Encode(u.accept[:], sum[:])
	u.Host, u.Origin = h.host.value, h.origin.value
	return u.chooseProtocol(h.subprotocols)
}

// chooseProtocol takes the client's first subprotocol that is ours, and asks
// the query if there is none.
func (u *Upgrade) chooseProtocol(offers []string) *UpgradeError {
	for _, list := range offers {
		for offer := range strings.SplitSeq(list, ",") {
			switch offer = strings.Trim(offer, " \t"); offer {
			case subprotocolJSON, subprotocolProtobuf:
				u.subprotocol = offer
				if offer == subprotocolProtobuf {
					u.Protocol = Protobuf
				}
				return nil
			}
		}
	}
	for param := range strings.SplitSeq(u.Query, "&") {
		name, value, _ := strings.Cut(param, "=")
		if name != "format" && name != "cf_protocol" {
			continue
		}
		switch value {
		case "protobuf":
			u.Protocol = Protobuf
		case "json":
		default:
			return refuse(StatusBadRequest, "%s must be json or protobuf", name)
		}
	}
	return nil
}

// AppendResponse appends the response that makes the connection a WebSocket.
func (u *Upgrade) AppendResponse(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = append(dst, u.accept[:]...)
	if u.subprotocol != "" {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		dst = append(dst, u.subprotocol...)
	}
	return append(dst, headerEnd...)
}

// AppendRefusal appends a response that ends the connection: one of the
// statuses above, and a sentence.
func AppendRefusal(dst []byte, status int, sentence string) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(append(dst, ' '), statusText[status]...)
	switch status {
	case StatusMethod:
		dst = append(dst, "\r\nAllow: GET"...)
	case StatusUpgradeRequired:
		dst = append(dst, "\r\nUpgrade: websocket\r\nSec-WebSocket-Version: "+webSocketVersion...)
	}
	// 426 must name Upgrade in Connection, too: RFC 9110 §7.8.
	dst = append(dst, "\r\nConnection: close"...)
	if status == StatusUpgradeRequired {
		dst = append(dst, ", Upgrade"...)
	}
	dst = append(dst, "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(sentence)+1), 10)
	dst = append(dst, headerEnd...)
	return append(append(dst, sentence...), '\n')
}

// hasToken reports whether a comma-separated list has a token, in any case.
func hasToken(list, token string) bool {
	for t := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(t, " \t"), token) {
			return true
		}
	}
	return false
}

// isToken reports whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		digit := c >= '0' && c <= '9'
		if !letter && !digit && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
