package sigv4_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/sigv4"
)

func authorization(signed, signature string) string {
	return "AWS4-HMAC-SHA256 Credential=" + docKey + "/20130524/us-east-1/s3/aws4_request,SignedHeaders=" + signed + ",Signature=" + signature
}

// TestPublishedHeaders holds the examples of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html.
func TestPublishedHeaders(t *testing.T) {
	putSum := "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
	for _, tc := range []struct {
		name, method, path, query, sum, signed, signature string
		more                                              []string
	}{
		{"GetObject", "GET", "/test.txt", "", emptySum, "host;range;x-amz-content-sha256;x-amz-date",
			"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", []string{"Range", "bytes=0-9"}},
		{"PutObject", "PUT", "/test$file.text", "", putSum, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
			"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
			[]string{"Date", "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class", "REDUCED_REDUNDANCY"}},
		{"GetBucketLifecycle", "GET", "/", "lifecycle", emptySum, "host;x-amz-content-sha256;x-amz-date",
			"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", nil},
		{"ListObjects", "GET", "/", "max-keys=2&prefix=J", emptySum, "host;x-amz-content-sha256;x-amz-date",
			"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &sigv4.Request{Method: tc.method, RawPath: tc.path, RawQuery: tc.query, Host: "examplebucket.s3.amazonaws.com",
				Headers: append(headers("Authorization", authorization(tc.signed, tc.signature), "x-amz-content-sha256", tc.sum,
					"x-amz-date", "20130524T000000Z"), headers(tc.more...)...)}
			v := docVerifier()
			for range 2 { // cold and from the cache
				a, err := v.Verify(r)
				if err != nil {
					t.Fatal(err)
				}
				if a.AccessKey != docKey || a.Kind != sigv4.HeaderV4 || a.Payload != sigv4.SignedSHA256 || !a.Date.Equal(docTime) {
					t.Fatalf("got %+v", a)
				}
			}
			// The same with the reserved character encoded on the wire.
			r.RawPath = strings.ReplaceAll(r.RawPath, "$", "%24")
			if _, err := v.Verify(r); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestPublishedPut checks the body of the PUT example: "Welcome to Amazon S3.".
func TestPublishedPut(t *testing.T) {
	r := &sigv4.Request{Method: "PUT", RawPath: "/test$file.text", Host: "examplebucket.s3.amazonaws.com", ContentLength: 21,
		Headers: headers("Authorization", authorization("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
			"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
			"x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			"x-amz-date", "20130524T000000Z", "Date", "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class", "REDUCED_REDUNDANCY")}
	a, err := docVerifier().Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := readBody(t, a, []byte("Welcome to Amazon S3.")); err != nil || string(got) != "Welcome to Amazon S3." {
		t.Fatalf("%q, %v", got, err)
	}
	_, _, err = readBody(t, a, []byte("welcome to Amazon S3."))
	e := wantCode(t, err, "XAmzContentSHA256Mismatch")
	if e.Field("ClientComputedContentSHA256") != a.ContentSHA256 || len(e.Field("S3ComputedContentSHA256")) != 64 {
		t.Fatalf("fields %v", e.Fields)
	}
}

const presignedQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + docKey + "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
	"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
	"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"

// TestPublishedPresigned holds the example of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html.
func TestPublishedPresigned(t *testing.T) {
	r := &sigv4.Request{Method: "GET", RawPath: "/test.txt", RawQuery: presignedQuery, Host: "examplebucket.s3.amazonaws.com"}
	v := docVerifier()
	a, err := v.Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	if a.Kind != sigv4.PresignedV4 || !a.Expires.Equal(docTime.Add(24*time.Hour)) || a.Payload != sigv4.Unsigned {
		t.Fatalf("got %+v", a)
	}
	v.Now = at(docTime.Add(24*time.Hour + time.Second))
	_, err = v.Verify(r)
	e := wantCode(t, err, "AccessDenied")
	if e.Message != "Request has expired" || e.Field("X-Amz-Expires") != "86400" || e.Field("Expires") != "2013-05-25T00:00:00Z" ||
		e.Field("ServerTime") != "2013-05-25T00:00:01Z" {
		t.Fatalf("got %v %v", e, e.Fields)
	}
}

// chunkedExample returns the request of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html.
func chunkedExample() (*sigv4.Request, []byte) {
	r := &sigv4.Request{Method: "PUT", RawPath: "/examplebucket/chunkObject.txt", Host: "s3.amazonaws.com", ContentLength: 66824,
		Headers: headers("x-amz-date", "20130524T000000Z", "x-amz-storage-class", "REDUCED_REDUNDANCY",
			"Authorization", authorization("content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"+
				"x-amz-decoded-content-length;x-amz-storage-class", "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"),
			"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "Content-Encoding", "aws-chunked",
			"x-amz-decoded-content-length", "66560", "Content-Length", "66824")}
	return r, chunks(
		chunk{65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"},
		chunk{1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"},
		chunk{0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"})
}

type chunk struct {
	size      int
	signature string
}

func chunks(list ...chunk) []byte {
	var b bytes.Buffer
	for _, c := range list {
		fmt.Fprintf(&b, "%x;chunk-signature=%s\r\n", c.size, c.signature)
		b.WriteString(strings.Repeat("a", c.size))
		b.WriteString("\r\n")
	}
	return b.Bytes()
}

// trailerExample returns the request of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html.
func trailerExample() (*sigv4.Request, []byte) {
	r := &sigv4.Request{Method: "PUT", RawPath: "/examplebucket/chunkObject.txt", Host: "s3.amazonaws.com",
		Headers: headers("x-amz-date", "20130524T000000Z", "x-amz-storage-class", "REDUCED_REDUNDANCY",
			"Authorization", authorization("content-encoding;host;x-amz-content-sha256;x-amz-date;"+
				"x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer", "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"),
			"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "Content-Encoding", "aws-chunked",
			"x-amz-decoded-content-length", "66560", "x-amz-trailer", "x-amz-checksum-crc32c")}
	body := chunks(
		chunk{65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"},
		chunk{1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"},
		chunk{0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"})
	body = body[:len(body)-2]
	body = append(body, "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:"+
		"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"...)
	r.ContentLength = int64(len(body))
	return r, body
}

func TestPublishedChunks(t *testing.T) {
	r, body := chunkedExample()
	a, err := docVerifier().Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	if a.Payload != sigv4.StreamingSigned || a.DecodedLength != 66560 || int(a.ContentLength) != len(body) {
		t.Fatalf("got %+v, body of %d", a, len(body))
	}
	got, b, err := readBody(t, a, body)
	if err != nil || string(got) != strings.Repeat("a", 66560) || len(b.Trailers()) != 0 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestPublishedTrailer(t *testing.T) {
	r, body := trailerExample()
	a, err := docVerifier().Verify(r)
	if err != nil {
		t.Fatal(err)
	}
	got, b, err := readBody(t, a, body)
	if err != nil || len(got) != 66560 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if b.Trailer("X-Amz-Checksum-Crc32c") != "sOO8/Q==" || len(b.Trailers()) != 1 {
		t.Fatalf("trailers %v", b.Trailers())
	}
}

// TestPublishedGeneric verifies the General Reference's example for IAM, a service with normalised paths.
func TestPublishedGeneric(t *testing.T) {
	when := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	v := &sigv4.Verifier{Service: "iam", Region: "us-east-1", Now: at(when),
		Lookup: lookup(map[string]string{"AKIDEXAMPLE": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"})}
	r := &sigv4.Request{Method: "GET", RawPath: "/", RawQuery: "Action=ListUsers&Version=2010-05-08", Host: "iam.amazonaws.com",
		BodySHA256: emptySum, Headers: headers("Content-Type", "application/x-www-form-urlencoded; charset=utf-8",
			"X-Amz-Date", "20150830T123600Z", "Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "+
				"SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")}
	if _, err := v.Verify(r); err != nil {
		t.Fatal(err)
	}
	r.BodySHA256 = strings.Repeat("0", 64)
	_, err := v.Verify(r)
	wantCode(t, err, "InvalidSignatureException")
}

// TestPublishedV2 holds the examples of https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html.
func TestPublishedV2(t *testing.T) {
	for _, tc := range []struct {
		name, method, bucket, path, query, date, signature string
		more                                               []string
	}{
		{"get", "GET", "johnsmith", "/photos/puppy.jpg", "", "Tue, 27 Mar 2007 19:36:42 +0000", "bWq2s1WEIj+Ydj0vQ697zp+IXMU=", nil},
		{"put", "PUT", "johnsmith", "/photos/puppy.jpg", "", "Tue, 27 Mar 2007 21:15:45 +0000", "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
			[]string{"Content-Type", "image/jpeg", "Content-Length", "94328"}},
		{"list", "GET", "johnsmith", "/", "prefix=photos&max-keys=50&marker=puppy", "Tue, 27 Mar 2007 19:42:41 +0000", "htDYFYduRNen8P9ZfE/s9SuKy0U=",
			[]string{"User-Agent", "Mozilla/5.0"}},
		{"acl", "GET", "johnsmith", "/", "acl", "Tue, 27 Mar 2007 19:44:46 +0000", "c2WLPFtWHVgbEmeEG93a4cG37dM=", nil},
		{"upload", "PUT", "static.johnsmith.net", "/db-backup.dat.gz", "", "Tue, 27 Mar 2007 21:06:08 +0000", "ilyl83RwaSoYIEdixDQcA4OnAnc=",
			[]string{"User-Agent", "curl/7.15.5", "x-amz-acl", "public-read", "content-type", "application/x-download",
				"Content-MD5", "4gJE4saaMU4BqNR0kLY+lw==", "X-Amz-Meta-ReviewedBy", "joe@johnsmith.net",
				"X-Amz-Meta-ReviewedBy", "jane@johnsmith.net", "X-Amz-Meta-FileChecksum", "0x02661779",
				"X-Amz-Meta-ChecksumAlgorithm", "crc32", "Content-Length", "5913339"}},
		{"service", "GET", "", "/", "", "Wed, 28 Mar 2007 01:29:59 +0000", "qGdzdERIC03wnaRNKh6OqZehG9s=", nil},
		{"unicode", "GET", "", "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re", "", "Wed, 28 Mar 2007 01:49:49 +0000", "DNEZGsoieTZ92F3bUfSPQcbGmlM=", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			when, err := time.Parse("Mon, 02 Jan 2006 15:04:05 -0700", tc.date)
			if err != nil {
				t.Fatal(err)
			}
			v := docVerifier()
			v.Now = at(when)
			r := &sigv4.Request{Method: tc.method, RawPath: tc.path, RawQuery: tc.query, Bucket: tc.bucket, Host: "s3.amazonaws.com",
				Headers: append(headers("Date", tc.date, "Authorization", "AWS "+docKey+":"+tc.signature), headers(tc.more...)...)}
			_, err = v.Verify(r)
			e := wantCode(t, err, "InvalidRequest")
			if e.Message != "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256." {
				t.Fatal(e.Message)
			}
			v.AllowV2 = true
			a, err := v.Verify(r)
			if err != nil {
				t.Fatalf("%v\n%s", err, err.(*sigv4.Error).Field("StringToSign"))
			}
			if a.Kind != sigv4.HeaderV2 || a.Kind.V4() {
				t.Fatalf("got %+v", a)
			}
			_, err = v.Verify(set(r, "Authorization", "AWS "+docKey+":A"+tc.signature[1:]))
			wantCode(t, err, "SignatureDoesNotMatch")
		})
	}
}
