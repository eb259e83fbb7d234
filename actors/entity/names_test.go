package entity

import (
	"strings"
	"testing"
)

func TestUserIDsArePrintableAndShort(t *testing.T) {
	for _, id := range []string{"a", "ann", "ann@example.org", "42", "Ann-Marie_7", "安娜", "👩", "a/b", strings.Repeat("u", 64)} {
		if !ValidUserID(id) {
			t.Errorf("%q is refused", id)
		}
	}
	for _, id := range []string{
		"", " ", "a b", "a:b", ":", "a\x00", "a\n", "a\tb", "a\u00a0b", "a\u200bb", "a\u202eb", "a\ufeff", "a\u2028",
		"\xff", "a\xc3", "a\xed\xa0\x80", "\ufffd", "a\x7f", "a\ue000", strings.Repeat("u", 65), strings.Repeat("安", 22),
	} {
		if ValidUserID(id) {
			t.Errorf("%q is accepted", id)
		}
	}
}

func TestDevicesMayHaveAColon(t *testing.T) {
	for id, want := range map[string]bool{
		"phone": true, "3c:22:fb": true, strings.Repeat("d", 64): true,
		"": false, "my phone": false, "phone\x00": false, "\xff": false, strings.Repeat("d", 65): false,
	} {
		if got := ValidDevice(id); got != want {
			t.Errorf("ValidDevice(%q) = %v, want %v", id, got, want)
		}
	}
}

func TestRequestIDsMayBeEmptyAndHaveNoZeroByte(t *testing.T) {
	for id, want := range map[string]bool{
		"": true, "1": true, "a b": true, "line\nline": true, strings.Repeat("r", 64): true,
		"\x00": false, "a\x00b": false, "\xff": false, strings.Repeat("r", 65): false,
	} {
		if got := ValidRequestID(id); got != want {
			t.Errorf("ValidRequestID(%q) = %v, want %v", id, got, want)
		}
	}
}
