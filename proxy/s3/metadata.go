package s3

import (
	"encoding/base64"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// User metadata is Unicode. S3 takes encoded words of RFC 2047 in headers, and answers with them where a value is not
// US-ASCII. At the store such a value is an encoded word, too: not all stores keep bytes outside of US-ASCII, and not
// all see the same white space in them when they check a signature.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html

// SentMetadata returns the value that a header means. A header that is no UTF-8 is ISO-8859-1, as HTTP once had it.
func SentMetadata(header string) string {
	if plainMetadata(header) {
		return header
	}
	if !utf8.ValidString(header) {
		header = fromLatin1(header)
	}
	text, err := new(mime.WordDecoder).DecodeHeader(header)
	if err != nil {
		return header // a word in a character set that is not known
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

func fromLatin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// StoredMetadata returns the header for a value at the store: SentMetadata of it is the value again.
func StoredMetadata(value string) string {
	if plainMetadata(value) {
		return value
	}
	return "=?UTF-8?B?" + base64.StdEncoding.EncodeToString([]byte(value)) + "?="
}

// plainMetadata reports whether a value means itself as a header: "a b", but neither "=?UTF-8?Q?a?=" nor "a\tb".
func plainMetadata(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return !strings.Contains(value, "=?")
}

// ShownMetadata returns the header that S3 answers with for the store's. A value of more US-ASCII than other characters is
// written as quoted-printable, any other one as base64: recorded answers of S3 have both.
func ShownMetadata(stored string) string {
	if plainMetadata(stored) {
		return stored
	}
	value := SentMetadata(stored)
	ascii, other := 0, 0
	for _, r := range value {
		if r < 0x7f && (r >= ' ' || r == '\t' || r == '\r' || r == '\n') {
			ascii++
		} else {
			other++
		}
	}
	if ascii > other {
		return strings.ReplaceAll(mime.QEncoding.Encode("UTF-8", value), "=?UTF-8?q?", "=?UTF-8?Q?")
	}
	return strings.ReplaceAll(mime.BEncoding.Encode("UTF-8", value), "=?UTF-8?b?", "=?UTF-8?B?")
}

// CheckMetadata holds the metadata, envelope included, to S3's limit before a byte goes up.
func CheckMetadata(h http.Header) error {
	total := 0
	for name, values := range h {
		if rest, ok := strings.CutPrefix(LowerName(name), MetaPrefix); ok {
			for _, v := range values {
				total += len(rest) + len(v)
			}
		}
	}
	if total <= MaxMetadata {
		return nil
	}
	e := Errorf(MetadataTooLarge, "Your metadata headers exceed the maximum allowed metadata size (with waxseal's envelope of %d bytes)", len(h.Get(HeaderEnvelope)))
	e.Extra = append(e.Extra, Field{Name: "Size", Value: strconv.Itoa(total)}, Field{Name: "MaxSizeAllowed", Value: strconv.Itoa(MaxMetadata)})
	return e
}
