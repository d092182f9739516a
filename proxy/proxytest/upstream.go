// Package proxytest helps to test the proxy: Upstream is the embedded store in memory, with faults on demand.
package proxytest

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"waxseal/proxy/embedded"
	"waxseal/proxy/s3"
)

// Options are the differences of an Upstream from Amazon S3. The zero value is the common ground of the stores tested
// with waxseal: it honours conditions on PUT and Complete, and silently ignores conditions on DELETE and on a copy's
// destination.
type Options struct {
	// HonourDeleteIfMatch makes If-Match work on DeleteObject and ETag in DeleteObjects, as on AWS.
	HonourDeleteIfMatch bool
	// HonourCopyConditions makes If-Match and If-None-Match work on CopyObject's destination, as on AWS.
	HonourCopyConditions bool
	// IgnoreWriteConditions ignores If-Match and If-None-Match on PUT and Complete: an old store.
	IgnoreWriteConditions bool
	// IgnoreSourceConditions ignores x-amz-copy-source-if-match and its like.
	IgnoreSourceConditions bool
	// ListMetadata returns UserMetadata and UserTags in listings with metadata=true: MinIO.
	ListMetadata bool
	// CommitShortBody stores the bytes received of a plain body after an early close: versitygw. A cut aws-chunked body
	// is never stored.
	CommitShortBody bool
	// NoTrailers refuses STREAMING-UNSIGNED-PAYLOAD-TRAILER: a store from before 2022.
	NoTrailers bool
	// ForgetCompleted answers a repeated Complete with NoSuchUpload, as MinIO does. AWS repeats its first response.
	ForgetCompleted bool
	// DenyListMetadata answers metadata=true without metadata, as MinIO does for a user with only the right to list.
	DenyListMetadata bool
	// PlainNames is a store without encoding-type=url and with the last name as continuation token: versitygw.
	PlainNames bool
	// FoldFolders keeps "a__XLDIR__" and "a/" as one object: MinIO.
	FoldFolders bool
	// RefuseUnsigned evaluates unsigned requests as an anonymous user's. Without it they count as the owner's.
	RefuseUnsigned bool
	// Region is the store's region. CreateBucket must name it, or name none in us-east-1, as on AWS. Without a Region,
	// CreateBucket may name any.
	Region string

	// MinPartSize is the least size of all parts but the last; 0 means S3's 5 MiB, negative no limit.
	MinPartSize int64
	// MaxPutSize is the largest body of a PUT or a part; 0 means S3's 5 GiB.
	MaxPutSize int64
	// MaxMetadata bounds the metadata of an object; 0 means S3's 2 KiB.
	MaxMetadata int64
	// MaxRequests bounds the log of requests; 0 means 10,000.
	MaxRequests int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// An Upstream is an S3 store in memory, path-style, for a single account. It accepts any signature and records the
// signer. It is an http.Handler; StartUpstream serves it.
type Upstream struct {
	Options // to be set before the first request

	once  sync.Once
	store *embedded.Store
	done  sync.Map // completed uploads

	log  requestLog
	hook hookBox
}

// NewUpstream makes an empty store.
func NewUpstream() *Upstream { return new(Upstream) }

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
		server.CloseClientConnections() // a failed test may have left connections open
		server.Close()
	})
	return u, server.URL
}

// engine returns the store, created at first use with the options.
func (u *Upstream) engine() *embedded.Store {
	u.once.Do(func() {
		store, err := embedded.NewMemory(embedded.Config{Region: u.Region, AnyLocation: u.Region == "", NewETag: md5.New,
			MinPartSize: u.MinPartSize, MaxPutSize: u.MaxPutSize, MaxMetadata: u.MaxMetadata, Now: u.Now})
		must(err)
		u.store = store
	})
	return u.store
}

// must panics on an error. The store in memory returns none.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// A request is an S3 request on its way to the store.
type request struct {
	*http.Request
	bucket, key string
	query       url.Values
	op          string
	record      *Recorded
}

// A response is complete before it is sent, so that a fault can change or withhold it.
type response struct {
	status int
	header http.Header
	body   []byte
}

// parse determines the operation of a request, and records the request.
func (u *Upstream) parse(r *http.Request) *request {
	if name, ok := strings.CutSuffix(r.URL.Path, "__XLDIR__"); ok && u.FoldFolders {
		r.URL.Path, r.URL.RawPath = name+"/", ""
	}
	q := &request{Request: r}
	q.op, q.bucket, q.key, q.query = embedded.Operation(r)
	q.record = &Recorded{Method: r.Method, URI: r.RequestURI, Bucket: q.bucket, Key: q.key, Operation: q.op, Query: q.query,
		Header: r.Header.Clone(), AccessKey: accessKeyOf(r, q.query), ContentLength: r.ContentLength}
	limit := u.MaxRequests
	if limit == 0 {
		limit = 10_000
	}
	u.log.add(q.record, limit)
	return q
}

// ServeHTTP implements http.Handler.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := u.parse(r)
	fault := u.hook.call(Op{Method: r.Method, Bucket: q.bucket, Key: q.key, Name: q.op, N: q.record.N, Query: q.query, Header: r.Header})
	u.send(w, q, u.serve(q, fault), fault)
}

