// Package httpapi is the door for HTTP: every method of the registry as
// POST /v1/<Service>.<Method>, in JSON or protobuf, with a bearer token. It knows
// no method by name but the one that makes a user known at first sight.
//
// A request passes wrappers, each of which does one thing for all methods, and
// then one handler, which turns it into an entity.Call and waits for the Result:
//
//	measured ▶ answered ▶ recovered ▶ headed ▶ framed ▶ shared ▶ routed
//	                       ▶ authenticated ▶ limited ▶ introduced ▶ called
//
// What is refused is answered with application/problem+json (RFC 9457). Its code
// is that of entity.Error, as on the socket, and the status is the one that
// entity has for it; only what is about HTTP itself has a status of its own.
// "timeout" is the one code that entity does not know: the answer did not come in
// time, so the request may or may not have been done.
//
// fasthttp parses. It accepts what a proxy in front may read differently (two
// framings of one body, odd versions), so framed looks at the raw header again
// and refuses all of that. The connections that fasthttp gets come from a listener
// that counts them by address, IPv6 too, and survives a lack of descriptors.
//
// Internal is the other server here, on an address of its own that no stranger
// reaches: health, metrics, version and profiles.
package httpapi
