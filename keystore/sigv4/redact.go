package sigv4

import (
	"encoding/base64"
	"slices"
	"strings"
)

// S3 shows a client with a wrong signature the signed text. The response passes through logs and traces, so secrets
// in headers, query parameters and form policies are redacted first.

const redacted = "[redacted]"

// SecretName reports whether a header, query parameter or form field holds a secret: an SSE-C key (for the target or
// the copy source), a session token, another proof of identity.
func SecretName(name string) bool {
	name = strings.ToLower(name)
	switch strings.TrimSpace(name) {
	case "x-amz-security-token", "authorization", "proxy-authorization", "cookie":
		return true
	}
	return strings.Contains(name, "encryption-customer-key") // its MD5 too: a client may send the key there
}

// redacted returns the request without its secrets: for the answer about a signature, never for its computation.
func (r *Request) redacted() *Request {
	shown := *r
	shown.Headers = slices.Clone(r.Headers)
	for i, h := range shown.Headers {
		if SecretName(h.Name) {
			shown.Headers[i].Value = redacted
		}
	}
	if r.RawQuery != "" {
		pairs := strings.Split(r.RawQuery, "&")
		for i, pair := range pairs {
			name, _, found := strings.Cut(pair, "=")
			if decoded, ok := decodeQuery(name); found && (!ok || SecretName(decoded)) {
				pairs[i] = name + "=" + redacted
			}
		}
		shown.RawQuery = strings.Join(pairs, "&")
	}
	return &shown
}

// redactPolicy returns a POST form's policy, the form's string to sign, in base64.
func redactPolicy(policy string) []byte {
	text, err := base64.StdEncoding.DecodeString(policy)
	if err != nil || strings.Contains(string(text), `\`) || secretIn(string(text)) {
		return []byte(redacted)
	}
	return []byte(policy)
}

// secretIn reports whether a policy has a condition on a field that holds a secret.
func secretIn(policy string) bool {
	return slices.ContainsFunc(strings.Split(policy, `"`), func(word string) bool {
		return SecretName(strings.TrimPrefix(word, "$"))
	})
}

// schemeOf returns an authorization scheme as errors show it. Any other word is hidden: it may be a credential.
func schemeOf(word string) string {
	if len(word) > 32 || strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return redacted
	}
	return word
}
