// Package limit counts what users and addresses take of a server, in bounded
// memory, for both doors: whoever is refused at one has no second budget at the
// other. It refuses nothing itself; the doors do, each in its own words.
package limit
