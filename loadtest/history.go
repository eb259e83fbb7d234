package loadtest

import (
	"context"
	"fmt"
	"time"

	"kith/actors/pb"
	"kith/loadtest/talk"
)

const (
	// readConversations is how many conversations are read back. 8, spread evenly: a
	// fault of the log is not that of a single one.
	readConversations = 8
	// readEvents is how far back each is read: the last so many events.
	readEvents = 5_000
	// readPage is how many are asked for at a time: a page of every profile.
	readPage = 100
	// readTimeout bounds the reading of one conversation.
	readTimeout = time.Minute
)

// readBack compares the history of some conversations with what was sent.
func (l *load) readBack(ctx context.Context) error {
	step := max(1, len(l.all)/readConversations)
	shown := l.plan.Progress.stage("reading back", len(l.all)/step)
	for i := 0; i < len(l.all); i += step {
		if err := l.read(ctx, l.all[i]); err != nil {
			return err
		}
		shown(i/step + 1)
	}
	l.plan.Progress.clear()
	return nil
}

// read reads one conversation, as the first of its people.
func (l *load) read(ctx context.Context, c *talk.Conversation) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reader, err := dial(ctx, l.server, c.People[0].Name)
	if err != nil {
		return err
	}
	defer reader.Close()
	low, high := c.Account.Span()
	if low == 0 {
		return nil // Nothing was said.
	}
	after, whole := low-1, true
	if high > readEvents && high-readEvents > after {
		after, whole = high-readEvents, false
	}
	reading := c.Account.Reading(whole)
	for more := true; more; {
		page := &pb.HistoryResponse{}
		err := reader.Call(ctx, "Messages.History", &pb.HistoryRequest{
			ConversationId: c.ID(), Where: &pb.HistoryRequest_After{After: after}, Limit: readPage,
		}, page)
		if err != nil {
			return fmt.Errorf("read the history of conversation %d: %w", c.ID(), err)
		}
		for _, e := range page.Events {
			body := &pb.MessageSent{}
			if err := body.UnmarshalVT(e.Body); err != nil {
				return fmt.Errorf("event %d of conversation %d cannot be read: %w", e.Seq, c.ID(), err)
			}
			if err := reading.Message(e.Seq, []byte(body.Content.GetText().GetText())); err != nil {
				return err
			}
			after = e.Seq
		}
		more = page.MoreAfter && len(page.Events) > 0
	}
	return reading.Finish()
}
