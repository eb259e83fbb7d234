package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// A FollowConfig says which log to follow as whom, and who hears.
type FollowConfig struct {
	// URL is the WebSocket address, as "ws://127.0.0.1:8000/connection/websocket".
	URL string
	// Token returns a connect token; it is asked for one before each connection.
	Token func() (string, error)
	// Channel is "c:<conversation>" or "u:<user>".
	Channel string
	// Since is the seq after which to begin; negative: now.
	Since int64

	// Event hears each event of the log in JSON, in rising order of seq, each once
	// however often the connection breaks. Signal hears what is never stored, of any
	// conversation. Note hears in a sentence what a person should know: that the
	// connection broke, that events are missing. Each runs on Follow's goroutine.
	Event  func(seq uint64, event []byte)
	Signal func(signal []byte)
	Note   func(sentence string)
}

// The patience of Follow.
const (
	handshakeTimeout = 10 * time.Second
	// pingSlack is how much later than announced a ping may come. 15 s: a phone that
	// changes networks is back by then.
	pingSlack = 15 * time.Second
	// firstWait is how long Follow waits before it connects again; each time twice as
	// long, up to maxWait, and up to half of it more at random.
	firstWait = 250 * time.Millisecond
	maxWait   = 10 * time.Second
)

// errOver ends a Follow that cannot go on: connecting again would end the same way.
type errOver struct{ error }

// Follow hears a log until ctx is over, which is no error, or until the server says
// that there is nothing to hear. It connects again whenever the connection breaks,
// and goes on after the last event that it heard. It speaks Centrifuge's protocol
// by itself: an SDK decides on its own where to begin.
func Follow(ctx context.Context, cfg FollowConfig) error {
	f := follower{FollowConfig: cfg}
	wait, first := firstWait, true
	for {
		connected, err := f.connect(ctx)
		var over errOver
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &over):
			return over.error
		case errors.Is(err, errAgain):
			continue
		case first && !connected:
			return err // Nobody knows yet whether there is a server at all.
		case connected:
			wait, first = firstWait, false
		}
		f.Note(fmt.Sprintf("%v; connecting again", err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait + rand.N(wait/2)):
		}
		wait = min(2*wait, maxWait)
	}
}

// A follower is one Follow.
type follower struct {
	FollowConfig
	conn *websocket.Conn

	placed bool   // what is below is known
	epoch  string // of the log
	pos    uint64 // the last seq that was heard, or that was there when it began
	quiet  time.Duration
}

// A place is where a channel stands, as the server says in several messages.
type place struct {
	Epoch     string `json:"epoch"`
	Offset    uint64 `json:"offset"`
	Recovered bool   `json:"recovered"`
}

// A frame is a reply or a push: what of it matters here.
type frame struct {
	ID    uint32 `json:"id"`
	Error *struct {
		Code      uint32 `json:"code"`
		Message   string `json:"message"`
		Temporary bool   `json:"temporary"`
	} `json:"error"`
	Connect *struct {
		Subs map[string]place `json:"subs"`
		Ping int64            `json:"ping"` // seconds
	} `json:"connect"`
	Subscribe *place `json:"subscribe"`
	Push      *struct {
		Channel string `json:"channel"`
		Pub     *struct {
			Data   json.RawMessage `json:"data"`
			Offset uint64          `json:"offset"`
		} `json:"pub"`
		Message     *struct{ Data json.RawMessage } `json:"message"`
		Subscribe   *place                          `json:"subscribe"`
		Unsubscribe *struct{ Reason string }        `json:"unsubscribe"`
	} `json:"push"`
}

// connect makes one connection and hears it to its end, which is an error. It says
// whether the server had welcomed it.
func (f *follower) connect(ctx context.Context) (welcome bool, err error) {
	token, err := f.Token()
	if err != nil {
		return false, errOver{err}
	}
	dialer := websocket.Dialer{HandshakeTimeout: handshakeTimeout, Proxy: http.ProxyFromEnvironment}
	if f.conn, _, err = dialer.DialContext(ctx, f.URL, nil); err != nil {
		return false, fmt.Errorf("reach the server: %w", err)
	}
	defer func() { _ = f.conn.Close() }() // It is over, whatever it says.
	defer context.AfterFunc(ctx, func() { _ = f.conn.Close() })()
	f.conn.SetReadLimit(maxFrameBytes)
	f.quiet = handshakeTimeout
	if err := f.send(map[string]any{"id": 1, "connect": map[string]any{
		"token": token, "name": "kith", "data": map[string]string{"app": "kith tail", "payload": "json"},
		"subs": map[string]any{f.Channel: f.asked()},
	}}); err != nil {
		return false, err
	}
	for {
		if err := f.conn.SetReadDeadline(time.Now().Add(f.quiet)); err != nil {
			return welcome, err
		}
		_, message, err := f.conn.ReadMessage()
		if err != nil {
			return welcome, ended(err)
		}
		for line := range strings.Lines(string(message)) {
			hello, err := f.frame([]byte(line))
			if welcome = welcome || hello; err != nil {
				return welcome, err
			}
		}
	}
}

