package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/bench/nullstore"
)

// The client signs a request once and sends the same bytes again and again: it shares the cores with the measured
// program, and its cost lowers the figures.

// Credentials and region of every way.
const (
	benchAccess = "AKIABENCHBENCHBENCH1"
	benchSecret = "bench-secret-bench-secret-bench-secret-1"
	benchRegion = "us-east-1"
)

// user has the credentials of a signature.
type user struct{ access, secret string }

var benchUser = user{benchAccess, benchSecret}

// ask describes a request.
type ask struct {
	method, host, path, query string
	header                    map[string]string
	body                      [][]byte // sent in order
	user                      user
}

// wire is a signed request as its bytes. Signatures are good for a quarter of an hour.
type wire struct {
	head   []byte
	body   [][]byte
	size   int64 // of body
	signed time.Time
	isHead bool
}

// sign makes a request's bytes. Bodies are UNSIGNED-PAYLOAD, the cheapest of S3's choices.
func sign(a *ask) *wire {
	w := &wire{body: a.body, signed: time.Now(), isHead: a.method == http.MethodHead}
	for _, b := range a.body {
		w.size += int64(len(b))
	}
	if a.user == (user{}) {
		a.user = benchUser
	}
	req := &http.Request{
		Method: a.method, Host: a.host, Header: http.Header{"X-Amz-Content-Sha256": {"UNSIGNED-PAYLOAD"}},
		URL: &url.URL{Scheme: "http", Host: a.host, Path: a.path, RawQuery: a.query},
	}
	for k, v := range a.header {
		req.Header.Set(k, v)
	}
	req = signer.SignV4(*req, a.user.access, a.user.secret, "", benchRegion)
	target := req.URL.EscapedPath()
	if a.query != "" {
		target += "?" + req.URL.RawQuery
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", a.method, target, a.host)
	for name, values := range req.Header {
		fmt.Fprintf(&b, "%s: %s\r\n", name, values[0])
	}
	if w.size > 0 || a.method == http.MethodPut || a.method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", w.size)
	}
	b.WriteString("\r\n")
	w.head = b.Bytes()
	return w
}

// client is a connection.
type client struct {
	addr  string
	conn  net.Conn
	in    *bufio.Reader
	moved *atomic.Int64 // counts body bytes, where it is not nil
	last  int64         // body bytes of the worker's operation under way, included in moved
}

// answer is a response.
type answer struct {
	status    int
	length    int64
	chunked   bool
	closes    bool
	etag      string
	firstByte time.Duration // until the answer's head was here
	took      time.Duration
}

const clientTimeout = 2 * time.Minute

func (c *client) connect() error {
	if c.conn != nil {
		return nil
	}
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		return err
	}
	c.conn, c.in = conn, bufio.NewReaderSize(conn, 32<<10)
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// do sends a request and reads its response into keep, or discards it when keep is nil.
func (c *client) do(w *wire, keep *bytes.Buffer) (answer, error) {
	if err := c.connect(); err != nil {
		return answer{}, err
	}
	a, err := c.exchange(w, keep)
	if err != nil || a.closes {
		c.close()
	}
	return a, err
}

func (c *client) exchange(w *wire, keep *bytes.Buffer) (answer, error) {
	begin := time.Now()
	if err := c.conn.SetDeadline(begin.Add(clientTimeout)); err != nil {
		return answer{}, err
	}
	if err := c.send(w); err != nil {
		return answer{}, err
	}
	a, err := c.readHead()
	if err != nil {
		return a, err
	}
	a.firstByte = time.Since(begin)
	if !w.isHead {
		err = c.readBody(&a, keep)
	}
	a.took = time.Since(begin)
	return a, err
}

// sendStep is the size of a write of a body, so that bytes are counted as they go.
const sendStep = 512 << 10

func (c *client) send(w *wire) error {
	if w.size <= 32<<10 && len(w.body) == 1 {
		_, err := c.conn.Write(append(w.head[:len(w.head):len(w.head)], w.body[0]...))
		c.count(w.size)
		return err
	}
	if _, err := c.conn.Write(w.head); err != nil {
		return err
	}
	for _, b := range w.body {
		for len(b) > 0 {
			n, err := c.conn.Write(b[:min(len(b), sendStep)])
			c.count(int64(n))
			if err != nil {
				return err
			}
			b = b[n:]
		}
	}
	return nil
}

func (c *client) count(n int64) {
	if c.moved != nil {
		c.moved.Add(n)
		c.last += n
	}
}

// uncount takes back the bytes of a failed operation.
func (c *client) uncount() {
	c.count(-c.last)
}

var errBadAnswer = errors.New("not an answer")

func (c *client) readHead() (a answer, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return a, err
	}
	if len(line) < 12 {
		return a, errBadAnswer
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return a, err
	}
	for {
		line, err = c.in.ReadSlice('\n')
		if err != nil {
			return a, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return a, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("content-length")):
			if a.length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return a, err
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			a.chunked = true
		case bytes.EqualFold(name, []byte("connection")):
			a.closes = bytes.EqualFold(value, []byte("close"))
		case bytes.EqualFold(name, []byte("etag")):
			a.etag = strings.Trim(string(value), `"`)
		}
	}
}

func (c *client) readBody(a *answer, keep *bytes.Buffer) error {
	switch {
	case a.chunked:
		return c.readChunks(keep)
	case keep != nil:
		_, err := io.CopyN(keep, c.in, a.length)
		return err
	case a.length == 0:
		return nil
	}
	left := a.length
	n := min(left, int64(c.in.Buffered()))
	if _, err := c.in.Discard(int(n)); err != nil {
		return err
	}
	c.count(n)
	return nullstore.Discard(counting{c}, left-n)
}

// counting reads a connection past its empty buffer.
type counting struct{ c *client }

func (r counting) Read(p []byte) (int, error) {
	n, err := r.c.conn.Read(p)
	r.c.count(int64(n))
	return n, err
}

func (c *client) readChunks(keep *bytes.Buffer) error {
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
		if err != nil {
			return err
		}
		if keep != nil {
			_, err = io.CopyN(keep, c.in, n)
		} else {
			_, err = io.CopyN(io.Discard, c.in, n)
		}
		if err != nil {
			return err
		}
		if _, err := c.in.ReadString('\n'); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// once sends a request on a connection of its own and returns the response body; a status other than 2xx is an error.
func once(a *ask) (answer, []byte, error) {
	c := &client{addr: a.host}
	defer c.close()
	var b bytes.Buffer
	got, err := c.do(sign(a), &b)
	if err == nil && got.status/100 != 2 {
		err = fmt.Errorf("%s %s: status %d: %.300s", a.method, a.path, got.status, b.String())
	}
	return got, b.Bytes(), err
}
