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
//     the queue. Recovery after connecting or subscribing, a gap, and an event that
//     came while the queue was full are all the same thing: a channel that lags.
//   - A session has a channel first and reads its position second. What it hears in
//     between only moves heads.
//
// An event goes to the sessions of the users whom it names; those that have no
// channel of its log get one, by a `subscribe` push. That of a large conversation
// names nobody, and goes to watchers: the sessions that have the channel, however
// they came by it. A client gets one by its own `subscribe` command. So a
// conversation may become large and small again at any moment: who has the channel
// keeps it. A channel ends with the event that says so, and nothing after it is
// heard but by who is named.
//
// A signal has no channel: it goes to all sessions of the users it names, and to
// those that have the channel where it is for watchers. Its data says where it is
// from.
//
// The queue has a budget. Half full, it takes no more signals; full, an event
// waits in its log if the loop has only not got round to writing yet, and the
// session is closed, to reconnect and recover, if it is the socket that is full.
//
// An idle session has no goroutine, no timer, no buffer and no map. Who is here, and
// who has been gone for a while, the hub tells the kernel.
package session
