// Package wire turns bytes into meaning and back, and does nothing else: it
// reads no socket, starts no goroutine, keeps no clock and knows no session.
//
// There are three layers, each usable alone:
//
//   - WebSocket (RFC 6455), server side: ParseUpgrade, Decoder, AppendFrame. Or
//     raw TCP instead, where each frame has its length before it: NextDelimited.
//   - Centrifuge's client protocol, version 2, as JSON or protobuf: Protocol
//     decodes commands and appends replies and pushes.
//   - Payloads, what commands and publications carry: messages of kith.v1 as
//     JSON or protobuf. AppendJSON, UnmarshalJSON and AppendEvent.
//
// A Dialect is the pair (Protocol, Payload) that one session speaks. A Frame is
// an event on its way to many sessions: encoded once for each dialect.
//
// Functions named Append… append to a buffer of the caller; on the way of a
// message they allocate nothing but its growth. Functions that read bytes never
// keep them; only a Message may alias what the Decoder was given.
//
// Everything that comes from a client has a limit. What breaks a rule is an
// *UpgradeError (there is no connection), an *Error (it cannot go on) or an
// *entity.Error (this request cannot be served), each with a sentence.
package wire
