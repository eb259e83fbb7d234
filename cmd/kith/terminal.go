package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// onTerminal reports whether a person sees what is written to out.
func onTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// A palette is the colours of what is written, or none.
type palette struct{ on bool }

// colours returns the palette for out: none unless it is a terminal that can show
// them and nobody has asked for none (no-color.org).
func colours(out io.Writer) palette {
	return palette{onTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// The colours, as a terminal's parameters.
const (
	faint  = "2"
	bold   = "1"
	green  = "32"
	yellow = "33"
	blue   = "34"
	cyan   = "36"
)

// paint gives a text a colour.
func (p palette) paint(colour, text string) string {
	if !p.on || colour == "" || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// printJSON writes a value for a program: one line.
func printJSON(out io.Writer, v any) error {
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	return lines.Encode(v)
}

// printPretty writes JSON for a person: indented, and coloured on a terminal.
func printPretty(out io.Writer, text []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	b.WriteByte('\n')
	_, err := out.Write(colours(out).json(b.Bytes()))
	return err
}

// json colours indented JSON: keys, strings, and what else is a value.
func (p palette) json(text []byte) []byte {
	if !p.on {
		return text
	}
	var b bytes.Buffer
	for len(text) > 0 {
		n, colour := jsonToken(text)
		b.WriteString(p.paint(colour, string(text[:n])))
		text = text[n:]
	}
	return b.Bytes()
}

// jsonToken is the length of the first token of indented JSON, and its colour.
func jsonToken(text []byte) (n int, colour string) {
	const plain = " \n{}[],:"
	switch {
	case text[0] == '"':
		for n = 1; text[n] != '"'; n++ {
			if text[n] == '\\' {
				n++
			}
		}
		n++
		if n < len(text) && text[n] == ':' {
			return n, blue
		}
		return n, green
	case bytes.IndexByte([]byte(plain), text[0]) >= 0:
		for n < len(text) && bytes.IndexByte([]byte(plain), text[n]) >= 0 {
			n++
		}
		return n, ""
	default:
		if n = bytes.IndexAny(text, plain); n < 0 {
			n = len(text)
		}
		return n, yellow
	}
}

// progressEvery is how often progress is shown: often enough to seem to move.
const progressEvery = 100 * time.Millisecond

// A progress is a line on a terminal that tells how far something is. Where nobody
// looks it writes nothing.
type progress struct {
	out   io.Writer
	shown time.Time
}

// show shows a line in place of the last, now and then.
func (p *progress) show(format string, args ...any) {
	if !onTerminal(p.out) || time.Since(p.shown) < progressEvery {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.out, "\r\033[K"+format, args...)
}

// clear takes the line away.
func (p *progress) clear() {
	if !p.shown.IsZero() {
		fmt.Fprint(p.out, "\r\033[K")
	}
}
