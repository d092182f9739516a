package sigv4_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"waxseal/keystore/sigv4"
)

// streamed makes a signed aws-chunked request and body out of the given chunks, with any claims in the headers.
func streamed(t testing.TB, v *sigv4.Verifier, payload, decoded, trailers string, parts [][]byte) (*sigv4.Request, string) {
	r := set(plainRequest(), "X-Amz-Content-Sha256", payload)
	r.ContentLength = -1
	names := "host;x-amz-content-sha256;x-amz-date"
	if decoded != "" {
		r = set(r, "X-Amz-Decoded-Content-Length", decoded)
		names += ";x-amz-decoded-content-length"
	}
	if trailers != "" {
		r = set(r, "X-Amz-Trailer", trailers)
		names += ";x-amz-trailer"
	}
	r = signed(t, v, r, docScope, docTime, names)
	auth := get(r, "Authorization")
	previous := auth[len(auth)-64:]
	var body strings.Builder
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	prefix := "\n20130524T000000Z\n" + docScope + "\n"
	for _, part := range parts {
		previous = signText(docScope, "AWS4-HMAC-SHA256-PAYLOAD"+prefix+previous+"\n"+emptySum+"\n"+sum(part))
		fmt.Fprintf(&body, "%x;chunk-signature=%s\r\n%s\r\n", len(part), previous, part)
	}
	return r, body.String()
}

func TestChunkRefusals(t *testing.T) {
	v := docVerifier()
	ab := [][]byte{bytes.Repeat([]byte("a"), 8192), []byte("bbb"), nil}
	for _, tc := range []struct {
		name, decoded string
		parts         [][]byte
		edit          func(string) string
		code          string
		released      int
	}{
		{"right", "8195", ab, nil, "", 8195},
		{"empty", "0", [][]byte{nil}, nil, "", 0},
		{"upper-case size", "8195", ab, func(s string) string { return strings.Replace(s, "2000;", "002000;", 1) }, "", 8195},
		{"no final line end", "8195", ab, func(s string) string { return s[:len(s)-2] }, "", 8195},
		{"reordered", "8195", ab, func(s string) string {
			i := strings.Index(s, "3;chunk")
			j := strings.Index(s, "0;chunk-signature="+s[strings.LastIndex(s, "=")+1:len(s)-4])
			return s[i:j] + s[:i] + s[j:]
		}, "SignatureDoesNotMatch", 0},
		{"repeated", "8198", ab, func(s string) string {
			i, j := strings.Index(s, "3;chunk"), strings.LastIndex(s, "0;chunk")
			return s[:j] + s[i:j] + s[j:]
		}, "SignatureDoesNotMatch", 8195},
		{"dropped", "8192", ab, func(s string) string {
			i, j := strings.Index(s, "3;chunk"), strings.LastIndex(s, "0;chunk")
			return s[:i] + s[j:]
		}, "SignatureDoesNotMatch", 8192},
		{"no final chunk", "8195", ab[:2], nil, "IncompleteBody", 8195},
		{"cut", "8195", ab, func(s string) string { return s[:4000] }, "IncompleteBody", 0},
		{"cut in the final header", "8195", ab, func(s string) string { return s[:len(s)-10] }, "IncompleteBody", 8195},
		{"more than declared", "8194", ab, nil, "IncompleteBody", 8192},
		{"less than declared", "8196", ab, nil, "IncompleteBody", 8195},
		{"longer header", "8195", ab, func(s string) string { return strings.Replace(s, ";chunk", strings.Repeat(" ", 300)+";chunk", 1) }, "IncompleteBody", 0},
		{"endless header", "8195", ab, func(s string) string { return strings.Repeat("0", 1<<20) }, "IncompleteBody", 0},
		{"overflow", "8195", ab, func(s string) string { return "ffffffffffffffff" + s[4:] }, "IncompleteBody", 0},
		{"longer than int64", "8195", ab, func(s string) string { return "10000000000000000" + s[4:] }, "IncompleteBody", 0},
		{"negative", "8195", ab, func(s string) string { return "-" + s }, "IncompleteBody", 0},
		{"plus", "8195", ab, func(s string) string { return "+" + s }, "IncompleteBody", 0},
		{"no size", "8195", ab, func(s string) string { return s[4:] }, "IncompleteBody", 0},
		{"no signature", "8195", ab, func(s string) string { return "2000\r\n" + s[strings.Index(s, "\r\n")+2:] }, "IncompleteBody", 0},
		{"wrong end", "8195", ab, func(s string) string { return strings.Replace(s, "a\r\n", "aXX", 1) }, "IncompleteBody", 0},
		{"behind the end", "8195", ab, func(s string) string { return s + "GET / HTTP/1.1\r\n" }, "IncompleteBody", 8195},
		{"trailers not allowed", "8195", ab, func(s string) string { return s[:len(s)-2] + "x-amz-checksum-crc32:AAAA\r\n\r\n" }, "IncompleteBody", 8195},
		{"last byte", "8195", ab, func(s string) string { return s[:len(s)-1] + "s" }, "IncompleteBody", 8195},
		{"header without CR", "8195", ab, func(s string) string { return strings.Replace(s, "\r\n", "\n", 1) }, "IncompleteBody", 0},
		{"large chunk", "33554433", [][]byte{bytes.Repeat([]byte("a"), 32<<20+1), nil}, nil, "", 32<<20 + 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, body := streamed(t, v, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", tc.decoded, "", tc.parts)
			a, err := v.Verify(r)
			if err != nil {
				t.Fatal(err)
			}
			if tc.edit != nil {
				body = tc.edit(body)
			}
			got, b, err := readBody(t, a, []byte(body))
			if len(got) != tc.released {
				t.Errorf("released %d bytes, want %d", len(got), tc.released)
			}
			if tc.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantCode(t, err, tc.code)
			if _, again := b.Read(make([]byte, 1)); again != err {
				t.Fatalf("the error does not stick: %v", again)
			}
		})
	}
	r, _ := streamed(t, v, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "0", "", nil)
	_, err := v.Verify(set(r, "X-Amz-Decoded-Content-Length", ""))
	if e := wantCode(t, err, "MissingContentLength"); e.Status != 411 {
		t.Fatal(e.Status)
	}
	for _, bad := range []string{"-1", "abc", "9223372036854775808", "1.5"} {
		_, err := v.Verify(set(r, "X-Amz-Decoded-Content-Length", bad))
		wantCode(t, err, "MissingContentLength")
	}
}

