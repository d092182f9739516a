package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"waxseal/keystore/iam"
	"waxseal/proxy/s3"
)

// requester is who asks. The zero value is anonymous.
type requester struct {
	owner      bool
	conditions iam.Values // of an anonymous request: aws:SourceIp and whatever else policies may look at
}

type requesterKey struct{}

// AsOwner says that requests with the context are the owner's, who may do everything.
func AsOwner(ctx context.Context) context.Context {
	return context.WithValue(ctx, requesterKey{}, requester{owner: true})
}

// AsAnonymous says that requests with the context are anybody's, with what bucket policies may ask about them.
func AsAnonymous(ctx context.Context, conditions iam.Values) context.Context {
	return context.WithValue(ctx, requesterKey{}, requester{conditions: conditions})
}

// request is one S3 request.
type request struct {
	ctx         context.Context
	who         requester
	method      string
	host        string
	bucket, key string
	op          string
	query       url.Values
	header      http.Header
	body        io.Reader
	length      int64 // of the body; -1 where it is not known
}

// response is an answer whose body may still be in the store.
type response struct {
	status int
	header http.Header
	body   io.ReadCloser // nil: none
	length int64         // of the body; of a HEAD's that is not there
}

func answer(status int) *response { return &response{status: status, header: make(http.Header, 8)} }

// set sets a header that has a value. Its name must be canonical.
func (r *response) set(name, value string) *response {
	if value != "" {
		r.header[name] = []string{value}
	}
	return r
}

func (r *response) bytes(contentType string, body []byte) *response {
	r.set(s3.HeaderContentType, contentType)
	r.body, r.length = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return r
}

func answerXML(v any) (*response, error) { return xmlAnswer(s3.Encode(v)) }

// answerXMLAs answers with a document whose root has the name.
func answerXMLAs(root string, v any) (*response, error) { return xmlAnswer(s3.EncodeAs(root, v)) }

func xmlAnswer(body []byte, err error) (*response, error) {
	if err != nil {
		return nil, err
	}
	return answer(http.StatusOK).bytes("application/xml", body), nil
}

// RoundTrip implements http.RoundTripper. It serves the request in the caller's goroutine and returns once the answer's
// header is known; a body of the request has then been read, or will not be. It has no error but that of the request's
// own body, or of a context that ended.
func (s *Store) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	q, err := newRequest(r)
	var resp *response
	if err == nil {
		resp, err = s.serve(q)
	}
	if err != nil {
		if resp, err = s.refusal(q, err); err != nil {
			return nil, err
		}
	}
	if origin := q.header.Get("Origin"); origin != "" && q.bucket != "" && q.method != http.MethodOptions {
		if err := s.addCORS(q, resp, origin); err != nil {
			s.log.Error("the embedded store does not know a bucket's CORS rules", "bucket", q.bucket, "err", err)
		}
	}
	return resp.http(r), nil
}

// bodyError is an error of the request's body. It is the sender's, who gets it back as it is.
type bodyError struct{ error }

func (e bodyError) Unwrap() error { return e.error }

// refusal turns an error into an answer.
func (s *Store) refusal(q *request, err error) (*response, error) {
	var body bodyError
	if errors.As(err, &body) {
		return nil, body.error
	}
	if q != nil && q.ctx.Err() != nil {
		return nil, q.ctx.Err()
	}
	var e *s3.Error
	if !errors.As(err, &e) {
		s.log.Error("a request to the embedded store has failed", "operation", q.op, "bucket", q.bucket, "key", q.key, "err", err)
		e = s3.NewError(s3.InternalError)
	}
	return errorResponse(e), nil
}

func errorResponse(e *s3.Error) *response {
	r := answer(e.Status())
	for _, f := range e.Header {
		r.header.Set(f.Name, f.Value)
	}
	if r.status != http.StatusNotModified {
		r.bytes("application/xml", e.AppendXML(nil))
	}
	return r
}

