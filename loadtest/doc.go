// Package loadtest is the load tool, `kith load`: it drives a server over real
// sockets as thousands of people would, says what a message cost, and proves
// that every one of them arrived.
//
// The load is a closed loop: each sender keeps so many messages under way, and a
// slot is free again only when the sender has his acknowledgement and every other
// member the message. So nothing is counted that was not delivered, and a server
// that is slow is asked less.
//
// The clients share the machine with the server, so all of them are one event
// loop: one goroutine, no locks, frames that are made once. Package talk is the
// people, package oracle what their messages must come to, package echo the
// least that they could cost.
package loadtest
