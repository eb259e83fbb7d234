package session

import (
	"fmt"
	"slices"
	"testing"

	"github.com/centrifugal/protocol"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/wire"
)

// sink is a connection whose socket takes everything and keeps nothing.
type sink struct{}

func (sink) Dirty()           {}
func (sink) Write([]byte) int { return 0 }

// BenchmarkPublished is what one message costs for each of 1,000 sessions that
// hear it, named or because they watch, queue and flush included but for the socket.
func BenchmarkPublished(b *testing.B) {
	for _, large := range []bool{false, true} {
		b.Run(fmt.Sprint("watchers=", large), func(b *testing.B) {
			w := newWorld(b)
			ref, all := w.audience(1000)
			audience := &entity.Audience{Watchers: large}
			if !large {
				for _, s := range all {
					audience.Users = append(audience.Users, s.caller.Number)
				}
				slices.Sort(audience.Users)
			}
			body := &pb.MessageSent{Content: &pb.Content{Type: &pb.Content_Text{Text: &pb.Text{Text: "See you at eight, in front of the station?"}}}}
			seq := uint64(1)
			b.ReportAllocs()
			for b.Loop() {
				seq++
				e := event(ref, seq, body)
				e.Audience = audience
				w.hub.Published(e)
				for _, s := range all {
					s.Flush()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/delivery")
			if all[0].own.pos == 0 || all[0].channels[0].pos != seq {
				b.Fatal("the sessions did not hear it")
			}
		})
	}
}

// audience connects sessions, each of its own user, that have the channel of one
// conversation.
func (w *world) audience(sessions int) (ref entity.Ref, all []*Session) {
	ref = w.conversation(5, 1)
	for i := range sessions {
		user := fmt.Sprint("user", i)
		w.log(ref).reach[user] = entity.Everything.Intervals
		s := w.hub.Open(sink{}, wire.Protobuf)
		l := &line{w: w, protocol: wire.Protobuf, session: s, window: -1}
		s.conn = sink{}
		l.send(l.connectCommand(user, "c:5@1"))
		w.settle()
		s.Flush()
		all = append(all, s)
	}
	return ref, all
}

// BenchmarkSearch is what it costs to ask 10,000 sessions whether they hold a
// channel, when a conversation has its first event for watchers.
func BenchmarkSearch(b *testing.B) {
	w := newWorld(b)
	w.audience(10_000)
	for b.Loop() {
		w.hub.search(entity.Conversation(1, 6))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/session")
}

// BenchmarkReceive is what an rpc costs from its frame's payload to the backend,
// and its reply to the queue.
func BenchmarkReceive(b *testing.B) {
	for _, p := range []wire.Protocol{wire.JSON, wire.Protobuf} {
		b.Run(p.String(), func(b *testing.B) {
			w := newWorld(b)
			l := w.open(p)
			l.connect("ann")
			l.session.conn = sink{}
			cmd := &protocol.Command{Id: 7, Rpc: &protocol.RPCRequest{
				Method: "Messages.Send",
				Data:   []byte(`{"conversation_id":5,"request_id":"0123456789","content":{"text":{"text":"See you at eight?"}}}`),
			}}
			message, err := protocol.NewJSONCommandEncoder().Encode(cmd)
			if p == wire.Protobuf {
				message, err = protocol.NewProtobufCommandEncoder().Encode(cmd)
			}
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				l.session.Receive(message)
				w.settle()
				w.calls = w.calls[:0]
				l.session.Flush()
			}
		})
	}
}