func TestTrailerRefusals(t *testing.T) {
	r, body := trailerExample()
	a, err := docVerifier().Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	open := *a
	open.ContentLength = -1
	text := string(body)
	end := strings.Index(text, "x-amz-checksum")
	signature := text[strings.Index(text, "x-amz-trailer-signature"):]
	for _, tc := range []struct{ name, code, body string }{
		{"value", "SignatureDoesNotMatch", strings.Replace(text, "sOO8", "sOO9", 1)},
		{"name", "MalformedTrailerError", strings.Replace(text, "crc32c:", "crc32:", 1)},
		{"missing", "MalformedTrailerError", text[:end] + signature},
		{"no signature", "MalformedTrailerError", strings.Replace(text, signature, "\r\n", 1)},
		{"nothing", "IncompleteBody", text[:end]},
		{"added behind", "MalformedTrailerError", text[:len(text)-2] + "x-amz-meta-a:b\r\n\r\n"},
		{"added before", "MalformedTrailerError", text[:end] + "x-amz-meta-a:b\r\n" + text[end:]},
		{"signature", "SignatureDoesNotMatch", strings.Replace(text, "d81f82fc", "d81f82fd", 1)},
		{"no colon", "MalformedTrailerError", text[:end] + "garbage\r\n" + text[end:]},
		{"too much", "MalformedTrailerError", text[:end] + strings.Repeat("x:y\r\n", 10000)},
		{"cut", "", text[:len(text)-20]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, b, err := readBody(t, &open, []byte(tc.body))
			if tc.code == "" {
				if err == nil {
					t.Fatal("passed")
				}
			} else {
				wantCode(t, err, tc.code)
			}
			if b.Trailers() != nil {
				t.Fatal("trailers of a bad body")
			}
		})
	}
}

