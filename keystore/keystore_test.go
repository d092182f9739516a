package keystore_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"waxseal/keystore"
)

// TestContextEncoding keeps the encoding, to which blobs in the wild are bound: it cannot change.
func TestContextEncoding(t *testing.T) {
	for _, c := range []struct {
		context keystore.Context
		want    string
	}{
		{nil, "00000000"},
		{keystore.Context{}, "00000000"},
		{keystore.Context{"": ""}, "00000001 00000000 00000000"},
		{keystore.Context{"b": "2", "a": "1"}, "00000002 00000001 61 00000001 31 00000001 62 00000001 32"},
		{keystore.Context{"aws:s3:arn": "arn:aws:s3:::b"},
			"00000001 0000000a 6177733a73333a61726e 0000000e 61726e3a6177733a73333a3a3a62"},
		{keystore.Context{"ä": "大"}, "00000001 00000002 c3a4 00000003 e5a4a7"},
	} {
		want := strings.ReplaceAll(c.want, " ", "")
		for range 5 { // a map's order differs from time to time
			if got := hex.EncodeToString(c.context.Encode()); got != want {
				t.Errorf("%v: got %s, want %s", c.context, got, want)
			}
		}
	}
}

// TestContextEncodingIsInjective: contexts made of few, confusable pieces have the same encoding only when equal.
func TestContextEncodingIsInjective(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"", "a", "b", "ab", "\x00", "\x00\x00\x00\x01", "a\x00\x00\x00\x01b"}
	seen := make(map[string]string)
	for range 20000 {
		c := keystore.Context{}
		for range rnd.IntN(4) {
			c[pieces[rnd.IntN(len(pieces))]] = pieces[rnd.IntN(len(pieces))]
		}
		key, printed := string(c.Encode()), fmt.Sprintf("%q", c) // fmt prints maps sorted
		if old, ok := seen[key]; ok && old != printed {
			t.Fatalf("%s and %s have one encoding", old, printed)
		}
		seen[key] = printed
	}
}

// TestSecretsDoNotShow prints, logs and marshals keys, and values with a key in them.
func TestSecretsDoNotShow(t *testing.T) {
	raw := bytes.Repeat([]byte("K"), 32)
	s, err := keystore.NewSecret(raw)
	if err != nil {
		t.Fatal(err)
	}
	dk := keystore.DataKey{Plaintext: s, KeyARN: "arn"}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("x", "secret", s, "pointer", &s, "datakey", dk)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%c", "%U"} {
		fmt.Fprintf(&log, verb, s)
		fmt.Fprintf(&log, verb, &s)
		fmt.Fprintf(&log, verb, dk)
		fmt.Fprintf(&log, verb, []keystore.Secret{s})
	}
	for _, v := range []any{s, &s, dk} {
		if b, err := json.Marshal(v); err == nil {
			t.Errorf("%T was marshalled: %s", v, b)
		}
	}
	handle := keystore.NewHandle(s, "arn", nil)
	fmt.Fprintf(&log, "%v %+v %#v", handle, handle, handle)
	for _, shown := range []string{"KKKK", "75 75", "75, 75", "4b4b", "4B4B", "0x4b, 0x4b", "S0tLS0"} {
		if strings.Contains(log.String(), shown) {
			t.Errorf("the key shows as %q in:\n%s", shown, log.String())
		}
	}
	if _, err := keystore.NewSecret(raw[:31]); err == nil {
		t.Error("a short key was taken")
	}
	if s.Zero(); !s.IsZero() || !bytes.Equal(s.Bytes(), make([]byte, 32)) {
		t.Error("not zeroed")
	}
}

func TestErrors(t *testing.T) {
	e := keystore.Errorf(keystore.Disabled, "arn:x", "%s is disabled.", "arn:x")
	for _, c := range []struct {
		err       error
		kind      keystore.Kind
		transient bool
	}{
		{nil, "", false},
		{e, keystore.Disabled, false},
		{fmt.Errorf("get: %w", e), keystore.Disabled, false},
		{&keystore.Error{Kind: keystore.Throttled}, keystore.Throttled, true},
		{&keystore.Error{Kind: keystore.Unavailable, Err: errors.New("x")}, keystore.Unavailable, true},
		{context.DeadlineExceeded, keystore.Unavailable, true},
		{errors.New("x"), keystore.Internal, false},
	} {
		if got := keystore.KindOf(c.err); got != c.kind {
			t.Errorf("%v: got %s, want %s", c.err, got, c.kind)
		}
		if got := keystore.Transient(c.err); got != c.transient {
			t.Errorf("%v: transient %v", c.err, got)
		}
	}
	if got := e.Error(); got != "keystore: Disabled: arn:x is disabled." {
		t.Errorf("got %q", got)
	}
}
