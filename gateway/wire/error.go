package wire

import "fmt"

// Close codes of RFC 6455 that a server sends. Sessions end with Centrifuge's
// codes, 3000 and above; these are for what is wrong below the session.
const (
	CloseNormal      = 1000
	CloseGoingAway   = 1001
	CloseProtocol    = 1002 // a frame breaks RFC 6455
	CloseUnsupported = 1003 // binary where text is spoken, or the other way round
	CloseInvalidUTF8 = 1007 // text is not UTF-8
)

// An Error says why a connection cannot go on.
type Error struct {
	// Code is the close code. It is 0 when RFC 6455 has none that helps: for
	// what is too large it has 1009, and Centrifuge's SDKs never come back after
	// that. The session then chooses a disconnect code.
	Code uint16
	// TooLarge says that a limit of size or number was passed.
	TooLarge bool
	Msg      string // a sentence
}

func (e *Error) Error() string { return e.Msg }

func broken(format string, args ...any) *Error {
	return &Error{Code: CloseProtocol, Msg: fmt.Sprintf(format, args...)}
}

func tooLarge(format string, args ...any) *Error {
	return &Error{TooLarge: true, Msg: fmt.Sprintf(format, args...)}
}

var errNotUTF8 = &Error{Code: CloseInvalidUTF8, Msg: "the text is not valid UTF-8"}
