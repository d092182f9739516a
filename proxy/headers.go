package proxy

import (
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"waxseal/keystore/sigv4"
	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
)

// notForwarded are the ordinary request headers that end here: hop-by-hop ones, those that waxseal makes anew, and
// those that speak of the plaintext (its digests, lengths, ranges, conditions).
var notForwarded = map[string]bool{
	"accept-encoding": true, "authorization": true, "connection": true, "content-encoding": true,
	"content-length": true, "content-md5": true, "cookie": true, "date": true, "expect": true, "forwarded": true,
	"host": true, "if-match": true, "if-modified-since": true, "if-none-match": true, "if-range": true,
	"if-unmodified-since": true, "keep-alive": true, "proxy-authorization": true, "proxy-connection": true,
	"range": true, "te": true, "traceparent": true, "tracestate": true, "trailer": true, "transfer-encoding": true, "upgrade": true, "user-agent": true,
	"via": true, "x-forwarded-for": true, "x-forwarded-host": true, "x-forwarded-proto": true, "x-real-ip": true,
	s3.HeaderOrder: true,
}

// understood are the x-amz-* request headers that some operation reads itself. They never go up as received.
var understood = map[string]bool{
	"x-amz-date": true, "x-amz-content-sha256": true, "x-amz-decoded-content-length": true, "x-amz-trailer": true,
	"x-amz-security-token": true, "x-amz-user-agent": true, "x-amz-te": true, "x-amz-sdk-checksum-algorithm": true,
	"x-amz-checksum-algorithm": true, "x-amz-checksum-type": true, "x-amz-checksum-mode": true,
	"x-amz-checksum-crc32": true, "x-amz-checksum-crc32c": true, "x-amz-checksum-crc64nvme": true,
	"x-amz-checksum-sha1": true, "x-amz-checksum-sha256": true, "x-amz-checksum-sha512": true, "x-amz-checksum-md5": true,
	"x-amz-checksum-xxhash64": true, "x-amz-checksum-xxhash3": true, "x-amz-checksum-xxhash128": true,
	"x-amz-mp-object-size": true, "x-amz-if-match-size": true, "x-amz-if-match-last-modified-time": true,
	"x-amz-server-side-encryption": true, "x-amz-server-side-encryption-aws-kms-key-id": true,
	"x-amz-server-side-encryption-context": true, "x-amz-server-side-encryption-bucket-key-enabled": true,
	"x-amz-server-side-encryption-customer-algorithm": true, "x-amz-server-side-encryption-customer-key": true,
	"x-amz-server-side-encryption-customer-key-md5":               true,
	"x-amz-copy-source-server-side-encryption-customer-algorithm": true,
	"x-amz-copy-source-server-side-encryption-customer-key":       true,
	"x-amz-copy-source-server-side-encryption-customer-key-md5":   true,
	"x-amz-copy-source": true, "x-amz-copy-source-range": true, "x-amz-copy-source-if-match": true,
	"x-amz-copy-source-if-none-match": true, "x-amz-copy-source-if-modified-since": true,
	"x-amz-copy-source-if-unmodified-since": true, "x-amz-metadata-directive": true, "x-amz-tagging-directive": true,
	"x-amz-source-expected-bucket-owner": true, "x-amz-id-2": true, "x-amz-request-id": true,
	"x-amz-object-attributes": true, "x-amz-max-parts": true, "x-amz-part-number-marker": true,
	"x-amz-optional-object-attributes": true,
}

// hoist finds the x-amz-* headers that a presigned URL carries as query parameters, where SDKs put them. They are as
// good as headers: Version 4 signs the whole query, Version 2 what it took for headers.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
func (c *call) hoist(auth *sigv4.Auth) error {
	params := c.query.Params
	switch auth.Kind {
	case sigv4.PresignedV4:
	case sigv4.PresignedV2:
		params = nil
		for _, h := range auth.Hoisted {
			params = append(params, s3.Param{Name: h.Name, Value: h.Value})
		}
	default:
		return nil
	}
	for _, p := range params {
		name := strings.ToLower(p.Name)
		if !hoistable(name) {
			continue
		}
		if slices.ContainsFunc(c.head, func(h sigv4.Header) bool { return h.Name == name }) {
			if isConditional(name) && c.joined(name) != p.Value { // another line would widen a list of ETags
				return s3.Errorf(s3.InvalidRequest, "The URL and the header %s set different conditions", name)
			}
			continue
		}
		if !plainHeader(name, p.Value) {
			return s3.InvalidArgument(p.Name, p.Value, "The parameter holds characters that a header cannot hold")
		}
		c.hoisted = append(c.hoisted, s3.Param{Name: name, Value: p.Value})
	}
	if c.hoisted == nil {
		return nil
	}
	return c.findOperation() // headers tell operations apart
}

