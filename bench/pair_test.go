package bench

import (
	"fmt"

	"kith/actors/pb"
	"kith/gateway/wire"
	"kith/loadtest/oracle"
	"kith/loadtest/talk"
)

// textBytes is the size of a message's text.
const textBytes = 128

// newRules is what pairs are like who talk so.
func newRules(d wire.Dialect) *talk.Rules {
	return &talk.Rules{
		Codec: talk.Centrifuge{Dialect: d}, Run: "0198c5a2", TextBytes: textBytes, InFlight: 8, Senders: 2, Seal: oracle.NewSeal(),
		Now: func() int64 { return 0 }, May: func() bool { return true }, Through: func() {},
	}
}

// newPair returns the n-th pair of people who write to each other. A user's id is
// his token: see verifier.
func newPair(r *talk.Rules, n int) *talk.Conversation {
	p := talk.NewConversation(r, n, []string{fmt.Sprintf("user-%04d", 2*n), fmt.Sprintf("user-%04d", 2*n+1)})
	connect := talk.Step{Frame: func(p *talk.Person, id uint32) ([]byte, error) { return p.Codec().Connect(id, p.Name) }}
	open := talk.Step{
		Frame: func(p *talk.Person, id uint32) ([]byte, error) {
			other := p.Conversation().People[1-p.Member()]
			return p.Codec().Call(id, "Directs.Open", &pb.OpenDirectRequest{UserId: other.Name, RequestId: "open"})
		},
		Reply: func(p *talk.Person, data []byte) error {
			resp := &pb.OpenDirectResponse{}
			err := p.Codec().Decode(data, resp)
			p.Conversation().Is(resp.ConversationId)
			return err
		},
	}
	for _, person := range p.People {
		person.Script = []talk.Step{connect, open}
	}
	return p
}

// through reports whether everything of a pair is acknowledged and delivered, once
// and in order.
func through(p *talk.Conversation) error {
	if owed := p.Account.Owed(); owed != 0 {
		return fmt.Errorf("%s and %s: %d acknowledgements and deliveries have not come", p.People[0].Name, p.People[1].Name, owed)
	}
	return p.Account.Counts().Err()
}
