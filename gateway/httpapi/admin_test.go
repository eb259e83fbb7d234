package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"kith/actors/entity"
	"kith/actors/pb"
)

// A desk is an Admin that remembers what it was asked.
type desk struct {
	dirs     []string
	replayed int
}

func (d *desk) Backup(dir string) error {
	d.dirs = append(d.dirs, dir)
	switch dir {
	case "/taken":
		return entity.Errorf(entity.Conflict, "it exists already")
	case "/broken":
		return errors.New("the disk is on fire")
	}
	return nil
}

func (d *desk) DeadLetters(limit int) ([]entity.Parked, int, error) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return []entity.Parked{{
		From: entity.Conversation(1, 7), To: entity.Ref{Tenant: 1, Kind: pb.Kind_USER, ID: 8}, Number: 3,
		Method: "Dialogs.Joined", Reason: "it panics", Sent: at, ParkedAt: at.Add(time.Minute),
	}}, limit + 1, nil
}

func (d *desk) ReplayDeadLetters() (int, error) {
	d.replayed++
	return 5, nil
}

// operate sends a request to the internal server, with header fields as "Name: value".
func operate(t *testing.T, verb, url, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(verb, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	resp, text := do(t, r)
	return resp.StatusCode, strings.TrimSpace(string(text))
}

func TestWhatOperatorsMayDo(t *testing.T) {
	url := startInternal(t, &syncBuffer{})
	for _, c := range []struct {
		verb, path, body string
		status           int
		want             string // a part of the answer
	}{
		{"POST", "/admin/backup", `{"dir":"/new"}`, 200, `{"dir":"/new","took_ms":`},
		{"POST", "/admin/backup", `{"dir":"/taken"}`, 409, "it exists already"},
		{"POST", "/admin/backup", `{"dir":"/broken"}`, 500, "back up to /broken: the disk is on fire"},
		{"POST", "/admin/backup", `{"dir":"new"}`, 400, "absolute"},
		{"POST", "/admin/backup", `{"dir":"/new","more":1}`, 400, "absolute"},
		{"POST", "/admin/backup", ``, 400, "absolute"},
		{"GET", "/admin/backup", ``, 405, "only POST"},
		{"GET", "/admin/deadletters", ``, 200, `{"total":1001,"letters":[{"from":"1/CONVERSATION/7","to":"USER","number":3,"method":"Dialogs.Joined",` +
			`"reason":"it panics","sent":"2026-03-01T12:00:00Z","parked_at":"2026-03-01T12:01:00Z"}]}`},
		{"POST", "/admin/deadletters", `{}`, 405, "only GET"},
		{"POST", "/admin/deadletters/replay", `{}`, 200, `{"replayed":5}`},
		{"GET", "/admin/", ``, 404, "/healthz"},
	} {
		if status, text := operate(t, c.verb, url+c.path, c.body); status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s %s %s: %d %s, want %d with %q", c.verb, c.path, c.body, status, text, c.status, c.want)
		}
	}
}

// A page in a browser of the server's machine reaches the port. It must not get far.
func TestWebPagesAreNoOperators(t *testing.T) {
	url := startInternal(t, &syncBuffer{})
	for _, c := range []struct {
		name   string
		header []string
		status int
	}{
		{"a page that says where it is from", []string{"Origin: https://evil.example"}, 403},
		{"and one that is from nowhere", []string{"Origin: null"}, 403},
		{"a page that names itself as this machine", []string{"Host: evil.example:8002"}, 403},
		{"what a browser sends for a picture", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"a form", []string{"Content-Type: text/plain"}, 415},
		{"a program", []string{"Host: localhost:8002"}, 200},
		{"a program by address", []string{"Host: [::1]:8002"}, 200},
	} {
		status, text := operate(t, "POST", url+"/admin/backup", `{"dir":"/new"}`, c.header...)
		if status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, text, c.status)
		}
		var p problem
		if err := json.Unmarshal([]byte(text), &p); status != 200 && (err != nil || p.Detail == "") {
			t.Errorf("%s: %s has no sentence", c.name, text)
		}
	}
}