// serve executes the request, unless the fault prevents it. It returns nil for no response.
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
	resp := u.do(q)
	switch {
	case fault.After != nil:
		return errorResponse(fault.After)
	case fault.CutAfter:
		return nil
	case fault.Answer != nil:
		return &response{status: http.StatusOK, header: http.Header{}, body: fault.Answer}
	case fault.Late != nil:
		late := errorResponse(fault.Late)
		late.status = http.StatusOK
		// The XML declaration goes out first, then white space to keep the connection alive, then the error.
		late.body = bytes.Replace(late.body, []byte("<Error>"), []byte("   \n   <Error>"), 1)
		return late
	}
	return resp
}

// do removes the features excluded by the options, and sends the request to the engine.
func (u *Upstream) do(q *request) *response {
	// A completely received request takes effect even if its client disconnects.
	ctx := context.WithoutCancel(q.Context())
	if !u.RefuseUnsigned || q.Header.Get("Authorization") != "" {
		ctx = embedded.AsOwner(ctx)
	}
	r := q.Clone(ctx)
	if err := u.prepare(q, r); err != nil {
		return errorResponse(err)
	}
	if q.op == "CompleteMultipartUpload" && u.ForgetCompleted {
		if _, done := u.done.Load(q.query.Get("uploadId")); done {
			return errorResponse(s3.NewError(s3.NoSuchUpload).With("UploadId", q.query.Get("uploadId")))
		}
	}
	resp, err := u.engine().RoundTrip(r)
	if err != nil {
		return errorResponse(s3.NewError(s3.IncompleteBody)) // the client has disconnected
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(err)
	if q.op == "CompleteMultipartUpload" && resp.StatusCode == http.StatusOK {
		u.done.Store(q.query.Get("uploadId"), true)
	}
	if resp.StatusCode == http.StatusOK && len(body) == 0 && (q.op == "GetObject" || q.op == "HeadObject") && strings.HasPrefix(q.Header.Get(s3.HeaderRange), "bytes=-") {
		// AWS returns an empty body for the last bytes of an empty object. Other stores refuse the range, and waxseal
		// asks again.
		return errorResponse(s3.NewError(s3.InvalidRange))
	}
	if u.PlainNames && strings.HasPrefix(q.op, "List") {
		body = plainPage(body)
		resp.Header.Del(s3.HeaderContentLength)
	}
	return &response{resp.StatusCode, resp.Header, body}
}

// prepare removes the headers and parameters ignored according to the options, and reads the body.
func (u *Upstream) prepare(q *request, r *http.Request) error {
	write := q.op == "PutObject" || q.op == "CompleteMultipartUpload"
	if write && u.IgnoreWriteConditions || q.op == "CopyObject" && !u.HonourCopyConditions {
		r.Header.Del(s3.HeaderIfMatch)
		r.Header.Del(s3.HeaderIfNoneMatch)
	}
	if q.op == "DeleteObject" && !u.HonourDeleteIfMatch {
		for _, name := range []string{s3.HeaderIfMatch, s3.HeaderIfMatchLastModified, s3.HeaderIfMatchSize} {
			r.Header.Del(name)
		}
	}
	if u.IgnoreSourceConditions {
		for _, name := range []string{s3.HeaderCopyIfMatch, s3.HeaderCopyIfNoneMatch, s3.HeaderCopyIfModifiedSince, s3.HeaderCopyIfUnmodifiedSince} {
			r.Header.Del(name)
		}
	}
	if q.query.Has("metadata") && (!u.ListMetadata || u.DenyListMetadata) {
		query := r.URL.Query()
		query.Del("metadata")
		r.URL.RawQuery = query.Encode()
	}
	if u.NoTrailers && strings.HasSuffix(r.Header.Get(s3.HeaderContentSHA256), "-TRAILER") {
		return s3.Errorf(s3.NotImplemented, "%s is not supported", r.Header.Get(s3.HeaderContentSHA256))
	}
	if u.PlainNames {
		askPlain(r)
	}
	if q.op == "DeleteObjects" && !hasDigest(r.Header) {
		return s3.Errorf(s3.InvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	return u.readBody(q, r)
}

// hasDigest reports whether a request has a digest of its body: S3 requires it for DeleteObjects.
func hasDigest(h http.Header) bool {
	if h.Get(s3.HeaderContentMD5) != "" || h.Get(s3.HeaderTrailer) != "" {
		return true
	}
	return slices.ContainsFunc(s3.ChecksumAlgorithms, func(a string) bool { return h.Get(s3.ChecksumHeader(a)) != "" })
}

// readBody reads the body from the connection.
func (u *Upstream) readBody(q *request, r *http.Request) error {
	var body bytes.Buffer
	if r.ContentLength > 0 {
		body.Grow(int(min(r.ContentLength+bytes.MinRead, 64<<20)))
	}
	_, err := body.ReadFrom(r.Body)
	chunked := strings.HasPrefix(r.Header.Get(s3.HeaderContentSHA256), "STREAMING-")
	switch {
	case err == nil:
	case errors.Is(err, io.ErrUnexpectedEOF) && u.CommitShortBody && !chunked:
		r.ContentLength = int64(body.Len())
		r.Header.Del(s3.HeaderContentSHA256)
	default:
		return s3.NewError(s3.IncompleteBody)
	}
	if chunked {
		u.log.trailer(q.record, trailerOf(body.Bytes()))
	}
	b := body.Bytes()
	if q.op == "DeleteObjects" && !u.HonourDeleteIfMatch && err == nil && !chunked {
		b = u.withoutConditions(r, b)
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}

// withoutConditions removes the conditions from the list of DeleteObjects. It returns any other document unchanged.
func (u *Upstream) withoutConditions(r *http.Request, body []byte) []byte {
	var list s3.Delete
	if s3.Decode(bytes.NewReader(body), 2<<20, &list) != nil {
		return body
	}
	for i := range list.Objects {
		list.Objects[i].ETag, list.Objects[i].LastModifiedTime, list.Objects[i].Size = nil, nil, nil
	}
	out, err := s3.Encode(&list)
	must(err)
	r.ContentLength = int64(len(out))
	if sum := md5.Sum(body); r.Header.Get(s3.HeaderContentMD5) == b64(sum[:]) {
		sum = md5.Sum(out)
		r.Header.Set(s3.HeaderContentMD5, b64(sum[:]))
	}
	for _, a := range s3.ChecksumAlgorithms {
		name, h := s3.ChecksumHeader(a), s3.NewChecksum(a)
		if h.Write(body); r.Header.Get(name) == b64(h.Sum(nil)) {
			h.Reset()
			h.Write(out)
			r.Header.Set(name, b64(h.Sum(nil)))
		}
	}
	r.Header.Del(s3.HeaderContentSHA256)
	return out
}

func errorResponse(err error) *response {
	var e *s3.Error
	if !errors.As(err, &e) {
		e = s3.Errorf(s3.InternalError, "%v", err)
	}
	r := &response{status: e.Status(), header: http.Header{}}
	for _, f := range e.Header {
		r.header.Set(f.Name, f.Value)
	}
	if r.status != http.StatusNotModified {
		r.header.Set(s3.HeaderContentType, "application/xml")
		r.body = e.AppendXML(nil)
	}
	return r
}

// send writes the response, changed by the fault.
func (u *Upstream) send(w http.ResponseWriter, q *request, resp *response, fault Fault) {
	if resp == nil {
		panic(http.ErrAbortHandler)
	}
	if fault.Header != nil {
		fault.Header(resp.header)
	}
	if fault.Corrupt != nil && len(resp.body) > 0 {
		resp.body = append([]byte(nil), resp.body...)
		fault.Corrupt(resp.body)
	}
	u.log.status(q.record, resp.status)
	for name, values := range resp.header {
		w.Header()[name] = values
	}
	if resp.status != http.StatusNoContent && resp.status != http.StatusNotModified && resp.header.Get(s3.HeaderContentLength) == "" {
		w.Header().Set(s3.HeaderContentLength, strconv.Itoa(len(resp.body)))
	}
	w.WriteHeader(resp.status)
	if q.Method == http.MethodHead || len(resp.body) == 0 {
		return
	}
	if cut := fault.CutBodyAfter; cut != 0 && cut < len(resp.body) {
		_, _ = w.Write(resp.body[:max(cut, 0)])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(resp.body)
}

// ask sends the engine a request of the test itself.
func (u *Upstream) ask(method, bucket, query string, body []byte) int {
	r := (&http.Request{Method: method, URL: &url.URL{Path: "/" + bucket, RawQuery: query}, Header: http.Header{},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}).WithContext(embedded.AsOwner(context.Background()))
	resp, err := u.engine().RoundTrip(r)
	must(err)
	must(resp.Body.Close())
	return resp.StatusCode
}

// CreateBucket creates a bucket, if it does not exist.
func (u *Upstream) CreateBucket(name string) {
	var body []byte
	if u.Region != "" && u.Region != "us-east-1" {
		var err error
		body, err = s3.Encode(&s3.CreateBucketConfiguration{LocationConstraint: u.Region})
		must(err)
	}
	if status := u.ask(http.MethodPut, name, "", body); status != http.StatusOK && status != http.StatusConflict {
		panic("proxytest: " + name + " is no bucket's name")
	}
}

// SetObjectLock enables object lock without a default retention, and thereby versioning.
func (u *Upstream) SetObjectLock(name string) {
	u.SetVersioning(name, "Enabled")
	body := []byte("<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>")
	if status := u.ask(http.MethodPut, name, "object-lock=", body); status != http.StatusOK {
		panic("proxytest: " + name + " cannot lock objects")
	}
}

// SetVersioning sets a bucket's versioning to Enabled or Suspended.
func (u *Upstream) SetVersioning(name, status string) {
	body, err := s3.Encode(&s3.VersioningConfiguration{Status: status})
	must(err)
	if status := u.ask(http.MethodPut, name, "versioning=", body); status != http.StatusOK {
		panic("proxytest: the versioning of " + name + " cannot be changed")
	}
}
