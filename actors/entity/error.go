package entity

import (
	"errors"
	"fmt"
)

// A Code classifies an Error for machines. The doors map it to an HTTP status
// and to a code on the wire; the table is here and nowhere else.
type Code uint8

// Append; never reorder: the numbers are in stored rows and in clients.
const (
	Internal     Code = iota // A bug or a broken disk. Details go to the log, not to the client.
	Invalid                  // The request is malformed or breaks a rule about its fields.
	Unauthorized             // There is no valid token.
	Denied                   // The caller may not do this.
	NotFound                 // There is no such thing, or the caller may not know of it.
	Conflict                 // It contradicts what is: another body for a request id, say.
	TooLarge                 // It is over a limit of size; the sentence names the limit.
	Expired                  // The time in which it was possible is over.
	Exhausted                // Too many, or too often. Try later.
	Overloaded               // The server refuses work to keep its promises. This attempt did nothing; try again with the same request id.
	Unsupported              // No such method, or a media type this server does not speak.
	codes
)

// codeTable is the one map from codes to what clients see. Wire codes below 400
// are Centrifuge's own; the others are ours, in its range for applications.
var codeTable = [codes]struct {
	name string
	http int
	wire uint32
}{
	Internal:     {"internal", 500, 100},
	Invalid:      {"invalid", 400, 107},
	Unauthorized: {"unauthorized", 401, 101},
	Denied:       {"denied", 403, 103},
	NotFound:     {"not_found", 404, 404},
	Conflict:     {"conflict", 409, 409},
	TooLarge:     {"too_large", 413, 413},
	Expired:      {"expired", 410, 410},
	Exhausted:    {"exhausted", 429, 111},
	Overloaded:   {"overloaded", 503, 503},
	Unsupported:  {"unsupported", 404, 104},
}

func (c Code) String() string {
	if c >= codes {
		return fmt.Sprintf("code(%d)", uint8(c))
	}
	return codeTable[c].name
}

// HTTP returns the HTTP status of the code.
func (c Code) HTTP() int { return codeTable[c].http }

// Wire returns the code in a Centrifuge reply.
func (c Code) Wire() uint32 { return codeTable[c].wire }

// CodeOfWire returns the code that is n in a Centrifuge reply, and whether there is
// one.
func CodeOfWire(n uint32) (Code, bool) {
	return findCode(func(c Code) bool { return c.Wire() == n })
}

// CodeOfName returns the code that a name is of, and whether there is one.
func CodeOfName(name string) (Code, bool) {
	return findCode(func(c Code) bool { return c.String() == name })
}

func findCode(is func(Code) bool) (Code, bool) {
	for c := range codes {
		if is(c) {
			return c, true
		}
	}
	return Internal, false
}

// Temporary reports whether the same request may succeed later.
func (c Code) Temporary() bool { return c == Internal || c == Exhausted || c == Overloaded }

// An Error is a refusal that the client is meant to see.
type Error struct {
	Code Code
	Msg  string // a sentence that a user could read
}

func (e *Error) Error() string { return e.Msg }

// Errorf returns an *Error. Its text is shown to end users.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{c, fmt.Sprintf(format, args...)}
}

// Public hides everything but an *Error from the client.
func Public(err error) *Error {
	if err == nil {
		return nil
	}
	return public(err) // Apart, so that success allocates nothing.
}

func public(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Internal, "something went wrong on our side"}
}
