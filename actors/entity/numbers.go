package entity

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// blockOf is how many numbers a feature takes at once, so that the events and
// the tables of one feature stand together.
const blockOf = 16

// numbers says who has which number of one kind.
type numbers map[uint32][]string

func (n numbers) take(number uint32, name string) { n[number] = append(n[number], name) }

// clashes returns a sentence for each number that is taken twice. The same
// faults give the same sentences, whatever order they were found in.
func (n numbers) clashes(kind string) (errs []error) {
	for _, number := range slices.Sorted(maps.Keys(n)) {
		names := slices.Sorted(slices.Values(n[number]))
		if len(names) < 2 || number == 0 {
			continue // 0 is no number; who has it is told so.
		}
		errs = append(errs, fmt.Errorf("%s number %#02x is taken by %s: the next free number is %#02x, the next free block begins at %#02x",
			kind, number, strings.Join(names, " and "), n.free(number, 1), n.free(number, blockOf)))
	}
	return errs
}

// free is the first multiple of size above a number from which size numbers
// are free.
func (n numbers) free(above uint32, size uint32) uint32 {
	start := above/size*size + size
	for number := start; number < start+size; number++ {
		if len(n[number]) > 0 {
			return n.free(number, size)
		}
	}
	return start
}
