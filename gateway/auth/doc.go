// Package auth turns a token into a caller.
//
// A token is a JWT, signed by whoever knows a tenant's users, that names a user,
// the device he is on, his tenant and when it expires. A Verifier checks it
// against the tenant's keys and nothing else: it asks nobody, keeps no state and
// reads no clock but the one it was given. A Cache before it remembers the
// tokens it has seen, for the doors: at one a token comes with every request, at
// the other with every reconnect.
//
// Each key is bound to one algorithm, and a token is checked with an algorithm
// only if a key of its tenant is bound to it: so "none" is nobody's, and a
// public key is never taken for a secret.
//
// Mint is for development: it signs with the key that the server made for a
// tenant that has none of its own.
package auth
