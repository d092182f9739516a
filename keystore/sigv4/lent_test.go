package sigv4_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"unsafe"

	"waxseal/keystore/sigv4"
)

// lend copies a request into memory and returns a function that overwrites it, as fasthttp reuses a request's buffer.
func lend(r *sigv4.Request) (lent *sigv4.Request, takeBack func()) {
	var buffers [][]byte
	text := func(s string) string {
		if s == "" {
			return ""
		}
		b := []byte(s)
		buffers = append(buffers, b)
		return unsafe.String(&b[0], len(b))
	}
	lent = &sigv4.Request{Method: text(r.Method), RawPath: text(r.RawPath), RawQuery: text(r.RawQuery), Host: text(r.Host),
		ContentLength: r.ContentLength, BodySHA256: text(r.BodySHA256), Bucket: text(r.Bucket)}
	for _, h := range r.Headers {
		lent.Headers = append(lent.Headers, sigv4.Header{Name: text(h.Name), Value: text(h.Value)})
	}
	return lent, func() {
		for _, b := range buffers {
			copy(b, bytes.Repeat([]byte("#"), len(b)))
		}
	}
}

// TestLentMemory wants Auth, the key cache and errors to hold nothing of the request's memory.
func TestLentMemory(t *testing.T) {
	chunked, chunkedBody := trailerExample()
	presigned := &sigv4.Request{Method: "GET", RawPath: "/test.txt", RawQuery: presignedQuery, Host: "examplebucket.s3.amazonaws.com"}
	wrong := set(chunked, "Authorization", get(chunked, "Authorization")+"0")
	for i, r := range []*sigv4.Request{chunked, presigned, wrong, set(chunked, "x-amz-lower", "x"), set(chunked, "x-amz-content-sha256", "bad"),
		set(chunked, "Authorization", "Basic x"), set(chunked, "x-amz-decoded-content-length", "x")} {
		v := docVerifier()
		v.AllowV2 = true
		lent, takeBack := lend(r)
		a, err := v.Verify(lent)
		shown := func() string {
			if e, ok := sigv4.AsError(err); ok {
				return fmt.Sprintf("%v %v", e, e.Fields)
			}
			c := *a
			return fmt.Sprint(c.AccessKey, c.Region, c.SignedHeaders, c.ContentSHA256, c.TrailerNames)
		}
		before := shown()
		takeBack()
		if after := shown(); after != before {
			t.Errorf("%d: was %s\nis  %s", i, before, after)
		}
		if r == chunked {
			b, err := a.Body(bytes.NewReader(chunkedBody))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(b); err != nil {
				t.Fatal(err)
			}
			if _, err := v.Verify(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}
