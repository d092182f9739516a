package proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// UpstreamConfig names the store.
type UpstreamConfig struct {
	Endpoint    string // http://host:port or https://host
	Region      string // default us-east-1
	AccessKey   string
	SecretKey   string
	VirtualHost bool        // bucket in the host name instead of the path
	TLS         *tls.Config // a custom CA, for example
	// Local is a store in this process, which stands for all of the above but the region.
	Local *LocalStore
}

// upstream sends requests to the store. There is no interface in front of it: the seam is HTTP.
type upstream struct {
	cfg    UpstreamConfig
	base   *url.URL
	client *http.Transport
	signer *sigv4.Signer
	// idle is how long the store may take no byte of a body, or give none of an answer.
	idle time.Duration
	// plainBodies is for a store without trailers: bodies go up with a plain Content-Length, and are broken off by a
	// reset (see newUpstream).
	plainBodies atomic.Bool
}

const (
	upstreamConns   = 512 // idle connections kept to the store
	upstreamRetries = 3   // attempts of a request whose body can be sent again
)

func newUpstream(cfg UpstreamConfig) (*upstream, error) {
	if cfg.Local != nil {
		return &upstream{cfg: cfg, base: &localBase, client: new(http.Transport)}, nil
	}
	base, err := url.Parse(cfg.Endpoint)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("upstream endpoint %q is not an http(s) URL", cfg.Endpoint)
	}
	if base.Path != "" && base.Path != "/" {
		return nil, fmt.Errorf("upstream endpoint %q must not have a path", cfg.Endpoint)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	dial := (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	u := &upstream{cfg: cfg, base: base, idle: time.Minute, signer: &sigv4.Signer{Service: "s3", Region: cfg.Region}}
	u.client = &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			if tcp, ok := conn.(*net.TCPConn); ok && u.plainBodies.Load() {
				// Closing then resets: a store takes a plain close in the middle of a body for its end.
				if err := tcp.SetLinger(0); err != nil {
					return nil, errors.Join(err, conn.Close())
				}
			}
			return storeConn{conn, u.idle}, nil
		},
		TLSClientConfig:     cfg.TLS,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConns:        upstreamConns,
		MaxIdleConnsPerHost: upstreamConns,
		IdleConnTimeout:     90 * time.Second,
		// The store's bytes are what clients compare: never let the transport unpack them.
		DisableCompression: true,
		WriteBufferSize:    128 << 10,
		// Below a segment's size, so that segments are read straight into their buffers.
		ReadBufferSize:    32 << 10,
		ForceAttemptHTTP2: false,
	}
	return u, nil
}

// storeConn sends a streamed body in pieces of a whole sealed segment and its frame, each in one write. A TCP connection's
// own ReadFrom would make two of each, in io.Copy's buffer of 32 KiB.
// A write that the store does not take in time fails: reads are watched where it is known what is waited for (stall.go).
type storeConn struct {
	net.Conn
	idle time.Duration
}

func (c storeConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

type streamBuffer [sse.SegmentSize + 1<<10]byte

var streamBuffers = sync.Pool{New: func() any { return new(streamBuffer) }}

// ReadFrom is what net/http sends a body with that it does not have in memory.
func (c storeConn) ReadFrom(r io.Reader) (int64, error) {
	buf := streamBuffers.Get().(*streamBuffer)
	defer streamBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{r}, buf[:])
}

func (u *upstream) close() { u.client.CloseIdleConnections() }

// storeRequest is one request to the store. Header holds what headers.go let through and what waxseal adds.
type storeRequest struct {
	method string
	bucket string
	key    string
	query  string // encoded
	header http.Header

	// At most one of the two. A body in memory can be sent again; a stream cannot. A stream ends, and is committed by
	// the store, only when its reader has returned io.EOF: any other error cuts it before its trailer.
	body   []byte
	stream io.Reader
	size   int64 // of stream

	creds *storeCreds // nil: the requester's where they have some, else waxseal's own
	own   bool        // waxseal's own in any case: a look behind a request that was authorised already

	conditions iam.Values // of an anonymous request, for the policies of a store in this process
}

type storeCreds struct{ accessKey, secretKey string }

// anonymous requests go to the store unsigned: its own policies and ACLs say what everybody may do.
var anonymous = new(storeCreds)

