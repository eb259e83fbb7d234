package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"kith/gateway/client"
)

// started runs a node with every door open.
func started(t *testing.T) *node {
	t.Helper()
	c, err := Load(ConfigFlags{
		DataDir: t.TempDir(), ListenWS: "127.0.0.1:0", ListenTCP: "127.0.0.1:0", ListenHTTP: "127.0.0.1:0", ListenInternal: "127.0.0.1:0",
		Set: []string{"storage.min_free_bytes=0"},
	}, nil)
	must(t, err)
	n, err := newNode(c, slog.New(slog.DiscardHandler), false)
	must(t, err)
	must(t, n.start())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), c.ShutdownTimeout)
		defer cancel()
		must(t, n.stop(ctx))
	})
	return n
}

// A caller runs a method in JSON, at one door.
type caller func(method, request string) (string, error)

// callers are the same person on the same device at each door.
func callers(t *testing.T, n *node, user string) map[string]caller {
	t.Helper()
	claims, err := (&TokenCmd{User: user, Device: "phone", TTL: "1h"}).claims(n.config, time.Now())
	must(t, err)
	token, err := mint(n.config, claims)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	all := map[string]caller{"HTTP": func(method, request string) (string, error) {
		reply, err := client.Post(ctx, "http://"+n.http.Addr().String(), token, method, []byte(request))
		return string(reply), err
	}}
	for door, url := range map[string]string{
		"WebSocket": "ws://" + n.socket.Addrs()[0].String() + "/connection/websocket",
		"raw TCP":   "tcp://" + n.socket.TCPAddrs()[0].String(),
	} {
		c, err := client.Dial(ctx, client.Config{URL: url, Token: token})
		must(t, err)
		t.Cleanup(c.Close)
		all[door] = func(method, request string) (string, error) {
			reply, err := c.CallJSON(ctx, method, []byte(request))
			return string(reply), err
		}
	}
	return all
}

func TestTheSameCallHasTheSameOutcomeAtEveryDoor(t *testing.T) {
	n := started(t)
	ann, bob := callers(t, n, "ann"), callers(t, n, "bob")
	for _, call := range []struct {
		who             map[string]caller
		method, request string
		refused         uint32 // the code; 0: it is not
	}{
		{who: ann, method: "Groups.Create", request: `{"request_id":"g","name":"Three doors"}`},
		{who: ann, method: "Directs.Open", request: `{"user_id":"bob","request_id":"d"}`},
		{who: ann, method: "Devices.List", request: `{}`},
		{who: ann, method: "Groups.Create", request: `{"request_id":"g","name":"Another"}`, refused: 409},
		{who: ann, method: "Groups.Create", request: `{"name":"No request id"}`, refused: 107},
		{who: bob, method: "Messages.Send", request: `{"conversation_id":12345,"content":{"text":{"text":"hi"}}}`, refused: 404},
		{who: bob, method: "Messages.Send", request: `{"conversation_id":"x"}`, refused: 107},
		{who: bob, method: "Messages.Send", request: `{"conversation_id":1,"colour":"red"}`, refused: 107},
	} {
		want, wantErr := call.who["HTTP"](call.method, call.request)
		for door, run := range call.who {
			got, err := run(call.method, call.request)
			if got != want {
				t.Errorf("%s %s over %s gives %s, over HTTP %s", call.method, call.request, door, got, want)
			}
			var refusal, wantRefusal *client.Error
			switch {
			case call.refused == 0:
				must(t, err)
				must(t, wantErr)
			case !errors.As(err, &refusal) || !errors.As(wantErr, &wantRefusal) || *refusal != *wantRefusal || refusal.Code != call.refused:
				t.Errorf("%s %s over %s is refused with %+v, over HTTP with %+v, want code %d", call.method, call.request, door, err, wantErr, call.refused)
			}
		}
	}
}
