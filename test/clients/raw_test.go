package clients

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// A raw connection sends what no SDK would.
type raw struct {
	t    testing.TB
	conn *websocket.Conn
}

func (s *server) raw(t testing.TB, d dialect) raw {
	t.Helper()
	return s.rawDial(t, d, websocket.Dialer{HandshakeTimeout: patience})
}

func (s *server) rawDial(t testing.TB, d dialect, dialer websocket.Dialer) raw {
	t.Helper()
	if d.binary {
		dialer.Subprotocols = []string{"centrifuge-protobuf"}
	}
	address, _, _ := s.address()
	conn, resp, err := dialer.Dial(s.webSocket(address), nil)
	must(t, err)
	if d.binary && resp.Header.Get("Sec-WebSocket-Protocol") != "centrifuge-protobuf" {
		t.Errorf("the subprotocol is %q", resp.Header.Get("Sec-WebSocket-Protocol"))
	}
	must(t, conn.SetReadDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = conn.Close() }) // The server has closed it, as a rule.
	return raw{t, conn}
}

func (r raw) send(kind int, message string) {
	r.t.Helper()
	must(r.t, r.conn.WriteMessage(kind, []byte(message)))
}

// closes reads until the server closes, and returns its code and reason.
func (r raw) closes() (code int, reason string) {
	r.t.Helper()
	for {
		_, _, err := r.conn.ReadMessage()
		var end *websocket.CloseError
		if errors.As(err, &end) {
			return end.Code, end.Text
		}
		if err != nil {
			r.t.Fatalf("the connection ended without a code: %v", err)
		}
	}
}

// connected makes the connection a person's.
func (r raw) connected(token string) raw {
	r.t.Helper()
	r.send(websocket.TextMessage, fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, token))
	_, reply, err := r.conn.ReadMessage()
	must(r.t, err)
	if !strings.Contains(string(reply), `"connect":{`) {
		r.t.Fatalf("connect is answered by %s", reply)
	}
	return r
}

func TestWhatBreaksTheProtocolIsClosedWithItsCode(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	ann := s.people(plain, "ann")[0]
	token := ann.token(t, "phone")
	large := strings.Repeat(" ", 70<<10)
	for _, c := range []struct {
		name      string
		dialect   dialect
		connected bool
		kind      int
		message   string
		code      int
	}{
		{"a token that is no good", speaksJSON, false, websocket.TextMessage, `{"id":1,"connect":{"token":"hello"}}`, 3500},
		{"a refresh that is no good", speaksJSON, true, websocket.TextMessage, `{"id":2,"refresh":{"token":"hello"}}`, 3500},
		{"rpc before connect", speaksJSON, false, websocket.TextMessage, `{"id":1,"rpc":{"method":"Dialogs.List"}}`, 3501},
		{"no JSON", speaksJSON, false, websocket.TextMessage, `hello`, 3501},
		{"an empty message", speaksJSON, false, websocket.TextMessage, ``, 3501},
		{"no protobuf", speaksProto, false, websocket.BinaryMessage, "\x05hello", 3501},
		{"a length beyond the message", speaksProto, false, websocket.BinaryMessage, "\x7fhello", 3501},
		{"binary where text is spoken", speaksJSON, false, websocket.BinaryMessage, `{"id":1}`, 1003},
		{"text where binary is spoken", speaksProto, false, websocket.TextMessage, `{"id":1}`, 1003},
		{"text that is not UTF-8", speaksJSON, false, websocket.TextMessage, "{\"id\":1,\"connect\":{\"token\":\"\xff\"}}", 1007},
		{"a second connect", speaksJSON, true, websocket.TextMessage, `{"id":2,"connect":{}}`, 3501},
		{"a command without an id", speaksJSON, true, websocket.TextMessage, `{"rpc":{"method":"Dialogs.List"}}`, 3501},
		{"too deep", speaksJSON, true, websocket.TextMessage, `{"id":2,"rpc":{"data":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}}`, 3501},
		{"too large to connect", speaksJSON, false, websocket.TextMessage, `{"id":1}` + large, 3501},
		{"too large", speaksJSON, true, websocket.TextMessage, `{"id":2}` + large, 4009},
	} {
		r := s.raw(t, c.dialect)
		if c.connected {
			r.connected(token)
		}
		r.send(c.kind, c.message)
		if code, reason := r.closes(); code != c.code || reason == "" {
			t.Errorf("%s: closed with %d (%q), want %d and a sentence", c.name, code, reason, c.code)
		}
	}
	ann.post(t, "Devices.List", object{}) // Nobody else was harmed.
}

func TestWhoDoesNotConnectIsSentAway(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	silent, slow := s.raw(t, speaksJSON), s.raw(t, speaksProto)
	for _, r := range []raw{silent, slow} {
		if code, _ := r.closes(); code != 3502 {
			t.Errorf("closed with %d, want 3502", code)
		}
	}
}

// A message may come in fragments, with control frames between them.
func TestFragmentsAndPingsAreUnderstood(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	ann := s.people(plain, "ann")[0]
	// What is written is sent in a fragment whenever the buffer is full.
	r := s.rawDial(t, speaksJSON, websocket.Dialer{WriteBufferSize: 8}).connected(ann.token(t, "phone"))
	pongs := make(chan string, 1)
	r.conn.SetPongHandler(func(text string) error { pongs <- text; return nil })
	w, err := r.conn.NextWriter(websocket.TextMessage)
	must(t, err)
	command := `{"id":2,"rpc":{"method":"Devices.List","data":{}}}`
	for i := range command {
		if _, err := w.Write([]byte(command[i : i+1])); err != nil {
			t.Fatal(err)
		}
		if i == len(command)/2 {
			must(t, r.conn.WriteControl(websocket.PingMessage, []byte("still there?"), time.Now().Add(patience)))
		}
	}
	must(t, w.Close())
	_, reply, err := r.conn.ReadMessage()
	must(t, err)
	if !strings.Contains(string(reply), `"device_id":"phone"`) {
		t.Errorf("the reply is %s", reply)
	}
	select {
	case text := <-pongs:
		if text != "still there?" {
			t.Errorf("the pong says %q", text)
		}
	default:
		t.Error("there was no pong before the reply")
	}
}

// A page of another site cannot connect with what a browser sends by itself.
func TestForeignOriginsAreTurnedAway(t *testing.T) {
	t.Parallel()
	s := everybody.node(t)
	address, _, _ := s.address()
	for origin, want := range map[string]int{
		"https://evil.example": http.StatusForbidden,
		"null":                 http.StatusForbidden,
		"http://" + address:    http.StatusSwitchingProtocols,
	} {
		conn, resp, err := websocket.DefaultDialer.Dial(s.webSocket(address), http.Header{"Origin": {origin}})
		if resp == nil {
			t.Fatalf("origin %s: %v", origin, err)
		}
		if resp.StatusCode != want {
			t.Errorf("origin %s: status %d, want %d", origin, resp.StatusCode, want)
		}
		if conn != nil {
			must(t, conn.Close())
		}
	}
}
