package profiles

import (
	"strings"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/user"
)

// nameLog is the log of a username, in which nothing is said.
var nameLog = entity.LogRules{
	Reach:    func(*entity.View, entity.Caller) entity.Reach { return entity.Reach{} },
	Author:   func(entity.Viewer, entity.Caller) uint32 { return 0 },
	Name:     func(entity.Viewer, uint32) string { return "" },
	Audience: func(entity.Viewer) *entity.Audience { return &entity.Audience{} },
}

// claim runs on the name.
func claim(tx *entity.Tx, req *pb.ClaimNameRequest) (*pb.ClaimNameResponse, error) {
	if err := validateName(req.Username); err != nil {
		return nil, err
	}
	me := tx.Caller().User
	switch owner, ok := owners.Get(tx, nil); {
	case ok && owner.UserId != me:
		return nil, entity.Errorf(entity.Conflict, "the username %s is taken", req.Username)
	case !ok:
		owners.Put(tx, nil, &pb.NameOwner{UserId: me, At: tx.Now().UnixMilli()})
	}
	tx.Tell(tx.Caller().Ref(), &pb.NamedRequest{Username: req.Username})
	return &pb.ClaimNameResponse{}, nil
}

// drop runs on the name.
func drop(tx *entity.Tx, req *pb.DropNameRequest) (*pb.DropNameResponse, error) {
	if err := validateName(req.Username); err != nil {
		return nil, err
	}
	if owner, _ := owners.Get(tx, nil); owner.GetUserId() != tx.Caller().User {
		return nil, entity.Errorf(entity.NotFound, "the username %s is not yours", req.Username)
	}
	owners.Delete(tx, nil)
	tx.Tell(tx.Caller().Ref(), &pb.UnnamedRequest{Username: req.Username})
	return &pb.DropNameResponse{}, nil
}

// find answers everybody: usernames are there to be found.
func find(v *entity.View, req *pb.FindNameRequest) (*pb.FindNameResponse, error) {
	if err := validateName(req.Username); err != nil {
		return nil, err
	}
	owner, ok := owners.Get(v, nil)
	if !ok {
		return nil, entity.Errorf(entity.NotFound, "nobody has the username %s", req.Username)
	}
	return &pb.FindNameResponse{UserId: owner.UserId}, nil
}

// named runs on the user, whom a name has become his. The one that he had goes.
func named(tx *entity.Tx, req *pb.NamedRequest) (*pb.NamedResponse, error) {
	if err := user.Claim(tx, tx.Caller().User); err != nil {
		return nil, err
	}
	p := profiles.Edit(tx, nil)
	old := p.Username
	if old == req.Username {
		return &pb.NamedResponse{}, nil
	}
	if old != "" && !strings.EqualFold(old, req.Username) {
		tx.Tell(entity.Name(tx.Self().Tenant, old), &pb.DropNameRequest{Username: old})
	}
	p.Username = req.Username
	profiles.Put(tx, nil, p)
	tx.Emit(&pb.ProfileChanged{})
	return &pb.NamedResponse{}, nil
}

// unnamed runs on the user, whose name is his no more. It may be an older one.
func unnamed(tx *entity.Tx, req *pb.UnnamedRequest) (*pb.UnnamedResponse, error) {
	p := profiles.Edit(tx, nil)
	if !strings.EqualFold(p.Username, req.Username) {
		return &pb.UnnamedResponse{}, nil
	}
	p.Username = ""
	profiles.Put(tx, nil, p)
	tx.Emit(&pb.ProfileChanged{})
	return &pb.UnnamedResponse{}, nil
}

func validateName(name string) error {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r != '_' && (r < '0' || r > '9')) {
			return entity.Errorf(entity.Invalid, "a username begins with a letter from a to z and has only those, digits and underscores")
		}
	}
	if len(name) < minUsername || len(name) > maxUsername {
		return entity.Errorf(entity.Invalid, "a username has from %d to %d characters", minUsername, maxUsername)
	}
	return nil
}
