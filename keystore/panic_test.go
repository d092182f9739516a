package keystore

import (
	"errors"
	"strings"
	"testing"
)

// TestPanicked: an operator learns the place, and nobody the values.
func TestPanicked(t *testing.T) {
	caught := func(f func()) (err error) {
		defer func() { err = Panicked(recover()) }()
		f()
		return nil
	}
	var none []int
	for name, c := range map[string]struct {
		f           func()
		says, hides string
	}{
		"Go's own": {func() { none[3]++ }, "index out of range [3]", "\n"},
		"a value":  {func() { panic("key 00112233") }, "panic (string)", "00112233"},
		"an error": {func() { panic(errors.New("key 00112233")) }, "panic (*errors.errorString)", "00112233"},
	} {
		text := caught(c.f).Error()
		if !strings.Contains(text, c.says) || strings.Contains(text, c.hides) || !strings.Contains(text, "keystore.TestPanicked.func") {
			t.Errorf("%s: %q", name, text)
		}
	}
}
