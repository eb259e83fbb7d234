// Package entitytest is what the tests of the kernel and of the host run: a
// feature whose requests are small programs, and a store in memory. No server
// links it.
package entitytest
