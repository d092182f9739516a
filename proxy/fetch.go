package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// read is what a GET or HEAD asks for.
type read struct {
	version  string
	ranged   bool
	want     s3.Range
	part     int // partNumber, 0 for none
	customer *objects.CustomerKey
	sums     bool // x-amz-checksum-mode: ENABLED
}

// speculative says whether the range's place in the body can be told before the object is known.
func (r *read) speculative() bool { return r.ranged && !r.want.Suffix() && r.part == 0 }

// needsSize says whether what to fetch depends on the object's size or parts.
func (r *read) needsSize() bool { return r.part > 0 || r.ranged && r.want.Suffix() }

// fetch is one object on its way to the client.
type fetch struct {
	*call
	*read
	*objects.Object
	resp *http.Response // nil: nothing usable is on its way
}

// abandon closes an answer that was not handed on.
func (f *fetch) abandon() {
	if f.resp != nil {
		f.resp.Body.Close()
	}
}

// onePart says whether a sealed object was written as a whole.
func (f *fetch) onePart() bool { return f.Envelope.HasHeaders || f.Envelope.Bodyless() }

// partial says whether an answer of n bytes has a Content-Range: a range's and a part's have, but of nothing there is none.
func (f *fetch) partial(n int64) bool { return f.ranged || f.part > 0 && n > 0 }

// statusFor is 206 for a range or a part, as S3 answers them.
func (f *fetch) statusFor(n int64) int {
	if f.partial(n) {
		return http.StatusPartialContent
	}
	return http.StatusOK
}

// span is the plaintext that was asked for. A part's is known only with the manifest.
func (f *fetch) span(m *sse.Manifest) (off, n int64, err error) {
	switch {
	case f.part > 0 && m != nil:
		return f.partSpan(m, f.part)
	case f.part > 1 && f.onePart():
		return 0, 0, f.errNoSuchPart()
	}
	return f.rangeSpan()
}

// rangeSpan is that of a request for no part.
func (f *fetch) rangeSpan() (off, n int64, err error) {
	if !f.ranged || f.ignoredRange() {
		f.ranged = false
		return 0, f.Size, nil
	}
	if f.Size == 0 && f.want.Suffix() && f.want.Last > 0 {
		f.ranged = false // an empty object satisfies "bytes=-5", but not "bytes=-0" or "bytes=0-"
		return 0, 0, nil
	}
	off, n, ok := f.want.Resolve(f.Size)
	if !ok {
		return 0, 0, errRange(f.call, f.Size)
	}
	return off, n, nil
}

// ignoredRange is If-Range: the range only counts while the object is the one that the client knows.
// https://www.rfc-editor.org/rfc/rfc9110#section-13.1.5
func (f *fetch) ignoredRange() bool {
	v := f.call.header("If-Range")
	if v == "" {
		return false
	}
	if t, ok := s3.ParseTime(v); ok {
		return !f.Modified.Equal(t)
	}
	tags, ok := s3.ParseETags(v)
	return !ok || !tags.Match(f.VisibleETag())
}

// partSpan finds a part by its position: S3 numbers the parts of a completed object 1 to N.
func (f *fetch) partSpan(m *sse.Manifest, part int) (off, n int64, err error) {
	if part > len(m.Parts) {
		return 0, 0, f.errNoSuchPart()
	}
	for _, p := range m.Parts[:part-1] {
		off += p.Size
	}
	return off, m.Parts[part-1].Size, nil
}

// errNoSuchPart is S3's refusal of a part number that the object does not have, or Ceph's.
func (f *fetch) errNoSuchPart() error {
	if f.s.cfg.CompatCeph {
		return s3.NewError(s3.InvalidPart)
	}
	return &s3.Error{Code: s3.InvalidPartNumber, Message: "The requested partnumber is not satisfiable", HTTPStatus: http.StatusRequestedRangeNotSatisfiable}
}

func errRange(c *call, size int64) error {
	return s3.NewError(s3.InvalidRange).With("RangeRequested", c.header("Range")).With("ActualObjectSize", fmt.Sprint(size)).
		WithHeader("Content-Range", fmt.Sprintf("bytes */%d", size))
}

