package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func TestAMethodIsCalledAtEveryDoor(t *testing.T) {
	s := serve(t, t.TempDir())
	conversation := s.direct(t)
	for _, address := range []string{s.httpURL(), s.http.Addr().String(), "ws://" + s.webSocket(), "ws://" + s.webSocket() + socketPath} {
		var out bytes.Buffer
		c := CallCmd{DoorFlags: s.as("ann", address), Method: "Directs.Open", Request: "-", JSON: true, Timeout: patience}
		must(t, c.run(strings.NewReader(`{"user_id":"bob"}`), &out))
		if want := `{"conversation_id":` + conversation.String() + "}\n"; out.String() != want {
			t.Errorf("%s: %q, want %q", address, out.String(), want)
		}
	}
}

func TestAReplyIsPrintedForPeople(t *testing.T) {
	s := serve(t, t.TempDir())
	var out bytes.Buffer
	c := CallCmd{DoorFlags: s.as("ann", s.httpURL()), Method: "Directs.Open", Request: `{"user_id":"bob"}`, Timeout: patience}
	must(t, c.run(nil, &out))
	if !strings.HasPrefix(out.String(), "{\n  \"conversation_id\": ") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("printed %q", out.String())
	}
}

func TestWhatCannotBeCalledSaysWhyAndEndsWithItsCode(t *testing.T) {
	s := serve(t, t.TempDir())
	stopped := s.as("ann", "http://127.0.0.1:1")
	for _, c := range []struct {
		name, method, request string
		flags                 DoorFlags
		code                  int
		want                  string
	}{
		{"a refusal", "Messages.Send", `{"conversation_id":7,"content":{"text":{"text":"hi"}}}`, s.as("ann", s.httpURL()), exitRefused,
			"not_found: there is no such conversation"},
		{"and by the other door", "Messages.Send", `{"conversation_id":7,"content":{"text":{"text":"hi"}}}`, s.as("ann", "ws://"+s.webSocket()), exitRefused,
			"not_found: there is no such conversation"},
		{"a token that is none", "Dialogs.List", ``, DoorFlags{Addr: s.httpURL(), Token: "hello"}, exitRefused, "unauthorized: "},
		{"nobody is there", "Dialogs.List", ``, stopped, exitError, "reach the server: dial tcp 127.0.0.1:1: connect: connection refused"},
		{"no server of ours", "Dialogs.List", ``, s.as("ann", "http://"+s.ops.Addr().String()), exitRefused, "unsupported: there are /healthz"},
		{"nobody calls", "Dialogs.List", ``, DoorFlags{Addr: s.httpURL()}, exitUsage, "say who calls: --as USER"},
		{"two call", "Dialogs.List", ``, DoorFlags{Addr: s.httpURL(), Token: "x", As: "ann"}, exitUsage, "not both"},
		{"a typing error", "Messages.Sent", ``, stopped, exitUsage, "there is no method Messages.Sent; did you mean Messages.Send"},
		{"another case", "messages.send", ``, stopped, exitUsage, "did you mean Messages.Send"},
		{"no service", "Send", ``, stopped, exitUsage, "did you mean Messages.Send"},
		{"a method of the server's own", "Dialogs.Joined", ``, stopped, exitUsage, "there is no method Dialogs.Joined"},
		{"nothing like it", "Xyzzy.Plugh", ``, stopped, exitUsage, "`kith call` lists those"},
		{"a field that is not there", "Messages.Send", `{"conversatio_id":7}`, stopped, exitUsage, `there is no field "conversatio_id"`},
		{"no JSON", "Messages.Send", `hello`, stopped, exitUsage, "the request of Messages.Send: "},
		{"no door", "Dialogs.List", ``, s.as("ann", "ftp://127.0.0.1"), exitUsage, "is no door"},
		{"no address", "Dialogs.List", ``, s.as("ann", "http://"), exitUsage, "is no address"},
	} {
		var out bytes.Buffer
		cmd := CallCmd{DoorFlags: c.flags, Method: c.method, Request: c.request, Timeout: patience}
		err := cmd.run(nil, &out)
		if err == nil || exitCode(err) != c.code || !strings.Contains(err.Error(), c.want) || out.Len() > 0 {
			t.Errorf("%s: %v (exit code %d), printed %q, want %d and %q", c.name, err, exitCode(err), out.String(), c.code, c.want)
		}
	}
}

// Whoever does not name a request cannot repeat it by mistake.
func TestCommandsAreGivenARequestID(t *testing.T) {
	s := serve(t, t.TempDir())
	var one, two, same, again struct {
		ID uint64 `json:"conversation_id"`
	}
	s.do(t, "ann", "Groups.Create", `{"name":"a"}`, &one)
	s.do(t, "ann", "Groups.Create", `{"name":"a"}`, &two)
	s.do(t, "ann", "Groups.Create", `{"name":"a","request_id":"x"}`, &same)
	s.do(t, "ann", "Groups.Create", `{"name":"a","requestId":"x"}`, &again)
	if one.ID == two.ID || same.ID != again.ID {
		t.Errorf("groups %d and %d are to differ, %d and %d to be one", one.ID, two.ID, same.ID, again.ID)
	}
}