// send builds, signs and sends a request, again where that is safe, and returns the store's answer whatever its
// status. The caller closes the body.
func (u *upstream) send(ctx context.Context, r *storeRequest) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := u.once(ctx, r)
		if !u.again(ctx, r, resp, err) || attempt == upstreamRetries {
			if err != nil {
				return nil, storeError(ctx, err)
			}
			return resp, nil
		}
		if resp != nil {
			drain(resp)
		}
		// Full jitter: 0 to 100, 200, 400 ms.
		wait := time.Duration(rand.Int64N(int64(50*time.Millisecond) << attempt))
		select {
		case <-ctx.Done():
			return nil, storeError(ctx, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// again says whether a request may be sent once more: only when its body can be, and when doing it twice is the same
// as doing it once.
func (u *upstream) again(ctx context.Context, r *storeRequest, resp *http.Response, err error) bool {
	if r.stream != nil || ctx.Err() != nil {
		return false
	}
	if err != nil {
		return !errors.Is(err, errStalled) && (r.method == http.MethodGet || r.method == http.MethodHead)
	}
	return resp.StatusCode == http.StatusServiceUnavailable && (r.method == http.MethodGet || r.method == http.MethodHead)
}

func (u *upstream) once(ctx context.Context, r *storeRequest) (*http.Response, error) {
	if u.cfg.Local != nil {
		return u.local(ctx, r)
	}
	if r.stream == nil {
		return u.roundTrip(ctx, r, nil)
	}
	if u.plainBodies.Load() {
		return u.sendFramed(ctx, r, &plainBody{trailerBody: newTrailerBody(r.stream, r.size)})
	}
	body := newTrailerBody(r.stream, r.size)
	if r.size > smallBody {
		return u.sendFramed(ctx, r, body)
	}
	whole, err := readFramed(body)
	if err != nil {
		return nil, err
	}
	return u.roundTrip(ctx, r, whole)
}

// unsignedPayload is what a signature says of a body that it does not cover.
const unsignedPayload = "UNSIGNED-PAYLOAD"

// smallBody is the size up to which a body is framed in memory: head and body then go out in one write, not in three.
const smallBody = 128 << 10

// wholeBody is a framed body in memory.
type wholeBody struct{ b []byte }

func readFramed(body framed) (*wholeBody, error) {
	b := make([]byte, body.encodedSize())
	if _, err := io.ReadFull(body, b); err != nil {
		if err == io.ErrUnexpectedEOF || err == io.EOF {
			err = fmt.Errorf("%w: it is shorter than declared", errBodyRefused)
		}
		return nil, err
	}
	return &wholeBody{b}, nil
}

func (w *wholeBody) encodedSize() int64 { return int64(len(w.b)) }

// reader is what net/http knows to be in memory.
func (w *wholeBody) reader() io.ReadCloser { return io.NopCloser(bytes.NewReader(w.b)) }

func (w *wholeBody) Read([]byte) (int, error) { return 0, io.EOF }
func (w *wholeBody) Close() error             { return nil }

// build makes the signed HTTP request. stream is the body where r has one that is not in memory.
func (u *upstream) build(ctx context.Context, r *storeRequest, stream framed) *http.Request {
	req := (&http.Request{
		Method:     r.method,
		URL:        u.url(r),
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     make(http.Header, len(r.header)+8),
	}).WithContext(ctx)
	for k, v := range r.header {
		req.Header[k] = v
	}
	own := make([]string, 0, 8)
	set := func(canonical, value string) {
		own = append(own, value)
		req.Header[canonical] = own[len(own)-1 : len(own) : len(own)]
	}
	req.Host = req.URL.Host
	payload := unsignedPayload
	switch {
	case stream != nil:
		req.Body, req.ContentLength = stream, stream.encodedSize()
		if w, ok := stream.(*wholeBody); ok {
			req.Body = w.reader()
		}
		if u.plainBodies.Load() {
			break
		}
		set("X-Amz-Trailer", checksumTrailer)
		set("X-Amz-Decoded-Content-Length", itoa64(r.size))
		set("Content-Encoding", joinEncoding(req.Header.Get("Content-Encoding")))
		payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	case len(r.body) > 0:
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(r.body)), int64(len(r.body))
		sum := md5.Sum(r.body)
		set("Content-Md5", s3.Base64(sum[:]))
	case r.method == http.MethodPut || r.method == http.MethodPost:
		req.Body = http.NoBody
	}
	if r.creds != anonymous || payload != unsignedPayload {
		set("X-Amz-Content-Sha256", payload) // S3 refuses UNSIGNED-PAYLOAD where nothing is signed
	}
	set("User-Agent", "waxseal")
	if req.Header.Get("Accept-Encoding") == "" {
		set("Accept-Encoding", "identity")
	}
	if r.creds != anonymous {
		u.sign(req, r.creds)
	}
	return req
}

// sign signs host and every x-amz-* header.
func (u *upstream) sign(req *http.Request, creds *storeCreds) {
	ak, sk := u.cfg.AccessKey, u.cfg.SecretKey
	if creds != nil {
		ak, sk = creds.accessKey, creds.secretKey
	}
	now := sigv4.Timestamp(time.Now())
	req.Header.Set("X-Amz-Date", now)
	out := sigv4.Outgoing{Method: req.Method, Path: req.URL.EscapedPath(), Query: req.URL.RawQuery,
		Payload: req.Header.Get("X-Amz-Content-Sha256"), Headers: append(make([]sigv4.Header, 0, 12), sigv4.Header{Name: "host", Value: req.Host})}
	for name, values := range req.Header {
		if lower := s3.LowerName(name); strings.HasPrefix(lower, "x-amz-") {
			out.Headers = append(out.Headers, sigv4.Header{Name: lower, Value: strings.Join(values, ",")})
		}
	}
	req.Header.Set("Authorization", u.signer.Sign(ak, sk, now, &out))
}

func (u *upstream) url(r *storeRequest) *url.URL {
	v := *u.base
	switch {
	case r.bucket == "":
		v.Path = "/"
	case u.cfg.VirtualHost && !storesOwn(firstSegment(r.key)): // else the store would look at the path before the host
		v.Host = r.bucket + "." + v.Host
		v.Path = "/" + r.key
	case r.key == "":
		v.Path = "/" + r.bucket
	default:
		v.Path = "/" + r.bucket + "/" + r.key
	}
	v.RawPath = s3.EscapePath(v.Path)
	v.RawQuery = r.query
	return &v
}

func firstSegment(key string) string {
	segment, _, _ := strings.Cut(key, "/")
	return segment
}

// joinEncoding puts aws-chunked in front of a client's own content encoding. Stores keep the rest.
func joinEncoding(own string) string {
	if own == "" {
		return "aws-chunked"
	}
	return "aws-chunked," + own
}

// storeError says what became of a request that got no answer.
func storeError(ctx context.Context, err error) error {
	var own *s3.Error
	switch {
	case errors.As(err, &own):
		// The body's own reader failed: the client's fault, or a check's verdict.
		return err
	case errors.Is(err, errBodyRefused):
		return err
	case context.Cause(ctx) == errSlowDown:
		return errSlowDown
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errClientGone, ctx.Err())
	}
	return fmt.Errorf("%w: %w", errStoreUnreachable, err)
}

