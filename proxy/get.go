package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

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
	customer *customerKey
	sums     bool // x-amz-checksum-mode: ENABLED
}

func (c *call) readOf() (*read, error) {
	r := &read{version: c.query.Get("versionId"), sums: strings.EqualFold(c.header("x-amz-checksum-mode"), "ENABLED")}
	var err error
	if r.customer, err = c.customerKey(c, objectCustomer); err != nil {
		return nil, err
	}
	if c.hasHeader(hdrSSE) || c.hasHeader(hdrKMSKey) || c.hasHeader(hdrContext) {
		return nil, s3.InvalidArgument(hdrSSE, c.header(hdrSSE), "x-amz-server-side-encryption header is not supported for this operation.")
	}
	if c.query.Has("partNumber") {
		n, err := strconv.Atoi(c.query.Get("partNumber"))
		if err != nil || n < 1 || n > sse.MaxParts {
			return nil, s3.InvalidArgument("partNumber", c.query.Get("partNumber"), "Part number must be an integer between 1 and 10000, inclusive")
		}
		if c.hasHeader("Range") {
			return nil, s3.Errorf(s3.InvalidRequest, "Cannot specify both Range header and partNumber query parameter")
		}
		r.part = n
	}
	r.want, r.ranged = s3.ParseRange(c.header("Range"))
	return r, nil
}

// speculative says whether the range's place in the body can be told before the object is known.
func (r *read) speculative() bool { return r.ranged && !r.want.Suffix() && r.part == 0 }

// needsSize says whether what to fetch depends on the object's size or parts.
func (r *read) needsSize() bool { return r.part > 0 || r.ranged && r.want.Suffix() }

// getObject opens an object, or a part or range of it.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (c *call) getObject() error {
	r, err := c.readOf()
	if err != nil {
		return err
	}
	return whileChanging(func() error { return c.get(r) })
}

// whileChanging reads again when the object was written anew between two requests to the store.
func whileChanging(read func() error) (err error) {
	for range 3 {
		if err = read(); !errors.Is(err, errChanged) {
			break
		}
	}
	return err
}

var errChanged = errors.New("the object changed while it was read")

// get answers from one version of the object. Usually the first answer of the store has all that is needed: the
// envelope in its headers, and the right bytes behind them.
func (c *call) get(r *read) error {
	resp, o, err := c.firstAnswer(r)
	if err != nil {
		return err
	}
	c.s.facts.saw(o, r.version)
	f := &fetch{call: c, read: r, stored: o, resp: resp}
	defer f.abandon()
	if o.env == nil {
		return f.plain()
	}
	return f.sealed()
}

// firstAnswer asks the store for what is most likely wanted. Its body is nil when only the end was read.
func (c *call) firstAnswer(r *read) (*http.Response, *stored, error) {
	if r.needsSize() {
		o, err := c.lookupTail(c.place(), r.version, "", tailRead)
		return nil, o, err
	}
	q := c.readRequest(c.place(), r.version, "")
	if r.speculative() {
		n := int64(maxPut) // an open end
		if r.want.Last >= 0 {
			n = r.want.Last - r.want.First + 1
		}
		off, length := sse.SpeculativeRange(r.want.First, n, 1)
		q.Header.Set("Range", s3.Range{First: off, Last: off + length - 1}.String())
	}
	resp, err := c.send(q)
	if err != nil {
		return nil, nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
	case http.StatusRequestedRangeNotSatisfiable:
		store.Drain(resp)
		o, err := c.lookupTail(c.place(), r.version, "", tailRead)
		return nil, o, err
	default:
		return nil, nil, store.Failure(resp)
	}
	o, err := c.describe(c.place(), q, resp)
	if err == nil && o.env != nil && o.env.Manifest {
		err = c.findTail(o)
	}
	if err == nil {
		err = c.vouch(o)
	}
	if err != nil {
		resp.Body.Close()
		return nil, nil, err
	}
	return resp, o, nil
}

// findTail gets the manifest's end of an object whose headers came without it: from the cache, or from the store,
// pinned to the same version.
func (c *call) findTail(o *stored) error {
	if tail := c.s.facts.tail(o); tail != nil {
		return c.useTail(o, tail)
	}
	p, err := c.lookupBy(c.readMore(o), o.at, tailRead)
	if err == nil {
		err = c.vouch(p)
	}
	if err != nil {
		return changedError(err)
	}
	if p.bodySize != o.bodySize {
		return errChanged
	}
	o.tail, o.footer, o.tag, o.size, o.unvouched = p.tail, p.footer, p.tag, p.size, p.unvouched
	c.s.facts.putTail(o)
	return nil
}

