// Package client is the Go client of a Kith server: the methods of the .proto
// files as calls, events and signals as messages, over WebSocket or raw TCP.
//
// Over WebSocket (ws, wss) it is a thin layer over the unmodified Centrifuge SDK,
// which pings, reconnects and recovers. Over raw TCP (tcp) it speaks the same
// protocol itself; when that connection is over, reconnecting is the caller's
// business, who hands the Positions of the old one to the new one.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// A Config says whom to connect as, and who hears. What hears runs on the
// connection's goroutine and must not call the server.
type Config struct {
	// URL is the address, as "ws://127.0.0.1:8000/connection/websocket" or
	// "tcp://127.0.0.1:8003".
	URL string
	// Token is a connect token.
	Token string
	// App names the program in the user's list of devices; default "kith".
	App string
	// Known is what the device has heard already, by channel: it is sent what it
	// missed since. Raw TCP alone; the SDK remembers it by itself. Optional.
	Known map[string]Position

	// Event hears every event of every channel, in order per channel. Optional.
	Event func(channel string, e *pb.Event)
	// Signal hears every signal; its event has no seq, and names its channel. Optional.
	Signal func(e *pb.Event)
	// Gap hears that not all that was missed in a channel will come: the history has
	// it. Optional.
	Gap func(channel string)
	// Disconnected hears that the connection is over for good: with the code and
	// sentence of the server, or with code 0 and what happened. Optional.
	Disconnected func(code uint32, reason string)
}

// A Position is how far a device has heard a channel.
type Position struct {
	Epoch string // of the log; another one is another log
	Seq   uint64 // of the last event
}

// A Client is one connected device.
type Client struct{ transport }

// A transport is a connection that answers. What the server refuses is an *Error.
type transport interface {
	rpc(ctx context.Context, method string, data []byte) ([]byte, error)
	subscribe(ctx context.Context, channel string) error
	positions() map[string]Position
	close()
}

// An Error is a refusal: the code and the sentence of the server.
type Error struct {
	Code      uint32 // as entity.Code.Wire
	Msg       string
	Temporary bool // the same request may succeed later
}

func (e *Error) Error() string { return e.Msg }

// Name is the name of the code: "denied"; empty if it is none of ours.
func (e *Error) Name() string {
	if c, ok := entity.CodeOfWire(e.Code); ok {
		return c.String()
	}
	return ""
}

// Dial connects and returns once the server has welcomed the client. Close
// ends the connection.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	if cfg.App == "" {
		cfg.App = "kith"
	}
	u, err := url.Parse(cfg.URL)
	var t transport
	switch {
	case err == nil && u.Scheme == "tcp" && u.Port() != "" && u.Path == "":
		t, err = dialStream(ctx, cfg, u.Host)
	case err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "":
		err = fmt.Errorf("%q is no address of a server; one is ws://127.0.0.1:8000/connection/websocket or tcp://127.0.0.1:8003", cfg.URL)
	case cfg.Known != nil:
		err = errors.New("positions are for raw TCP: over WebSocket the SDK remembers them")
	default:
		t, err = dialWebSocket(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	return &Client{t}, nil
}

// describe is what a client says of itself when it connects.
func (cfg *Config) describe(sdk string) ([]byte, error) {
	return json.Marshal(map[string]string{"payload": "proto", "sdk": sdk, "app": cfg.App})
}

// refusedBy is the error of a Dial whose connect the server refused.
func refusedBy(code uint32, reason string) error {
	return fmt.Errorf("the server refused the connection: %s (code %d)", reason, code)
}

// hear tells of an event.
func (cfg *Config) hear(channel string, data []byte) {
	event := &pb.Event{}
	if cfg.Event != nil && event.UnmarshalVT(data) == nil {
		cfg.Event(channel, event)
	}
}

// hearSignal tells of a signal.
func (cfg *Config) hearSignal(data []byte) {
	event := &pb.Event{}
	if cfg.Signal != nil && event.UnmarshalVT(data) == nil {
		cfg.Signal(event)
	}
}

// hearGap tells of a channel that was not recovered.
func (cfg *Config) hearGap(channel string) {
	if cfg.Gap != nil {
		cfg.Gap(channel)
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
	var refused *Error
	switch {
	case errors.As(err, &refused):
		return refused
	case err != nil:
		return fmt.Errorf("%s: %w", method, err)
	}
	if err := proto.Unmarshal(data, resp); err != nil {
		return fmt.Errorf("decode the reply of %s: %w", method, err)
	}
	return nil
}

// CallJSON is Call for who has the request in JSON, as the HTTP door takes it, and
// wants the reply so. What is wrong with the method's name or the JSON is an *Error
// with the code that the server would give; nothing was sent then.
func (c *Client) CallJSON(ctx context.Context, method string, req []byte) (resp []byte, err error) {
	in, out, err := messagesOf(method)
	if err != nil {
		return nil, err
	}
	if err := wire.UnmarshalJSON(req, in); err != nil {
		public := entity.Public(err)
		return nil, &Error{Code: public.Code.Wire(), Msg: public.Msg}
	}
	if err := c.Call(ctx, method, in, out); err != nil {
		return nil, err
	}
	return wire.AppendJSON(nil, out)
}

// messagesOf makes the request and the reply of a method.
func messagesOf(method string) (req, resp proto.Message, err error) {
	const pkg = "kith.v1."
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(pkg + protoreflect.FullName(method))
	m, ok := found.(protoreflect.MethodDescriptor)
	if err != nil || !ok {
		return nil, nil, &Error{Code: entity.Unsupported.Wire(), Msg: "there is no method " + method}
	}
	in, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
	if err != nil {
		return nil, nil, fmt.Errorf("the request of %s: %w", method, err)
	}
	out, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	if err != nil {
		return nil, nil, fmt.Errorf("the reply of %s: %w", method, err)
	}
	return in.New().Interface(), out.New().Interface(), nil
}

// Subscribe asks for a channel that does not come by itself, as that of a large
// conversation; Event then hears it. A refusal is an *Error.
func (c *Client) Subscribe(ctx context.Context, channel string) error {
	return c.subscribe(ctx, channel)
}

// Positions are how far each channel has been heard, for Config.Known of the next
// connection. Over WebSocket there are none: the SDK keeps them.
func (c *Client) Positions() map[string]Position { return c.positions() }

// Close ends the connection.
func (c *Client) Close() { c.close() }
