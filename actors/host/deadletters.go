package host

import (
	"fmt"

	"kith/actors/entity"
)

// DeadLetters lists the parked tells: the first limit of them, and how many there
// are.
func (c *Core) DeadLetters(limit int) (first []entity.Parked, all int, err error) {
	view := c.Storage.Snapshot()
	defer c.giveBack(view)
	for shard := range uint16(entity.Shards) {
		err := entity.ReadParked(view, shard, func(p entity.Parked) bool {
			if all++; len(first) < limit {
				first = append(first, p)
			}
			return true
		})
		if err != nil {
			return first, all, fmt.Errorf("read the dead letters of shard %d: %w", shard, err)
		}
	}
	return first, all, nil
}
