// Package bench says where the microseconds of a message go; README.md has the
// table and the command for each figure.
//
// The load is that of the peers it is compared with: 400 users in 200 pairs,
// each with a fixed number of messages under way, 128 bytes of text in each. A
// slot is free again only when the sender has his reply and the receiver the
// message, so nothing is counted that was not delivered; a reply or a message
// that is missing, late, doubled or out of order fails the run.
package bench
