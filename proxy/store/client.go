package store

import (
	"bytes"
	"cmp"
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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"waxseal/keystore/sigv4"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// Config says how to reach the store.
type Config struct {
	Endpoint    string // http://host:port or https://host
	Region      string // default us-east-1
	AccessKey   string
	SecretKey   string
	VirtualHost bool        // bucket in the host name instead of the path
	TLS         *tls.Config // a custom CA, for example
	// Idle bounds the silence of the store: the time in which it reads no byte of a body, or sends no byte of a
	// response. The default is a minute.
	Idle time.Duration
	// Local is a store in this process. It replaces all the fields above but Region.
	Local *Local
}

// Client sends requests to the store.
type Client struct {
	cfg    Config
	base   *url.URL
	client *http.Transport
	signer *sigv4.Signer
	// idle is Config.Idle with its default.
	idle time.Duration
	// plainBodies is set for a store without trailers: bodies are sent with a plain Content-Length, and an abort resets
	// the connection (see New).
	plainBodies atomic.Bool
	probed      atomic.Pointer[Capabilities]
}

const (
	upstreamConns   = 512 // idle connections kept to the store
	upstreamRetries = 3   // attempts of a request whose body can be sent again
)

// New makes a client. It sends nothing yet.
func New(cfg Config) (*Client, error) {
	if cfg.Local != nil {
		u := &Client{cfg: cfg, base: &localBase, client: new(http.Transport)}
		caps := localCapabilities()
		u.probed.Store(&caps)
		return u, nil
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
	u := &Client{cfg: cfg, base: base, idle: cmp.Or(cfg.Idle, time.Minute), signer: &sigv4.Signer{Service: "s3", Region: cfg.Region}}
	caps := assumedCapabilities()
	u.probed.Store(&caps)
	u.client = &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			if tcp, ok := conn.(*net.TCPConn); ok && u.plainBodies.Load() {
				// Close then resets the connection: such a store takes a plain close in the middle of a body for the
				// body's end.
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
		// Clients compare the stored bytes, so the transport must never decompress them.
		DisableCompression: true,
		WriteBufferSize:    128 << 10,
		// A buffer smaller than a segment: segments are then read straight into their own buffers.
		ReadBufferSize:    32 << 10,
		ForceAttemptHTTP2: false,
	}
	return u, nil
}

// storeConn writes each sealed segment of a streamed body, with its frame, in a single write. ReadFrom of a TCP
// connection would take two, because io.Copy's buffer has 32 KiB. Every write has a deadline. Reads have their limits
// in roundTrip, where the kind of request is known (watchdog.go).
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

// ReadFrom is called by net/http for a body outside memory.
func (c storeConn) ReadFrom(r io.Reader) (int64, error) {
	buf := streamBuffers.Get().(*streamBuffer)
	defer streamBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{r}, buf[:])
}

// Region returns the region for which requests are signed.
func (u *Client) Region() string { return u.cfg.Region }

// Close closes the idle connections.
func (u *Client) Close() { u.client.CloseIdleConnections() }

// Request is a request to the store.
type Request struct {
	Method string
	Bucket string
	Key    string
	Query  string // encoded
	Header http.Header

	// At most one of Body and Stream is set. A body in memory can be sent again; a stream cannot. A stream ends, and
	// the store commits it, only after its reader has returned io.EOF: any other error cuts the body before its
	// trailer.
	Body   []byte
	Stream io.Reader
	Size   int64 // size of Stream

	Creds *Credentials // nil: the requester's credentials at the store, if any, else waxseal's own
	Own   bool         // always waxseal's own credentials: a lookup for a request that was authorised already

	Conditions map[string][]string // of an anonymous request, for the policies of a Local store
}

// Credentials sign a request for the store.
type Credentials struct{ AccessKey, SecretKey string }

// Anonymous marks a request that goes to the store unsigned: the store's own policies and ACLs say what everybody may
// do.
var Anonymous = new(Credentials)

// Send builds, signs and sends a request, retries it where that is safe, and returns the store's response with any
// status. The caller closes the body.
func (u *Client) Send(ctx context.Context, r *Request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := u.once(ctx, r)
		if !u.again(ctx, r, resp, err) || attempt == upstreamRetries {
			if err != nil {
				return nil, Unanswered(ctx, err)
			}
			return resp, nil
		}
		if resp != nil {
			Drain(resp)
		}
		// Full jitter: 0 to 100, 200, 400 ms.
		wait := time.Duration(rand.Int64N(int64(50*time.Millisecond) << attempt))
		select {
		case <-ctx.Done():
			return nil, Unanswered(ctx, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// again reports whether a request may be retried: its body can be sent again, and the request is idempotent.
func (u *Client) again(ctx context.Context, r *Request, resp *http.Response, err error) bool {
	if r.Stream != nil || ctx.Err() != nil {
		return false
	}
	if err != nil {
		return !errors.Is(err, ErrStalled) && (r.Method == http.MethodGet || r.Method == http.MethodHead)
	}
	return resp.StatusCode == http.StatusServiceUnavailable && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

func (u *Client) once(ctx context.Context, r *Request) (*http.Response, error) {
	if u.cfg.Local != nil {
		return u.local(ctx, r)
	}
	if r.Stream == nil {
		return u.roundTrip(ctx, r, nil)
	}
	if u.plainBodies.Load() {
		return u.sendFramed(ctx, r, &plainBody{trailerBody: newTrailerBody(r.Stream, r.Size)})
	}
	body := newTrailerBody(r.Stream, r.Size)
	if r.Size > smallBody {
		return u.sendFramed(ctx, r, body)
	}
	whole, err := readFramed(body)
	if err != nil {
		return nil, err
	}
	return u.roundTrip(ctx, r, whole)
}

// unsignedPayload is the x-amz-content-sha256 of a body outside the signature.
const unsignedPayload = "UNSIGNED-PAYLOAD"

// smallBody bounds the bodies that are framed in memory: head and body then go out in one write instead of three.
const smallBody = 128 << 10

// wholeBody is a framed body in memory.
type wholeBody struct{ b []byte }

func readFramed(body framed) (*wholeBody, error) {
	b := make([]byte, body.encodedSize())
	if _, err := io.ReadFull(body, b); err != nil {
		if err == io.ErrUnexpectedEOF || err == io.EOF {
			err = fmt.Errorf("%w: it is shorter than declared", ErrBodyRefused)
		}
		return nil, err
	}
	return &wholeBody{b}, nil
}

func (w *wholeBody) encodedSize() int64 { return int64(len(w.b)) }

// reader returns a body of a type that net/http recognises as being in memory.
func (w *wholeBody) reader() io.ReadCloser { return io.NopCloser(bytes.NewReader(w.b)) }

func (w *wholeBody) Read([]byte) (int, error) { return 0, io.EOF }
func (w *wholeBody) Close() error             { return nil }

// build makes the signed HTTP request. stream is its body, or nil if the body is r.Body or empty.
func (u *Client) build(ctx context.Context, r *Request, stream framed) *http.Request {
	req := (&http.Request{
		Method:     r.Method,
		URL:        u.url(r),
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     make(http.Header, len(r.Header)+8),
	}).WithContext(ctx)
	for k, v := range r.Header {
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
		set("X-Amz-Decoded-Content-Length", strconv.FormatInt(r.Size, 10))
		set("Content-Encoding", joinEncoding(req.Header.Get("Content-Encoding")))
		payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	case len(r.Body) > 0:
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(r.Body)), int64(len(r.Body))
		sum := md5.Sum(r.Body)
		set("Content-Md5", s3.Base64(sum[:]))
	case r.Method == http.MethodPut || r.Method == http.MethodPost:
		req.Body = http.NoBody
	}
	if r.Creds != Anonymous || payload != unsignedPayload {
		set("X-Amz-Content-Sha256", payload) // S3 refuses UNSIGNED-PAYLOAD where nothing is signed
	}
	set("User-Agent", "waxseal")
	if req.Header.Get("Accept-Encoding") == "" {
		set("Accept-Encoding", "identity")
	}
	if r.Creds != Anonymous {
		u.sign(req, r.Creds)
	}
	return req
}

// sign signs host and every x-amz-* header.
func (u *Client) sign(req *http.Request, creds *Credentials) {
	ak, sk := u.cfg.AccessKey, u.cfg.SecretKey
	if creds != nil {
		ak, sk = creds.AccessKey, creds.SecretKey
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

func (u *Client) url(r *Request) *url.URL {
	v := *u.base
	switch {
	case r.Bucket == "":
		v.Path = "/"
	case u.cfg.VirtualHost && !Reserved(firstSegment(r.Key)): // a reserved first segment needs path style: the store would look at the path before the host
		v.Host = r.Bucket + "." + v.Host
		v.Path = "/" + r.Key
	case r.Key == "":
		v.Path = "/" + r.Bucket
	default:
		v.Path = "/" + r.Bucket + "/" + r.Key
	}
	v.RawPath = s3.EscapePath(v.Path)
	v.RawQuery = r.Query
	return &v
}

func firstSegment(key string) string {
	segment, _, _ := strings.Cut(key, "/")
	return segment
}

// joinEncoding prepends aws-chunked to the client's own Content-Encoding. Stores keep only the client's.
func joinEncoding(own string) string {
	if own == "" {
		return "aws-chunked"
	}
	return "aws-chunked," + own
}