// asked is where the server is asked to begin. Where Since is given, the epoch is
// not known at first; the server says it, and is asked once more.
func (f *follower) asked() map[string]any {
	switch {
	case f.placed:
		return map[string]any{"recover": true, "epoch": f.epoch, "offset": f.pos}
	case f.Since >= 0:
		return map[string]any{"recover": true, "offset": f.Since}
	default:
		return map[string]any{}
	}
}

func (f *follower) send(command any) error {
	if err := f.conn.WriteJSON(command); err != nil {
		return fmt.Errorf("send to the server: %w", err)
	}
	return nil
}

// ended says in words why a connection was closed, and whether for good.
func ended(err error) error {
	var end *websocket.CloseError
	var net net.Error
	switch {
	case errors.As(err, &end) && (end.Code >= 3500 && end.Code < 4000 || end.Code >= 4500 && end.Code < 5000):
		return errOver{fmt.Errorf("the server ended the connection: %s (code %d)", end.Text, end.Code)}
	case errors.As(err, &end) && end.Text != "":
		return fmt.Errorf("the server ended the connection: %s", end.Text)
	case errors.As(err, &net) && net.Timeout():
		return errors.New("the server has fallen silent")
	default:
		return errors.New("the connection broke")
	}
}

// frame takes one reply or push.
func (f *follower) frame(line []byte) (hello bool, err error) {
	var in frame
	if err := json.Unmarshal(line, &in); err != nil {
		return false, errOver{fmt.Errorf("what answers there does not speak the protocol: %w", err)}
	}
	switch {
	case in.Error != nil:
		return false, f.refused(in.ID, &Error{in.Error.Code, in.Error.Message, in.Error.Temporary})
	case in.Connect != nil:
		f.quiet = time.Duration(in.Connect.Ping)*time.Second + pingSlack
		if at, there := in.Connect.Subs[f.Channel]; there {
			return true, f.begin(at)
		}
		// A large conversation is watched: one asks for it.
		subscribe := f.asked()
		subscribe["channel"] = f.Channel
		return true, f.send(map[string]any{"id": 2, "subscribe": subscribe})
	case in.Subscribe != nil:
		return false, f.begin(*in.Subscribe)
	case in.Push != nil:
		return false, f.push(&in)
	default:
		return false, f.send(struct{}{}) // A ping wants a pong.
	}
}

// refused is what becomes of a refusal.
func (f *follower) refused(id uint32, err *Error) error {
	if err.Temporary {
		return err
	}
	if id == 2 { // The subscription of what is not there for this user.
		return errOver{&Error{Code: err.Code, Msg: fmt.Sprintf("there is no log %s, or you may not read it", f.Channel)}}
	}
	return errOver{err}
}

// begin takes note of where the log stands.
func (f *follower) begin(at place) error {
	switch {
	case f.placed && at.Recovered: // What was missed follows.
	case f.placed && at.Epoch != f.epoch:
		f.Note("the store is another than before, restored perhaps: going on with what happens from now on")
		f.epoch, f.pos = at.Epoch, at.Offset
	case f.placed:
		if at.Offset > f.pos {
			f.Note(fmt.Sprintf("events %d to %d cannot be replayed: they are too many, or gone; Messages.History has the messages", f.pos+1, at.Offset))
		}
		f.pos = at.Offset
	case f.Since >= 0 && uint64(f.Since) > at.Offset:
		return errOver{fmt.Errorf("the log has events 1 to %d, and you ask for what comes after %d", at.Offset, f.Since)}
	case f.Since >= 0 && uint64(f.Since) < at.Offset && !at.Recovered:
		f.placed, f.epoch, f.pos = true, at.Epoch, uint64(f.Since)
		return f.again()
	default:
		f.placed, f.epoch, f.pos = true, at.Epoch, at.Offset
	}
	return nil
}

// again connects once more at once: now the epoch is known.
func (f *follower) again() error {
	if err := f.conn.Close(); err != nil {
		return err
	}
	return errAgain
}

// errAgain is no failure.
var errAgain = errors.New("the place in the log is known")

// push takes an event, a signal, or news about channels.
func (f *follower) push(in *frame) error {
	p := in.Push
	switch {
	case p.Message != nil:
		f.Signal(p.Message.Data)
	case p.Channel != f.Channel: // Another log of the user's.
	case p.Pub != nil && p.Pub.Offset > f.pos:
		f.pos = p.Pub.Offset
		f.Event(p.Pub.Offset, p.Pub.Data)
	case p.Subscribe != nil && !f.placed:
		return f.begin(*p.Subscribe)
	case p.Unsubscribe != nil && f.placed:
		return errOver{fmt.Errorf("that was the end: %s", p.Unsubscribe.Reason)}
	}
	return nil
}
