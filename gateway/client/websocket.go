package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/centrifugal/centrifuge-go"
)

// A webSocket is the Centrifuge SDK as a transport.
type webSocket struct {
	sdk *centrifuge.Client
	cfg Config
}

func dialWebSocket(ctx context.Context, cfg Config) (transport, error) {
	data, err := cfg.describe("centrifuge-go")
	if err != nil {
		return nil, fmt.Errorf("describe the client: %w", err)
	}
	sdk := centrifuge.NewProtobufClient(cfg.URL, centrifuge.Config{Token: cfg.Token, Name: cfg.App, Data: data})
	w := &webSocket{sdk, cfg}
	over := make(chan error, 1)
	sdk.OnConnected(func(centrifuge.ConnectedEvent) { offer(over, nil) })
	sdk.OnDisconnected(func(e centrifuge.DisconnectedEvent) {
		offer(over, refusedBy(e.Code, e.Reason))
		if cfg.Disconnected != nil {
			cfg.Disconnected(e.Code, e.Reason)
		}
	})
	sdk.OnError(func(e centrifuge.ErrorEvent) {
		var dial centrifuge.TransportError
		if errors.As(e.Error, &dial) {
			offer(over, fmt.Errorf("reach the server: %w", e.Error))
		}
	})
	sdk.OnPublication(func(e centrifuge.ServerPublicationEvent) { cfg.hear(e.Channel, e.Data) })
	sdk.OnMessage(func(e centrifuge.MessageEvent) { cfg.hearSignal(e.Data) })
	sdk.OnSubscribed(func(e centrifuge.ServerSubscribedEvent) {
		if e.WasRecovering && !e.Recovered {
			cfg.hearGap(e.Channel)
		}
	})
	if err := sdk.Connect(); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	select {
	case err = <-over:
	case <-ctx.Done():
		err = fmt.Errorf("connect: %w", ctx.Err())
	}
	if err != nil {
		sdk.Close()
		return nil, err
	}
	return w, nil
}

// offer tells the first outcome; nobody waits for later ones.
func offer(over chan<- error, err error) {
	select {
	case over <- err:
	default:
	}
}

// rpc is the SDK's RPC, but it does return when ctx is over: when a connection
// breaks in the middle of a write, the SDK (v0.10.10) waits for ever.
func (w *webSocket) rpc(ctx context.Context, method string, data []byte) ([]byte, error) {
	type answer struct {
		data []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() { // It ends when the SDK answers, at the latest with Close.
		res, err := w.sdk.RPC(ctx, method, data)
		answered <- answer{res.Data, refusal(err)}
	}()
	select {
	case a := <-answered:
		return a.data, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refusal makes an *Error of the SDK's.
func refusal(err error) error {
	var refused *centrifuge.Error
	if errors.As(err, &refused) {
		return &Error{refused.Code, refused.Message, refused.Temporary}
	}
	return err
}

func (w *webSocket) subscribe(ctx context.Context, channel string) error {
	sub, err := w.sdk.NewSubscription(channel, centrifuge.SubscriptionConfig{Positioned: true, Recoverable: true})
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", channel, err)
	}
	over := make(chan error, 1)
	sub.OnPublication(func(e centrifuge.PublicationEvent) { w.cfg.hear(channel, e.Data) })
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		if e.WasRecovering && !e.Recovered {
			w.cfg.hearGap(channel)
		}
		offer(over, nil)
	})
	sub.OnError(func(e centrifuge.SubscriptionErrorEvent) { offer(over, refusal(e.Error)) })
	sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) { offer(over, &Error{Code: e.Code, Msg: e.Reason}) })
	if err = sub.Subscribe(); err == nil {
		select {
		case err = <-over:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		// Neither can fail: it is ours, and is asked for once.
		_ = sub.Unsubscribe()
		_ = w.sdk.RemoveSubscription(sub)
	}
	return err
}

func (w *webSocket) positions() map[string]Position { return nil }

func (w *webSocket) close() { w.sdk.Close() }