// hoistable reports whether a presigned URL's parameter, named in lower case, stands for a header: S3's own headers and
// HTTP's conditions. A digest in a URL is passed over, as on S3: SDKs for JavaScript put the digest of no body there.
// https://github.com/aws/aws-sdk-go-v2/discussions/2610
func hoistable(name string) bool {
	if isConditional(name) {
		return true
	}
	digest := name == "x-amz-sdk-checksum-algorithm" ||
		strings.HasPrefix(name, "x-amz-checksum-") && s3.ChecksumID(strings.TrimPrefix(name, "x-amz-checksum-")) != 0
	return strings.HasPrefix(name, "x-amz-") && !signatureParams[name] && !digest
}

// isConditional reports whether a header, named in lower case, is one of HTTP's conditions.
func isConditional(name string) bool {
	return slices.ContainsFunc(conditionalHeaders, func(h string) bool { return strings.EqualFold(h, name) })
}

// readHead copies the request's header, its names in lower case, into one piece: it is looked at dozens of times, and
// fasthttp writes each name that it is asked for anew.
func (c *call) readHead() {
	h := &c.ctx.Request.Header
	n, size := 0, 0
	for name, value := range h.All() {
		n, size = n+1, size+len(name)+len(value)
	}
	var text strings.Builder
	text.Grow(size)
	c.head = make([]sigv4.Header, 0, n)
	for name, value := range h.All() {
		from := text.Len()
		for _, ch := range name {
			if 'A' <= ch && ch <= 'Z' {
				ch += 'a' - 'A'
			}
			text.WriteByte(ch)
		}
		text.Write(value)
		both := text.String()[from:]
		c.head = append(c.head, sigv4.Header{Name: both[:len(name)], Value: both[len(name):]})
	}
}

// find gives a request header's first value, be it a header or a presigned URL's parameter.
func (c *parsed) find(name string) (value string, ok bool) {
	for i := range c.head {
		if h := &c.head[i]; len(h.Name) == len(name) && strings.EqualFold(h.Name, name) {
			return h.Value, true
		}
	}
	for _, p := range c.hoisted {
		if strings.EqualFold(p.Name, name) {
			return p.Value, true
		}
	}
	return "", false
}

func (c *parsed) header(name string) string  { v, _ := c.find(name); return v }
func (c *parsed) hasHeader(name string) bool { _, ok := c.find(name); return ok }

// headers are all of the request's headers, names in lower case, hoisted ones included.
func (c *parsed) headers() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, h := range c.head {
			if !yield(h.Name, h.Value) {
				return
			}
		}
		for _, p := range c.hoisted {
			if !yield(p.Name, p.Value) {
				return
			}
		}
	}
}

// checkAmzHeaders refuses what nobody here understands: a header that is passed on unread may carry a digest or a key
// of the plaintext, and one that is dropped in silence changes what the client asked for.
func (c *parsed) checkAmzHeaders() error {
	for n, value := range c.headers() {
		if c.forwards(n) {
			if err := checkForwarded(n, value); err != nil {
				return err
			}
		}
		switch {
		case !strings.HasPrefix(n, "x-amz-") && !strings.HasPrefix(n, minioPrefix):
		case n == s3.HeaderEnvelope:
			return s3.Errorf(s3.InvalidRequest, "The metadata name %q is reserved by waxseal", strings.TrimPrefix(s3.HeaderEnvelope, s3.MetaPrefix))
		case strings.HasPrefix(n, s3.MetaPrefix), understood[n], slices.Contains(c.route.pass, n):
		case n == "x-minio-force-delete" && c.route.name == "DeleteBucket":
			// mc sends it after it has removed the objects itself; a bucket that is not empty stays.
		default:
			return s3.Errorf(s3.NotImplemented, "waxseal does not support the header %s (%d bytes) of %s", n, len(value), c.route.name)
		}
	}
	return nil
}

// minioPrefix is that of MinIO's own headers, which unpack, replicate or delete in ways that see ciphertext or ask
// for rights that no policy here speaks of.
const minioPrefix = "x-minio-"

// storeHeader is the part of the request's header that goes to the store: ordinary headers but for the deny-list, and
// of all x-* headers the x-amz-* ones of the operation's row. Metadata goes only with sealed writes.
func (c *parsed) storeHeader() http.Header {
	h := make(http.Header)
	for n, value := range c.headers() {
		if !c.forwards(n) {
			continue
		}
		if strings.HasPrefix(n, s3.MetaPrefix) {
			value = s3.StoredMetadata(s3.SentMetadata(value))
		}
		h.Add(n, value)
	}
	if enc := s3.ClientEncoding(c.joined("content-encoding")); enc != "" {
		h.Set("Content-Encoding", enc)
	}
	return h
}

// forwards reports whether a request header, its name in lower case, goes to the store.
func (c *parsed) forwards(name string) bool {
	switch {
	case strings.HasPrefix(name, s3.MetaPrefix):
		return c.route.class == seal
	case strings.HasPrefix(name, "x-amz-"):
		return slices.Contains(c.route.pass, name)
	}
	// Stores have extensions of their own below x-, and some take an underscore for a hyphen.
	return !strings.HasPrefix(name, "x-") && !strings.Contains(name, "_") && !notForwarded[name]
}

