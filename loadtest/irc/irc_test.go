package irc

import (
	"slices"
	"strings"
	"testing"
)

func TestWhatALineSays(t *testing.T) {
	for text, want := range map[string][]Line{
		"[11:22] <guzu> on 606":                                   {{Said, "guzu", "on 606", 682}},
		"[00:00] <a|b> ":                                          {{Said, "a|b", "", 0}},
		"[23:59]  * guzu waves":                                   {{Said, "guzu", "/me waves", 1439}},
		"=== sangria [n=j@host]  has joined #ubuntu":              {{Joined, "sangria", "", -1}},
		"=== sangria [n=j@host]  has left #ubuntu [\"Leaving\"] ": {{Left, "sangria", "", -1}},
		"=== sangria [n=j@host]  has quit [Remote]":               {{Left, "sangria", "", -1}},
		"=== sangria is now known as wine":                        {{Left, "sangria", "", -1}, {Joined, "wine", "", -1}},
		"=== mode/#ubuntu [-o mdz]  by ChanServ":                  nil,
		"":                                                        nil,
		"[11:22] <bad\xff> caf\xe9":                               {{Said, "bad\uFFFD", "caf\uFFFD", 682}},
	} {
		var got []Line
		err := Read(strings.NewReader(text), func(l Line) error {
			got = append(got, l)
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q says %v (%v), want %v", text, got, err, want)
		}
	}
}
