package entity

import (
	"fmt"
	"testing"
)

// Clients depend on every number here: it may grow and must not change.
func TestCodesMeanTheSameForEver(t *testing.T) {
	want := []string{
		"internal 500 100", "invalid 400 107", "unauthorized 401 101", "denied 403 103", "not_found 404 404",
		"conflict 409 409", "too_large 413 413", "expired 410 410", "exhausted 429 111", "overloaded 503 503",
		"unsupported 404 104",
	}
	if len(want) != int(codes) {
		t.Fatalf("%d codes are known here, and there are %d", len(want), codes)
	}
	for c, line := range want {
		if got := fmt.Sprint(Code(c), Code(c).HTTP(), Code(c).Wire()); got != line {
			t.Errorf("code %d is %q, want %q", c, got, line)
		}
	}
}
