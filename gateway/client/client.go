// Package client is the Go client of a Kith server: the methods of the .proto
// files as calls, events as messages. It is a thin layer over the unmodified
// Centrifuge SDK, which connects, pings, reconnects and recovers.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/centrifugal/centrifuge-go"
	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
)

// A Config says whom to connect as, and who hears.
type Config struct {
	// URL is the WebSocket address, as "ws://127.0.0.1:8000/connection/websocket".
	URL string
	// Token is a connect token.
	Token string
	// App names the program in the user's list of devices; default "kith".
	App string

	// Event hears every event of every channel, in order per channel. Optional.
	// It runs on the connection's goroutine and must not call the server.
	Event func(channel string, e *pb.Event)
	// Disconnected hears that the connection is over for good. Optional.
	Disconnected func(code uint32, reason string)
}

// A Client is one connected device.
type Client struct {
	conn *centrifuge.Client
}

// An Error is a refusal: the code and the sentence of the server.
type Error struct {
	Code      uint32 // as entity.Code.Wire
	Msg       string
	Temporary bool // the same request may succeed later
}

func (e *Error) Error() string { return e.Msg }

// Dial connects and returns once the server has welcomed the client. Close
// ends the connection.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if cfg.App == "" {
		cfg.App = "kith"
	}
	if u, err := url.Parse(cfg.URL); err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return nil, fmt.Errorf("%q is no WebSocket address; one is ws://127.0.0.1:8000/connection/websocket", cfg.URL)
	}
	conn := centrifuge.NewProtobufClient(cfg.URL, centrifuge.Config{
		Token: cfg.Token,
		Name:  cfg.App,
		Data:  []byte(`{"payload":"proto","sdk":"centrifuge-go","app":"` + cfg.App + `"}`),
	})
	over := make(chan error, 1)
	conn.OnConnected(func(centrifuge.ConnectedEvent) { offer(over, nil) })
	conn.OnDisconnected(func(e centrifuge.DisconnectedEvent) {
		offer(over, fmt.Errorf("the server refused the connection: %s (code %d)", e.Reason, e.Code))
		if cfg.Disconnected != nil {
			cfg.Disconnected(e.Code, e.Reason)
		}
	})
	conn.OnError(func(e centrifuge.ErrorEvent) {
		var dial centrifuge.TransportError
		if errors.As(e.Error, &dial) {
			offer(over, fmt.Errorf("reach the server: %w", e.Error))
		}
	})
	conn.OnPublication(func(e centrifuge.ServerPublicationEvent) {
		event := &pb.Event{}
		if cfg.Event != nil && proto.Unmarshal(e.Data, event) == nil {
			cfg.Event(e.Channel, event)
		}
	})
	if err := conn.Connect(); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	select {
	case err := <-over:
		if err != nil {
			conn.Close()
			return nil, err
		}
	case <-ctx.Done():
		conn.Close()
		return nil, fmt.Errorf("connect: %w", ctx.Err())
	}
	return &Client{conn}, nil
}

// offer tells the first outcome; nobody waits for later ones.
func offer(over chan<- error, err error) {
	select {
	case over <- err:
	default:
	}
}

// Call runs a method, as "Messages.Send", and fills in resp. A refusal is an
// *Error; any other error leaves open whether the call was done, and a command
// with a request id may be called again.
func (c *Client) Call(ctx context.Context, method string, req, resp proto.Message) error {
	data, err := proto.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode %s: %w", method, err)
	}
	data, err = c.rpc(ctx, method, data)
	var refused *centrifuge.Error
	switch {
	case errors.As(err, &refused):
		return &Error{refused.Code, refused.Message, refused.Temporary}
	case err != nil:
		return fmt.Errorf("%s: %w", method, err)
	}
	if err := proto.Unmarshal(data, resp); err != nil {
		return fmt.Errorf("decode the reply of %s: %w", method, err)
	}
	return nil
}

// rpc is the SDK's RPC, but it does return when ctx is over: when a connection
// breaks in the middle of a write, the SDK (v0.10.10) waits for ever.
func (c *Client) rpc(ctx context.Context, method string, data []byte) ([]byte, error) {
	type answer struct {
		data []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() { // It ends when the SDK answers, at the latest with Close.
		res, err := c.conn.RPC(ctx, method, data)
		answered <- answer{res.Data, err}
	}()
	select {
	case a := <-answered:
		return a.data, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends the connection.
func (c *Client) Close() { c.conn.Close() }
