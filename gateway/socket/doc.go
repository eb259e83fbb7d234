// Package socket listens on gnet, for WebSockets and for raw TCP, and carries bytes
// between connections and sessions. It knows frames, buffers, deadlines and file
// descriptors, and nothing of what is said.
//
// The two doors differ in their framing and in how a connection begins and ends. A
// WebSocket begins with its handshake and ends with a close frame, which the client
// answers. Raw TCP is for Kith's own clients: it begins with the first command, and
// ends with a disconnect push and the end of the stream. Everything else, limits
// included, is one.
//
// A connection belongs to one event loop, and everything about it happens there:
// reading, writing, closing. Other goroutines only put it on its loop's list of
// dirty connections; Flush then wakes each loop once, and the loop writes the
// queue of each with one system call. Nothing blocks a loop.
//
// Three things about gnet decide how this package looks. Its engine ends, without
// an error, when the process runs out of file descriptors: so connections are
// capped well below that, each loop accepts its own, so that what is too much is
// closed before the next is accepted, and an engine that ends without having been
// asked is an error of Run. It keeps no deadlines: so each loop looks at all of its
// connections once a second, a few at a time. It does not say when a socket that
// was full has drained: so the loop asks those that were, forty times a second.
package socket
