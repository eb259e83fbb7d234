package httpapi

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"kith/gateway/wire"
)

func TestTheMethodListIsWhatCanBeCalled(t *testing.T) {
	w := start(t, nil)
	r, err := http.NewRequest(http.MethodGet, "http://"+w.addr+"/v1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, body := do(t, r)
	var list MethodList
	if err := json.Unmarshal(body, &list); err != nil || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %v", body, err)
	}
	named := map[string]MethodInfo{}
	for _, m := range list.Methods {
		named[m.Name] = m
		for _, f := range m.Request {
			_, isType := list.Types[f.Type]
			_, isEnum := list.Enums[f.Type]
			if f.Type != strings.ToLower(f.Type) && !isType && !isEnum {
				t.Errorf("%s.%s is a %s, which is not described", m.Name, f.Name, f.Type)
			}
		}
	}
	for _, m := range w.door.registry.Methods() {
		if _, ok := named[m.Name]; ok == m.Internal {
			t.Errorf("%s (internal: %v) is in the list: %v", m.Name, m.Internal, ok)
		}
	}
	send := named["Messages.Send"]
	if send.Kind != "command" || send.On != "conversation" || send.Path != "/v1/Messages.Send" {
		t.Errorf("Messages.Send = %+v", send)
	}
	if want := (FieldInfo{Name: "conversation_id", Type: "uint64"}); !slices.Contains(send.Request, want) {
		t.Errorf("the request of Messages.Send = %+v, want %+v in it", send.Request, want)
	}
	if want := (FieldInfo{Name: "text", Type: "Text", OneOf: "type"}); !slices.Contains(list.Types["Content"], want) {
		t.Errorf("Content = %+v, want %+v in it", list.Types["Content"], want)
	}
	if named["Messages.History"].Kind != "query" {
		t.Errorf("Messages.History = %+v, want a query", named["Messages.History"])
	}
}

func TestTheIndexSaysWhatThisIs(t *testing.T) {
	w := start(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		r, err := http.NewRequest(method, "http://"+w.addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, body := do(t, r)
		if resp.StatusCode != http.StatusOK || strings.Contains(string(body), "GET /v1/") != (method == http.MethodGet) {
			t.Errorf("%s: status %d: %q", method, resp.StatusCode, body)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Server") != "" {
			t.Errorf("%s: header = %v", method, resp.Header)
		}
	}
}

func TestPagesOfOtherOrigins(t *testing.T) {
	const ours = "https://app.example"
	cases := []struct {
		name            string
		origins         []string
		method, origin  string
		allowed, vary   string
		status          int
		preflightHeader bool
	}{
		{"a preflight of ours", []string{ours}, "OPTIONS", ours, ours, "Origin", 204, true},
		{"a call of ours", []string{ours}, "POST", ours, ours, "Origin", 200, false},
		{"a preflight of another", []string{ours}, "OPTIONS", "https://evil.example", "", "Origin", 204, false},
		{"a call of another", []string{ours}, "POST", "https://evil.example", "", "Origin", 200, false},
		{"one that begins like ours", []string{ours}, "POST", ours + ".evil.example", "", "Origin", 200, false},
		{"null", []string{ours}, "POST", "null", "", "Origin", 200, false},
		{"no page", []string{ours}, "POST", "", "", "Origin", 200, false},
		{"all are ours", []string{"*"}, "POST", "https://any.example", "https://any.example", "Origin", 200, false},
		{"none is", nil, "OPTIONS", ours, "", "", 204, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := start(t, func(cfg *Config) { cfg.Origins = c.origins })
			r := w.request(t, "Messages.Send", hello)
			r.Method = c.method
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			resp, body := do(t, r)
			if resp.StatusCode != c.status {
				t.Errorf("status = %d, want %d: %s", resp.StatusCode, c.status, body)
			}
			if got := resp.Header.Get("Access-Control-Allow-Origin"); got != c.allowed {
				t.Errorf("Access-Control-Allow-Origin = %q, want %q", got, c.allowed)
			}
			if got := resp.Header.Get("Vary"); got != c.vary {
				t.Errorf("Vary = %q, want %q", got, c.vary)
			}
			if got := strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Authorization"); got != c.preflightHeader {
				t.Errorf("Access-Control-Allow-Headers = %q, want the token's: %v", resp.Header.Get("Access-Control-Allow-Headers"), c.preflightHeader)
			}
			if c.method == http.MethodOptions && resp.Header.Get("Allow") != "POST, OPTIONS" {
				t.Errorf("Allow = %q, want POST, OPTIONS", resp.Header.Get("Allow"))
			}
		})
	}
}

func TestAccept(t *testing.T) {
	cases := []struct {
		accept string
		in     *media
		want   *media
	}{
		{"", jsonMedia, jsonMedia},
		{"", protoMedia, protoMedia},
		{"*/*", protoMedia, protoMedia},
		{"application/*", protoMedia, protoMedia},
		{"application/json", protoMedia, jsonMedia},
		{"Application/X-Protobuf", jsonMedia, protoMedia},
		{"application/json, application/protobuf", protoMedia, protoMedia},
		{"application/protobuf;q=0.5, application/json;q=0.9", protoMedia, jsonMedia},
		{"text/html, */*;q=0.1", jsonMedia, jsonMedia},
		{"application/json;q=0", jsonMedia, nil},
		{"application/json;q=2", jsonMedia, nil},
		{"application/json;q=NaN", jsonMedia, nil},
		{"application/json; charset=utf-8", jsonMedia, jsonMedia},
		{"text/html", jsonMedia, nil},
		{",;=,", jsonMedia, nil},
	}
	for _, c := range cases {
		if got := accepted(c.accept, c.in); got != c.want {
			t.Errorf("accepted(%q, %s) = %v, want %v", c.accept, c.in.name, got, c.want)
		}
	}
	for field, want := range map[string][2]string{
		"":                                  {"", ""},
		"application/json":                  {"application/json", ""},
		" Application/JSON ; Charset=UTF-8": {"application/json", "utf-8"},
		`a/b;x=y;charset="utf-8"`:           {"a/b", "utf-8"},
	} {
		if name, charset := parseMedia(field); name != want[0] || charset != want[1] {
			t.Errorf("parseMedia(%q) = %q, %q, want %q", field, name, charset, want)
		}
	}
	if protoMedia.payload != wire.ProtoPayload {
		t.Error("protobuf is read as something else")
	}
}
