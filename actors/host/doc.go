// Package host makes Steps durable and lets the world know of them.
//
// A Core is everything a node does with its entities, without a goroutine or a
// clock of its own: it gives each entity its turn, queues outcomes, commits
// them many at a time, releases them in Step order, delivers tells, and puts
// idle entities away. Store, clock and scheduler are passed in. A Host is a
// Core that protoactor-go schedules, for production; package sim schedules one
// with a seed.
//
// The life of a command:
//
//	Submit ─▶ mailbox ─▶ turn (Step) ─▶ its shard's queue ─▶ Take ─▶ Sync ─▶ Release
//	                                                     a group, one fsync    replies, events, tells
//
// Steps go on while an fsync is under way; the next group is what came in the
// meantime. Nothing is delayed to fill a group.
package host
