package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/store"
)

// TestMetadataNames: user metadata comes back in lower case, as S3 sends it; HTTP libraries that canonicalise names hide that.
func TestMetadataNames(t *testing.T) {
	srv := httptest.NewServer(proxytest.NewUpstream())
	defer srv.Close()
	k := start(t, store.Config{Endpoint: srv.URL, AccessKey: "memory", SecretKey: "memory-secret"}, nil)
	c, bucket := k.client(t), k.bucket(t)
	_, err := c.PutObject(context.Background(), bucket, "object", strings.NewReader("x"), 1,
		minio.PutObjectOptions{UserMetadata: map[string]string{"Two-Words": "a B"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "HEAD"} {
		lines := k.rawHeader(t, c, method, bucket, "object")
		if !strings.Contains(lines, "\r\nx-amz-meta-two-words: a B\r\n") {
			t.Errorf("%s answers\n%s", method, lines)
		}
	}
}

// rawHeader is the header of an answer as it is on the wire.
func (k *kit) rawHeader(t *testing.T, c *minio.Client, method, bucket, key string) string {
	t.Helper()
	u, err := c.Presign(context.Background(), method, bucket, key, time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", k.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", method, u.RequestURI(), u.Host)
	var b strings.Builder
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if lines.Text() == "" {
			return b.String()
		}
		b.WriteString("\r\n" + lines.Text() + "\r\n")
	}
	t.Fatalf("the answer ends in its header: %s", b.String())
	return ""
}

// TestContentEncodingLines: an encoding in a line of its own is kept when another says aws-chunked.
func TestContentEncodingLines(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	for _, lines := range [][]string{{"aws-chunked", "gzip"}, {"gzip", "aws-chunked"}, {"aws-chunked,gzip"}, {"gzip"}} {
		req, err := http.NewRequest("PUT", "http://"+k.endpoint+"/bkt/a", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Content-Sha256", hexSum([]byte("x")))
		req.Header["Content-Encoding"] = lines
		resp, body := roundTrip(t, signer.SignV4(*req, testAccess, testSecret, "", "us-east-1"))
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%q: %s %s", lines, resp.Status, body)
		}
		if resp, _ = k.do(t, "HEAD", "/bkt/a", nil, nil); resp.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%q became %q", lines, resp.Header.Get("Content-Encoding"))
		}
	}
}
