package proxy

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// lostNames are keys that XML 1.0 cannot hold, and those that look like them in a listing.
var lostNames = []string{"a\x01b", "q\x1f", "\x7f\x02/x", "b\uFFFE", "c\uFFFF", "d\uFFFDd", "t\vt"}

func probed(t *testing.T, o proxytest.Options) (*kit, *proxytest.Upstream) {
	t.Helper()
	k, u := overMemory(t, o, nil)
	if err := k.server.up.ProbeOnce(context.Background(), k.server.scratch()); err != nil {
		t.Fatal(err)
	}
	return k, u
}

// TestNamesThatXMLCannotHold: before a store that lists such names as others, no request writes them. Another store
// takes them.
func TestNamesThatXMLCannotHold(t *testing.T) {
	writes := map[string]func(t *testing.T, k *kit, path string) (*http.Response, []byte){
		"PutObject": func(t *testing.T, k *kit, path string) (*http.Response, []byte) {
			return k.do(t, "PUT", path, nil, []byte("x"))
		},
		"CreateMultipartUpload": func(t *testing.T, k *kit, path string) (*http.Response, []byte) {
			return k.do(t, "POST", path+"?uploads=", nil, nil)
		},
		"CopyObject": func(t *testing.T, k *kit, path string) (*http.Response, []byte) {
			return k.do(t, "PUT", path, map[string]string{"x-amz-copy-source": "/bkt/source"}, nil)
		},
	}
	refusedOnly := map[string]func(t *testing.T, k *kit, path string) (*http.Response, []byte){
		"UploadPart": func(t *testing.T, k *kit, path string) (*http.Response, []byte) {
			return k.do(t, "PUT", path+"?partNumber=1&uploadId=x", nil, []byte("x"))
		},
		"UploadPartCopy": func(t *testing.T, k *kit, path string) (*http.Response, []byte) {
			return k.do(t, "PUT", path+"?partNumber=1&uploadId=x", map[string]string{"x-amz-copy-source": "/bkt/source"}, nil)
		},
		"CompleteMultipartUpload": func(t *testing.T, k *kit, path string) (*http.Response, []byte) {
			return k.do(t, "POST", path+"?uploadId=x", nil, []byte("<CompleteMultipartUpload/>"))
		},
	}
	for _, plain := range []bool{true, false} {
		k, u := probed(t, proxytest.Options{PlainNames: plain})
		if k.server.up.Capabilities().LosesNames != plain {
			t.Fatalf("the probe found %+v of a store with PlainNames %v", k.server.up.Capabilities(), plain)
		}
		k.mustDo(t, "PUT", "/bkt/source", nil, []byte("x"))
		for _, key := range lostNames {
			path := "/bkt/" + s3.EscapePath(key)
			for name, send := range writes {
				resp, body := send(t, k, path)
				if plain {
					wantError(t, resp, body, 400, s3.InvalidArgumentCode)
				} else if resp.StatusCode != 200 {
					t.Errorf("%s of %q: %s\n%s", name, key, resp.Status, body)
				}
			}
			resp, body := k.post(t, newForm([]byte("x"), "key", key))
			if plain {
				wantError(t, resp, body, 400, s3.InvalidArgumentCode)
				for _, send := range refusedOnly {
					resp, body := send(t, k, path)
					wantError(t, resp, body, 400, s3.InvalidArgumentCode)
				}
			} else if resp.StatusCode != 204 {
				t.Errorf("form for %q: %s\n%s", key, resp.Status, body)
			}
			if _, there := u.Object("bkt", key); there == plain {
				t.Errorf("%q: PlainNames %v, at the store %v", key, plain, there)
			}
			k.do(t, "HEAD", path, nil, nil) // is let through
			if resp, body := k.do(t, "DELETE", path, nil, nil); resp.StatusCode != 204 {
				t.Errorf("DELETE of %q: %s\n%s", key, resp.Status, body)
			}
		}
	}
}

