package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	signer "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

const (
	// showMethod reads an event as it is to be sent.
	showMethod = "Webhooks.Show"

	// attemptTimeout bounds an attempt, from reading the event to the end of the
	// answer. 10 s: who needs longer answers first and works afterwards.
	attemptTimeout = 10 * time.Second
	// connectTimeout bounds resolving a name and connecting, and the TLS handshake
	// again. 5 s: a lost SYN is sent again after one and three seconds.
	connectTimeout = 5 * time.Second
	// headerTimeout bounds the wait for an answer once everything is sent. 8 s: so
	// that the log tells an endpoint that is slow from one that is not there.
	headerTimeout = 8 * time.Second
	// maxAnswerBytes bounds what is read of an answer's header, and of its body,
	// which nobody looks at: it is read so that the connection can be used again.
	maxAnswerBytes = 64 << 10
	// maxIdle bounds the idle connections of a transport, and idleTimeout how long
	// each is kept.
	maxIdle     = 128
	idleTimeout = 30 * time.Second
	// maxReasonBytes bounds what a log says of an error: certificates have names of
	// any length.
	maxReasonBytes = 300
)

// newTransport returns how endpoints are reached. It follows no redirect, asks no
// proxy and unpacks nothing.
func newTransport(control func(network, address string, c syscall.RawConn) error) *http.Transport {
	dialer := &net.Dialer{Timeout: connectTimeout, Control: control}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    connectTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxAnswerBytes,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxInFlightPerTenant,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true,
	}
}

// An endpoint is the webhook of one tenant. It does not change.
type endpoint struct {
	tenant    string // its name
	url       string
	agent     string
	signers   []*signer.Webhook
	transport *http.Transport
}

// attempt sends the event of a task once. No error means that the task is done.
func (w *Worker) attempt(e *endpoint, t *entity.Tell) (how outcome, err error) {
	defer func() {
		if p := recover(); p != nil { // One event that cannot be sent must not end the server each time it starts.
			how, err = unread, fmt.Errorf("the delivery panicked: %v\n%s", p, debug.Stack())
		}
	}()
	req, ok := t.Call.Req.(*pb.DeliverWebhookRequest)
	switch {
	case !ok:
		return unread, errors.New("nobody here performs such a task")
	case e == nil:
		return unconfigured, nil
	}
	ctx, cancel := context.WithTimeout(w.ctx, w.attemptTimeout)
	defer cancel()
	shown, err := w.read(ctx, t.From, req)
	switch {
	case err != nil && w.ctx.Err() != nil:
		return interrupted, errStopping
	case err != nil:
		return unread, err
	case shown.Event == nil:
		return vanished, nil
	}
	body, err := envelope(e.tenant, req.ConversationId, shown)
	if err != nil {
		return unread, err
	}
	how, err = e.post(ctx, messageID(req.ConversationId, shown.Event), body)
	if err != nil && w.ctx.Err() != nil {
		return interrupted, errStopping
	}
	return how, err
}

// read asks the log for an event as it is now.
func (w *Worker) read(ctx context.Context, of entity.Ref, req *pb.DeliverWebhookRequest) (*pb.ShowWebhookResponse, error) {
	results := make(chan entity.Result, 1) // One is all that comes.
	w.node.Submit(&entity.Call{
		Method: w.show, To: of, Caller: entity.Caller{Tenant: of.Tenant},
		Req: &pb.ShowWebhookRequest{ConversationId: req.ConversationId, Seq: req.Seq},
	}, func(r entity.Result) { results <- r })
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("read the event: %w", ctx.Err())
	case r := <-results:
		if r.Err != nil {
			return nil, fmt.Errorf("read the event: %w", r.Err)
		}
		return r.Reply.(*pb.ShowWebhookResponse), nil
	}
}

// messageID names a delivery: the same in each attempt, and another one for an
// event that has the seq of one which a restored store has forgotten.
func messageID(conversation uint64, e *pb.Event) string {
	return fmt.Sprintf("msg_%d_%d_%s", conversation, e.Seq, strconv.FormatInt(e.At, 36))
}

// A message is the body of a delivery.
type message struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // of the event
	Data      data      `json:"data"`
}

type data struct {
	Tenant         string          `json:"tenant"`
	ConversationID uint64          `json:"conversation_id"`
	Event          json.RawMessage `json:"event"` // as clients get it
}

func envelope(tenant string, conversation uint64, shown *pb.ShowWebhookResponse) ([]byte, error) {
	event, err := wire.AppendJSON(nil, shown.Event)
	if err != nil {
		return nil, fmt.Errorf("encode the event: %w", err)
	}
	body, err := json.Marshal(message{shown.Type, time.UnixMilli(shown.Event.At).UTC(), data{tenant, conversation, event}})
	if err != nil {
		return nil, fmt.Errorf("encode the delivery: %w", err)
	}
	return body, nil
}

// post sends a body once.
func (e *endpoint) post(ctx context.Context, id string, body []byte) (outcome, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return unread, errors.New("the URL cannot be used") // The error would name it.
	}
	now := time.Now()
	var signatures []string
	for _, s := range e.signers {
		signature, err := s.Sign(id, now, body)
		if err != nil {
			return unread, fmt.Errorf("sign the delivery: %w", err)
		}
		signatures = append(signatures, signature)
	}
	req.Header.Set(signer.HeaderWebhookID, id)
	req.Header.Set(signer.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(signer.HeaderWebhookSignature, strings.Join(signatures, " "))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", e.agent)
	resp, err := e.transport.RoundTrip(req)
	if err != nil {
		return explain(err)
	}
	// The status has decided. A body that ends early, late or never costs the
	// connection and nothing else, and so does an error of Close.
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswerBytes)
	_ = resp.Body.Close()
	return judge(resp.StatusCode)
}

// judge says what a status means.
func judge(status int) (outcome, error) {
	err := fmt.Errorf("the endpoint answered %d", status)
	switch {
	case status >= 200 && status <= 299:
		return delivered, nil
	case status >= 300 && status <= 399:
		return redirected, fmt.Errorf("%w, a redirect, which is not followed", err)
	case status == http.StatusGone:
		return gone, fmt.Errorf("%w, which says that it wants no more events", err)
	case status >= 400 && status <= 499:
		return refused, err
	default:
		return broken, err
	}
}

// explain says why there was no answer. What the other side has said is in no
// error: it may be an echo of the event.
func explain(err error) (outcome, error) {
	var private *notPublicError
	var timeout interface{ Timeout() bool }
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var network *net.OpError
	switch {
	case errors.As(err, &private):
		return notPublic, private
	case errors.As(err, &timeout) && timeout.Timeout():
		return late, errors.New("the endpoint did not answer in time")
	case errors.As(err, &certificate):
		return untrusted, reason("the endpoint's certificate was refused: ", certificate.Err)
	case errors.As(err, &record):
		return untrusted, errors.New("the endpoint does not speak TLS")
	case errors.As(err, &network):
		return unreachable, reason("the endpoint was not reached: ", network)
	}
	return unreachable, errors.New("the endpoint broke the connection, or does not speak HTTP")
}

// reason is an error of bounded length.
func reason(what string, err error) error {
	text := err.Error()
	if len(text) > maxReasonBytes {
		text = text[:maxReasonBytes] + "…"
	}
	return errors.New(what + strings.ToValidUTF8(text, "�"))
}
