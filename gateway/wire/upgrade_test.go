package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// request is a good request, with lines changed ("Name: value"), dropped
// ("Name") or added.
func request(line string, changes ...string) string {
	lines := []string{
		"Host: kith.example", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
	}
	for _, change := range changes {
		name, _, _ := strings.Cut(strings.TrimPrefix(change, "+"), ":")
		if !strings.HasPrefix(change, "+") {
			for i, l := range lines {
				if strings.HasPrefix(l, name+":") {
					lines[i] = ""
				}
			}
		}
		if strings.Contains(change, ":") {
			lines = append(lines, strings.TrimPrefix(change, "+"))
		}
	}
	var b strings.Builder
	b.WriteString(line + "\r\n")
	for _, l := range lines {
		if l != "" {
			b.WriteString(l + "\r\n")
		}
	}
	return b.String() + "\r\n"
}

const goodLine = "GET /connection/websocket?x=1 HTTP/1.1"

func TestUpgrade(t *testing.T) {
	const frames = "\x81\x85frames follow the header at once"
	req := request(goodLine, "Origin: https://app.example")
	u, n, err := ParseUpgrade([]byte(req + frames))
	if err != nil || n != len(req) {
		t.Fatalf("ParseUpgrade = %d, %v, want %d bytes", n, err, len(req))
	}
	if u.Path != "/connection/websocket" || u.Query != "x=1" || u.Host != "kith.example" || u.Origin != "https://app.example" || u.Protocol != JSON {
		t.Errorf("the request is read as %+v", u)
	}
	const want = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" // RFC 6455 §1.3
	if got := string(u.AppendResponse(nil)); got != want {
		t.Errorf("response %q, want %q", got, want)
	}
	for i := range len(req) {
		if _, n, err := ParseUpgrade([]byte(req[:i])); n != 0 || err != nil {
			t.Fatalf("the first %d bytes: %d, %v; want more to be awaited", i, n, err)
		}
	}
}

func TestUpgradeChoosesProtocol(t *testing.T) {
	cases := []struct {
		query, offer string
		want         Protocol
		echo         string
	}{
		{"", "", JSON, ""},
		{"", "centrifuge-json", JSON, "centrifuge-json"},
		{"", "centrifuge-protobuf", Protobuf, "centrifuge-protobuf"},
		{"", "chat, centrifuge-protobuf ,centrifuge-json", Protobuf, "centrifuge-protobuf"},
		{"", "chat", JSON, ""},
		{"?format=protobuf", "", Protobuf, ""},
		{"?cf_protocol=protobuf&token=x", "", Protobuf, ""},
		{"?cf_protocol=json", "", JSON, ""},
		{"?format=protobuf", "centrifuge-json", JSON, "centrifuge-json"},
	}
	for _, c := range cases {
		var changes []string
		if c.offer != "" {
			changes = append(changes, "Sec-WebSocket-Protocol: "+c.offer)
		}
		u, _, err := ParseUpgrade([]byte(request("GET /ws"+c.query+" HTTP/1.1", changes...)))
		if err != nil || u.Protocol != c.want {
			t.Errorf("query %q, offer %q: %v, %v, want %v", c.query, c.offer, u.Protocol, err, c.want)
			continue
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(u.AppendResponse(nil))), nil)
		if err != nil || resp.Header.Get("Sec-WebSocket-Protocol") != c.echo {
			t.Errorf("query %q, offer %q: the response names %q, %v, want %q", c.query, c.offer, resp.Header.Get("Sec-WebSocket-Protocol"), err, c.echo)
		}
	}
}

