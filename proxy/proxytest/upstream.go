// Package proxytest helps to test the proxy: Upstream is an S3 store in memory with faults on demand.
package proxytest

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waxseal/proxy/s3"
)

// Options say in what an Upstream differs from Amazon S3. The zero value is the common ground of the stores
// that waxseal was tried with: conditions on PUT and Complete work, those on DELETE and on a copy's
// destination are passed over without a word.
type Options struct {
	// HonourDeleteIfMatch makes If-Match work on DeleteObject and ETag in DeleteObjects, as on AWS.
	HonourDeleteIfMatch bool
	// HonourCopyConditions makes If-Match and If-None-Match work on CopyObject's destination, as on AWS.
	HonourCopyConditions bool
	// IgnoreWriteConditions passes over If-Match and If-None-Match on PUT and Complete: an old store.
	IgnoreWriteConditions bool
	// IgnoreSourceConditions passes over x-amz-copy-source-if-match and its like.
	IgnoreSourceConditions bool
	// ListMetadata gives UserMetadata and UserTags in listings that ask with metadata=true: MinIO.
	ListMetadata bool
	// CommitShortBody stores what arrived of a plain body whose connection was closed early: versitygw's
	// fault. A cut aws-chunked body is never stored.
	CommitShortBody bool
	// NoTrailers refuses STREAMING-UNSIGNED-PAYLOAD-TRAILER: a store from before 2022.
	NoTrailers bool
	// ForgetCompleted answers a repeated Complete with NoSuchUpload, as MinIO does; AWS repeats its answer.
	ForgetCompleted bool
	// DenyListMetadata answers metadata=true without any, as MinIO does to a user who may only list.
	DenyListMetadata bool
	// PlainNames is a store without encoding-type=url whose continuation token is the last name: versitygw.
	PlainNames bool
	// FoldFolders keeps "a__XLDIR__" and "a/" as one object: MinIO.
	FoldFolders bool
	// Region is where the store is. CreateBucket must name it, or name none in us-east-1, as on AWS; without a Region
	// it may name any.
	Region string

	// MinPartSize is the least size of all parts but the last; 0 is S3's 5 MiB, negative is none.
	MinPartSize int64
	// MaxPutSize is the largest body of a PUT or a part; 0 is S3's 5 GiB.
	MaxPutSize int64
	// MaxMetadata is the size of all metadata of an object; 0 is S3's 2 KiB.
	MaxMetadata int64
	// MaxRequests bounds the log of requests; 0 is 10,000.
	MaxRequests int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// An Upstream is an S3 store in memory, path-style, for one account. It takes any signature and writes down
// who signed. It is an http.Handler; Start serves it.
type Upstream struct {
	Options // to be set before the first request

	mu      sync.Mutex
	buckets map[string]*bucket
	serial  int // makes version and upload ids unique and ordered

	log  requestLog
	hook hookBox
}

// NewUpstream makes an empty store.
func NewUpstream() *Upstream { return &Upstream{buckets: map[string]*bucket{}} }

// StartUpstream serves a new store on a loopback port for the length of a test, with the given buckets.
func StartUpstream(t testing.TB, options Options, buckets ...string) (*Upstream, string) {
	t.Helper()
	u := NewUpstream()
	u.Options = options
	for _, name := range buckets {
		u.CreateBucket(name)
	}
	server := httptest.NewServer(u)
	t.Cleanup(func() {
		server.CloseClientConnections() // a test that failed may have left some open
		server.Close()
	})
	return u, server.URL
}

func (u *Upstream) now() time.Time {
	if u.Now != nil {
		return u.Now()
	}
	return time.Now()
}

func orDefault[T int | int64](v, standard T) T {
	if v == 0 {
		return standard
	}
	return v
}

// A request is one S3 request on its way through the store.
type request struct {
	*http.Request
	bucket, key string
	query       url.Values
	op          string
	record      *Recorded
}

// A response is made whole before it is sent, so that a fault can change or withhold it.
type response struct {
	status int
	header http.Header
	body   []byte
}

func answer(status int) *response { return &response{status: status, header: http.Header{}} }

func (r *response) set(name, value string) *response {
	if value != "" {
		r.header.Set(name, value)
	}
	return r
}

func answerXML(v any) (*response, error) {
	body, err := s3.Encode(v)
	if err != nil {
		return nil, err
	}
	r := answer(http.StatusOK).set(s3.HeaderContentType, "application/xml")
	r.body = body
	return r, nil
}

// ServeHTTP implements http.Handler.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q, err := u.parse(r)
	if err != nil {
		u.send(w, q, errorResponse(err), Fault{})
		return
	}
	fault := u.hook.call(Op{Method: r.Method, Bucket: q.bucket, Key: q.key, Name: q.op, N: q.record.N, Query: q.query, Header: r.Header})
	u.send(w, q, u.serve(q, fault), fault)
}