// body opens [off, off+n) of the plaintext. The first segment is authenticated before it returns, so that a
// forgery is an error with a status.
func (f *fetch) body(p *objects.Opened, off, n int64) (io.ReadCloser, error) {
	if p.Envelope.Bodyless() {
		return io.NopCloser(strings.NewReader("")), nil
	}
	layout, cut := p.Layout, off
	rng := layout.Range(off, n)
	if p.Envelope.Compressed {
		rng = layout.Range(0, layout.Size())
	} else {
		cut = 0
	}
	resp, err := f.bytes(p, rng)
	if err != nil {
		return nil, err
	}
	plain, err := p.Keys.Open(layout, rng, io.LimitReader(resp.Body, rng.Length))
	if err == nil {
		err = plain.Prime()
	}
	if err != nil {
		resp.Body.Close()
		return nil, readError(err)
	}
	b := &openBody{src: plain, plain: plain, resp: resp}
	if p.Envelope.Compressed {
		whole := sse.NewDecompressor(plain, p.Size)
		if _, err := io.CopyN(io.Discard, whole, cut); err != nil {
			b.Close()
			return nil, readError(err)
		}
		b.src = io.LimitReader(whole, n)
	}
	return b, nil
}

// bytes gives the body bytes of a range: from the answer that is already here where it begins at the same byte and
// goes far enough, else from the store once more, pinned to the same version.
func (f *fetch) bytes(p *objects.Opened, rng sse.Range) (*http.Response, error) {
	if f.resp != nil {
		start, length := answeredRange(f.resp, f.BodySize)
		if start == rng.Offset && length >= rng.Length {
			resp := f.resp
			f.resp = nil
			return resp, nil
		}
	}
	q := f.ReadMore(&f.Object.Stored)
	q.Header.Set("Range", s3.Range{First: rng.Offset, Last: rng.Offset + rng.Length - 1}.String())
	resp, err := f.call.Send(q)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusPartialContent && !(resp.StatusCode == http.StatusOK && rng.Offset == 0) {
		if resp.StatusCode == http.StatusPreconditionFailed || resp.StatusCode == http.StatusNotFound {
			store.Drain(resp)
			return nil, objects.ErrChanged
		}
		return nil, store.Failure(resp)
	}
	start, length := answeredRange(resp, f.BodySize)
	if start != rng.Offset || length < rng.Length {
		resp.Body.Close()
		return nil, objects.Tampered(fmt.Errorf("the store answered bytes %d+%d for %d+%d", start, length, rng.Offset, rng.Length))
	}
	return resp, nil
}

// answeredRange returns the range of the body in an answer of the store.
func answeredRange(resp *http.Response, size int64) (start, length int64) {
	if resp.StatusCode == http.StatusOK {
		return 0, size
	}
	cr, _, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "/")
	first, last, _ := strings.Cut(cr, "-")
	a, err1 := strconv.ParseInt(first, 10, 64)
	b, err2 := strconv.ParseInt(last, 10, 64)
	if err1 != nil || err2 != nil {
		return -1, 0
	}
	return a, b - a + 1
}

// readError distinguishes a store that broke off from a store with altered bytes.
func readError(err error) error {
	switch {
	case errors.Is(err, sse.ErrAuthentication), errors.Is(err, sse.ErrMalformed):
		return objects.Tampered(err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: its answer was cut short", store.ErrUnreachable)
	}
	return err
}

// openBody is a plaintext body on its way to the client.
type openBody struct {
	src   io.Reader
	plain *sse.OpenReader
	resp  *http.Response
	ended bool
}

func (b *openBody) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	b.ended = b.ended || err == io.EOF
	return n, readError(err)
}

// WriteTo saves a copy of every segment where nothing stands between the decrypter and the connection.
func (b *openBody) WriteTo(w io.Writer) (int64, error) {
	wt, ok := b.src.(io.WriterTo)
	if !ok {
		return io.Copy(w, struct{ io.Reader }{b})
	}
	n, err := wt.WriteTo(w)
	b.ended = err == nil
	return n, readError(err)
}

// Close gives the connection back where only the manifest is left of the answer.
func (b *openBody) Close() error {
	b.plain.Close()
	if b.ended {
		store.Drain(b.resp)
		return nil
	}
	return b.resp.Body.Close()
}