func TestMethodsAreListed(t *testing.T) {
	for _, c := range []struct {
		method string
		json   bool
		want   []string
		not    string
	}{
		{"", false, []string{"Messages.Send ", "{conversation_id, request_id, content", "Groups.Create "}, "Dialogs.Joined"},
		{"messages.", false, []string{"Messages.Send   command on a conversation", "    content              Content", "        text                 Text (one of type)",
			"Messages.History   query on a conversation"}, "Groups."},
		{"Groups.", true, []string{`{"methods":[{"name":"Groups.`, `"path":"/v1/Groups.Create","kind":"command"`}, "Messages."},
	} {
		var out bytes.Buffer
		must(t, (&CallCmd{Method: c.method, JSON: c.json}).run(nil, &out))
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("kith call %s: %q is not in\n%s", c.method, want, out.String())
			}
		}
		if strings.Contains(out.String(), c.not) {
			t.Errorf("kith call %s: %q is in\n%s", c.method, c.not, out.String())
		}
	}
	if err := (&CallCmd{Method: "Message."}).run(nil, &bytes.Buffer{}); err == nil || exitCode(err) != exitUsage {
		t.Errorf("a service that is not there: %v", err)
	}
}

func TestTheTokenOfTheEnvironmentIsUsed(t *testing.T) {
	s := serve(t, t.TempDir())
	ann := s.as("ann", s.httpURL())
	token, err := ann.token()
	must(t, err)
	t.Setenv(envToken, token)
	c := CallCmd{DoorFlags: DoorFlags{Addr: s.httpURL()}, Method: "Devices.List", JSON: true, Timeout: patience}
	var out bytes.Buffer
	must(t, c.run(nil, &out))
	if !strings.Contains(out.String(), `"device_id":"cli"`) {
		t.Errorf("printed %s", out.String())
	}
	if user, err := subject(token); err != nil || user != "ann" {
		t.Errorf("the token is of %q (%v), want ann", user, err)
	}
	if _, err := subject("a.b.c"); err == nil {
		t.Error("a.b.c is somebody's token")
	}
}

func TestCompletionKnowsCommandsFlagsAndMethods(t *testing.T) {
	var c cli
	parser := kong.Must(&c, kong.Vars{"version": "x"})
	methods := []string{"Messages.History", "Messages.Send", "Groups.Create"}
	for _, k := range []struct {
		line string
		want []string // all of them, or some if it ends in "…"
	}{
		{"ca", []string{"call"}},
		{"call m", []string{"Messages.History", "Messages.Send"}},
		{"call --as ann Mess", []string{"Messages.History", "Messages.Send"}},
		{"call --as ", nil},
		{"call --json G", []string{"Groups.Create"}},
		{"call Groups.Create ", nil},
		{"call --ti", []string{"--timeout"}},
		{"config ", []string{"check", "init", "show"}},
		{"deadletters r", []string{"replay"}},
		{"completion ", []string{"bash", "fish", "zsh"}},
		{"__", nil},
		{"", []string{"backup", "verify", "serve", "…"}},
	} {
		got := complete(parser.Model.Node, strings.Split(k.line, " "), methods)
		if n := len(k.want); n > 0 && k.want[n-1] == "…" {
			for _, want := range k.want[:n-1] {
				if !slices.Contains(got, want) {
					t.Errorf("%q: %q is not in %q", k.line, want, got)
				}
			}
			continue
		}
		if !slices.Equal(got, k.want) {
			t.Errorf("%q completes to %q, want %q", k.line, got, k.want)
		}
	}
}

func TestJSONIsColouredAndStaysTheSame(t *testing.T) {
	text := "{\n  \"a\": \"x \\\" y\\\\\",\n  \"b\": [\n    1,\n    true,\n    null\n  ],\n  \"c\": {}\n}\n"
	got := string(palette{true}.json([]byte(text)))
	for _, want := range []string{"\x1b[34m\"a\"\x1b[0m: ", "\x1b[32m\"x \\\" y\\\\\"\x1b[0m,", "\x1b[33m1\x1b[0m,", "\x1b[33mtrue\x1b[0m", "\x1b[33mnull\x1b[0m"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	plain := got
	for _, colour := range []string{"34", "32", "33"} {
		plain = strings.ReplaceAll(plain, "\x1b["+colour+"m", "")
	}
	if plain = strings.ReplaceAll(plain, "\x1b[0m", ""); plain != text {
		t.Errorf("without colours it is %q, want %q", plain, text)
	}
	if colours(&bytes.Buffer{}).on {
		t.Error("what is no terminal has colours")
	}
}

func TestACallThatTakesTooLongSaysSo(t *testing.T) {
	s := serve(t, t.TempDir())
	c := CallCmd{DoorFlags: s.as("ann", s.httpURL()), Method: "Dialogs.List", Timeout: time.Nanosecond}
	if err := c.run(nil, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "whether it was done is not known") {
		t.Errorf("after a nanosecond: %v", err)
	}
}
