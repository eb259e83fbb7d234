// Package pb is the contract: every method, message, event and table of Kith,
// generated from the .proto files that lie next to their features, in one
// package and with nothing else in it.
//
// Numbers (of tables, events, methods' fields and messages' fields) are for
// ever: append, reserve, never reuse. testdata/numbers.golden guards them.
// Code comes from tools/generate; run make generate after a change.
package pb
