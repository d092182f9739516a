package proxytest

import (
	"bufio"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/s3"
)

func chunked(data, name, value string) string {
	var b strings.Builder
	for len(data) > 0 {
		n := min(len(data), 7)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, data[:n])
		data = data[n:]
	}
	b.WriteString("0\r\n")
	if name != "" {
		b.WriteString(name + ":" + value + "\r\n")
	}
	return b.String() + "\r\n"
}

func TestChunkedBodies(t *testing.T) {
	const data = "hello chunked world"
	head := []string{"x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length: " + strconv.Itoa(len(data)), "content-encoding: aws-chunked, gzip"}
	announced := append(head, "x-amz-trailer: x-amz-checksum-crc32c")
	right, wrong := sum("CRC32C", []byte(data)), sum("CRC32C", []byte("other"))
	for _, test := range []struct {
		name    string
		options Options
		headers []string
		body    string
		want    int
	}{
		{"right", Options{}, announced, chunked(data, "x-amz-checksum-crc32c", right), 200},
		{"no trailer", Options{}, head, chunked(data, "", ""), 200},
		{"wrong trailer", Options{}, announced, chunked(data, "x-amz-checksum-crc32c", wrong), 400},
		{"bad trailer", Options{}, announced, chunked(data, "x-amz-checksum-crc32c", "AA"), 400},
		{"missing trailer", Options{}, announced, chunked(data, "", ""), 400},
		{"other trailer", Options{}, announced, chunked(data, "x-amz-checksum-crc32", sum("CRC32", []byte(data))), 400},
		{"less data", Options{}, announced, chunked(data[:5], "x-amz-checksum-crc32c", sum("CRC32C", []byte(data[:5]))), 400},
		{"more data", Options{}, announced, chunked(data+"!", "x-amz-checksum-crc32c", sum("CRC32C", []byte(data+"!"))), 400},
		{"cut", Options{}, announced, chunked(data, "x-amz-checksum-crc32c", right)[:20], 400},
		{"no last chunk", Options{CommitShortBody: true}, announced, strings.Split(chunked(data, "", ""), "0\r\n")[0], 400},
		{"not chunked at all", Options{}, announced, data, 400},
		{"no trailers here", Options{NoTrailers: true}, announced, chunked(data, "x-amz-checksum-crc32c", right), 501},
		{"too large", Options{MaxPutSize: 4}, announced, chunked(data, "x-amz-checksum-crc32c", right), 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, address := StartUpstream(t, test.options, "bkt")
			u.PutObject("bkt", "k", []byte("old"), nil)
			resp, text := exchange{"PUT", "/bkt/k", test.body, test.headers}.do(t, address)
			o, _ := u.Object("bkt", "k")
			want := "old"
			if test.want == 200 {
				want = data
			}
			if resp.StatusCode != test.want || string(o.Body) != want {
				t.Errorf("%d %s, object %q", resp.StatusCode, text, o.Body)
			}
			if test.want == 200 && o.Header.Get("Content-Encoding") != "gzip" {
				t.Errorf("encoding %q", o.Header.Get("Content-Encoding"))
			}
			if test.name == "right" {
				head, _ := exchange{"HEAD", "/bkt/k", "", []string{"x-amz-checksum-mode: ENABLED"}}.do(t, address)
				if head.Header.Get("x-amz-checksum-crc32c") != right || u.Requests()[0].Trailer.Get("x-amz-checksum-crc32c") != right {
					t.Errorf("checksum not kept: %v", head.Header)
				}
			}
		})
	}
}

func TestPlainBodies(t *testing.T) {
	digest := md5.Sum([]byte("body"))
	right, other := base64.StdEncoding.EncodeToString(digest[:]), base64.StdEncoding.EncodeToString(make([]byte, 16))
	big := strings.Repeat("v", 2000)
	for _, test := range []struct {
		name    string
		headers []string
		want    string
	}{
		{"plain", nil, ""},
		{"MD5", []string{"Content-MD5: " + right}, ""},
		{"wrong MD5", []string{"Content-MD5: " + other}, "BadDigest"},
		{"bad MD5", []string{"Content-MD5: !"}, "InvalidDigest"},
		{"checksum", []string{"x-amz-checksum-sha256: " + sum("SHA256", []byte("body"))}, ""},
		{"wrong checksum", []string{"x-amz-checksum-sha256: " + sum("SHA256", nil)}, "BadDigest"},
		{"two checksums", []string{"x-amz-checksum-sha1: " + sum("SHA1", []byte("body")), "x-amz-checksum-crc32: " + sum("CRC32", []byte("body"))}, "InvalidRequest"},
		{"payload hash", []string{"x-amz-content-sha256: " + s3.EmptySHA256}, "XAmzContentSHA256Mismatch"},
		{"metadata at the limit", []string{"x-amz-meta-a: " + big, "x-amz-meta-b: " + big[:46]}, ""},
		{"metadata over the limit", []string{"x-amz-meta-a: " + big, "x-amz-meta-b: " + big[:47]}, "MetadataTooLarge"},
		{"tag twice", []string{"x-amz-tagging: =x"}, "InvalidTag"},
	} {
		u, address := StartUpstream(t, Options{}, "bkt")
		resp, text := exchange{"PUT", "/bkt/k", "body", test.headers}.do(t, address)
		_, stored := u.Object("bkt", "k")
		if got := between(text, "<Code>", "</Code>"); got != test.want || stored != (test.want == "") {
			t.Errorf("%s: %d %q, stored %v", test.name, resp.StatusCode, got, stored)
		}
	}
}

