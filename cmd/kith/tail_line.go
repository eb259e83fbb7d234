package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
)

// clock is how the time of an event is shown: today's need no date.
const clock = "15:04:05"

// line is an event as a person reads it.
func (e *tailEvent) line(p palette) string {
	when := strings.Repeat(" ", len(clock))
	if e.At != 0 {
		when = time.UnixMilli(e.At).Format(clock)
	}
	seq := "      ·" // A signal has no place in the log.
	if e.Seq != 0 {
		seq = fmt.Sprintf("%7d", e.Seq)
	}
	text, said := e.says()
	if !said {
		text = p.paint(faint, text)
	}
	by := ""
	if e.By != "" {
		by = p.paint(cyan, printable(e.By)) + " "
	}
	return p.paint(faint, when+" "+seq) + "  " + by + text
}

// says is what an event says, and whether somebody said it to others. Types that
// are not known here, for they are newer, are shown by their fields.
func (e *tailEvent) says() (text string, said bool) {
	b := object(e.Body)
	switch e.Type {
	case "MessageSent":
		return e.message(), true
	case "MessageEdited":
		text := "edited message " + b.text("seq")
		if message, ok := b["message"].(map[string]any); ok {
			text += ": " + contentOf(object(message))
		}
		return text, false
	case "MessageRevoked":
		return "revoked message " + b.text("seq"), false
	case "MessagesHidden":
		return "deleted messages " + b.text("seqs") + " of " + b.text("conversation_id") + " for himself", false
	case "Hole":
		return "events " + b.text("from") + " to " + b.text("through") + " are not for you", false
	case "Unreadable":
		return "an event that cannot be read", false
	case "DialogJoined":
		return "is in the conversation c:" + b.text("conversation_id") + b.with(" with ", "peer"), false
	case "DialogLeft":
		return "left the conversation c:" + b.text("conversation_id"), false
	default:
		return strings.TrimSpace(words(e.Type) + " " + b.fields()), false
	}
}

// message is what a message says.
func (e *tailEvent) message() string {
	b := object(e.Body)
	if b["revoked"] == true {
		return "(revoked)"
	}
	text := contentOf(b)
	if b["edited_at"] != nil {
		text += " (edited)"
	}
	return text
}

// contentOf is the content of a message in a line: its text, or what it is.
func contentOf(message object) string {
	c, _ := message["content"].(map[string]any)
	for _, kind := range slices.Sorted(maps.Keys(c)) {
		what, ok := c[kind].(map[string]any)
		if !ok {
			continue
		}
		if kind == "text" {
			return object(what).text("text")
		}
		return strings.TrimSpace("[" + kind + "] " + object(what).fields())
	}
	return "(nothing that this program knows)"
}

// words makes words of the name of a type: GroupCreated, "group created".
func words(name string) string {
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// An object is what an event or a part of it has, by name.
type object map[string]any

// text is a field as text; empty if there is none.
func (b object) text(name string) string { return inline(b[name]) }

// with is a field behind a word, if there is one.
func (b object) with(word, name string) string {
	if b[name] == nil {
		return ""
	}
	return word + b.text(name)
}

// fields lists what a body has, as name=value.
func (b object) fields() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(b)) {
		all = append(all, name+"="+inline(b[name]))
	}
	return strings.Join(all, " ")
}

// inline is a value in one line.
func inline(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return printable(v)
	case json.Number:
		return v.String()
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = inline(v[i])
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		return "{" + object(v).fields() + "}"
	default:
		return fmt.Sprint(v)
	}
}

// printable takes out what would move a terminal's cursor or change its colours:
// other people wrote the text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\u2028' || r == '\u2029':
			return '⏎'
		case r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return '\uFFFD'
		}
		return r
	}, s)
}
