package sse

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestKeysDoNotPrint(t *testing.T) {
	k, err := KeyFrom(bytes.Repeat([]byte("SECRET.."), 4))
	if err != nil {
		t.Fatal(err)
	}
	keys := Keys{Data: k, Outer: k, Double: true}
	service := ServiceKey{ID: 1, Key: k}
	o := sealObject(t, true, 10)
	o.keys = keys
	reader, _ := keys.Open(o.layout, o.layout.Range(0, 10), bytes.NewReader(o.body))
	part := keys.SealPart(1, bytes.NewReader(nil), 0)
	nested := struct{ r, p any }{reader, part}
	var out strings.Builder
	for _, v := range []any{k, &k, keys, &keys, service, []Key{k}, map[string]Key{"k": k}, struct{ K Key }{k}, reader, part, nested} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%b"} {
			fmt.Fprintf(&out, verb, v)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("key", "k", k, "p", &k, "keys", keys, "service", service)
	}
	if err := json.NewEncoder(&out).Encode(map[string]any{"k": k, "keys": keys}); err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{"SECRET", hex.EncodeToString([]byte("SECRET")), strings.ToUpper(hex.EncodeToString([]byte("SECRET"))), "83 69 67", "0x53, 0x45", "1010011 1000101", "83,69"} {
		if strings.Contains(out.String(), leak) {
			i := strings.Index(out.String(), leak)
			t.Errorf("printed as %q in %.300q", leak, out.String()[max(0, i-200):])
		}
	}
	for _, field := range []string{"gcm", "GCM", "aes."} {
		if strings.Contains(out.String(), field) {
			t.Errorf("a cipher with its key schedule was printed: %s", field)
		}
	}
	if !strings.Contains(out.String(), "sse.Key(redacted)") {
		t.Error("not printed as redacted")
	}
}

func TestKeyFrom(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := KeyFrom(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes", n)
		}
	}
	b := bytes.Repeat([]byte{7}, 32)
	k, err := KeyFrom(b)
	b[0] = 0
	if err != nil || k.b[0] != 7 {
		t.Error("the key is not a copy")
	}
	k.Zero()
	if one, other := NewKey(), NewKey(); !k.IsZero() || one.IsZero() || one == other {
		t.Error("Zero or NewKey")
	}
}

// TestDerivation checks HKDF's use against a value from another implementation (Python's cryptography), and shows
// that every input counts.
func TestDerivation(t *testing.T) {
	k, _ := KeyFrom([]byte("0123456789abcdef0123456789abcdef"))
	other, _ := KeyFrom([]byte("0123456789abcdef0123456789abcdeg"))
	seen := map[Key]string{}
	for name, d := range map[string]Key{
		"plain": k.Derive(nil, "a"), "salt": k.Derive([]byte{1}, "a"), "label": k.Derive(nil, "b"), "key": other.Derive(nil, "a"),
		"commitment": {k.Commitment()},
		"two keys":   {Keys{Data: k, Outer: other, Double: true}.Commitment()},
		"exchanged":  {Keys{Data: other, Outer: k, Double: true}.Commitment()},
	} {
		if seen[d] != "" {
			t.Errorf("%s and %s are the same", name, seen[d])
		}
		seen[d] = name
	}
	if (Keys{Data: k}).Commitment() != k.Commitment() {
		t.Error("with one layer the commitment is the data key's")
	}
	commitment := k.Commitment()
	if got := hex.EncodeToString(commitment[:]); got != commitmentByPython {
		t.Error("commitment", got)
	}
}

func TestVerifier(t *testing.T) {
	k := NewKey()
	blob := NewVerifier(k)
	if len(blob) != 32 || !CheckVerifier(blob, k) {
		t.Fatal("the key's own verifier is refused")
	}
	if CheckVerifier(blob, NewKey()) || CheckVerifier(flipped(blob, 0), k) || CheckVerifier(flipped(blob, 31), k) ||
		CheckVerifier(blob[:31], k) || CheckVerifier(nil, k) {
		t.Error("a wrong verifier is accepted")
	}
	if bytes.Equal(blob, NewVerifier(k)) {
		t.Error("verifiers of one key are equal")
	}
}

const commitmentByPython = "65b40077c359ce6657dc180d2f87f8e3e24e2e7b1a03ccb5ce853fa03b26f90e"