func sendCut(t *testing.T, address, head, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, head+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = bufio.NewReader(conn).ReadString('\n') // the store has finished when it answers or closes the connection
}

func TestCutBodies(t *testing.T) {
	for _, test := range []struct {
		name, head, body, want string
		options                Options
	}{
		{"strict", "PUT /bkt/k HTTP/1.1\r\nHost: x\r\nContent-Length: 10", "short", "old", Options{}},
		{"as versitygw", "PUT /bkt/k HTTP/1.1\r\nHost: x\r\nContent-Length: 10", "short", "short", Options{CommitShortBody: true}},
		{"chunked, as versitygw", "PUT /bkt/k HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nx-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-decoded-content-length: 5",
			"5\r\nshort\r\n0\r\n\r\n", "old", Options{CommitShortBody: true}},
	} {
		u, address := StartUpstream(t, test.options, "bkt")
		u.PutObject("bkt", "k", []byte("old"), nil)
		sendCut(t, address, test.head, test.body)
		if o, _ := u.Object("bkt", "k"); string(o.Body) != test.want {
			t.Errorf("%s: object %q, want %q", test.name, o.Body, test.want)
		}
	}
}

func TestMultipartChecksums(t *testing.T) {
	for _, test := range []struct{ algorithm, kind string }{
		{"CRC32", "COMPOSITE"}, {"CRC32C", "FULL_OBJECT"}, {"SHA256", "COMPOSITE"}, {"CRC64NVME", "FULL_OBJECT"},
	} {
		u, address := StartUpstream(t, Options{MinPartSize: -1}, "bkt")
		_, text := exchange{"POST", "/bkt/k?uploads", "", []string{"x-amz-checksum-algorithm: " + test.algorithm, "x-amz-checksum-type: " + test.kind}}.do(t, address)
		id, list := between(text, "<UploadId>", "</UploadId>"), ""
		for i, data := range []string{"one", "two"} {
			resp, _ := exchange{"PUT", fmt.Sprintf("/bkt/k?partNumber=%d&uploadId=%s", i+1, id), data,
				[]string{s3.ChecksumHeader(test.algorithm) + ": " + sum(test.algorithm, []byte(data))}}.do(t, address)
			list += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, resp.Header.Get("ETag"))
		}
		list = "<CompleteMultipartUpload>" + list + "</CompleteMultipartUpload>"
		if resp, _ := (exchange{"POST", "/bkt/k?uploadId=" + id, list, []string{s3.ChecksumHeader(test.algorithm) + ": AAAA"}}).do(t, address); resp.StatusCode != 400 {
			t.Errorf("%s: wrong checksum accepted", test.algorithm)
		}
		resp, text := exchange{"POST", "/bkt/k?uploadId=" + id, list, []string{"x-amz-checksum-type: " + test.kind}}.do(t, address)
		if resp.StatusCode != 200 {
			t.Fatalf("%s: %s", test.algorithm, text)
		}
		value := between(text, "<Checksum"+test.algorithm+">", "<")
		if test.kind == "FULL_OBJECT" && value != sum(test.algorithm, []byte("onetwo")) || test.kind == "COMPOSITE" && !strings.HasSuffix(value, "-2") {
			t.Errorf("%s %s: %q", test.algorithm, test.kind, value)
		}
		if o, _ := u.Object("bkt", "k"); string(o.Body) != "onetwo" {
			t.Errorf("%q", o.Body)
		}
	}
}

func sum(algorithm string, data []byte) string {
	h := s3.NewChecksum(algorithm)
	h.Write(data)
	return b64(h.Sum(nil))
}

func md5Hex(data []byte) string {
	digest := md5.Sum(data)
	return hex.EncodeToString(digest[:])
}
