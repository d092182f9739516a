package proxy

import (
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
)

// TestConditionAndChangeInPlace: a copy in place between a condition's evaluation and the store's write replaces the store's
// object, and leaves the ETag that clients see. The condition did not fail: the answer is S3's 409 for a conflict. After a
// change of the object itself it is 412.
func TestConditionAndChangeInPlace(t *testing.T) {
	const deleteOne = `<Delete><Object><Key>a</Key><ETag>ETAG</ETag></Object></Delete>`
	inPlace := map[string]string{"x-amz-copy-source": "/bkt/a", "x-amz-checksum-algorithm": "SHA256", hdrSSE: algAES256}
	for _, c := range []struct {
		name, method, target, atStore string
		header                        map[string]string
		body                          string
	}{
		{"PutObject", "PUT", "/bkt/a", "PutObject", nil, "new"},
		{"CopyObject", "PUT", "/bkt/a", "PutObject", map[string]string{"x-amz-copy-source": "/bkt/b", "x-amz-checksum-algorithm": "SHA256"}, ""},
		{"CopyObject of ciphertext", "PUT", "/bkt/a", "CompleteMultipartUpload", map[string]string{"x-amz-copy-source": "/bkt/b"}, ""},
		{"CompleteMultipartUpload", "POST", "", "CompleteMultipartUpload", nil, ""},
		{"DeleteObject", "DELETE", "/bkt/a", "DeleteObject", nil, ""},
		{"DeleteObjects", "POST", "/bkt?delete", "DeleteObject", nil, deleteOne},
	} {
		for want, change := range map[string]func(k *kit){
			"ConditionalRequestConflict": func(k *kit) { k.mustDo(t, "PUT", "/bkt/a", inPlace, nil) },
			"PreconditionFailed":         func(k *kit) { k.mustDo(t, "PUT", "/bkt/a", nil, []byte("other")) },
		} {
			t.Run(c.name+" "+want, func(t *testing.T) {
				k, u := overMemory(t, proxytest.Options{HonourDeleteIfMatch: true}, nil)
				if err := k.server.up.ProbeOnce(t.Context(), k.server.scratch()); err != nil {
					t.Fatal(err)
				}
				k.mustDo(t, "PUT", "/bkt/b", nil, []byte("source"))
				resp, _ := k.mustDo(t, "PUT", "/bkt/a", nil, []byte("old"))
				header, body, target := map[string]string{}, strings.Replace(c.body, "ETAG", resp.Header.Get("Etag"), 1), c.target
				for name, value := range c.header {
					header[name] = value
				}
				switch c.name {
				case "CompleteMultipartUpload":
					up := k.rawUpload(t, "/bkt/a", nil)
					up.mustPut(1, nil, []byte("part"))
					target, body = up.target, string(up.list())
					header["If-Match"] = resp.Header.Get("Etag")
				case "DeleteObjects":
					header = withMD5(body)
				default:
					header["If-Match"] = resp.Header.Get("Etag")
				}
				at, release := blockFirst(u, c.atStore)
				answer := k.asyncDo(t, c.method, target, header, []byte(body))
				select {
				case <-at:
				case got := <-answer:
					t.Fatal("the store was not asked: ", got)
				}
				change(k)
				release()
				if got := <-answer; !strings.Contains(got, "<Code>"+want+"</Code>") {
					t.Error(got)
				}
				if resp, _ := k.mustDo(t, "GET", "/bkt/a", nil, nil); resp.StatusCode != 200 {
					t.Error(resp.Status)
				}
			})
		}
	}
}
