package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

// A dialect is how a device speaks.
type dialect struct {
	name   string
	binary bool   // protobuf around
	inside coding // of what rpcs and publications carry
}

var (
	speaksJSON  = dialect{"json", false, asJSON}
	speaksBoth  = dialect{"protobuf with json", true, asJSON}
	speaksProto = dialect{"protobuf", true, asProto}
	dialects    = []dialect{speaksJSON, speaksBoth, speaksProto}
)

// A device is an unmodified centrifuge-go client and everything it was told. It
// checks each publication as it comes: in every log, each event once, in order,
// and nothing left out but what a Hole stands for.
type device struct {
	t       testing.TB
	owner   *person
	name    string
	dialect dialect
	client  *centrifuge.Client

	changing  // guards what is below
	channels  map[string]*channel
	connects  int      // times that it was connected
	ends      []ending // of connections, in order
	lost      error    // it gave up, terminally
	errors    []error
	messages  int      // signals
	complaint []string // what the server did wrong
}

// An ending is why a connection was no more.
type ending struct {
	code   uint32
	reason string
}

// A channel is what a device knows of one log.
type channel struct {
	last   uint64 // the offset of the last publication, or where it was subscribed
	epoch  string
	open   bool
	events []event
	raw    []byte  // the last of them as it came
	stands []stand // each time that the server said where it stands
	ended  int     // times that it was unsubscribed
}

// A stand is what the server said of a channel when the device connected, or when
// the channel appeared.
type stand struct {
	recovering, recovered bool
	offset                uint64
	epoch                 string
}

// maxComplaints is how many a test shows: the first are what went wrong.
const maxComplaints = 5

// A setting changes how a device connects.
type setting func(*centrifuge.Config)

// over lets a device connect by a URL of its own, most likely a link's.
func (p *person) over(t testing.TB, url, name string, d dialect, settings ...setting) *device {
	t.Helper()
	dev := &device{t: t, owner: p, name: name, dialect: d, channels: map[string]*channel{}}
	data, err := json.Marshal(object{"model": "Test 1", "os": "none", "app": "kith", "payload": d.inside.name})
	must(t, err)
	config := centrifuge.Config{
		Token: p.token(t, name), Data: data, Name: "kith-test",
		WriteTimeout: 5 * time.Second, HandshakeTimeout: 5 * time.Second, // Two busy cores.
	}
	for _, set := range settings {
		set(&config)
	}
	if d.binary {
		dev.client = centrifuge.NewProtobufClient(url, config)
	} else {
		dev.client = centrifuge.NewJsonClient(url, config)
	}
	dev.listen()
	t.Cleanup(dev.finish)
	// The first try may fail, and the client tries again by itself.
	if err := dev.client.Connect(); err != nil {
		dev.change(func() { dev.errors = append(dev.errors, err) })
	}
	return dev
}

// device connects a device directly, and waits until it is.
func (p *person) device(t testing.TB, name string, d dialect, settings ...setting) *device {
	t.Helper()
	address, _, _ := p.server.address()
	dev := p.over(t, p.server.webSocket(address), name, d, settings...)
	dev.connected(1)
	return dev
}

// by connects a device by way of a link, and waits until it is connected.
func (p *person) by(t testing.TB, l *link, name string, d dialect, settings ...setting) *device {
	t.Helper()
	dev := p.over(t, l.webSocket(), name, d, settings...)
	dev.connected(1)
	return dev
}

// finish ends the device, and the test badly if the server did something wrong.
func (d *device) finish() {
	d.client.Close()
	d.read(func() {
		for i, c := range d.complaint {
			if i < maxComplaints {
				d.t.Errorf("%s: %s", d, c)
			}
		}
		if d.t.Failed() {
			d.t.Logf("%s: connected %d times, ends %v, errors %v, lost %v\n%s", d, d.connects, d.ends, d.errors, d.lost, d.summary())
		}
	})
}

