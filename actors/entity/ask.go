package entity

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Ask runs a query of another entity, or of the same, for the same viewer and on
// the same durable view: what that entity would refuse to him it refuses here,
// too. Internal queries can be asked. A query may ask as many as the policy says,
// and those it asks share that number; commands cannot ask: what they need to
// know they mirror.
func Ask[Resp proto.Message](v *View, req Message) (reply Resp, err error) {
	if v.tx != nil {
		panic("entity: a command cannot ask")
	}
	m := v.reg.byReq[req.ProtoReflect().Descriptor().FullName()]
	if m == nil || !m.ReadOnly() {
		panic(fmt.Sprintf("entity: %s is no query", req.ProtoReflect().Descriptor().Name()))
	}
	if *v.asks--; *v.asks < 0 {
		panic(tooMuch{"queries asked"})
	}
	to, refusal := m.target(&Call{Method: m, Caller: v.caller, Req: req})
	if refusal != nil {
		return reply, refusal
	}
	asked := v.reg.query(v.reader(), to, v.caller, v.policy)
	asked.now, asked.online, asked.asks, asked.incarnation = v.now, v.online, v.asks, v.incarnation
	got, err := m.query(asked, req)
	if err := Public(err); err != nil {
		return reply, err
	}
	return got.(Resp), nil
}
