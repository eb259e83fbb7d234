// Package outbound performs what entities ask of the outside. A task is a tell
// that leaves the server: the host keeps it in its row, in order for each entity
// that sends it, tries it again when it failed and gives up in the end; a Worker
// makes one attempt whenever it is asked to.
//
// The tasks of today are webhooks: what happens in a tenant's conversations is
// posted to a URL of the tenant's, as Standard Webhooks has it
// (www.standardwebhooks.com): signed, with an id that is the same in each attempt.
// A task says only which event it is about. What is sent is what the log says at
// that moment, so what has been revoked since is sent as revoked.
//
// Three things decide how this package looks. A URL is chosen by somebody who is
// not the operator: so addresses are looked at when they are dialled, after names
// are resolved, and neither redirects nor proxies are followed. An endpoint may
// be slow or dead for days: so each tenant has a queue of its own, they take
// turns, and one whose attempts fail has fewer of them at a time. And a URL, an
// answer and an event are secrets of the tenant's: so the log has none of them.
package outbound