func (d *device) String() string {
	return fmt.Sprintf("%s's %s (%s)", d.owner.id, d.name, d.dialect.name)
}

// summary says where each channel is. The caller holds mu.
func (d *device) summary() string {
	var b strings.Builder
	for name, c := range d.channels {
		fmt.Fprintf(&b, "  %s: at %d, %d events, open %v, ended %d, stands %v\n", name, c.last, len(c.events), c.open, c.ended, c.stands)
	}
	return b.String()
}

// listen registers for everything that a client tells its program.
func (d *device) listen() {
	d.client.OnConnected(func(centrifuge.ConnectedEvent) { d.change(func() { d.connects++ }) })
	d.client.OnConnecting(func(e centrifuge.ConnectingEvent) {
		d.change(func() {
			if e.Reason != "connect called" {
				d.ends = append(d.ends, ending{e.Code, e.Reason})
			}
		})
	})
	d.client.OnDisconnected(func(e centrifuge.DisconnectedEvent) {
		d.change(func() {
			d.ends = append(d.ends, ending{e.Code, e.Reason})
			d.lost = fmt.Errorf("disconnected with %d: %s", e.Code, e.Reason)
		})
	})
	d.client.OnError(func(e centrifuge.ErrorEvent) { d.change(func() { d.errors = append(d.errors, e.Error) }) })
	d.client.OnMessage(func(centrifuge.MessageEvent) { d.change(func() { d.messages++ }) })
	d.client.OnSubscribing(func(centrifuge.ServerSubscribingEvent) {})
	d.client.OnSubscribed(func(e centrifuge.ServerSubscribedEvent) { d.change(func() { d.subscribed(e) }) })
	d.client.OnUnsubscribed(func(e centrifuge.ServerUnsubscribedEvent) {
		d.change(func() {
			if c := d.channels[e.Channel]; c != nil {
				c.open = false
				c.ended++
			}
		})
	})
	d.client.OnPublication(func(e centrifuge.ServerPublicationEvent) { d.change(func() { d.heard(e) }) })
}

// complain notes what the server did wrong. The caller holds mu.
func (d *device) complain(format string, args ...any) {
	d.complaint = append(d.complaint, fmt.Sprintf(format, args...))
}

// subscribed takes in where a channel stands. The caller holds mu.
func (d *device) subscribed(e centrifuge.ServerSubscribedEvent) {
	if !e.Recoverable || !e.Positioned || e.StreamPosition == nil || e.StreamPosition.Epoch == "" {
		d.complain("%s is not recoverable: %+v", e.Channel, e)
		return
	}
	at := *e.StreamPosition
	c := d.channels[e.Channel]
	if c == nil {
		c = &channel{}
		d.channels[e.Channel] = c
	}
	if e.Recovered && (at.Offset != c.last || at.Epoch != c.epoch) {
		d.complain("%s was recovered at %+v, but the client was at %d of %s", e.Channel, at, c.last, c.epoch)
	}
	c.last, c.epoch, c.open = at.Offset, at.Epoch, true
	c.stands = append(c.stands, stand{e.WasRecovering, e.Recovered, at.Offset, at.Epoch})
}

// heard checks and keeps a publication. The caller holds mu.
func (d *device) heard(p centrifuge.ServerPublicationEvent) {
	c := d.channels[p.Channel]
	if c == nil || !c.open {
		d.complain("%s has a publication at %d and was not subscribed to", p.Channel, p.Offset)
		return
	}
	o, err := d.dialect.inside.decodeEvent(p.Data)
	if err != nil {
		d.complain("%s at %d: %v", p.Channel, p.Offset, err)
		return
	}
	e := o.event(d.t)
	from := e.Seq
	if e.Type == "Hole" {
		from = e.Body.number(d.t, "from")
		if through := e.Body.number(d.t, "through"); through != e.Seq || through < from {
			d.complain("%s has a hole that makes no sense at %d: %v", p.Channel, p.Offset, e)
		}
	}
	if e.Seq != p.Offset {
		d.complain("%s has event %d at offset %d", p.Channel, e.Seq, p.Offset)
	}
	if from != c.last+1 {
		d.complain("%s has event %v after %d", p.Channel, e, c.last)
	}
	c.last = p.Offset
	c.events, c.raw = append(c.events, e), p.Data
}

