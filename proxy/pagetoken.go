package proxy

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"slices"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// A continuation token is the store's, in a wrapper that only waxseal can make: id of the service key, MAC, the store's
// token. A store may take its token for a path or an offset, and would obey any; a client can send back only a token
// that it was given, for the same operation on the same bucket.

const (
	pageTokenParam = "continuation-token"
	pageTokenLabel = "waxseal/v1/list/token"
	pageTokenMAC   = 16
)

// pageToken wraps a store's token.
func (c *call) pageToken(token string) (string, error) {
	key, err := c.ServiceKey()
	if err != nil {
		return "", err
	}
	defer key.Key.Zero()
	b := binary.BigEndian.AppendUint32(nil, key.ID)
	mac := c.pageTokenMAC(key.Key, token)
	return base64.RawURLEncoding.EncodeToString(append(append(b, mac[:]...), token...)), nil
}

// pageTokenMAC authenticates a store's token for one operation on one bucket.
func (c *parsed) pageTokenMAC(key sse.Key, token string) [pageTokenMAC]byte {
	h := sha256.New()
	for _, field := range []string{c.route.name, c.bucket, token} {
		fmt.Fprintf(h, "%d:%s", len(field), field)
	}
	derived := key.Derive(h.Sum(nil), pageTokenLabel)
	commitment := derived.Commitment()
	return [pageTokenMAC]byte(commitment[:pageTokenMAC])
}

// openPageToken puts the store's token in the place of the client's. An empty token begins the listing, as on S3.
func (c *call) openPageToken() error {
	if !slices.Contains(c.route.params, pageTokenParam) || c.query.Get(pageTokenParam) == "" {
		return nil
	}
	wrapped := c.query.Get(pageTokenParam)
	refused := s3.InvalidArgument(pageTokenParam, wrapped, "The continuation token provided is incorrect")
	b, err := base64.RawURLEncoding.Strict().DecodeString(wrapped)
	if err != nil || len(b) < 4+pageTokenMAC {
		return refused
	}
	key, ok := c.ServiceKeys(binary.BigEndian.Uint32(b))
	if !ok {
		return refused
	}
	defer key.Zero()
	token := string(b[4+pageTokenMAC:])
	want := c.pageTokenMAC(key, token)
	if subtle.ConstantTimeCompare(want[:], b[4:4+pageTokenMAC]) != 1 {
		return refused
	}
	for i := range c.query.Params {
		if p := &c.query.Params[i]; p.Name == pageTokenParam {
			p.Value = token
		}
	}
	return nil
}

// wrapPageTokens wraps the tokens in a store's listing. Text of a well-formed document has no "<", so the tags are
// found as they are written.
func (c *call) wrapPageTokens(doc []byte) ([]byte, error) {
	if !slices.Contains(c.route.params, pageTokenParam) {
		return doc, nil
	}
	for _, name := range []string{"ContinuationToken", "NextContinuationToken"} {
		begin, end := bytes.Index(doc, []byte("<"+name+">")), bytes.Index(doc, []byte("</"+name+">"))
		if begin < 0 || end < begin {
			continue
		}
		begin += len(name) + 2
		var token string
		if err := xml.Unmarshal(slices.Concat([]byte("<t>"), doc[begin:end], []byte("</t>")), &token); err != nil {
			return nil, fmt.Errorf("%w: its listing's token: %w", store.ErrUnreachable, err)
		}
		if token == "" {
			continue
		}
		wrapped, err := c.pageToken(token)
		if err != nil {
			return nil, err
		}
		doc = slices.Concat(doc[:begin], []byte(wrapped), doc[end:])
	}
	return doc, nil
}
