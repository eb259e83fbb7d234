// Package devices knows the installations on which a user has signed in. With
// the first of them it makes the user.
package devices

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/actors/user"
)

// Feature is users and their devices.
var Feature = entity.Feature{Name: "devices", Parts: []entity.Part{
	entity.Logs(pb.Kind_USER, user.Log),
	entity.Verify(pb.Kind_USER, user.Check),
	entity.Command(connect),
	entity.Query(list),
}}

const (
	// maxDescriptionBytes bounds what a client says about itself, per field: the
	// longest model names have 60.
	maxDescriptionBytes = 128

	// connectedEvery is how exactly it is known when a device connected. Finer
	// would cost a write for every reconnection, and say more than anybody needs
	// to recognise his own phone.
	connectedEvery = time.Hour
)

var devices = entity.NewTable[pb.Device]() // by device id

// connect writes nothing when nothing changed within the hour: most
// connections are such.
func connect(tx *entity.Tx, req *pb.ConnectDeviceRequest) (*pb.ConnectDeviceResponse, error) {
	if err := user.RequireSelf(tx); err != nil {
		return nil, err
	}
	if err := user.Claim(tx, tx.Caller().User); err != nil {
		return nil, err
	}
	for _, s := range []string{req.Model, req.Os, req.Sdk, req.App} {
		if len(s) > maxDescriptionBytes {
			return nil, entity.Errorf(entity.TooLarge, "model, os, sdk and app have at most %d bytes each", maxDescriptionBytes)
		}
	}
	created := signUp(tx)
	return &pb.ConnectDeviceResponse{UserCreated: created, DeviceAdded: note(tx, req)}, nil
}

// signUp makes the user on his first sight, and reports whether it did.
func signUp(tx *entity.Tx) bool {
	account := user.Accounts.Edit(tx, nil)
	if account.CreatedAt != 0 {
		return false
	}
	account.CreatedAt = tx.Now().UnixMilli()
	user.Accounts.Put(tx, nil, account)
	tx.Emit(&pb.UserCreated{})
	return true
}

// note stores what the device says about itself, and reports whether it is new.
func note(tx *entity.Tx, req *pb.ConnectDeviceRequest) bool {
	id := tx.Caller().Device
	key := entity.Key{}.Str(id)
	row := &pb.Device{
		Model: req.Model, Os: req.Os, Sdk: req.Sdk, App: req.App,
		AddedAt: tx.Now().UnixMilli(), ConnectedAt: tx.Now().Truncate(connectedEvery).UnixMilli(),
	}
	if old, known := devices.Get(tx, key); known {
		row.AddedAt = old.AddedAt
		if req.Model == "" && req.Os == "" && req.Sdk == "" && req.App == "" { // The HTTP door knows nothing of it.
			row.Model, row.Os, row.Sdk, row.App = old.Model, old.Os, old.Sdk, old.App
		}
		if !proto.Equal(row, old) {
			devices.Put(tx, key, row)
		}
		return false
	}
	makeRoom(tx)
	devices.Put(tx, key, row)
	tx.Emit(&pb.DeviceAdded{DeviceId: id, Model: req.Model, Os: req.Os, App: req.App})
	return true
}

// makeRoom forgets the devices that have not connected for the longest time,
// so that one more fits.
func makeRoom(tx *entity.Tx) {
	type known struct {
		key         entity.Key
		connectedAt int64
	}
	var all []known
	for key, d := range devices.Scan(tx, nil) {
		all = append(all, known{key, d.ConnectedAt})
	}
	slices.SortStableFunc(all, func(a, b known) int { return cmp.Compare(a.connectedAt, b.connectedAt) })
	for _, d := range all[:max(0, len(all)+1-tx.Policy().MaxDevices)] {
		devices.Delete(tx, d.key)
		id, _ := d.key.TakeStr()
		tx.Emit(&pb.DeviceForgotten{DeviceId: id})
	}
}

func list(v *entity.View, _ *pb.ListDevicesRequest) (*pb.ListDevicesResponse, error) {
	if err := user.RequireSelf(v); err != nil {
		return nil, err
	}
	resp := &pb.ListDevicesResponse{}
	for key, d := range devices.Scan(v, nil) {
		id, _ := key.TakeStr()
		resp.Devices = append(resp.Devices, &pb.DeviceItem{
			DeviceId: id, Model: d.Model, Os: d.Os, Sdk: d.Sdk, App: d.App,
			AddedAt: d.AddedAt, ConnectedAt: d.ConnectedAt,
		})
	}
	return resp, nil
}
