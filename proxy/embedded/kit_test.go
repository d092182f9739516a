package embedded

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/s3"
)

// kit is a store of which a test is the owner.
type kit struct {
	t     testing.TB
	store *Store
	now   time.Time
}

// onBoth runs a test over both media.
func onBoth(t *testing.T, cfg Config, test func(*kit)) {
	t.Helper()
	for name, open := range map[string]func(*testing.T) medium{
		"memory": func(*testing.T) medium { return newMemory() },
		"disk": func(t *testing.T) medium {
			m, err := openDisk(filepath.Join(t.TempDir(), "store"))
			if err != nil {
				t.Fatal(err)
			}
			return m
		},
	} {
		t.Run(name, func(t *testing.T) { test(newKit(t, open(t), cfg)) })
	}
}

func newKit(t testing.TB, m medium, cfg Config) *kit {
	t.Helper()
	k := &kit{t: t, now: time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)}
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return k.now }
	}
	var err error
	if k.store, err = start(m, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   string
}

// code is the code of an error answer.
func (r reply) code() string {
	return string(s3.ParseError(r.status, []byte(r.body)).Code)
}

// ask sends a request. path is bucket and key, unescaped, and may have a query behind a question mark that is followed by
// nothing that a key could be: keys with question marks go through send.
func (k *kit) ask(method, path, body string, headers ...string) reply {
	k.t.Helper()
	path, query, _ := strings.Cut(path, "?")
	bucket, key, _ := strings.Cut(path, "/")
	return k.send(AsOwner(context.Background()), method, bucket, key, query, body, headers...)
}

func (k *kit) send(ctx context.Context, method, bucket, key, query, body string, headers ...string) reply {
	k.t.Helper()
	r, err := k.try(ctx, method, bucket, key, query, body, headers...)
	if err != nil {
		k.t.Fatalf("%s /%s/%s?%s: %v", method, bucket, key, query, err)
	}
	return r
}

func (k *kit) try(ctx context.Context, method, bucket, key, query, body string, headers ...string) (reply, error) {
	u := &url.URL{Scheme: "http", Host: "store", Path: "/" + bucket, RawQuery: query}
	if key != "" {
		u.Path += "/" + key
		u.RawPath = "/" + bucket + "/" + s3.EscapePath(key)
	}
	req := (&http.Request{Method: method, URL: u, Host: "store", Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body))}).WithContext(ctx)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := k.store.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(b)}, err
}

// want sends a request and wants a status, or the code of an error.
func (k *kit) want(want, method, path, body string, headers ...string) reply {
	k.t.Helper()
	r := k.ask(method, path, body, headers...)
	if got := fmt.Sprint(r.status); got != want && r.code() != want {
		k.t.Fatalf("%s %s: %d %s, want %s", method, path, r.status, r.body, want)
	}
	return r
}

func (k *kit) decode(r reply, v any) {
	k.t.Helper()
	if err := xml.NewDecoder(bytes.NewReader([]byte(r.body))).Decode(v); err != nil {
		k.t.Fatalf("%v: %s", err, r.body)
	}
}

func (k *kit) versioned(bucket string) {
	k.t.Helper()
	k.want("200", "PUT", bucket, "")
	k.setVersioning(bucket, "Enabled")
}

func (k *kit) setVersioning(bucket, status string) {
	k.t.Helper()
	k.want("200", "PUT", bucket+"?versioning", "<VersioningConfiguration><Status>"+status+"</Status></VersioningConfiguration>")
}

// upload uploads parts and gives what Complete is asked with.
func (k *kit) upload(path string, parts ...string) (id, list string) {
	k.t.Helper()
	var made s3.InitiateMultipartUploadResult
	k.decode(k.want("200", "POST", path+"?uploads", ""), &made)
	for i, p := range parts {
		r := k.want("200", "PUT", fmt.Sprintf("%s?partNumber=%d&uploadId=%s", path, i+1, made.UploadID), p)
		list += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, r.header.Get("ETag"))
	}
	return made.UploadID, "<CompleteMultipartUpload>" + list + "</CompleteMultipartUpload>"
}
