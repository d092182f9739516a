package proxy

import (
	"net/http"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// TestCORS: a browser's script gets the store's word on its origin with every answer, be it to what waxseal asks the
// store in its own way, from a second request, or an error.
func TestCORS(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		o := op.Header.Get("Origin")
		if o == "" {
			return proxytest.Fault{}
		}
		return proxytest.Fault{Header: func(h http.Header) {
			h.Set("Access-Control-Allow-Origin", o)
			h.Set("Access-Control-Expose-Headers", "ETag")
			h.Set("Access-Control-Allow-Methods", "GET")
			h.Set("Access-Control-Max-Age", "30")
			h.Set("Vary", "Origin")
		}}
	})
	const origin = "https://app.example"
	_, body := k.mustDo(t, "POST", "/bkt/mp?uploads", nil, nil)
	upload := "/bkt/mp?uploadId=" + reply[s3.InitiateMultipartUploadResult](t, body).UploadID
	k.mustDo(t, "PUT", "/bkt/a", nil, noise(1, inlineLimit+1))
	for _, c := range []struct {
		method, target string
		header         map[string]string
		body           []byte
		want           int
	}{
		{"PUT", "/bkt/a", nil, noise(1, inlineLimit+1), 200},
		{"GET", "/bkt/a", nil, nil, 200},
		{"GET", "/bkt/a", map[string]string{"Range": "bytes=-5"}, nil, 206},
		{"GET", "/bkt/a?partNumber=1", nil, nil, 206},
		{"HEAD", "/bkt/a", nil, nil, 200},
		{"GET", "/bkt/a", map[string]string{"If-Match": `"other"`}, nil, 412},
		{"GET", "/bkt/a", map[string]string{"Range": "bytes=99999999-"}, nil, 416},
		{"GET", "/bkt/nosuch", nil, nil, 404},
		{"HEAD", "/bkt/nosuch", nil, nil, 404},
		{"GET", "/bkt?list-type=2", nil, nil, 200},
		{"PUT", upload + "&partNumber=1", nil, make([]byte, 6<<20), 200},
		{"PUT", upload + "&partNumber=2", nil, []byte("held"), 200},
		{"GET", upload, nil, nil, 200},
		{"DELETE", upload, nil, nil, 204},
		{"PUT", "/bkt/copy", map[string]string{"x-amz-copy-source": "/bkt/a"}, nil, 200},
	} {
		resp, body := k.do(t, c.method, c.target, with(c.header, hdr{"Origin": origin}), c.body)
		if resp.StatusCode != c.want {
			t.Errorf("%s %s: %s %s", c.method, c.target, resp.Status, body)
		}
		for name, want := range map[string]string{"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "ETag",
			"Access-Control-Allow-Methods": "GET", "Access-Control-Max-Age": "30", "Vary": "Origin"} {
			if got := resp.Header.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s %s: %s with %s: %q", c.method, c.target, resp.Status, name, got)
			}
		}
	}
	if resp, _ := k.mustDo(t, "GET", "/bkt/a", nil, nil); resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("an answer to no origin speaks of one")
	}
}

// TestPreflightsNeedNoSignature: the query and the header of a preflight are those of the request to come, which is signed for
// another method. Each way to sign has its preflight answered, and no signature makes one more than anybody's.
func TestPreflightsNeedNoSignature(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt?cors", nil, []byte("<CORSConfiguration><CORSRule><AllowedOrigin>https://a</AllowedOrigin><AllowedMethod>PUT</AllowedMethod></CORSRule></CORSConfiguration>"))
	for name, query := range map[string]string{
		"none":       "",
		"version 4":  "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIANOBODY%2F20200101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20200101T000000Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature=00",
		"version 2":  "?AWSAccessKeyId=AKIANOBODY&Expires=1&Signature=AA",
		"of a part":  "?partNumber=1&uploadId=1&X-Amz-Algorithm=AWS4-HMAC-SHA256",
		"of garbage": "?X-Amz-Signature=%00&X-Amz-Credential=%2F",
	} {
		for _, header := range []hdr{nil, {"Authorization": "AWS4-HMAC-SHA256 none"}, {"Authorization": "AWS a:b"}} {
			req, err := http.NewRequest(http.MethodOptions, "http://"+k.endpoint+"/bkt/key"+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			for n, v := range with(header, hdr{"Origin": "https://a", "Access-Control-Request-Method": "PUT"}) {
				req.Header.Set(n, v)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Access-Control-Allow-Origin") != "https://a" || resp.Header.Get("Access-Control-Allow-Methods") != "PUT" {
				t.Errorf("%s, %v: %s %v", name, header, resp.Status, resp.Header)
			}
		}
	}
}

// TestCORSOfHEAD: a HEAD, which asks the store with GET, follows the rules for HEAD.
func TestCORSOfHEAD(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/key", nil, []byte("x"))
	for _, allowed := range []string{"GET", "HEAD"} {
		k.mustDo(t, "PUT", "/bkt?cors", nil, []byte("<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>"+allowed+"</AllowedMethod></CORSRule></CORSConfiguration>"))
		for _, method := range []string{"GET", "HEAD"} {
			for _, key := range []string{"key", "none"} {
				resp, _ := k.do(t, method, "/bkt/"+key, hdr{"Origin": "https://a"}, nil)
				if got := resp.Header.Get("Access-Control-Allow-Origin") != ""; got != (method == allowed) {
					t.Errorf("%s of %s where %s is allowed: %v", method, key, allowed, resp.Header)
				}
			}
		}
	}
}
