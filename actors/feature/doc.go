// Package feature lists what the server can do, and says how to teach it more.
//
// A feature is a folder with a contract, a behaviour and a proof, and one line
// in feature.go:
//
//	actors/feature/directs/directs.proto   what clients may say, and what they hear
//	actors/feature/directs/directs.go      what the server does
//	actors/feature/directs/directs.txt     a dialogue that shows it
//	actors/feature/feature.go              directs.Feature,
//
// Nothing else changes: both doors serve the new methods, the simulation calls
// them at random, and the events reach whoever is in the conversation. If you
// need a fifth place, stop and ask.
//
// # The contract
//
// A method is an rpc. The op option says where it runs: on a USER (the caller,
// unless the field in to names another) or on a CONVERSATION (to names the
// field with its id, pair the field with the other user of a direct, creates
// makes a new one). Methods that only other entities call are internal.
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
// table that does not say so does not start. Numbers of events and tables are
// for ever: append, reserve, never reuse. See Invitation in groups.proto.
//
// Then `make generate`, and accept the new numbers with
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
// What to keep to:
//
//   - A Tx sees one entity. What must happen at another is a Tell, which is
//     durable and arrives once; what must be known about another is mirrored.
//     conversation.Enter tells each member's dialogs this way.
//   - Rows are frozen: Get to look, Edit for a copy to Put. A refusal leaves no
//     trace of anything.
//   - The only clock is tx.Now(). No goroutine, no chance, no order of a map.
//   - Limits are fields of entity.Policy, and the refusal names the limit.
//   - Refuse a stranger with conversation.NotHere, before anything else.
//   - Nothing changes: emit nothing.
//   - A text lives in one row of the log. What refers to it carries its seq and
//     joins it on delivery (MessageEdited shows how); what shows events to
//     somebody asks for his Reach first (messages/history.go).
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
package feature
