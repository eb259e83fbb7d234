package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kith/gateway/wire"
	"kith/loadtest/echo"
	"kith/loadtest/oracle"
	"kith/loadtest/talk"
)

var codecs = map[string]talk.Centrifuge{
	"protobuf": {Dialect: wire.Dialect{Protocol: wire.Protobuf, Payload: wire.ProtoPayload}},
	"json":     {Dialect: wire.Dialect{Protocol: wire.JSON, Payload: wire.JSONPayload}},
	"raw":      {Dialect: wire.Dialect{Protocol: wire.Protobuf, Payload: wire.ProtoPayload}, Raw: true},
}

// A pipe is a pair and a fake without sockets between them.
type pipe struct {
	t        *testing.T
	pair     *talk.Conversation
	lines    [2]*line
	left     int // messages that may still be sent
	through  int
	fragment int // how many bytes arrive at a time
}

// A line is one person's end of it.
type line struct {
	seat    *fakeSeat
	in, out []byte // to the person, to the server
}

// Write is of talk.Link.
func (l *line) Write(b []byte) error {
	l.out = append(l.out, b...)
	return nil
}

func newPipe(t *testing.T, s *fake, messages, fragment int) *pipe {
	w := &pipe{t: t, left: messages, fragment: fragment}
	rules := &talk.Rules{
		Codec: s.codec, Run: "01234567", TextBytes: 128, InFlight: 4, Senders: 2, Seal: oracle.NewSeal(), Times: talk.NewTimes(),
		Now: func() int64 { return 0 }, Through: func() { w.through++ },
		May: func() bool { w.left--; return w.left >= 0 },
	}
	w.pair = talk.NewConversation(rules, 0, []string{"ann", "bob"})
	l := &load{server: &Server{Token: func(user string) (string, error) { return user, nil }}}
	w.pair.People[0].Script = []talk.Step{l.connect(), openDirect}
	w.pair.People[1].Script = []talk.Step{l.connect()}
	for i, p := range w.pair.People {
		end := &line{}
		end.seat = s.open(func(b []byte) { end.in = append(end.in, b...) })
		w.lines[i], p.Link = end, end
		if err := p.Begin(); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// flow moves bytes until nobody has any, and returns the first complaint.
func (w *pipe) flow() error {
	for busy := true; busy; {
		busy = false
		for i, p := range w.pair.People {
			l := w.lines[i]
			l.out = append(l.out, p.Take()...)
			out := l.out
			l.out = nil
			if err := l.seat.receive(out); err != nil {
				return err
			}
			var err error
			for end := 0; end < len(l.in); {
				end = min(end+w.fragment, len(l.in))
				var n int
				if n, err = p.Read(l.in[:end]); err != nil {
					return err
				}
				l.in, end = l.in[n:], end-n
				busy = true
			}
			if err := w.pair.Send(); err != nil {
				return err
			}
			busy = busy || len(l.out) > 0
		}
	}
	return nil
}

// talk connects both and has them talk until all messages are through, or stuck.
func (w *pipe) talk() (oracle.Counts, error) {
	if err := w.flow(); err != nil {
		return oracle.Counts{}, err
	}
	for _, p := range w.pair.People {
		if !p.Ready() {
			w.t.Fatalf("%s is not ready", p.Name)
		}
		p.Give(4)
	}
	if err := w.pair.Send(); err != nil {
		return oracle.Counts{}, err
	}
	err := w.flow()
	return w.pair.Account.Finish(), err
}

func TestAnHonestServerIsFoundHonest(t *testing.T) {
	for name, codec := range codecs {
		for _, fragment := range []int{1, 7, 1 << 20} {
			w := newPipe(t, newFake(codec), 300, fragment)
			got, err := w.talk()
			if want := (oracle.Counts{Sent: 300, Acked: 300, Delivered: 300}); got != want || err != nil || w.through != 300 {
				t.Errorf("%s, %d bytes at a time: %+v, %d through, %v; want %+v", name, fragment, got, w.through, err, want)
			}
		}
	}
}

func TestAFaultOfTheServerIsCounted(t *testing.T) {
	var held []byte
	for _, c := range []struct {
		name   string
		tamper func(user string, n int, frame []byte) [][]byte
		want   oracle.Counts
	}{
		{"it drops a message on the way to bob", func(user string, n int, frame []byte) [][]byte {
			if user == "bob" && n == 50 {
				return nil
			}
			return [][]byte{frame}
		}, oracle.Counts{Lost: 1}},
		{"it doubles one", func(_ string, n int, frame []byte) [][]byte {
			if n == 50 {
				return [][]byte{frame, frame}
			}
			return [][]byte{frame}
		}, oracle.Counts{Duplicated: 2}},
		{"it swaps two on the way to ann", func(user string, n int, frame []byte) [][]byte {
			switch {
			case user == "ann" && n == 50:
				held = frame
				return nil
			case user == "ann" && n == 51:
				return [][]byte{frame, held}
			}
			return [][]byte{frame}
		}, oracle.Counts{Reordered: 1}},
		{"it changes a letter", func(user string, n int, frame []byte) [][]byte {
			if user == "bob" && n == 50 {
				frame = []byte(strings.Replace(string(frame), "station", "Station", 1))
			}
			return [][]byte{frame}
		}, oracle.Counts{Lost: 1, Duplicated: 1}},
	} {
		for name, codec := range codecs {
			s := newFake(codec)
			s.tamper = c.tamper
			got, err := newPipe(t, s, 300, 1<<20).talk()
			if err != nil || got.Lost != c.want.Lost || got.Duplicated != c.want.Duplicated || got.Reordered != c.want.Reordered {
				t.Errorf("%s, %s: %+v, %v, want %+v", c.name, name, got, err, c.want)
			}
		}
	}
}

func TestARefusalEndsTheLoad(t *testing.T) {
	for name, codec := range codecs {
		s := newFake(codec)
		s.refuse = true
		if _, err := newPipe(t, s, 300, 1<<20).talk(); err == nil || !strings.Contains(err.Error(), "not you") {
			t.Errorf("%s: %v, want the server's sentence", name, err)
		}
	}
}

// plan is one that is over as soon as something was measured.
func plan(users int) Plan {
	return Plan{Kind: "direct", Users: users, InFlight: 2, Size: 64, Duration: 50 * time.Millisecond, Codec: codecs["protobuf"]}
}

func TestDirectMeasuresAServer(t *testing.T) {
	for name, codec := range codecs {
		p := plan(20)
		p.Codec = codec
		r, err := Direct(t.Context(), newFake(codec).listen(t), p)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Sent == 0 || r.Sent != r.Acked || r.Sent != r.Delivered || r.Rate == nil || *r.E2EP50Ms > *r.E2EP99Ms {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestDirectFailsIfTheServerDoublesMessages(t *testing.T) {
	s := newFake(codecs["protobuf"])
	s.tamper = func(_ string, n int, frame []byte) [][]byte {
		if n == 0 {
			return [][]byte{frame, frame}
		}
		return [][]byte{frame}
	}
	r, err := Direct(t.Context(), s.listen(t), plan(20))
	if err == nil || r == nil || r.Duplicated != 20 || !strings.Contains(err.Error(), "doubled") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestDirectFailsIfTheServerHangsUp(t *testing.T) {
	s := newFake(codecs["protobuf"])
	s.tamper = func(_ string, n int, frame []byte) [][]byte {
		if n == 20 { // A frame of the server's that says goodbye.
			return [][]byte{wire.AppendClose(nil, 3001, "going away")}
		}
		return [][]byte{frame}
	}
	if _, err := Direct(t.Context(), s.listen(t), plan(2)); err == nil || !strings.Contains(err.Error(), "going away (code 3001)") {
		t.Errorf("err = %v, want what the server said", err)
	}
}

func TestALoadEndsWhenItIsToldTo(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	s := newFake(codecs["protobuf"])
	why := errors.New("enough")
	s.tamper = func(_ string, _ int, frame []byte) [][]byte {
		cancel(why)
		return [][]byte{frame}
	}
	p := plan(2)
	p.Duration = time.Hour
	if _, err := Direct(ctx, s.listen(t), p); !errors.Is(err, why) {
		t.Errorf("err = %v, want %v", err, why)
	}
}

func TestImpossibleLoadsAreRefused(t *testing.T) {
	s := newFake(codecs["protobuf"]).listen(t)
	type load func(context.Context, *Server, Plan) (*Report, error)
	for _, c := range []struct {
		run  load
		plan Plan
		says string
	}{
		{Direct, Plan{Users: 3, Size: 128, InFlight: 1}, "no pairs"},
		{Direct, Plan{Users: 2, Size: oracle.MinTextBytes - 1, InFlight: 1}, "not possible"},
		{Direct, Plan{Users: 2, Size: MaxSize + 1, InFlight: 1}, "not possible"},
		{Direct, Plan{Users: MaxConnections + 2, Size: 128, InFlight: 1}, "descriptors"},
		{Group, Plan{Members: 1, Senders: 1, Size: 128, InFlight: 1}, "two members"},
		{Group, Plan{Members: 5, Senders: 6, Size: 128, InFlight: 1}, "at most all"},
		{Idle, Plan{Connections: MaxConnections + 1, Size: 128}, "descriptors"},
		{Idle, Plan{Connections: 2, Size: 128}, "too few"},
	} {
		c.plan.Codec = codecs["protobuf"]
		if _, err := c.run(t.Context(), s, c.plan); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want something about %q", c.plan, err, c.says)
		}
	}
}

func TestTheEchoServerPassesMessagesOn(t *testing.T) {
	until, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	at := make(chan string, 1)
	over := make(chan error, 1)
	go func() { // Until end is closed.
		over <- echo.Serve(func(address string) error { at <- address; return nil }, until)
	}()
	p := plan(20)
	p.Codec = talk.Echo{}
	r, err := Direct(t.Context(), &Server{Address: <-at}, p)
	if err != nil || r.Sent == 0 || r.Sent != r.Delivered || r.Sent != r.Acked {
		t.Errorf("%+v, %v", r, err)
	}
	if err := errors.Join(end.Close(), <-over, until.Close()); err != nil {
		t.Error(err)
	}
}

func TestAProcessSaysWhatItHasUsed(t *testing.T) {
	u, err := process(os.Getpid())
	if err != nil {
		t.Skipf("this system has no /proc: %v", err)
	}
	if u.RSS < 1<<20 || u.RSS > 1<<40 || u.System > u.CPU {
		t.Errorf("%+v", u)
	}
}

// The keys are what other programs read.
func TestTheReportHasItsKeys(t *testing.T) {
	text, err := json.Marshal(&Report{})
	if err != nil {
		t.Fatal(err)
	}
	const want = "sent acked delivered lost duplicated reordered rate ack_p50_ms ack_p99_ms e2e_p50_ms e2e_p99_ms " +
		"server_cpu_us_per_message server_cpu_us_per_delivery server_rss_bytes bytes_per_connection fsyncs parameters versions"
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, key := range strings.Fields(want) {
		if _, ok := all[key]; !ok {
			t.Errorf("there is no key %s", key)
		}
		delete(all, key)
	}
	if len(all) > 0 {
		t.Errorf("there are keys that nobody expects: %v", all)
	}
}

func TestTheReportSaysWhatIsWrong(t *testing.T) {
	rate, times := 1.0, [4]float64{1, 2, 3, 4}
	r := &Report{Sent: 10, Lost: 3, Rate: &rate, AckP50Ms: &times[0], AckP99Ms: &times[1], E2EP50Ms: &times[2], E2EP99Ms: &times[3]}
	var plain, coloured strings.Builder
	if err := errors.Join(r.WriteTable(&plain, false), r.WriteTable(&coloured, true)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(plain.String(), "lost 3") || strings.Contains(plain.String(), "\033") || !strings.Contains(coloured.String(), "\033[31m3\033[0m") {
		t.Errorf("without colour:\n%s\nwith:\n%s", plain.String(), coloured.String())
	}
}

func TestAScrapeIsOfKith(t *testing.T) {
	if _, err := (&Server{Internal: "http://127.0.0.1:1"}).usage(t.Context()); err == nil {
		t.Error("a server that does not answer has used something")
	}
}

// A program that starts and is no server is noticed, and its store removed.
func TestSpawnRemovesWhatItMade(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho no\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Spawn(t.Context(), program, dir, 1, false); err == nil || !strings.Contains(err.Error(), "ready") {
		t.Errorf("err = %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "kith-load-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left", left, err)
	}
}
