package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// maxBody is the most that a test reads of an answer, in bytes.
const maxBody = 4 << 20

// httpClient is the HTTP client of the tests. Keeping connections alive would make a
// server that is told to stop wait for them.
var httpClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: patience}

// A refusal is why a call was not done, as either door says it.
type refusal struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`

	status int    // over HTTP
	wire   uint32 // over a socket
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%s (HTTP %d, wire %d): %s", r.Code, r.status, r.wire, r.Detail)
}

// post calls a method over HTTP.
func (s *server) post(token, method string, req object, c coding) (object, error) {
	body, err := c.encode(method, req)
	if err != nil {
		return nil, err
	}
	return s.postBytes(token, method, body, c, nil)
}

// postBytes is post with a body that may be anything, and more header fields.
func (s *server) postBytes(token, method string, body []byte, c coding, header http.Header) (object, error) {
	r, err := http.NewRequest(http.MethodPost, s.url("/v1/"+method), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if header != nil {
		r.Header = header
	}
	r.Header.Set("Content-Type", c.media)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := httpClient.Do(r)
	if err != nil {
		return nil, err
	}
	answer, err := readAll(resp)
	if err != nil {
		return nil, err
	}
	switch media := resp.Header.Get("Content-Type"); {
	case resp.StatusCode == http.StatusOK && media == c.media:
		return c.decode(method, answer)
	case resp.StatusCode != http.StatusOK && media == "application/problem+json":
		return nil, parseProblem(resp.StatusCode, answer)
	default:
		return nil, fmt.Errorf("status %d with Content-Type %q: %q", resp.StatusCode, media, answer)
	}
}

// parseProblem reads application/problem+json, which must have all its parts.
func parseProblem(status int, body []byte) error {
	var p struct {
		refusal
		Type, Title string
		Status      int
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return fmt.Errorf("status %d with %q: %w", status, body, err)
	}
	if p.Status != status || p.Type != "kith:"+p.Code || p.Title == "" || p.Detail == "" {
		return fmt.Errorf("status %d has an incomplete problem: %s", status, body)
	}
	p.status = status
	return &p.refusal
}

// get reads a page.
func get(t testing.TB, url string) (status int, header http.Header, body []byte) {
	t.Helper()
	resp, err := httpClient.Get(url)
	must(t, err)
	body, err = readAll(resp)
	must(t, err)
	return resp.StatusCode, resp.Header, body
}

func readAll(resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if e := resp.Body.Close(); err == nil {
		err = e
	}
	return body, err
}

// isRefusal reports whether an error is the refusal with a code.
func isRefusal(err error, code string) bool {
	var r *refusal
	return errors.As(err, &r) && r.Code == code
}
