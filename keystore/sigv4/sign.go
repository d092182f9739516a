package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// Signer signs requests in the Authorization header. Signing keys are derived once for a day and kept.
type Signer struct {
	Service string
	Region  string

	keys keyCache
}

// Outgoing is a request to sign. Path and query are percent-encoded as they will stand on the wire.
type Outgoing struct {
	Method, Path, Query string

	// Headers are the headers to sign: lower-case names, each once, in any order. They must have host, x-amz-date
	// (Timestamp of the same time), x-amz-content-sha256 and every x-amz-* header of the request. Sign sorts them.
	Headers []Header
	Payload string // the value of x-amz-content-sha256
}

// Timestamp returns the value of x-amz-date.
func Timestamp(t time.Time) string { return t.UTC().Format("20060102T150405Z") }

// Sign returns the value of the Authorization header.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func (s *Signer) Sign(accessKey, secret, timestamp string, r *Outgoing) string {
	slices.SortFunc(r.Headers, func(a, b Header) int { return strings.Compare(a.Name, b.Name) })
	scope := timestamp[:8] + "/" + s.Region + "/" + s.Service + "/aws4_request"
	canonical := make([]byte, 0, 1024)
	canonical, names := r.appendCanonical(canonical)
	sum := sha256.Sum256(canonical)

	text := canonical[:0]
	text = append(text, "AWS4-HMAC-SHA256\n"...)
	text = append(text, timestamp...)
	text = append(text, '\n')
	text = append(text, scope...)
	text = append(text, '\n')
	text = hex.AppendEncode(text, sum[:])
	signature := s.key(accessKey, secret, timestamp[:8]).sign(text)

	out := make([]byte, 0, 128+len(scope)+len(names))
	out = append(out, "AWS4-HMAC-SHA256 Credential="...)
	out = append(out, accessKey...)
	out = append(out, '/')
	out = append(out, scope...)
	out = append(out, ", SignedHeaders="...)
	out = append(out, names...)
	out = append(out, ", Signature="...)
	return string(append(out, signature[:]...))
}

func (s *Signer) key(accessKey, secret, date string) *signingKey {
	id := keyID{accessKey, date, s.Region, s.Service}
	if k := s.keys.get(id, secret); k != nil {
		return k
	}
	k := deriveKey(secret, date, s.Region, s.Service)
	s.keys.put(id, k)
	return k
}

// appendCanonical appends the canonical request, and gives the list of signed headers.
func (r *Outgoing) appendCanonical(b []byte) (canonical []byte, names string) {
	b = append(b, r.Method...)
	b = append(b, '\n')
	b = append(b, r.Path...)
	b = append(b, '\n')
	b = appendSortedQuery(b, r.Query)
	b = append(b, '\n')
	for _, h := range r.Headers {
		b = append(b, h.Name...)
		b = append(b, ':')
		b = appendTrimmed(b, h.Value)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	from := len(b)
	for i, h := range r.Headers {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, h.Name...)
	}
	names = string(b[from:])
	b = append(b, '\n')
	return append(b, r.Payload...), names
}

// appendSortedQuery sorts a query by name and value; a name without "=" gets the "=".
func appendSortedQuery(b []byte, query string) []byte {
	if query == "" {
		return b
	}
	items := strings.Split(query, "&")
	slices.SortFunc(items, func(x, y string) int {
		xn, xv, _ := strings.Cut(x, "=")
		yn, yv, _ := strings.Cut(y, "=")
		if c := strings.Compare(xn, yn); c != 0 {
			return c
		}
		return strings.Compare(xv, yv)
	})
	for i, item := range items {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, item...)
		if !strings.Contains(item, "=") {
			b = append(b, '=')
		}
	}
	return b
}