// until waits for something to be true of the device. want says what.
func (d *device) until(want string, is func() bool) {
	d.t.Helper()
	var wrong bool
	switch ok := d.await(func() bool { wrong = len(d.complaint) > 0; return wrong || is() }); {
	case wrong:
		d.t.FailNow() // finish says why.
	case !ok:
		d.t.Fatalf("%s: not within %v: %s", d, patience, want)
	}
}

// connected waits until the device has been connected so many times, and knows
// where its own log stands.
func (d *device) connected(times int) {
	d.t.Helper()
	d.until(fmt.Sprintf("connected %d times", times), func() bool {
		own := d.channels[d.owner.own()]
		return d.connects >= times && own != nil && len(own.stands) >= times || d.lost != nil
	})
	d.read(func() {
		if d.lost != nil {
			d.t.Fatalf("%s: %v", d, d.lost)
		}
	})
}

// times is how often the device has been connected.
func (d *device) times() (n int) {
	d.read(func() { n = d.connects })
	return n
}

// endsWith waits until a connection has ended with a code.
func (d *device) endsWith(code uint32) {
	d.t.Helper()
	d.until(fmt.Sprintf("ended with code %d", code), func() bool {
		for _, e := range d.ends {
			if e.code == code {
				return true
			}
		}
		return false
	})
}

// gaveUp waits until the client has stopped for good, and returns why.
func (d *device) gaveUp() ending {
	d.t.Helper()
	d.until("gave up", func() bool { return d.lost != nil })
	var last ending
	d.read(func() { last = d.ends[len(d.ends)-1] })
	return last
}

// reaches waits until a log has been heard up to a seq.
func (d *device) reaches(log string, seq uint64) {
	d.t.Helper()
	d.until(fmt.Sprintf("%s heard up to %d", log, seq), func() bool {
		c := d.channels[log]
		return c != nil && c.last >= seq
	})
}

// hears waits for an event of a log, and returns it.
func (d *device) hears(log, what string, is func(event) bool) (found event) {
	d.t.Helper()
	seen := 0
	d.until(fmt.Sprintf("%s: %s", log, what), func() bool {
		c := d.channels[log]
		if c == nil {
			return false
		}
		for ; seen < len(c.events); seen++ {
			if is(c.events[seen]) {
				found = c.events[seen]
				return true
			}
		}
		return false
	})
	return found
}

// log returns what was heard of a log so far.
func (d *device) log(name string) (events []event) {
	d.read(func() {
		if c := d.channels[name]; c != nil {
			events = append(events, c.events...)
		}
	})
	return events
}

// raw returns the bytes of the last event that was heard of a log.
func (d *device) raw(name string) (b []byte) {
	d.read(func() { b = d.channels[name].raw })
	return b
}

// messagesOf returns the messages that were heard in a conversation so far.
func (d *device) messagesOf(conversation uint64) []event {
	var sent []event
	for _, e := range d.log(logOf(conversation)) {
		if e.Type == "MessageSent" {
			sent = append(sent, e)
		}
	}
	return sent
}

// stands returns where the server said that a log stands, each time that it did.
func (d *device) stands(log string) (all []stand) {
	d.read(func() {
		if c := d.channels[log]; c != nil {
			all = append(all, c.stands...)
		}
	})
	return all
}

// alwaysRecovered fails a test in which a log was ever not recovered.
func (d *device) alwaysRecovered(log string) {
	d.t.Helper()
	for i, s := range d.stands(log) {
		if i > 0 && !(s.recovering && s.recovered) {
			d.t.Errorf("%s: after cut %d, %s was not recovered: %+v", d, i, log, s)
		}
	}
}