// drain reads a small rest of an answer so that its connection can be used again, and closes it.
func drain(resp *http.Response) {
	io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close()
}

// maxStoreDocument bounds an XML document or error that the store sends.
const maxStoreDocument = 16 << 20

// readDocument reads a whole XML answer.
func readDocument(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	var b bytes.Buffer
	// As much as a page of a listing is read into one piece; beyond that memory grows with what really comes.
	b.Grow(int(min(max(resp.ContentLength, 0), 1<<20)) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(resp.Body, maxStoreDocument+1)); err != nil {
		return nil, fmt.Errorf("%w: reading its answer: %w", errStoreUnreachable, err)
	}
	if b.Len() > maxStoreDocument {
		return nil, fmt.Errorf("%w: its answer is over %d bytes", errStoreUnreachable, maxStoreDocument)
	}
	return b.Bytes(), nil
}

// upstreamFailure turns an error answer of the store into the error that the client gets.
func upstreamFailure(resp *http.Response) error {
	b, err := readDocument(resp)
	if err != nil {
		return err
	}
	e := s3.ParseError(resp.StatusCode, b)
	if e.Code == "" {
		e.Code, e.Message = codeForStatus(resp.StatusCode), resp.Status
	}
	if err := refusedCredentials(e); err != nil {
		return err
	}
	return &storeAnswer{cause: e, header: resp.Header}
}

// storeAnswer is an error that the store answered: its code, with the headers that mean something beside it.
type storeAnswer struct {
	cause  *s3.Error
	header http.Header
}

func (a *storeAnswer) Error() string { return "the store answered " + a.cause.Error() }
func (a *storeAnswer) Unwrap() error { return a.cause }

// etagOf is the store's own ETag, without quotes.
func etagOf(h http.Header) string { return strings.Trim(h.Get("Etag"), `"`) }

// codeForStatus is the code of an answer that has only a status: one to a HEAD, or a load balancer's page.
func codeForStatus(status int) s3.Code {
	switch status {
	case http.StatusBadRequest:
		return s3.BadRequest
	case http.StatusForbidden:
		return s3.AccessDenied
	case http.StatusNotFound:
		return s3.NoSuchKey
	case http.StatusMethodNotAllowed:
		return s3.MethodNotAllowed
	case http.StatusPreconditionFailed:
		return s3.PreconditionFailed
	case http.StatusRequestedRangeNotSatisfiable:
		return s3.InvalidRange
	case http.StatusNotImplemented:
		return s3.NotImplemented
	case http.StatusServiceUnavailable:
		return s3.ServiceUnavailable
	}
	return s3.InternalError
}
