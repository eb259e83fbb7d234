// Package session knows who is connected and what each hears.
//
// A Session is one connection that speaks Centrifuge's protocol: it takes
// decoded commands, answers them, and turns events into frames. A Hub holds all
// sessions of a node and is the Listener to which the host publishes. How bytes
// reach a socket is not known here: a Session fills a queue, and whoever owns
// the connection (package socket, or a test) empties it.
//
// What a session hears is a set of channels, each the log of one entity as this
// user may see it. Of each it knows two numbers: the position, which is the last
// seq it has put into the queue, and the head, which is the last seq it knows to
// be there. Everything follows from three rules:
//
//   - An event goes into the queue only if it is the next one of its channel.
//   - Where position < head, the channel lags. A session reads the logs of its
//     lagging channels round robin, one page at a time, while there is room in
//     the queue. Recovery after connecting, a gap, and an event that came while
//     the queue was full are all the same thing: a channel that lags.
//   - A session is registered first and reads positions second. What it hears in
//     between only moves heads.
//
// The queue has a budget. Half full, it takes no more signals; full, an event
// waits in its log if the loop has only not got round to writing yet, and the
// session is closed, to reconnect and recover, if it is the socket that is full.
//
// An idle session has no goroutine, no timer, no buffer and no map.
package session