// serve does the request, unless the fault says otherwise; nil is no answer at all.
func (u *Upstream) serve(q *request, fault Fault) *response {
	fault.wait(q)
	switch {
	case fault.Early != nil:
		return errorResponse(fault.Early)
	case fault.Before != nil:
		drain(q.Body)
		return errorResponse(fault.Before)
	case fault.CutBefore:
		return nil
	}
	resp, err := u.do(q)
	if err != nil {
		resp = errorResponse(err)
	}
	switch {
	case fault.After != nil:
		return errorResponse(fault.After)
	case fault.CutAfter:
		return nil
	case fault.Late != nil:
		late := errorResponse(fault.Late)
		late.status = http.StatusOK
		// The declaration goes out first, white space keeps the connection alive, then comes the error.
		late.body = bytes.Replace(late.body, []byte("<Error>"), []byte("   \n   <Error>"), 1)
		return late
	}
	return resp
}

func (u *Upstream) do(q *request) (*response, error) {
	handler, ok := handlers[q.op]
	if !ok {
		return nil, s3.NewError(s3.NotImplemented).With("Operation", q.op)
	}
	return handler(u, q)
}

func errorResponse(err error) *response {
	var e *s3.Error
	if !errors.As(err, &e) {
		e = s3.Errorf(s3.InternalError, "%v", err)
	}
	r := answer(e.Status())
	for _, f := range e.Header {
		r.set(f.Name, f.Value)
	}
	if r.status != http.StatusNotModified {
		r.set(s3.HeaderContentType, "application/xml")
		r.body = e.AppendXML(nil)
	}
	return r
}

// send writes the answer, with what a fault does to it.
func (u *Upstream) send(w http.ResponseWriter, q *request, resp *response, fault Fault) {
	if resp == nil {
		panic(http.ErrAbortHandler)
	}
	resp.header.Set(s3.HeaderRequestID, requestID())
	if fault.Header != nil {
		fault.Header(resp.header)
	}
	if fault.Corrupt != nil && len(resp.body) > 0 {
		resp.body = append([]byte(nil), resp.body...)
		fault.Corrupt(resp.body)
	}
	if q != nil && q.record != nil {
		u.log.status(q.record, resp.status)
	}
	for name, values := range resp.header {
		w.Header()[name] = values
	}
	if resp.status != http.StatusNoContent && resp.status != http.StatusNotModified && resp.header.Get(s3.HeaderContentLength) == "" {
		w.Header().Set(s3.HeaderContentLength, strconv.Itoa(len(resp.body)))
	}
	w.WriteHeader(resp.status)
	if q != nil && q.Method == http.MethodHead || len(resp.body) == 0 {
		return
	}
	if cut := fault.CutBodyAfter; cut != 0 && cut < len(resp.body) {
		_, _ = w.Write(resp.body[:max(cut, 0)])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(resp.body)
}

func requestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return strings.ToUpper(hex.EncodeToString(b[:]))
}

// id makes version and upload ids; the caller holds mu.
func (u *Upstream) id() string {
	u.serial++
	return fmt.Sprintf("%08x%s", u.serial, requestID())
}