// http makes the answer net/http's.
func (r *response) http(req *http.Request) *http.Response {
	r.set(s3.HeaderRequestID, requestID())
	resp := &http.Response{StatusCode: r.status, Status: strconv.Itoa(r.status) + " " + http.StatusText(r.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header, Body: r.body, ContentLength: r.length, Request: req}
	if r.body == nil {
		resp.Body = http.NoBody
	}
	if req.Method == http.MethodHead && r.body != nil {
		r.body.Close() // it is in memory
		resp.Body = http.NoBody
	}
	if r.length > 0 || r.body != nil || r.status == http.StatusOK {
		r.header[s3.HeaderContentLength] = []string{strconv.FormatInt(r.length, 10)}
	}
	return resp
}

func requestID() string {
	var b [8]byte
	rand.Read(b[:])
	return strings.ToUpper(hex.EncodeToString(b[:]))
}

// newRequest finds out what is asked.
func newRequest(r *http.Request) (*request, error) {
	who, _ := r.Context().Value(requesterKey{}).(requester)
	q := &request{ctx: r.Context(), who: who, method: r.Method, host: r.Host, header: r.Header, length: r.ContentLength, body: http.NoBody}
	if r.Body != nil {
		q.body = r.Body
	}
	var err error
	if q.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return q, s3.NewError(s3.InvalidURI)
	}
	path, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/"))
	if err != nil || !utf8.ValidString(path) {
		return q, s3.NewError(s3.InvalidURI)
	}
	q.bucket, q.key, _ = strings.Cut(path, "/")
	q.op = operation(q)
	if len(q.key) > s3.MaxKeyLength {
		return q, s3.NewError(s3.KeyTooLongError).With("Size", strconv.Itoa(len(q.key))).With("MaxSizeAllowed", strconv.Itoa(s3.MaxKeyLength))
	}
	return q, nil
}

// Operation returns AWS's name of the requested operation, with its bucket, key and query. An unknown request gets a name
// that AWS does not have.
func Operation(r *http.Request) (name, bucket, key string, query url.Values) {
	q, err := newRequest(r)
	if err != nil && q.op == "" {
		q.op = "none"
	}
	return q.op, q.bucket, q.key, q.query
}

// serve carries the request out, if the requester may.
func (s *Store) serve(q *request) (*response, error) {
	if err := s.failed(); err != nil {
		return nil, err
	}
	op, ok := operations[q.op]
	if !ok {
		return nil, s3.Errorf(s3.NotImplemented, "The embedded store does not support %s", q.op)
	}
	if err := s.authorize(q, op); err != nil {
		return nil, err
	}
	return op.handle(s, q)
}

// versionID is the version that the request names.
func (q *request) versionID() (string, error) {
	id := q.query.Get("versionId")
	if id == "" && q.query.Has("versionId") {
		return "", s3.InvalidArgument("versionId", "", "Version id cannot be the empty string")
	}
	return id, nil
}

// Handler serves what a store's RoundTrip answers over HTTP.
func Handler(store http.RoundTripper) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := store.RoundTrip(r)
		if err != nil {
			panic(http.ErrAbortHandler) // the client has gone
		}
		defer resp.Body.Close()
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		if _, err := io.Copy(w, resp.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
}

// document reads a small body: a configuration or a list.
func (s *Store) document(q *request) ([]byte, error) {
	p, err := s.receive(q, maxDocument, false)
	if err != nil {
		return nil, err
	}
	return p.body.bytes, nil
}

// maxDocument bounds documents: a list of 1,000 keys to delete, or of 10,000 parts.
const maxDocument = 4 << 20

func (q *request) decode(document []byte, v any) error {
	return s3.Decode(bytes.NewReader(document), maxDocument, v)
}

// number reads a parameter that is a number.
func (q *request) number(name string, standard, most int) (int, error) {
	text := q.query.Get(name)
	if text == "" {
		return standard, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, s3.InvalidArgument(name, text, fmt.Sprintf("Provided %s not an integer or within integer range", name))
	}
	return min(int(n), most), nil
}
