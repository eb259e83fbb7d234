package town

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"kith/actors/pb"
	"kith/gateway/client"
	"kith/loadtest/irc"
)

// enter connects a person and makes him a member, once.
func (s *street) enter(ctx context.Context, nick string) (*person, error) {
	if p := s.present[nick]; p != nil {
		s.spoke(nick)
		return p, nil
	}
	if len(s.order) >= maxPresent {
		s.drop(s.order[0])
	}
	user := irc.UserID(nick)
	c, err := s.dial(ctx, user)
	if err != nil {
		return nil, err
	}
	p := &person{Client: c, user: user}
	s.present[nick] = p
	s.order = append(s.order, nick)
	if s.members[nick] {
		return p, nil
	}
	name := &pb.ChangeProfileRequest{FirstName: &nick}
	if err := call(ctx, c, "Profiles.Change", name, &pb.ChangeProfileResponse{}); err != nil {
		return nil, err
	}
	if err := call(ctx, c, "Groups.Join", &pb.JoinRequest{ConversationId: s.group}, &pb.JoinResponse{}); err != nil {
		return nil, err
	}
	s.members[nick] = true
	return p, nil
}

// leave takes a person out of the group.
func (s *street) leave(ctx context.Context, nick string) error {
	if !s.members[nick] {
		return nil // He went before he said anything.
	}
	p, err := s.enter(ctx, nick)
	if err != nil {
		return err
	}
	delete(s.members, nick)
	defer s.drop(nick)
	return call(ctx, p.Client, "Groups.Leave", &pb.LeaveRequest{ConversationId: s.group}, &pb.LeaveResponse{})
}

// spoke makes a person the last who would have to hang up.
func (s *street) spoke(nick string) {
	i := slices.Index(s.order, nick)
	s.order = append(slices.Delete(s.order, i, i+1), nick)
}

// drop hangs up for a person.
func (s *street) drop(nick string) {
	p := s.present[nick]
	if p == nil {
		return
	}
	p.Close()
	delete(s.present, nick)
	i := slices.Index(s.order, nick)
	s.order = slices.Delete(s.order, i, i+1)
}

// hangUp hangs up for everybody.
func (s *street) hangUp() {
	for _, p := range s.present {
		p.Close()
	}
}

// dial connects a user.
func (s *street) dial(ctx context.Context, user string) (*client.Client, error) {
	token, err := s.Token(user)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return client.Dial(ctx, client.Config{URL: s.URL, Token: token, App: "kith dev"})
}

func call(ctx context.Context, as *client.Client, method string, req, resp proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := as.Call(ctx, method, req, resp); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}
