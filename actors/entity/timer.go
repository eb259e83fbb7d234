package entity

import (
	"bytes"
	"fmt"
	"time"

	"kith/actors/pb"
)

var (
	timers = NewTable[pb.Timer]()
	dues   = NewTable[pb.Due]()
)

// A Due is a timer whose time may have come.
type Due struct {
	Ref  Ref
	At   int64 // unix milliseconds
	name Key   // of the timer: the method, and the key that the feature chose
}

// Method names the command that the timer gives; empty: the kernel's own sweep.
func (d *Due) Method() string {
	method, _ := d.name.TakeStr()
	return method
}

// Name tells the timers of an entity apart.
func (d *Due) Name() string { return string(d.name) }

// timerName is the key of a timer's row: no two methods share one.
func timerName(method string, key Key) Key { return append(Key(nil).Str(method), key...) }

// indexKey is where the timer is found by its time.
func (d *Due) indexKey() []byte {
	k := Key(systemPrefix(d.Ref.Shard(), dues.num)).U64(uint64(d.At)).U32(uint32(d.Ref.Tenant))
	return append(append(k, byte(d.Ref.Kind)).U64(d.Ref.ID), d.name...)
}

// TellAt has the entity give itself a command at a time, exactly once in effect,
// for the caller of this Step. A timer of the same command and key is replaced.
// A time that has passed is as good as now. The host looks every second or so.
func (tx *Tx) TellAt(key Key, when time.Time, req Message) {
	m := tx.method(req)
	if m == nil || m.ReadOnly() || m.On != tx.ref.Kind {
		panic(fmt.Sprintf("entity: %s cannot be told to %s", req.ProtoReflect().Descriptor().Name(), tx.ref))
	}
	body, err := req.MarshalVT()
	if err != nil {
		panic(fault{err})
	}
	tx.setTimer(timerName(m.Name, key), &pb.Timer{
		At: max(1, when.UnixMilli()), User: tx.caller.User, UserNumber: tx.caller.Number, Device: tx.caller.Device, Request: body,
	})
}

// CancelTold cancels the timer of a command, of which req is any, and a key, if
// there is one.
func (tx *Tx) CancelTold(key Key, req Message) {
	m := tx.method(req)
	if m == nil {
		panic(fmt.Sprintf("entity: %s is no command", req.ProtoReflect().Descriptor().Name()))
	}
	tx.dropTimer(timerName(m.Name, key))
}

// method is the method that takes req, or nil.
func (tx *Tx) method(req Message) *Method {
	return tx.reg.byReq[req.ProtoReflect().Descriptor().FullName()]
}

func (tx *Tx) setTimer(name Key, row *pb.Timer) {
	if tx.dropTimer(name) == row.At {
		tx.index = tx.index[:len(tx.index)-1] // Its place in the index stays.
	} else {
		d := Due{tx.ref, row.At, name}
		tx.chargeWrite()
		tx.index = append(tx.index, Write{Key: d.indexKey(), Val: []byte{}})
	}
	timers.Put(tx, name, row)
	if tx.wake == 0 || row.At < tx.wake {
		tx.wake = row.At
	}
}

// dropTimer removes a timer, if there is one, and returns its time.
func (tx *Tx) dropTimer(name Key) (at int64) {
	old, ok := timers.Get(tx, name)
	if !ok {
		return 0
	}
	d := Due{tx.ref, old.At, name}
	tx.chargeWrite()
	timers.Delete(tx, name)
	tx.index = append(tx.index, Write{Key: d.indexKey()})
	return old.At
}

// Fire gives the entity the command of a timer, unless it has been given,
// replaced or cancelled meanwhile. A refusal is an end, too. What is overloaded
// or panics leaves the timer where it is, and so does a clock that has jumped since
// the timer was found.
func (m *Memory) Fire(r *Registry, d *Due, turn Turn) Outcome {
	return m.guard(func() Outcome {
		if turn.Hold {
			return Outcome{Heard: true}
		}
		tx := m.begin(r, &Call{To: d.Ref}, turn)
		row, ok := timers.Get(tx, d.name)
		if !ok || row.At != d.At {
			return Outcome{Heard: true, Writes: []Write{{Key: d.indexKey()}}}
		}
		if d.Method() == "" {
			return m.sweep(r, d, turn)
		}
		call := timerCall(r, d, row)
		if call == nil {
			return Outcome{Err: Errorf(Unsupported, "this server does not know the method, or cannot read the request")}
		}
		gone := func(tx *Tx) { tx.dropTimer(d.name) }
		out := m.step(r, call, turn, gone)
		if out.Err != nil && out.Err.Code != Overloaded {
			tx := m.begin(r, call, turn)
			gone(tx)
			out.Writes = m.keep(tx, nil)
		}
		return out
	})
}

// timerCall is the command of a timer, or nil if this server cannot read it.
func timerCall(r *Registry, d *Due, row *pb.Timer) *Call {
	method := r.byName[d.Method()]
	if method == nil {
		return nil
	}
	req := method.New()
	if req.(Message).UnmarshalVT(row.Request) != nil {
		return nil
	}
	caller := Caller{Tenant: d.Ref.Tenant, User: row.User, Number: row.UserNumber, Device: row.Device}
	return &Call{Method: method, To: d.Ref, Caller: caller, Req: req}
}

// ParkTimer moves a timer whose command cannot be run to the dead letters, as a
// tell of the entity to itself.
func (m *Memory) ParkTimer(r *Registry, d *Due, reason string, turn Turn) Outcome {
	return m.guard(func() Outcome {
		tx := m.begin(r, &Call{To: d.Ref}, turn)
		row, ok := timers.Get(tx, d.name)
		if !ok || row.At != d.At {
			return Outcome{}
		}
		tx.dropTimer(d.name)
		m.sweepAt = 0 // It may have been this one.
		t := &Tell{From: d.Ref, Number: tx.nextTell(), Call: Call{To: d.Ref}, row: &pb.Outbox{
			Method: d.Method(), User: row.User, UserNumber: row.UserNumber, Device: row.Device, Request: row.Request, At: row.At,
		}}
		return Outcome{Writes: m.keep(tx, t.Park(reason, tx.now)[1:])} // It was in no outbox.
	})
}

// DueTimers calls yield with the timers of a shard whose time has come, in the
// order of their times, until it returns false. It returns the time of the next
// one, in unix milliseconds; 0: there is none.
func DueTimers(rows Reader, shard uint16, now time.Time, yield func(Due) bool) (next int64, err error) {
	prefix := systemPrefix(shard, dues.num)
	err = rows.Scan(prefix, after(prefix), false, func(key, _ []byte) bool {
		d := dueOf(Key(bytes.Clone(key[len(prefix):])))
		if d.At > now.UnixMilli() || !yield(d) {
			next = d.At
			return false
		}
		return true
	})
	return next, err
}

func dueOf(k Key) (d Due) {
	at, k := k.TakeU64()
	tenant, k := k.TakeU32()
	d.At, d.Ref.Tenant, d.Ref.Kind = int64(at), Tenant(tenant), pb.Kind(k[0])
	d.Ref.ID, d.name = k[1:].TakeU64()
	return d
}