// joined gives all lines of a request's header, named in lower case, as the one that they mean.
func (c *parsed) joined(name string) string {
	var lines []string
	for n, value := range c.headers() {
		if n == name {
			lines = append(lines, value)
		}
	}
	return strings.Join(lines, ",")
}

// notReturned are the store's response headers that do not reach the client: hop-by-hop ones, and those that speak of
// ciphertext or of where the store is.
var notReturned = map[string]bool{
	"accept-ranges": true, "connection": true, "content-length": true, "content-range": true, "date": true,
	"etag": true, "keep-alive": true, "server": true, "transfer-encoding": true, "trailer": true, "upgrade": true,
	"x-amz-request-id": true, "x-amz-id-2": true, "x-amz-mp-parts-count": true, "x-amz-object-size": true,
	"content-encoding": true, s3.HeaderEnvelope: true, "strict-transport-security": true,
	// These would lead a client to the store, or have it carry what the store wants to hear again.
	"location": true, "content-location": true, "refresh": true, "set-cookie": true, "alt-svc": true,
}

// returned reports whether a response header of the store goes to the client. Waxseal's own do not: by them its jobs know
// what is plaintext, or needs a client's key.
func returned(lower string) bool {
	return !notReturned[lower] &&
		!strings.HasPrefix(lower, "x-amz-checksum-") &&
		!strings.HasPrefix(lower, "x-amz-server-side-encryption") &&
		!strings.HasPrefix(lower, "x-amz-meta-x-amz-server-side-encryption") &&
		!strings.HasPrefix(lower, s3.PrefixWaxseal) &&
		!strings.HasPrefix(lower, "x-minio-") && !strings.HasPrefix(lower, "x-ratelimit-")
}

// copyHeaders gives the client what of the store's answer is true of the plaintext too.
func (c *call) copyHeaders(h http.Header) {
	out := &c.res.Header
	for name, values := range h {
		lower := s3.LowerName(name)
		if !returned(lower) {
			continue
		}
		if strings.HasPrefix(lower, s3.MetaPrefix) {
			// S3 answers these names in lower case, and boto3 shows them as they came.
			out.SetCanonical([]byte(lower), []byte(s3.ShownMetadata(strings.Join(values, ","))))
			continue
		}
		for _, v := range values {
			if lower == "x-amz-storage-class" && v == "STANDARD" {
				continue // S3 names all classes but this one
			}
			if name == s3.HeaderBucketRegion && v == c.s.up.Region() {
				v = c.s.cfg.Region
			}
			out.Add(name, v)
		}
	}
	if enc := s3.ClientEncoding(h.Get("Content-Encoding")); enc != "" {
		out.Set("Content-Encoding", enc)
	}
}

// checkForwarded refuses a header that could not reach the store as it came: the store would see a request that its
// client did not send, or another one than waxseal has signed.
func checkForwarded(name, value string) error {
	meta := strings.HasPrefix(name, s3.MetaPrefix)
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

func without(h http.Header, names ...string) http.Header {
	out := h.Clone()
	for _, n := range names {
		out.Del(n)
	}
	return out
}

func itoa(n int) string { return strconv.Itoa(n) }

func itoa64(n int64) string { return strconv.FormatInt(n, 10) }

// signatureParams are the query parameters that sign a request; the store gets its own signature.
var signatureParams = map[string]bool{
	"x-amz-algorithm": true, "x-amz-credential": true, "x-amz-date": true, "x-amz-expires": true,
	"x-amz-signedheaders": true, "x-amz-signature": true, "x-amz-security-token": true,
	"x-amz-content-sha256": true,
}

// plainHeader says whether a name and a value can be a header: RFC 9110, 5.1 and 5.5.
func plainHeader(name, value string) bool {
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// conditionalHeaders are HTTP's conditional request headers but If-Range, which only qualifies Range.
var conditionalHeaders = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}

// sourceOwner puts what the client expects of a copy's source in the place of what it expects of the target.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
func (c *parsed) sourceOwner(h http.Header, at objects.Place) {
	if !c.hasHeader("x-amz-copy-source") {
		return
	}
	src, err := s3.ParseCopySource(c.header("x-amz-copy-source"))
	if err != nil || src.Bucket != at.Bucket {
		return
	}
	if v := c.header(s3.HeaderSourceExpectedOwner); v != "" {
		h.Set(s3.HeaderExpectedOwner, v)
	} else if at.Bucket != c.bucket {
		h.Del(s3.HeaderExpectedOwner)
	}
}

// carry adds the headers that each read at the store takes along: the expected owner of the bucket, and the Origin.
func (c *parsed) Carry(h http.Header, at objects.Place) {
	for _, name := range passOwner {
		if v := c.header(name); v != "" {
			h.Set(name, v)
		}
	}
	c.sourceOwner(h, at)
	if c.method == http.MethodGet || c.method == http.MethodHead {
		c.addOrigin(h)
	}
}