// TestPagesBehindLostNames: of names that were at the store before, a listing neither skips others nor goes round.
func TestPagesBehindLostNames(t *testing.T) {
	keys := []string{"a b", "a!b", "a\x01b", "a/b", "az", "b\uFFFE", "c"}
	for _, plain := range []bool{true, false} {
		k, _ := probed(t, proxytest.Options{})
		for _, key := range keys {
			k.mustDo(t, "PUT", "/bkt/"+s3.EscapePath(key), nil, []byte("0123456789"))
		}
		if plain {
			caps := k.server.up.Capabilities()
			caps.LosesNames = true
			k.server.up.Assume(caps)
		}
		for _, marker := range []string{"marker", "list-type=2&start-after", "versions=&key-marker"} {
			resp, body := k.do(t, "GET", "/bkt?"+marker+"=a%EF%BF%BDb", nil, nil)
			if plain {
				wantError(t, resp, body, 400, s3.InvalidArgumentCode)
			} else if resp.StatusCode != 200 {
				t.Errorf("%s: %s\n%s", marker, resp.Status, body)
			}
		}
	}
	k, u := overMemory(t, proxytest.Options{PlainNames: true}, nil)
	caps := k.server.up.Capabilities()
	caps.LosesNames = false
	k.server.up.Assume(caps)
	for _, key := range keys {
		k.mustDo(t, "PUT", "/bkt/"+s3.EscapePath(key), nil, []byte("0123456789"))
	}
	caps.LosesNames = true
	k.server.up.Assume(caps)
	token, seen := "", []string{}
	for range len(keys) + 1 {
		resp, body := k.do(t, "GET", "/bkt?list-type=2&encoding-type=url&max-keys=1"+token, nil, nil)
		if resp.StatusCode != 200 {
			wantError(t, resp, body, 400, s3.InvalidArgumentCode)
			break
		}
		page := reply[s3.ListBucketResultV2](t, body)
		for _, o := range page.Contents {
			seen = append(seen, o.Key)
		}
		if token = "&continuation-token=" + s3.EscapeQuery(page.NextContinuationToken); !page.IsTruncated {
			t.Fatalf("the listing ended after %q", seen)
		}
	}
	if len(seen) != 1 || !strings.Contains(seen[0], "%EF%BF%BD") {
		t.Errorf("listed: %q", seen)
	}
	if !slices.Contains(u.Operations(), "ListObjectsV2") {
		t.Error("no listing reached the store")
	}
}

// TestFoldersOfMinIO: a name that MinIO takes for a folder's reaches no folder, by any operation.
func TestFoldersOfMinIO(t *testing.T) {
	k, u := probed(t, proxytest.Options{FoldFolders: true})
	if !k.server.up.Capabilities().FoldsFolders {
		t.Fatal("the probe did not find it")
	}
	k.mustDo(t, "PUT", "/bkt/d/", nil, []byte("folder"))
	k.mustDo(t, "PUT", "/bkt/source", nil, []byte("x"))
	u.ClearRequests()
	for _, key := range []string{"d__XLDIR__", "__XLDIR__", "a/d__XLDIR__", "d__XLDIR__/x", "d__XLDIR__/"} {
		for _, r := range []struct {
			method, query string
			header        map[string]string
		}{
			{"PUT", "", nil}, {"GET", "", nil}, {"HEAD", "", nil}, {"DELETE", "", nil}, {"POST", "uploads=", nil}, {"PUT", "tagging=", nil},
			{"PUT", "", map[string]string{"x-amz-copy-source": "/bkt/source"}}, {"GET", "attributes=", map[string]string{"x-amz-object-attributes": "ETag"}},
			{"PUT", "acl=", nil}, {"PUT", "retention=", nil}, {"PUT", "uploadId=x&partNumber=1", nil}, {"POST", "uploadId=x", nil},
		} {
			resp, body := k.do(t, r.method, "/bkt/"+key+"?"+r.query, r.header, nil)
			if r.method == "HEAD" {
				if resp.StatusCode != 400 {
					t.Errorf("HEAD of %s: %s", key, resp.Status)
				}
				continue
			}
			wantError(t, resp, body, 400, s3.InvalidArgumentCode)
		}
		resp, body := k.do(t, "PUT", "/bkt/copy", map[string]string{"x-amz-copy-source": "/bkt/" + key}, nil)
		wantError(t, resp, body, 400, s3.InvalidArgumentCode)
		resp, body = k.post(t, newForm([]byte("x"), "key", key))
		wantError(t, resp, body, 400, s3.InvalidArgumentCode)
		doc := "<Delete><Object><Key>" + key + "</Key></Object></Delete>"
		resp, body = k.do(t, "POST", "/bkt?delete=", map[string]string{"Content-MD5": s3.Base64(md5Sum([]byte(doc)))}, []byte(doc))
		if resp.StatusCode != 200 || !strings.Contains(string(body), "InvalidArgument") {
			t.Errorf("DeleteObjects of %s: %s\n%s", key, resp.Status, body)
		}
	}
	if got := u.Operations(); len(got) > 0 {
		t.Errorf("reached the store: %v", got)
	}
	if _, got := k.mustDo(t, "GET", "/bkt/d/", nil, nil); string(got) != "folder" {
		t.Errorf("the folder holds %q", got)
	}
	k, _ = probed(t, proxytest.Options{})
	k.mustDo(t, "PUT", "/bkt/d__XLDIR__", nil, []byte("x"))
}
