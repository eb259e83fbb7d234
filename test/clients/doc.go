// Package clients drives the built server with unmodified clients: centrifuge-go
// here, centrifuge for npm in the folder npm, in Node and in Chromium. It has tests
// only. They start the program as an operator does, reach it through a TCP proxy
// that cuts, and know nothing of its inside but the messages of kith.v1.
package clients