func TestUnsignedTrailerRefusals(t *testing.T) {
	v := docVerifier()
	verify := func(decoded, names string) *sigv4.Auth {
		r, _ := streamed(t, v, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", decoded, names, nil)
		a, err := v.Verify(r)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	const sum = "x-amz-checksum-crc32:NhCmhg==\r\n"
	for _, tc := range []struct{ name, decoded, names, body, code string }{
		{"right", "5", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\n" + sum + "\r\n", ""},
		{"two chunks", "5", "X-Amz-Checksum-Crc32", "2\r\nhe\r\n3\r\nllo\r\n0\r\n" + sum + "\r\n", ""},
		{"no trailer", "5", "", "5\r\nhello\r\n0\r\n\r\n", ""},
		{"two trailers", "0", "x-amz-checksum-crc32, x-amz-meta-x", "0\r\n" + sum + "x-amz-meta-x: y\r\n\r\n", ""},
		{"announced, missing", "5", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\n\r\n", "MalformedTrailerError"},
		{"not announced", "5", "", "5\r\nhello\r\n0\r\n" + sum + "\r\n", "MalformedTrailerError"},
		{"other name", "5", "x-amz-checksum-crc32c", "5\r\nhello\r\n0\r\n" + sum + "\r\n", "MalformedTrailerError"},
		{"twice", "5", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\n" + sum + sum + "\r\n", "MalformedTrailerError"},
		{"cut", "5", "x-amz-checksum-crc32", "5\r\nhel", "IncompleteBody"},
		{"no last chunk", "5", "x-amz-checksum-crc32", "5\r\nhello\r\n", "IncompleteBody"},
		{"more", "4", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\n" + sum + "\r\n", "IncompleteBody"},
		{"less", "6", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\n" + sum + "\r\n", "IncompleteBody"},
		{"size without CR", "5", "x-amz-checksum-crc32", "5\nhello\r\n0\r\n" + sum + "\r\n", "IncompleteBody"},
		{"no empty line", "5", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\n" + sum, "IncompleteBody"},
		{"no empty line, no trailer", "5", "", "5\r\nhello\r\n0\r\n", "IncompleteBody"},
		{"last byte", "5", "x-amz-checksum-crc32", "5\r\nhello\r\n0\r\n" + sum + "\rX", "IncompleteBody"},
		{"wrong end", "5", "x-amz-checksum-crc32", "5\r\nhelloXX0\r\n" + sum + "\r\n", "IncompleteBody"},
		{"signed chunk", "5", "x-amz-checksum-crc32", "5;chunk-signature=00\r\nhello\r\n0\r\n" + sum + "\r\n", "IncompleteBody"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _, err := readBody(t, verify(tc.decoded, tc.names), []byte(tc.body))
			if tc.code == "" {
				if err != nil || len(got) != int(tc.decoded[0]-'0') {
					t.Fatalf("%q, %v", got, err)
				}
				return
			}
			wantCode(t, err, tc.code)
		})
	}
}

// TestCutBody: fasthttp ends the stream of a cut upload without an error, and Body must still refuse it.
func TestCutBody(t *testing.T) {
	v := docVerifier()
	for _, payload := range []string{"UNSIGNED-PAYLOAD", emptySum} {
		r := set(plainRequest(), "X-Amz-Content-Sha256", payload)
		r.ContentLength = 20000
		a, err := v.Verify(signed(t, v, r, docScope, docTime, "host;x-amz-content-sha256;x-amz-date"))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = readBody(t, a, make([]byte, 9000))
		wantCode(t, err, "IncompleteBody")
	}
}

// TestLargeChunksPass: a chunk above heldChunk passes in pieces, and not to its end when its signature is wrong.
func TestLargeChunksPass(t *testing.T) {
	v := docVerifier()
	large := bytes.Repeat([]byte("abcdefgh"), 64<<10)
	parts := [][]byte{large, []byte("small"), large[:300_000], nil}
	total := len(large) + 5 + 300_000
	r, body := streamed(t, v, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", fmt.Sprint(total), "", parts)
	a, err := v.Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := readBody(t, a, []byte(body))
	if err != nil || !bytes.Equal(got, bytes.Join(parts, nil)) {
		t.Fatalf("%d bytes of %d, %v", len(got), total, err)
	}
	last := strings.LastIndex(body, "493e0;chunk") // 300,000 bytes
	for name, at := range map[string]int{
		"first byte": 200, "last byte": 87 + len(large) - 1, "first signature": 40, "chunk's end": 88 + len(large),
		"a byte of the last chunk": last + 1000, "last signature": last + 40,
	} {
		altered := []byte(body)
		altered[at] ^= 1
		got, _, err := readBody(t, a, altered)
		if err == nil {
			t.Errorf("%s: an altered body is taken", name)
		}
		if at < last && len(got) >= len(large) || len(got) >= total {
			t.Errorf("%s: all of an altered chunk was released", name)
		}
	}
	for _, size := range []int{100_000, len(large) + 50} {
		if got, _, err := readBody(t, a, []byte(body)[:size]); err == nil || len(got) >= len(large) {
			t.Errorf("cut at %d: %d bytes, %v", size, len(got), err)
		}
	}
}