// standing is stands once the server has said so a number of times.
func (d *device) standing(log string, times int) []stand {
	d.t.Helper()
	d.until(fmt.Sprintf("%s stands for the %dth time", log, times), func() bool {
		return d.channels[log] != nil && len(d.channels[log].stands) >= times
	})
	return d.stands(log)
}

// isOpen reports whether the device hears a log.
func (d *device) isOpen(log string) (open bool) {
	d.read(func() { open = d.channels[log] != nil && d.channels[log].open })
	return open
}

// closed waits until the server has ended a channel.
func (d *device) closed(log string) {
	d.t.Helper()
	d.until(log+" unsubscribed", func() bool { return d.channels[log] != nil && !d.channels[log].open })
}

// call calls a method by rpc. A refusal is a *refusal.
func (d *device) call(ctx context.Context, method string, req object) (object, error) {
	data, err := d.dialect.inside.encode(method, req)
	if err != nil {
		return nil, err
	}
	return d.callBytes(ctx, method, data)
}

// callBytes is call with data that may be anything.
func (d *device) callBytes(ctx context.Context, method string, data []byte) (object, error) {
	reply, err := d.rpc(ctx, method, data)
	var refused *centrifuge.Error
	if errors.As(err, &refused) {
		return nil, &refusal{Code: codeNamed(refused.Code), Detail: refused.Message, wire: refused.Code}
	}
	if err != nil {
		return nil, err
	}
	return d.dialect.inside.decode(method, reply.Data)
}

// rpcTimeout is more than the client's own, after which there is an answer or an
// error as a rule.
const rpcTimeout = 6 * time.Second

// rpc is the client's RPC, which may never return, whatever its context: where a
// connection breaks while a command is written it calls back twice, and waits for
// ever to deliver the second.
func (d *device) rpc(ctx context.Context, method string, data []byte) (centrifuge.RPCResult, error) {
	type answer struct {
		result centrifuge.RPCResult
		err    error
	}
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	answers := make(chan answer, 1)
	go func() {
		result, err := d.client.RPC(ctx, method, data)
		answers <- answer{result, err}
	}()
	select {
	case a := <-answers:
		return a.result, a.err
	case <-ctx.Done():
		return centrifuge.RPCResult{}, ctx.Err()
	}
}

// ask is call for what must succeed.
func (d *device) ask(method string, req object) object {
	d.t.Helper()
	reply, err := d.call(within(d.t), method, req)
	if err != nil {
		d.t.Fatalf("%s: %s %v: %v", d, method, req, err)
	}
	return reply
}

// say sends a text, and returns the seq.
func (d *device) say(conversation uint64, words string) uint64 {
	d.t.Helper()
	return d.ask("Messages.Send", object{"conversation_id": conversation, "content": text(words)}).number(d.t, "seq")
}

// insist calls a method until there is an answer, over as many connections as it
// takes. It is what a client is told to do: the same request id, again.
func (d *device) insist(ctx context.Context, method string, req object) (object, error) {
	for {
		before := d.times()
		reply, err := d.call(ctx, method, req)
		var refused *refusal
		if err == nil || errors.As(err, &refused) || ctx.Err() != nil {
			return reply, err
		}
		// The client notices a little after the call does.
		if d.client.State() == centrifuge.StateConnected && d.times() == before {
			d.awaitEnd(before)
		}
	}
}

// noticing is how long the client may take to see that a connection is no more.
const noticing = 50 * time.Millisecond

// awaitEnd waits until the connection after which err came has ended, or a little
// if it lives on: a write may have failed that the server never saw.
func (d *device) awaitEnd(connects int) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		d.await(func() bool { return d.connects > connects || len(d.ends) >= connects })
	}()
	select {
	case <-over:
	case <-time.After(noticing):
	}
}

// logOf is the channel of a conversation.
func logOf(conversation uint64) string { return "c:" + strconv.FormatUint(conversation, 10) }
