// Package profiles is what people say about themselves, and the usernames by
// which they are found. Everybody of a tenant may see a profile.
//
// A username is an entity of its own: who claims it first has it. The user's own
// entity is told, and gives back the one that he had before.
package profiles

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/user"
)

// Feature is profiles.
var Feature = entity.Feature{Name: "profiles", Parts: []entity.Part{
	entity.Command(change),
	entity.Query(get),
	entity.Query(one),

	entity.Logs(pb.Kind_NAME, nameLog),
	entity.Command(claim),
	entity.Command(drop),
	entity.Query(find),
	entity.Command(named),
	entity.Command(unnamed),
}}

const (
	// maxAvatarBytes bounds the reference to a picture: a long URL.
	maxAvatarBytes = 512
	// minUsername and maxUsername bound a username, in characters. Source:
	// Telegram.
	minUsername = 5
	maxUsername = 32
)

var (
	profiles = entity.NewTable[pb.Profile]()   // one row
	owners   = entity.NewTable[pb.NameOwner]() // one row
)

func change(tx *entity.Tx, req *pb.ChangeProfileRequest) (*pb.ChangeProfileResponse, error) {
	if err := user.Claim(tx, tx.Caller().User); err != nil {
		return nil, err
	}
	old, _ := profiles.Get(tx, nil)
	p := profiles.Edit(tx, nil)
	for _, set := range []struct{ to, from *string }{
		{&p.FirstName, req.FirstName}, {&p.LastName, req.LastName}, {&p.Bio, req.Bio}, {&p.Avatar, req.Avatar},
	} {
		if set.from != nil {
			*set.to = *set.from
		}
	}
	if err := validate(tx.Policy(), p); err != nil {
		return nil, err
	}
	if proto.Equal(old, p) {
		return &pb.ChangeProfileResponse{}, nil // Nothing changes, so nobody is told.
	}
	profiles.Put(tx, nil, p)
	tx.Emit(&pb.ProfileChanged{})
	return &pb.ChangeProfileResponse{}, nil
}

func validate(policy *entity.Policy, p *pb.Profile) error {
	most := policy.MaxPersonNameChars
	switch {
	case p.FirstName == "":
		return entity.Errorf(entity.Invalid, "a profile needs a first name")
	case utf8.RuneCountInString(p.FirstName) > most || utf8.RuneCountInString(p.LastName) > most:
		return entity.Errorf(entity.TooLarge, "first and last name have at most %d characters each", most)
	case utf8.RuneCountInString(p.Bio) > policy.MaxBioChars:
		return entity.Errorf(entity.TooLarge, "a bio has at most %d characters", policy.MaxBioChars)
	case len(p.Avatar) > maxAvatarBytes:
		return entity.Errorf(entity.TooLarge, "the reference to an avatar has at most %d bytes", maxAvatarBytes)
	case strings.ContainsFunc(p.FirstName+p.LastName+p.Avatar, unicode.IsControl):
		return entity.Errorf(entity.Invalid, "names and avatars have no control characters")
	case strings.ContainsFunc(p.Bio, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }):
		return entity.Errorf(entity.Invalid, "a bio has no control characters but new lines")
	}
	return nil
}

// get asks each of the users.
func get(v *entity.View, req *pb.GetProfilesRequest) (*pb.GetProfilesResponse, error) {
	if err := user.RequireSelf(v); err != nil {
		return nil, err
	}
	if most := v.Policy().PageItems; len(req.UserIds) > most {
		return nil, entity.Errorf(entity.TooLarge, "at most %d profiles can be asked for at a time", most)
	}
	resp := &pb.GetProfilesResponse{}
	for _, id := range req.UserIds {
		got, err := entity.Ask[*pb.OneProfileResponse](v, &pb.OneProfileRequest{UserId: id})
		if err != nil {
			return nil, err
		}
		if got.Profile != nil {
			resp.Profiles = append(resp.Profiles, got.Profile)
		}
	}
	return resp, nil
}

func one(v *entity.View, req *pb.OneProfileRequest) (*pb.OneProfileResponse, error) {
	account, ok := user.Accounts.Get(v, nil)
	if !ok || account.UserId != req.UserId {
		return &pb.OneProfileResponse{}, nil // Another subject with the same number is not meant.
	}
	p, _ := profiles.Get(v, nil)
	return &pb.OneProfileResponse{Profile: &pb.ProfileItem{
		UserId: req.UserId, FirstName: p.GetFirstName(), LastName: p.GetLastName(), Bio: p.GetBio(),
		Avatar: p.GetAvatar(), Username: p.GetUsername(),
	}}, nil
}
