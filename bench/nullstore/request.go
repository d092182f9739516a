package nullstore

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// request is the current request of a connection of the null store, reused for the next request.
type request struct {
	conn net.Conn
	in   *bufio.Reader

	method, bucket, key, query string
	length                     int64
	decoded                    int64 // length without the frame
	chunked                    bool  // the body is aws-chunked
	expect                     bool
	meta                       []byte // header lines of the object
	rangeHeader                string
	ifMatch, ifNone            string
	copySource, copyIfMatch    string
	upload                     string
	uploads                    bool
}

var errBadRequest = errors.New("not a request")

// read takes the head of the next request.
func (q *request) read() error {
	*q = request{conn: q.conn, in: q.in, meta: q.meta[:0]}
	line, err := q.line()
	if err != nil {
		return err
	}
	method, rest, ok := strings.Cut(string(line), " ")
	target, _, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 {
		return errBadRequest
	}
	q.method = method
	path, query, _ := strings.Cut(target, "?")
	if strings.Contains(path, "%") {
		if path, err = url.PathUnescape(path); err != nil {
			return err
		}
	}
	q.query = query
	q.bucket, q.key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	for {
		if line, err = q.line(); err != nil || len(line) == 0 {
			break
		}
		if err = q.header(line); err != nil {
			break
		}
	}
	if query != "" {
		q.upload = q.param("uploadId")
		q.uploads = hasParam(query, "uploads")
	}
	return err
}

func (q *request) line() ([]byte, error) {
	line, err := q.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// header parses a header line.
func (q *request) header(line []byte) error {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return errBadRequest
	}
	name, value := line[:i], bytes.TrimSpace(line[i+1:])
	is := func(s string) bool { return len(name) == len(s) && bytes.EqualFold(name, []byte(s)) }
	var err error
	switch {
	case is("content-length"):
		q.length, err = strconv.ParseInt(string(value), 10, 64)
	case is("x-amz-content-sha256"):
		q.chunked = bytes.HasPrefix(value, []byte("STREAMING-"))
	case is("x-amz-decoded-content-length"):
		q.decoded, err = strconv.ParseInt(string(value), 10, 64)
	case is("expect"):
		q.expect = true
	case is("range"):
		q.rangeHeader = string(value)
	case is("if-match"):
		q.ifMatch = string(value)
	case is("if-none-match"):
		q.ifNone = string(value)
	case is("x-amz-copy-source"):
		q.copySource, err = url.PathUnescape(string(value))
	case is("x-amz-copy-source-if-match"):
		q.copyIfMatch = string(value)
	case is("transfer-encoding"):
		err = errBadRequest // nothing here sends it
	case is("content-type"), len(name) > 11 && bytes.EqualFold(name[:11], []byte("x-amz-meta-")):
		q.meta = append(append(q.meta, line...), "\r\n"...)
	}
	return err
}

// param is a query parameter, decoded.
func (q *request) param(name string) string {
	for item := range strings.SplitSeq(q.query, "&") {
		if n, v, _ := strings.Cut(item, "="); n == name {
			if text, err := url.QueryUnescape(v); err == nil {
				return text
			}
		}
	}
	return ""
}

func hasParam(query, name string) bool {
	for item := range strings.SplitSeq(query, "&") {
		if n, _, _ := strings.Cut(item, "="); n == name {
			return true
		}
	}
	return false
}

func (q *request) goOn() error {
	if !q.expect {
		return nil
	}
	q.expect = false
	_, err := io.WriteString(q.conn, "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

// discard throws the body away: the buffered bytes, then large reads from the connection itself.
func (q *request) discard() error {
	if err := q.goOn(); err != nil {
		return err
	}
	n := min(q.length, int64(q.in.Buffered()))
	if _, err := q.in.Discard(int(n)); err != nil {
		return err
	}
	q.length -= n
	err := Discard(q.conn, q.length)
	q.length = 0
	return err
}

// body reads the whole body, with its frame.
func (q *request) body() ([]byte, error) {
	if err := q.goOn(); err != nil {
		return nil, err
	}
	b := make([]byte, q.length)
	_, err := io.ReadFull(q.in, b)
	q.length = 0
	return b, err
}

// content takes the aws-chunked frame off, in place.
func (q *request) content(b []byte) []byte {
	if !q.chunked {
		return b
	}
	out := b[:0]
	for {
		head, rest, _ := bytes.Cut(b, []byte("\r\n"))
		digits, _, _ := strings.Cut(string(head), ";")
		n, err := strconv.ParseInt(digits, 16, 64)
		if err != nil || n == 0 || n+2 > int64(len(rest)) {
			return out
		}
		out = append(out, rest[:n]...)
		b = rest[n+2:]
	}
}

// badTrailer reports whether a small body's CRC32C trailer is wrong: the probe of the store sends a wrong trailer.
func (q *request) badTrailer(b []byte) bool {
	i := bytes.LastIndex(b, []byte("x-amz-checksum-crc32c:"))
	if !q.chunked || i < 0 || len(b) > 64<<10 {
		return false
	}
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.Checksum(q.content(bytes.Clone(b)), crc32.MakeTable(crc32.Castagnoli)))
	return !bytes.HasPrefix(b[i:], []byte("x-amz-checksum-crc32c:"+base64.StdEncoding.EncodeToString(sum[:])))
}

// resolveRange returns the request's range of a body of size bytes.
func (q *request) resolveRange(size int64) (first, last int64, ok bool) {
	spec, ok := strings.CutPrefix(q.rangeHeader, "bytes=")
	if !ok {
		return 0, 0, false
	}
	a, b, ok := strings.Cut(spec, "-")
	if !ok {
		return 0, 0, false
	}
	end, errEnd := strconv.ParseInt(b, 10, 64)
	if a == "" {
		return max(0, size-end), size - 1, errEnd == nil
	}
	start, err := strconv.ParseInt(a, 10, 64)
	if errEnd != nil || end >= size {
		end = size - 1
	}
	return start, end, err == nil
}

// reply sends an answer; header is whole lines.
func (q *request) reply(status int, header string, body []byte) error {
	if q.length > 0 {
		if err := q.discard(); err != nil {
			return err
		}
	}
	head := make([]byte, 0, 256+len(header))
	head = fmt.Appendf(head, "HTTP/1.1 %d %s\r\nServer: null\r\nDate: %s\r\n%s", status, statusText(status), dateNow(), header)
	if status != 204 {
		head = fmt.Appendf(head, "Content-Length: %d\r\n", len(body))
	}
	head = append(head, "\r\n"...)
	if q.method == "HEAD" || len(body) == 0 {
		_, err := q.conn.Write(head)
		return err
	}
	if len(body) <= 32<<10 {
		_, err := q.conn.Write(append(head, body...))
		return err
	}
	parts := net.Buffers{head, body}
	_, err := parts.WriteTo(q.conn)
	return err
}

func (q *request) fail(status int, code string) error {
	return q.reply(status, xmlType, []byte("<Error><Code>"+code+"</Code><Message>null store</Message></Error>"))
}
