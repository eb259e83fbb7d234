package entity

import "strconv"

// Paging reads what a request for a page of a list says: the key after which
// the page begins (nil: at the beginning) and how many items it has at most. It
// is for lists whose keys are one U64, of a number.
func Paging(v Viewer, cursor string, limit uint32) (from Key, items int, err error) {
	items = v.Policy().PageItems
	if limit != 0 {
		items = min(int(limit), items)
	}
	if cursor == "" {
		return nil, items, nil
	}
	last, err := strconv.ParseUint(cursor, 36, NumberBits)
	if err != nil || Cursor(last) != cursor {
		return nil, 0, Errorf(Invalid, "the cursor is not one that this list gave")
	}
	return Key{}.U64(last), items, nil
}

// Cursor says where a page ended: at the item of a number.
func Cursor(last uint64) string { return strconv.FormatUint(last, 36) }
