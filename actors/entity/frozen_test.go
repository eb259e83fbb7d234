package entity_test

import (
	"strings"
	"testing"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
)

func TestAFrozenRowThatWasChangedIsFound(t *testing.T) {
	for name, restart := range map[string]bool{"put": false, "read": true} {
		w := newWorld(t)
		w.must(Set("a", 1), Set("b", 2), Say("x"))
		if restart {
			w.restart()
		}
		w.must(Get("a"), Get("b"), Get("none"), Scan(""))
		if err := w.memory(one).CheckFrozen(); err != nil {
			t.Errorf("%s: nobody changed a row: %v", name, err)
		}
		w.must(Mutate("b"))
		if err := w.memory(one).CheckFrozen(); err == nil || !strings.Contains(err.Error(), "a row of Count has been changed") {
			t.Errorf("%s: a row was changed: %v", name, err)
		}
	}
}

// A Scan yields the rows as they were when it began, whatever is put and
// deleted while it runs.
func TestRowsMayChangeWhileAScanOfThemRuns(t *testing.T) {
	table := entity.NewTable[Count]()
	key := func(s string) entity.Key { return entity.Key(nil).Str(s) }
	var seen []string
	w := newWorld(t, hook(entity.Before(func(tx *entity.Tx, r *DoRequest) error {
		if len(r.Acts) > 0 {
			return nil
		}
		table.Put(tx, key("c"), &Count{N: 3})
		for k, row := range table.Scan(tx, nil) {
			s, _ := k.TakeStr()
			if seen = append(seen, s); row.N == 0 {
				t.Errorf("%s is not as it was", s)
			}
			table.Delete(tx, key("a"))
			table.Delete(tx, key("d"))
			table.Put(tx, key("b"), &Count{})
			table.Put(tx, key("e"), &Count{})
			table.Put(tx, key(s+"+"), &Count{})
		}
		return nil
	})))
	w.must(Set("a", 1), Set("d", 4), Say("x"))
	w.held = true
	w.must(Set("b", 2)) // One row of each sort: durable, pending, this Step's.
	w.must()
	if got := strings.Join(seen, " "); got != "a b c d" {
		t.Errorf("the scan yielded %q, want a b c d", got)
	}
	w.settle()
	if got := w.do(Scan("")).Reply.(*DoResponse).Texts[0]; got != "a+=0 b=0 b+=0 c=3 c+=0 d+=0 e=0" {
		t.Errorf("afterwards there is %q", got)
	}
}

func TestAPageBeginsWhereTheLastOneEnded(t *testing.T) {
	var from entity.Key
	var items int
	var refused error
	cursor, limit := "", uint32(0)
	w := newWorld(t, hook(entity.Before(func(tx *entity.Tx, _ *DoRequest) error {
		from, items, refused = entity.Paging(tx, cursor, limit)
		return nil
	})))
	w.policy.PageItems = 20
	for _, c := range []struct {
		cursor string
		limit  uint32
		from   entity.Key
		items  int
		ok     bool
	}{
		{"", 0, nil, 20, true},
		{"", 7, nil, 7, true},
		{"", 1 << 31, nil, 20, true},
		{entity.Cursor(77), 7, entity.Key{}.U64(77), 7, true},
		{entity.Cursor(1<<entity.NumberBits - 1), 0, entity.Key{}.U64(1<<entity.NumberBits - 1), 20, true},
		{entity.Cursor(1 << entity.NumberBits), 0, nil, 0, false},
		{"0" + entity.Cursor(77), 0, nil, 0, false},
		{"!", 0, nil, 0, false},
	} {
		cursor, limit = c.cursor, c.limit
		w.must()
		if string(from) != string(c.from) || (from == nil) != (c.from == nil) || items != c.items || (refused == nil) != c.ok {
			t.Errorf("cursor %q, limit %d: from %x, %d items, %v", c.cursor, c.limit, from, items, refused)
		}
	}
}
