// Package entity is the pure kernel of the server.
//
// An entity is a user or a conversation: a single-writer state machine with
// rows of its own and a log of events. A feature teaches entities new methods.
// The kernel runs one method at a time:
//
//	Call ──▶ Before hooks ──▶ handler ──▶ After hooks ──▶ Outcome
//	             (reads and writes through one Tx)
//
// Step is a function: the same rows and the same Call give the same Outcome,
// bytes included. It starts no goroutine, reads no clock and sends nothing.
// Whoever calls it (an actor in production, a seeded loop in tests) makes
// Outcome.Writes durable first and only then releases the reply, the events
// and the tells.
//
// The rules that the kernel keeps, each with a test that fails when it is
// broken:
//
//   - Same rows, same call, same outcome. Time is data: Turn.Now.
//   - A Tx sees one entity. It can name no other entity's rows.
//   - A refused or panicking Step leaves no trace.
//   - A retried request gets the first result; another body is a conflict.
//   - A tell is heard once and in order per pair, however often it arrives.
//   - Seqs are dense, from 1, and never reused.
//   - A body lives in one row: what refers to it carries (entity, seq) and is
//     joined after the visibility check.
//   - Rows are frozen once they are stored.
//   - A Step is bounded by its tenant's policy.
package entity