// changedError tells a pin that no longer holds from other errors.
func changedError(err error) error {
	var e *s3.Error
	if errors.As(err, &e) && (e.Code == s3.PreconditionFailed || e.Status() == http.StatusPreconditionFailed) {
		return errChanged
	}
	return err
}

// fetch is one object on its way to the client.
type fetch struct {
	*call
	*read
	*stored
	resp *http.Response // nil: nothing usable is on its way
}

// abandon closes an answer that was not handed on.
func (f *fetch) abandon() {
	if f.resp != nil {
		f.resp.Body.Close()
	}
}

// sealed answers with a sealed object's plaintext.
func (f *fetch) sealed() error {
	if err := f.openable(); err != nil {
		return err
	}
	if err := f.readCondition("", f.stored); err != nil {
		return err
	}
	off, n, err := f.span(nil)
	if err != nil {
		return err
	}
	p, err := f.open(f.stored, f.customer)
	if err != nil {
		return err
	}
	if f.part > 0 {
		if off, n, err = f.span(p.manifest); err != nil {
			return err
		}
	}
	body, err := f.body(p, off, n)
	if err != nil {
		return err
	}
	f.headers(p, off, n)
	f.stream(f.statusFor(n), body, n)
	return nil
}

// openable refuses what the request's SSE-C headers do not fit. Ceph looks at the part number before them.
func (f *fetch) openable() error {
	if f.s.cfg.CompatCeph && f.env != nil && (f.part > 1 && f.onePart() || f.tag.Kind == sse.TagParts && f.part > int(f.tag.Parts)) {
		return f.errNoSuchPart()
	}
	return openable(f.stored, f.customer)
}

// onePart says whether a sealed object was written as a whole.
func (f *fetch) onePart() bool { return f.env.HasHeaders || f.env.Bodyless() }

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
		return 0, f.size, nil
	}
	if f.size == 0 && f.want.Suffix() && f.want.Last > 0 {
		f.ranged = false // "bytes=-5" of nothing is all of it, "bytes=-0" and "bytes=0-" are not
		return 0, 0, nil
	}
	off, n, ok := f.want.Resolve(f.size)
	if !ok {
		return 0, 0, errRange(f.call, f.size)
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
		return !f.modified.Equal(t)
	}
	tags, ok := s3.ParseETags(v)
	return !ok || !tags.Match(f.visibleETag())
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
func (f *fetch) body(p *opened, off, n int64) (io.ReadCloser, error) {
	if p.env.Bodyless() {
		return io.NopCloser(strings.NewReader("")), nil
	}
	layout, cut := p.layout, off
	rng := layout.Range(off, n)
	if p.env.Compressed {
		rng = layout.Range(0, layout.Size())
	} else {
		cut = 0
	}
	resp, err := f.bytes(p, rng)
	if err != nil {
		return nil, err
	}
	plain, err := p.keys.Open(layout, rng, io.LimitReader(resp.Body, rng.Length))
	if err == nil {
		err = plain.Prime()
	}
	if err != nil {
		resp.Body.Close()
		return nil, readError(err)
	}
	b := &openBody{src: plain, plain: plain, resp: resp}
	if p.env.Compressed {
		whole := sse.NewDecompressor(plain, p.size)
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
func (f *fetch) bytes(p *opened, rng sse.Range) (*http.Response, error) {
	if f.resp != nil {
		start, length := answeredRange(f.resp, f.bodySize)
		if start == rng.Offset && length >= rng.Length {
			resp := f.resp
			f.resp = nil
			return resp, nil
		}
	}
	q := f.readMore(f.stored)
	q.Header.Set("Range", s3.Range{First: rng.Offset, Last: rng.Offset + rng.Length - 1}.String())
	resp, err := f.call.send(q)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusPartialContent && !(resp.StatusCode == http.StatusOK && rng.Offset == 0) {
		if resp.StatusCode == http.StatusPreconditionFailed || resp.StatusCode == http.StatusNotFound {
			store.Drain(resp)
			return nil, errChanged
		}
		return nil, store.Failure(resp)
	}
	start, length := answeredRange(resp, f.bodySize)
	if start != rng.Offset || length < rng.Length {
		resp.Body.Close()
		return nil, tampered(fmt.Errorf("the store answered bytes %d+%d for %d+%d", start, length, rng.Offset, rng.Length))
	}
	return resp, nil
}

// answeredRange is the part of the body that an answer holds.
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

// readError tells a store that broke off from one that lies.
func readError(err error) error {
	switch {
	case errors.Is(err, sse.ErrAuthentication), errors.Is(err, sse.ErrMalformed):
		return tampered(err)
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
