package s3

import (
	"fmt"
	"strings"
	"testing"
)

// TestEscape: every byte alone, and behind characters that stand for themselves.
func TestEscape(t *testing.T) {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	for c := range 256 {
		text := string([]byte{byte(c)})
		want := text
		if !strings.Contains(plain, text) {
			want = fmt.Sprintf("%%%02X", c)
		}
		if got := EscapeQuery(text); got != want {
			t.Errorf("%q: %s", text, got)
		}
		if got := EscapeQuery("a~" + text + "b"); got != "a~"+want+"b" {
			t.Errorf("a~%qb: %s", text, got)
		}
		if c == '/' {
			want = "/"
		}
		if got := EscapePath(text); got != want {
			t.Errorf("%q in a path: %s", text, got)
		}
	}
}
