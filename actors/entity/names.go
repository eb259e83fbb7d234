package entity

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of the names that clients and their tokens bring. They are in row keys
// (at most 32 bytes for a message, longer where a device is named) and in every
// log line, so they stay short.
const (
	MaxUserIDBytes    = 64
	MaxDeviceBytes    = 64
	MaxRequestIDBytes = 64
)

// The rules below as sentences, for the doors that refuse by them.
const (
	UserIDRule    = "a user id has 1 to 64 bytes of printable UTF-8 and neither a space nor a colon"
	DeviceRule    = "a device has 1 to 64 bytes of printable UTF-8 and no space"
	RequestIDRule = "a request id has at most 64 bytes of UTF-8 and no zero byte"
)

// ValidUserID reports whether id can be the id of a user (UserIDRule). The colon
// is what separates the parts of a channel's name; a character that nobody can
// see would let one user pass for another.
func ValidUserID(id string) bool {
	return len(id) <= MaxUserIDBytes && printable(id) && !strings.Contains(id, ":")
}

// ValidDevice reports whether id can be the id of a device (DeviceRule).
func ValidDevice(id string) bool {
	return len(id) <= MaxDeviceBytes && printable(id)
}

// ValidRequestID reports whether id can name a request (RequestIDRule). Empty is
// valid: such a request has no name and will not be repeated.
func ValidRequestID(id string) bool {
	return len(id) <= MaxRequestIDBytes && utf8.ValidString(id) && strings.IndexByte(id, 0) < 0
}

// printable reports whether s has a character, and only such as can be seen.
// The replacement character is what is left of bytes that were no text.
func printable(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || r == ' ' || !unicode.IsPrint(r) {
			return false
		}
	}
	return s != ""
}