func TestUpgradeTakes(t *testing.T) {
	for name, req := range map[string]string{
		"header names in any case":    strings.ReplaceAll(request(goodLine), "Sec-WebSocket-Key", "sec-websocket-KEY"),
		"a list of connection tokens": request(goodLine, "Connection: keep-alive, UPGRADE"),
		"two connection lines":        request(goodLine, "Connection: keep-alive", "+Connection: upgrade"),
		"an upgrade list":             request(goodLine, "Upgrade: h2c , WebSocket"),
		"no space after a colon":      request(goodLine, "Host:kith.example"),
		"extensions, without them":    request(goodLine, "Sec-WebSocket-Extensions: permessage-deflate"),
		"an empty body":               request(goodLine, "Content-Length: 0"),
	} {
		if _, n, err := ParseUpgrade([]byte(req)); err != nil || n != len(req) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

func TestUpgradeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		req    string
		status int
	}{
		"another method":           {request("POST / HTTP/1.1"), StatusMethod},
		"HTTP/2's preface":         {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", StatusMethod},
		"TLS":                      {"\x16\x03\x01\x02\x00", StatusMethod},
		"HTTP/1.0":                 {request("GET / HTTP/1.0"), StatusHTTPVersion},
		"no version":               {request("GET /"), StatusBadRequest},
		"not HTTP":                 {request("GET / FTP/1.1"), StatusBadRequest},
		"a target that is no path": {request("GET http://kith.example/ HTTP/1.1"), StatusBadRequest},
		"a target with UTF-8":      {request("GET /ö HTTP/1.1"), StatusBadRequest},
		"a fragment":               {request("GET /#x HTTP/1.1"), StatusBadRequest},
		"no host":                  {request(goodLine, "Host"), StatusBadRequest},
		"two hosts":                {request(goodLine, "+Host: other.example"), StatusBadRequest},
		"no upgrade":               {request(goodLine, "Upgrade"), StatusUpgradeRequired},
		"another upgrade":          {request(goodLine, "Upgrade: h2c"), StatusUpgradeRequired},
		"no connection":            {request(goodLine, "Connection: keep-alive"), StatusUpgradeRequired},
		"version 8":                {request(goodLine, "Sec-WebSocket-Version: 8"), StatusUpgradeRequired},
		"no version of WebSocket":  {request(goodLine, "Sec-WebSocket-Version"), StatusUpgradeRequired},
		"no key":                   {request(goodLine, "Sec-WebSocket-Key"), StatusBadRequest},
		"two keys":                 {request(goodLine, "+Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), StatusBadRequest},
		"a short key":              {request(goodLine, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"), StatusBadRequest},
		"a key not in base64":      {request(goodLine, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!!!!"), StatusBadRequest},
		"two origins":              {request(goodLine, "Origin: a", "+Origin: b"), StatusBadRequest},
		"a body":                   {request(goodLine, "Content-Length: 5"), StatusBadRequest},
		"a chunked body":           {request(goodLine, "Transfer-Encoding: chunked"), StatusBadRequest},
		"a folded line":            {request(goodLine, "X: y\r\n z"), StatusBadRequest},
		"a bare newline":           {request(goodLine, "X: y\nz: w"), StatusBadRequest},
		"a space before a colon":   {request(goodLine, "X : y"), StatusBadRequest},
		"a zero byte":              {request(goodLine, "X: \x00"), StatusBadRequest},
		"an unknown format":        {request("GET /?format=xml HTTP/1.1"), StatusBadRequest},
		"too many lines":           {request(goodLine, "X: y"+strings.Repeat("\r\nX: y", maxHeaderLines)), StatusHeaderTooLarge},
		"a header without end":     {goodLine + "\r\nX: " + strings.Repeat("y", MaxHeaderBytes), StatusHeaderTooLarge},
		"a header that is too big": {request(goodLine, "X: "+strings.Repeat("y", MaxHeaderBytes)), StatusHeaderTooLarge},
	} {
		_, _, err := ParseUpgrade([]byte(c.req))
		var refusal *UpgradeError
		if !errors.As(err, &refusal) || refusal.Status != c.status {
			t.Errorf("%s: %v, want status %d", name, err, c.status)
			continue
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(AppendRefusal(nil, refusal.Status, refusal.Msg))), nil)
		if err != nil {
			t.Errorf("%s: the response cannot be read: %v", name, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != c.status || string(body) != refusal.Msg+"\n" || !resp.Close {
			t.Errorf("%s: response %d %q, %v", name, resp.StatusCode, body, err)
		}
		if !strings.HasSuffix(resp.Status, http.StatusText(c.status)) {
			t.Errorf("%s: the status is called %q, want %q", name, resp.Status, http.StatusText(c.status))
		}
	}
}
