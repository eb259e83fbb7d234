// Package oracle knows what a load must come to: every message that was
// acknowledged reaches every member once, in the order that all of them see,
// and nothing else does.
//
// It believes nothing that the server says about a message but its seq. Who sent
// it and the how-manyeth it is stands in the message's text, under a hash whose
// key only this process has: the server can neither invent a message nor mend
// one. Nothing here does I/O, and an Account belongs to one goroutine.
package oracle

import (
	"encoding/binary"
	"hash/maphash"
)

// A Seal writes and opens the texts of a run's messages:
//
//	conversation (8 hex digits) sender (4) counter (12) filler hash (16)
//
// The hash covers all before it, so a text that was cut, mixed or moved to
// another conversation does not open.
type Seal struct{ key maphash.Seed }

const (
	conversationDigits = 8
	senderDigits       = 4
	counterDigits      = 12
	hashDigits         = 16

	headBytes = conversationDigits + senderDigits + counterDigits

	// MinTextBytes is the smallest text that can be sealed.
	MinTextBytes = headBytes + hashDigits
	// MaxSenders is how many people of one conversation can send: what four digits
	// can tell apart.
	MaxSenders = 1 << (4 * senderDigits)
)

// NewSeal returns a seal with a key of its own.
func NewSeal() *Seal { return &Seal{maphash.MakeSeed()} }

// Write makes text the n-th one of a sender. What stands between counter and
// hash stays.
func (s *Seal) Write(text []byte, conversation, sender int, n uint64) {
	putHex(text[:conversationDigits], uint64(conversation))
	putHex(text[conversationDigits:][:senderDigits], uint64(sender))
	putHex(text[conversationDigits+senderDigits:][:counterDigits], n)
	body := len(text) - hashDigits
	putHex(text[body:], maphash.Bytes(s.key, text[:body]))
}

// Open returns what Write was given. ok is false for a text of anybody else.
func (s *Seal) Open(text []byte) (conversation, sender int, n uint64, ok bool) {
	body := len(text) - hashDigits
	if body < headBytes {
		return 0, 0, 0, false
	}
	var hash [hashDigits]byte
	putHex(hash[:], maphash.Bytes(s.key, text[:body]))
	if string(hash[:]) != string(text[body:]) {
		return 0, 0, 0, false
	}
	// It is as Write made it: there is nothing in it but digits.
	conversation = int(hex(text[:conversationDigits]))
	sender = int(hex(text[conversationDigits:][:senderDigits]))
	return conversation, sender, hex(text[conversationDigits+senderDigits:][:counterDigits]), true
}

// pairs has the digits of each byte: 16 digits are 8 steps.
var pairs = func() (p [256]uint16) {
	const digits = "0123456789abcdef"
	for i := range p {
		p[i] = binary.LittleEndian.Uint16([]byte{digits[i>>4], digits[i&15]})
	}
	return p
}()

// putHex writes the lowest digits of n, as many as b has room for: an even
// number.
func putHex(b []byte, n uint64) {
	for i := len(b) - 2; i >= 0; i, n = i-2, n>>8 {
		binary.LittleEndian.PutUint16(b[i:], pairs[byte(n)])
	}
}

func hex(b []byte) (n uint64) {
	for _, c := range b {
		if c >= 'a' {
			c -= 'a' - '0' - 10
		}
		n = n<<4 | uint64(c-'0')
	}
	return n
}
