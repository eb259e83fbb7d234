package wire

import (
	"bytes"

	"github.com/centrifugal/protocol"
)

// maxCommandDepth is the depth of a payload and the objects around it.
const maxCommandDepth = MaxDepth + 4

// parseJSONCommand reads a command in JSON. Members that it does not know are
// skipped: newer SDKs send them.
func parseJSONCommand(line []byte) (*protocol.Command, error) {
	s := scanner{b: line, max: maxCommandDepth}
	c := new(protocol.Command)
	for more := s.enter('{'); more; more = s.more('}') {
		key := s.key()
		if s.null() {
			continue
		}
		switch string(key) {
		case "id":
			c.Id = uint32(s.unsigned(32))
		case "connect":
			c.Connect = s.connect()
		case "subscribe":
			c.Subscribe = s.subscribe()
		case "unsubscribe":
			c.Unsubscribe = &protocol.UnsubscribeRequest{Channel: s.member("channel")}
		case "rpc":
			c.Rpc = s.rpc()
		case "refresh":
			c.Refresh = &protocol.RefreshRequest{Token: s.member("token")}
		case "send":
			c.Send = s.send()
		case "ping":
			s.raw()
			c.Ping = &protocol.PingRequest{}
		default:
			s.raw()
			unserved(c, string(key))
		}
	}
	if !s.end() {
		return nil, malformed(s.err.Error())
	}
	return c, nil
}

// unserved notes that the command is one that is not offered; what it says does
// not matter.
func unserved(c *protocol.Command, key string) {
	switch key {
	case "publish":
		c.Publish = &protocol.PublishRequest{}
	case "presence":
		c.Presence = &protocol.PresenceRequest{}
	case "presence_stats":
		c.PresenceStats = &protocol.PresenceStatsRequest{}
	case "history":
		c.History = &protocol.HistoryRequest{}
	case "sub_refresh":
		c.SubRefresh = &protocol.SubRefreshRequest{}
	}
}

// member reads an object of which one string matters.
func (s *scanner) member(name string) (value string) {
	for more := s.enter('{'); more; more = s.more('}') {
		switch key := s.key(); {
		case s.null():
		case string(key) == name:
			value = string(s.str())
		default:
			s.raw()
		}
	}
	return value
}

// data reads a value of any kind, to be understood later.
func (s *scanner) data() []byte { return bytes.Clone(s.raw()) }

func (s *scanner) rpc() *protocol.RPCRequest {
	r := new(protocol.RPCRequest)
	for more := s.enter('{'); more; more = s.more('}') {
		key := s.key()
		if s.null() {
			continue
		}
		switch string(key) {
		case "method":
			r.Method = string(s.str())
		case "data":
			r.Data = s.data()
		default:
			s.raw()
		}
	}
	return r
}

func (s *scanner) send() *protocol.SendRequest {
	r := new(protocol.SendRequest)
	for more := s.enter('{'); more; more = s.more('}') {
		if key := s.key(); string(key) == "data" {
			r.Data = s.data()
		} else {
			s.raw()
		}
	}
	return r
}

func (s *scanner) connect() *protocol.ConnectRequest {
	r := new(protocol.ConnectRequest)
	for more := s.enter('{'); more; more = s.more('}') {
		key := s.key()
		if s.null() {
			continue
		}
		switch string(key) {
		case "token":
			r.Token = string(s.str())
		case "data":
			r.Data = s.data()
		case "name":
			r.Name = string(s.str())
		case "version":
			r.Version = string(s.str())
		case "subs":
			r.Subs = s.subs()
		default:
			s.raw()
		}
	}
	return r
}

func (s *scanner) subs() map[string]*protocol.SubscribeRequest {
	subs := make(map[string]*protocol.SubscribeRequest)
	for more := s.enter('{'); more; more = s.more('}') {
		channel := string(s.key())
		subs[channel] = s.subscribe()
	}
	return subs
}

func (s *scanner) subscribe() *protocol.SubscribeRequest {
	r := new(protocol.SubscribeRequest)
	for more := s.enter('{'); more; more = s.more('}') {
		key := s.key()
		if s.null() {
			continue
		}
		switch string(key) {
		case "channel":
			r.Channel = string(s.str())
		case "token":
			r.Token = string(s.str())
		case "recover":
			r.Recover = s.boolean()
		case "epoch":
			r.Epoch = string(s.str())
		case "offset":
			r.Offset = s.unsigned(64)
		case "data":
			r.Data = s.data()
		case "positioned":
			r.Positioned = s.boolean()
		case "recoverable":
			r.Recoverable = s.boolean()
		default:
			s.raw()
		}
	}
	return r
}
