package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const region = "us-east-1"

type credentials struct{ accessKey, secretKey string }

// sign adds Signature Version 4 of a service to a request, over its host, its date and every x-amz- header.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func (c credentials) sign(r *http.Request, service string, body []byte) {
	sum := sha256.Sum256(body)
	hash, now := hex.EncodeToString(sum[:]), time.Now().UTC()
	r.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	r.Header.Set("X-Amz-Content-Sha256", hash)
	names, headers := []string{"host"}, map[string]string{"host": r.URL.Host}
	for name, values := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") || name == "content-type" {
			names, headers[name] = append(names, name), strings.TrimSpace(values[0])
		}
	}
	slices.Sort(names)
	var canonical strings.Builder
	canonical.WriteString(r.Method + "\n" + r.URL.EscapedPath() + "\n" + strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20") + "\n")
	for _, name := range names {
		canonical.WriteString(name + ":" + headers[name] + "\n")
	}
	canonical.WriteString("\n" + strings.Join(names, ";") + "\n" + hash)
	digest := sha256.Sum256([]byte(canonical.String()))
	scope := now.Format("20060102") + "/" + region + "/" + service + "/aws4_request"
	text := "AWS4-HMAC-SHA256\n" + now.Format("20060102T150405Z") + "\n" + scope + "\n" + hex.EncodeToString(digest[:])
	key := []byte("AWS4" + c.secretKey)
	for _, part := range append(strings.Split(scope, "/"), text) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.accessKey+"/"+scope+
		", SignedHeaders="+strings.Join(names, ";")+", Signature="+hex.EncodeToString(key))
}

// escape escapes a key as S3's canonical URI does; keys here have letters, digits, '-' and '/' alone.
func escape(key string) string { return (&url.URL{Path: key}).EscapedPath() }
