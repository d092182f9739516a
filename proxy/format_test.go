package proxy

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"maps"
	"testing"

	"waxseal/keystore"
	"waxseal/proxy/proxytest"
	"waxseal/sse"
)

// TestFormatInWaxseal opens what the store has as section 7 of sse/FORMAT.md says: with the sse package, keys of the KMS, and
// bytes that are put together here.
func TestFormatInWaxseal(t *testing.T) {
	const clientContext = `{"team":"blue"}`
	customer := bytes.Repeat([]byte{7}, 32)
	kms := func(m map[string]string) map[string]string {
		all := map[string]string{hdrKMSKey: testKeyARN, hdrContext: base64.StdEncoding.EncodeToString([]byte(clientContext))}
		maps.Copy(all, m)
		return all
	}
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.AllowInsecureSSEC = true })
	root := func() []byte { return k.root.kek.Bytes() }
	decrypt := func(env *sse.Envelope, arn string) []byte {
		dk, err := k.kms.Decrypt(context.Background(), keystore.Caller{}, env.KeyBlob, env.KeyID, keystore.Context{"aws:s3:arn": arn, "team": "blue"})
		if err != nil {
			t.Fatal(err)
		}
		return dk.Plaintext.Bytes()
	}
	const object, bucket = "arn:aws:s3:::bkt/dir/ключ", "arn:aws:s3:::bkt"
	for name, c := range map[string]struct {
		header     map[string]string
		mode       byte
		kek, outer func(*sse.Envelope) []byte
	}{
		"SSE-S3":     {nil, 1, func(*sse.Envelope) []byte { return root() }, nil},
		"SSE-KMS":    {kms(map[string]string{hdrSSE: "aws:kms"}), 2, func(e *sse.Envelope) []byte { return decrypt(e, object) }, nil},
		"bucket key": {kms(map[string]string{hdrSSE: "aws:kms", hdrBucket: "true"}), 2, func(e *sse.Envelope) []byte { return decrypt(e, bucket) }, nil},
		"DSSE-KMS":   {kms(map[string]string{hdrSSE: "aws:kms:dsse"}), 3, func(e *sse.Envelope) []byte { return decrypt(e, object) }, func(*sse.Envelope) []byte { return root() }},
		"SSE-C":      {customerHeaders(customer), 4, func(*sse.Envelope) []byte { return customer }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			want := noise(1, 200_000)
			k.mustDo(t, "PUT", "/bkt/dir/%D0%BA%D0%BB%D1%8E%D1%87", c.header, want)
			s, _ := u.Object("bkt", "dir/ключ")
			env, err := sse.ParseEnvelope(s.Header.Get("x-amz-meta-waxseal"))
			if err != nil {
				t.Fatal(err)
			}
			kek, err := sse.KeyFrom(c.kek(env))
			if err != nil {
				t.Fatal(err)
			}
			var outer sse.Key
			if c.outer != nil {
				if outer, err = sse.KeyFrom(c.outer(env)); err != nil {
					t.Fatal(err)
				}
			}
			binding := "\x00\x00\x00\x0dwaxseal/v1/s3" + "\x00\x00\x00\x03bkt" + "\x00\x00\x00\x0cdir/ключ" + string([]byte{c.mode})
			keys, _, err := env.Open(kek, outer, []byte(binding))
			if err != nil {
				t.Fatal(err)
			}
			layout, err := env.Layout(int64(len(s.Body)))
			if err != nil {
				t.Fatal(err)
			}
			all := layout.Range(0, layout.Size())
			r, err := keys.Open(layout, all, bytes.NewReader(s.Body[all.Offset:all.Offset+all.Length]))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}
