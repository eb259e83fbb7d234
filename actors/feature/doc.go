// Package feature lists what the server can do, and says how to teach it more.
//
// A feature is a folder with a contract, a behaviour and a proof, and an import
// and an entry in feature.go:
//
//	actors/feature/directs/directs.proto   what clients may say, and what they hear
//	actors/feature/directs/directs.go      what the server does
//	actors/feature/directs/directs.txt     a dialogue that shows it
//	actors/feature/feature.go              directs.Feature,
//
// Nothing else changes but what is generated (actors/pb/NAME*.pb.go,
// actors/pb/testdata/numbers.golden); commit that too. Both doors serve the new
// methods, the simulation calls them at random, and the events reach whoever is
// in the conversation. If you need a fifth place, stop and ask.
//
// Work in the order of this page: contract, numbers, behaviour, entry, proof.
// Once the contract is generated, every test of actors/feature fails with "has
// no handler" until each rpc has one and feature.go has the feature.
//
// # The contract
//
// Every .proto begins with the same lines. Import also
// actors/conversation/conversation.proto for its words (Role, Permissions) and
// actors/pb/kernel.proto for Event, if you use them.
//
//	syntax = "proto3";
//	package kith.v1;
//	option go_package = "kith/actors/pb";
//	import "actors/pb/options.proto";
//
// All files are one package: the name of a message is taken for everybody, so
// it says whose it is (ListReactionsRequest, not ListRequest), and two files
// never have the same base name.
//
// A method is an rpc. The op option says where it runs: on a USER (the caller,
// unless the field in to names another) or on a CONVERSATION (to names the
// field with its id, pair the field with the other user of a direct, creates
// makes a new one). Methods that only other entities call are internal; those
// that go on when the disk is nearly full say that they free it.
//
//	service Directs {
//	  rpc Open(OpenDirectRequest) returns (OpenDirectResponse) {
//	    option (op) = { on: CONVERSATION pair: "user_id" };
//	  }
//	}
//
// A command's request has a string request_id: the kernel answers a retry with
// the first result, and the feature never hears of it. A query has none, and
// option idempotency_level = NO_SIDE_EFFECTS.
//
// An event says what happened, in the past tense, with what a client needs to
// redraw. HISTORY is for messages; CHANGE for what rows already say; SIGNAL for
// what may be lost.
//
//	message DirectOpened {
//	  option (event) = { number: 0x20 class: CHANGE };
//	  repeated string user_ids = 1;
//	}
//
// A table is a message whose option also says whose data it is, what for, how
// long it is kept, where it is exported and how it is erased; a server with a
// table that does not say so does not start. The comment says what the key is.
// People are named in rows by their member number, which is short, never used
// again, and names nobody once they are erased.
//
//	// Reaction is what one member thinks of a message. Key: seq, member number.
//	message Reaction {
//	  option (table) = {
//	    number: 0x40
//	    whose: "the member"
//	    purpose: "to show who reacted how"
//	    retention: "as long as the message"
//	    export: "conversations/<id>/reactions"
//	    erase: DELETE
//	  };
//	  string emoji = 1;
//	}
//
// Numbers of events and of tables are for ever: append, reserve, never reuse.
// Take the next free block of sixteen, of each; actors/pb/testdata/numbers.golden
// lists what is taken. Then `make generate`, and accept the new numbers with
// `go test ./actors/pb -rewrite`.
//
// # The behaviour
//
// The Feature value lists the parts: Command and Query for each rpc, Before for
// what may refuse the commands of other features, After for what follows their
// events in the same transaction.
//
//	var Feature = entity.Feature{Name: "directs", Parts: []entity.Part{
//		entity.Command(open),
//	}}
//
// A table is a variable, its keys are built from parts that sort:
//
//	var reactions = entity.NewTable[pb.Reaction]() // by seq, member number
//
//	key := entity.Key{}.U64(req.Seq).U32(me.Number)
//	if old, ok := reactions.Get(tx, key); !ok || old.Emoji != req.Emoji {
//		reactions.Put(tx, key, &pb.Reaction{Emoji: req.Emoji})
//	}
//
// It and values of package entity are the only variables of a package that a
// test allows: state is rows.
//
// A handler reads: who may · does it exist · is it valid · change · emit ·
// reply.
//
//	func open(tx *entity.Tx, req *pb.OpenDirectRequest) (*pb.OpenDirectResponse, error) {
//		me, other := tx.Caller().User, req.UserId
//		if me == other {
//			return nil, entity.Errorf(entity.Invalid, "a direct conversation needs somebody else")
//		}
//		resp := &pb.OpenDirectResponse{ConversationId: tx.Self().ID}
//		if conversation.Info.Has(tx, nil) {
//			return resp, requirePair(tx, me, other)
//		}
//		conversation.Info.Put(tx, nil, &pb.Conversation{Type: pb.Conversation_DIRECT, …})
//		resp.Opened = true
//		_, err := conversation.Enter(tx, &pb.DirectOpened{UserIds: []string{me, other}}, pb.Role_MEMBER, me, other)
//		return resp, err
//	}
//
// A hook follows the events of another feature, here those of messages:
//
//	entity.After(forget),
//
//	// forget drops what people thought of a message that is gone.
//	func forget(tx *entity.Tx, gone *pb.MessageRevoked) error {
//		reactions.DeleteAll(tx, entity.Key{}.U64(gone.Seq))
//		return nil
//	}
//
// Its law: it runs inside the other feature's command. If it refuses, that
// command is refused; what it reads and writes counts against that Step, which
// is refused when it is too much. So it refuses nothing without need, and what
// it does has a bound: here one write, however many people reacted.
//
// Beside rows, events and tells a command has these verbs:
//
//	tx.TellAt(key, when, &pb.SendScheduledRequest{…})   a command to itself at a time; set again, it is replaced
//	tx.CancelTold(key, &pb.SendScheduledRequest{})      and not at all
//	tx.Continue(&pb.DissolvePageRequest{…})             long work goes on in another Step: the request is the cursor
//	tx.Task(&pb.DeliverWebhookRequest{…})               outside of this server, by who performs that rpc there
//	tx.Signal(…), tx.SignalTo(users, …)                 a push that may be lost, to who hears the log, or to some users
//	tx.EmitLast(event, user)                            the last event that a user hears
//	tx.EmitUnsigned(event)                              one that does not say who caused it
//	tx.Drop(from, through)                              a range of the log; emit an event that says so
//	table.DeleteAll(tx, prefix), table.DeleteRange(…)   rows, as one write
//
// and a query one:
//
//	entity.Ask[*pb.OneProfileResponse](v, &pb.OneProfileRequest{UserId: id})
//
// asks another entity's query, for the same viewer and on the same durable view.
// It is how a list of conversations shows what is in each. A query also knows
// v.Stamp(), the last commit: a table whose option says stamped: true and that has
// a field fixed64 stamp carries the commit that wrote each row, and what is above a
// stamp has changed since.
//
// A method that is called again and again while somebody types or scrolls has
// pace_ms in its op: what comes sooner is answered and does nothing.
//
// What to keep to:
//
//   - A Tx sees one entity. What must happen at another is a Tell, which is
//     durable and arrives once; what must be known about another is mirrored.
//     conversation.Enter tells each member's dialogs this way.
//   - Rows are frozen: Get to look, Edit for a copy to Put. A refusal leaves no
//     trace of anything. Rows may be put and deleted while a Scan of them runs:
//     it yields them as they were when it began.
//   - The only clock is tx.Now(). No goroutine, no chance, no order of a map.
//   - A limit that one tenant may want otherwise than another is a field of
//     entity.Policy: policy.go and profiles.go are the one exception to the four
//     places. Any other is a constant with a unit and a reason. The refusal
//     names the limit.
//   - Strings are valid UTF-8: the doors see to that. Their lengths are yours.
//   - Refuse a stranger with conversation.NotHere, before anything else; then
//     ask conversation.Message for the message that a seq names: it refuses who
//     may not see it as if there were none. One that was revoked is found, too:
//     look at Revoked.
//   - Nothing changes: emit nothing.
//   - An event is for ever and for everybody. It stays in the log when what it
//     is about is revoked, and all who are present hear it, also who may not see
//     the message that it names. What must go with a message, or what a newcomer
//     must not see, is in no event: emit the seq, keep the rest in a row, and let
//     clients ask.
//   - Rows about a message go with it: After(MessageRevoked), as above, and
//     After(MessagesExpired), a range of them, with DeleteRange.
//   - A text lives in one row of the log. What refers to it carries its seq and
//     joins it on delivery (MessageEdited shows how); what shows events to
//     somebody asks for his Reach first (messages/history.go).
//   - A conversation may have a hundred thousand members. Who walks Present or
//     Members does so in pages, and Continue goes on. In a large one
//     (conversation.Of(tx).Large) joins are in no log.
//   - What subscribers of a channel do must not show who they are:
//     conversation.HidesMembers, SeesMembers.
//   - A list has pages: entity.Paging and entity.Cursor (groups/members.go).
//   - Rows that must agree with others, a count say, have a check beside them:
//     entity.Verify(kind, check) among the parts. `kith verify` runs it on every
//     entity of the kind (actors/conversation/verify.go).
//   - Features do not import each other. Words that two of them need move to
//     actors/conversation or actors/user.
//
// # The proof
//
// The script is a dialogue with a fresh server; package sim describes its
// lines. Write the calls and what they should show, one rule per paragraph,
// every refusal among them:
//
//	# There is one per pair, whoever opens it. Opening it again changes nothing.
//
//	bob Directs.Open req=1
//	user_id: "alice"
//	----
//	ok conversation_id:$ab
//
// `go test ./actors/feature -run TestScripts -rewrite` fills in what the server
// says. Read every line of it as a user would before you commit it.
//
// Before you send it, with Reactions for your service:
//
//	go test ./actors/...                                         contract, scripts, architecture
//	go test ./actors/feature -run 'TestCrash$' -for 20s -v       and how often each method succeeded
//	go test ./actors/feature -run 'TestCrash$' -seed 1 -v | grep Reactions.
//	make check                                                   format, lint, fresh generated code
//
// The second draws values for your fields by their kind, and some by their name
// (actors/sim/calls.go); `make sim` fails if a method never succeeds. The third
// shows what one simulation says to your methods, and what they answer.
package feature
