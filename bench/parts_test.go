package bench

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
	"kith/loadtest/talk"
)

// timed reports what the thread uses for one f: other work on the machine does
// not count.
func timed(b *testing.B, f func() error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	began := cpuOf(b, rusageThread)
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(micros(cpuOf(b, rusageThread)-began, b.N), "cpu-us/op")
}

// sent is a person's next message as the server gets it, and what is in it.
func sent(b *testing.B, d wire.Dialect) (*talk.Person, *pb.SendRequest) {
	p := newPair(newRules(d), 0)
	p.Is(1 << 51)
	req := &pb.SendRequest{}
	if err := decode(d, append([]byte{}, next(b, p.People[0])...), req); err != nil {
		b.Fatal(err)
	}
	return p.People[0], req
}

func decode(d wire.Dialect, b []byte, req *pb.SendRequest) error {
	var frames wire.Decoder
	m, _, err := frames.Next(b, maxMessage)
	if err != nil {
		return err
	}
	for c, err := range d.Protocol.Commands(m.Data) {
		if err != nil {
			return err
		}
		return d.Payload.Unmarshal(c.Rpc.Data, req)
	}
	return errors.New("there is no command")
}

// BenchmarkDecode is a frame, the command in it, and the request in that.
func BenchmarkDecode(b *testing.B) {
	for _, d := range dialects {
		b.Run(d.name, func(b *testing.B) {
			p, _ := sent(b, d.Dialect)
			var in []byte
			timed(b, func() error {
				in = append(in[:0], next(b, p)...)
				return decode(d.Dialect, in, &pb.SendRequest{})
			})
		})
	}
}

// BenchmarkNewCall finds out whom a request is for.
func BenchmarkNewCall(b *testing.B) {
	r := registry(b)
	m := r.ByName("Messages.Send")
	_, req := sent(b, dialects[0].Dialect)
	caller := entity.Caller{Tenant: 1, User: "user-0000", Number: entity.UserNumber(1, "user-0000"), Device: "phone"}
	timed(b, func() error {
		if _, refusal := r.NewCall(m, caller, req); refusal != nil {
			return refusal
		}
		return nil
	})
}

// BenchmarkSocketWrite writes a reply and a publication to a socket on loopback,
// which somebody reads: the kernel does the receiver's part in it, too. A message
// takes two such writes, and one read.
func BenchmarkSocketWrite(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	out, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	in, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	over := make(chan struct{})
	go func() { // Until out is closed.
		defer close(over)
		for buf := make([]byte, 64<<10); err == nil; _, err = in.Read(buf) {
		}
	}()
	frames, _ := serverFrames(b, dialects[0].Dialect, 1, &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: strings.Repeat("x", textBytes)}}})
	timed(b, func() error {
		_, err := out.Write(frames)
		return err
	})
	if err := errors.Join(out.Close(), listener.Close()); err != nil {
		b.Error(err)
	}
	<-over
	if err := in.Close(); err != nil {
		b.Error(err)
	}
}
