package entity

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// CheckFrozen reports a row that somebody has changed in memory since it was
// read or put: what a Step would see then is not what is stored. Nothing on the
// way of a call asks, for it encodes every row; the simulation does, after each
// Step.
func (m *Memory) CheckFrozen() error {
	for _, key := range slices.Sorted(maps.Keys(m.rows)) {
		s := m.rows[key]
		if s.msg == nil {
			continue
		}
		val, err := s.msg.MarshalVT()
		if err != nil {
			return err
		}
		stored := s.val
		if s.stamped {
			stored = stored[stampBytes:]
		}
		if !bytes.Equal(val, stored) {
			return fmt.Errorf("a row of %s has been changed in memory: rows from Get and Scan are frozen, and so are those given to Put. "+
				"It says {%v}, and stored is %x", s.msg.ProtoReflect().Descriptor().Name(), s.msg, s.val)
		}
	}
	return nil
}
