package proxy

import (
	"encoding/base64"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"

	"waxseal/proxy/s3"
)

// User metadata is Unicode. S3 takes encoded words of RFC 2047 in headers, and answers with them where a value is not
// US-ASCII. At the store such a value is an encoded word, too: not all stores keep bytes outside of US-ASCII, and not
// all see the same white space in them when they check a signature.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html

// sentMetadata is the value that a header means. A header that is no UTF-8 is ISO-8859-1, as HTTP once had it.
func sentMetadata(header string) string {
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

// storedMetadata is the header that a value is at the store: sentMetadata of it is the value again.
func storedMetadata(value string) string {
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

// shownMetadata is the header that S3 answers for the store's. A value of more US-ASCII than other characters is
// written as quoted-printable, any other one as base64: recorded answers of S3 have both.
func shownMetadata(stored string) string {
	if plainMetadata(stored) {
		return stored
	}
	value := sentMetadata(stored)
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

// checkForwarded refuses a header that could not reach the store as it came: the store would see a request that its
// client did not send, or another one than waxseal has signed.
func checkForwarded(name, value string) error {
	meta := strings.HasPrefix(name, metaPrefix)
	switch {
	case !plainHeader(name, ""):
		return s3.InvalidArgument(name, "", "The name of the header holds characters that a header's name cannot hold")
	case meta:
		return nil // the value goes up encoded
	case !plainHeader(name, value):
		return s3.InvalidArgument(name, value, "The header holds characters that a header cannot hold")
	case strings.HasPrefix(name, "x-amz-") && strings.ContainsFunc(value, strangeSpace):
		return s3.InvalidArgument(name, value, "The header holds white space other than spaces, or bytes that are no UTF-8")
	}
	return nil
}

// strangeSpace reports whether stores differ in what a character is in a signed header.
func strangeSpace(r rune) bool { return r != ' ' && unicode.IsSpace(r) || r == utf8.RuneError }
