// Package irc reads a day of an IRC channel as people wrote it down: who came,
// who went, who said what.
//
// A line is "[11:22] <nick> text", "[11:22]  * nick does something", or a
// service line: "=== nick [user@host]  has joined #channel", "has left", "has
// quit", "=== nick is now known as other". Other service lines say nothing of
// people and are skipped.
package irc

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// A What is what happened.
type What uint8

// What can happen.
const (
	Said   What = iota // Nick said Text
	Joined             // Nick came
	Left               // Nick went
)

// A Line is one thing that happened.
type Line struct {
	What   What
	Nick   string
	Text   string // of Said; an action begins with "/me "
	Minute int    // of the day, by the log; -1 on service lines
}

// maxLineBytes bounds a line. The longest in ten years of #ubuntu has 600.
const maxLineBytes = 64 << 10

var (
	said   = regexp.MustCompile(`^\[(\d\d):(\d\d)\] <([^>\s]+)> ?(.*)$`)
	acted  = regexp.MustCompile(`^\[(\d\d):(\d\d)\]  ?\* (\S+) ?(.*)$`)
	joined = regexp.MustCompile(`^=== (\S+) \[.*\] +has joined`)
	left   = regexp.MustCompile(`^=== (\S+) \[.*\] +has (?:left|quit)`)
	nicked = regexp.MustCompile(`^=== (\S+) is now known as (\S+)`)
)

// Read calls yield with what happened, in order, until yield fails. A change
// of nick is one person going and another coming. Bytes that are not UTF-8 are
// replaced.
func Read(r io.Reader, yield func(Line) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLineBytes)
	for n := 1; lines.Scan(); n++ {
		for _, l := range parse(strings.ToValidUTF8(lines.Text(), "\uFFFD")) {
			if err := yield(l); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
	}
	return lines.Err()
}

// parse returns what a line says, nothing for a line that says nothing.
func parse(text string) []Line {
	if m := said.FindStringSubmatch(text); m != nil {
		return []Line{{Said, m[3], m[4], minute(m)}}
	}
	if m := acted.FindStringSubmatch(text); m != nil {
		return []Line{{Said, m[3], "/me " + m[4], minute(m)}}
	}
	if m := joined.FindStringSubmatch(text); m != nil {
		return []Line{{Joined, m[1], "", -1}}
	}
	if m := left.FindStringSubmatch(text); m != nil {
		return []Line{{Left, m[1], "", -1}}
	}
	if m := nicked.FindStringSubmatch(text); m != nil {
		return []Line{{Left, m[1], "", -1}, {Joined, m[2], "", -1}}
	}
	return nil
}

// minute is the time of day of a line; the expression lets only digits in.
func minute(m []string) int {
	digit := func(b byte) int { return int(b - '0') }
	return (digit(m[1][0])*10+digit(m[1][1]))*60 + digit(m[2][0])*10 + digit(m[2][1])
}

// maxUserID is the longest user id of a server, in bytes.
const maxUserID = 64

// UserID makes a user id of a nick: IRC allows nearly the same characters.
func UserID(nick string) string {
	id := "irc-" + strings.Map(func(r rune) rune {
		if r == ':' || r == '\uFFFD' {
			return '_'
		}
		return r
	}, nick)
	return strings.ToValidUTF8(id[:min(len(id), maxUserID)], "")
}

// Words is the text of a message: IRC knows empty lines, Kith does not.
func (l Line) Words() string {
	if l.Text == "" {
		return " "
	}
	return l.Text
}
