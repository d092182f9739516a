package s3

import (
	"encoding/base64"
	"strings"
)

// Unescape decodes percent-encoding once, and nothing else: "//", ".." and "+" stay what they are.
func Unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", Errorf(InvalidURI, "Couldn't parse the specified URI.")
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 0 || lo < 0 {
			return "", Errorf(InvalidURI, "Couldn't parse the specified URI.")
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return string(b), nil
}

// UnescapeQuery decodes the name or the value of a query parameter, where "+" is a space.
func UnescapeQuery(s string) (string, error) { return Unescape(strings.ReplaceAll(s, "+", " ")) }

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// EscapePath percent-encodes a key as SigV4 for S3 does: everything but unreserved characters and "/".
func EscapePath(s string) string { return escape(s, '/') }

// EscapeQuery percent-encodes a query's name or value.
func EscapeQuery(s string) string { return escape(s, 0) }

func escape(s string, keep byte) string {
	const digits = "0123456789ABCDEF"
	plain := 0
	for plain < len(s) && (unreserved(s[plain]) || keep != 0 && s[plain] == keep) {
		plain++
	}
	if plain == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	b.WriteString(s[:plain])
	for i := plain; i < len(s); i++ {
		if ch := s[i]; unreserved(ch) || keep != 0 && ch == keep {
			b.WriteByte(ch)
		} else {
			b.WriteByte('%')
			b.WriteByte(digits[ch>>4])
			b.WriteByte(digits[ch&15])
		}
	}
	return b.String()
}

// unreserved reports whether a character stands for itself in a URI: RFC 3986, 2.3.
func unreserved(ch byte) bool {
	return ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || ch == '-' || ch == '.' || ch == '_' || ch == '~'
}

// Base64 encodes a digest as S3 prints it.
func Base64(p []byte) string { return base64.StdEncoding.EncodeToString(p) }
