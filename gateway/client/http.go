package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"kith/actors/entity"
)

// maxReplyBytes bounds a reply that is read from the HTTP door: pages have 256 KiB
// at most.
const maxReplyBytes = 4 << 20

// Post runs a method at the HTTP door, whose address is as
// "http://127.0.0.1:8001", with a request in JSON, and returns the reply in JSON. A
// refusal is an *Error; any other error leaves open whether the call was done, and
// a command with a request id may be called again.
func Post(ctx context.Context, address, token, method string, request []byte) (reply []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/v1/"+method, bytes.NewReader(request))
	if err != nil {
		return nil, fmt.Errorf("%q is no HTTP address: %w", address, err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("reach the server: %w", Cause(err))
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the reply of %s: %w", method, err)
	case resp.StatusCode != http.StatusOK:
		return nil, Problem(resp, body)
	}
	return body, nil
}

// Cause is what went wrong with an HTTP request, without the address around it.
func Cause(err error) error {
	var about *url.Error
	if errors.As(err, &about) {
		return about.Err
	}
	return err
}

// Problem is the error that an answer of an HTTP server of Kith is: an *Error if
// nothing was done.
func Problem(resp *http.Response, body []byte) error {
	var p struct{ Code, Detail string }
	if json.Unmarshal(body, &p) != nil || p.Code == "" {
		return fmt.Errorf("what answers there is no server of Kith: %s", resp.Status)
	}
	code, ok := entity.CodeOfName(p.Code)
	if !ok {
		return fmt.Errorf("%s (%s)", p.Detail, p.Code)
	}
	return &Error{Code: code.Wire(), Msg: p.Detail, Temporary: code.Temporary()}
}
