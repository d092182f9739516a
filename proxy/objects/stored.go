package objects

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// Stored is one version of an object in the store's own words. Nothing of it is authenticated.
type Stored struct {
	Place    Place
	Version  string // as the store named it; empty when it named none
	Header   http.Header
	ETag     string // the store's own, unquoted: for pins, and shown where S3's ETag is not an MD5
	Modified time.Time
	BodySize int64 // of the whole body at the store

	// ownReads says that further reads of this very version are waxseal's own (see ReadMore).
	ownReads bool
}

// Object is a stored object with its envelope and its manifest's end. Both have been authenticated, under the
// service key or under the object's data key: only Verify and Found.Verified give an Object.
type Object struct {
	Stored

	Envelope *sse.Envelope // nil: plaintext, in a bucket where that is served
	Tag      sse.Tag
	Size     int64 // of the plaintext
	Footer   *sse.Footer
	Tail     []byte // the last bytes of the body, where there is a manifest
}

// Found is an object as it was read from the store. It is not verified while its service key is not in this deployment's
// state: its tag and its size are then authenticated under the data key alone (see Verify).
type Found struct {
	*Stored    // of object
	object     Object
	unverified bool
}

func newFound(stored Stored) *Found {
	f := &Found{object: Object{Stored: stored}}
	f.Stored = &f.object.Stored
	return f
}

// Verified returns the object, and reports whether it is verified.
func (f *Found) Verified() (*Object, bool) {
	if f.unverified {
		return nil, false
	}
	return &f.object, true
}

// EndsInManifest reports whether the envelope says that a manifest ends the body.
func (f *Found) EndsInManifest() bool { return f.object.Envelope != nil && f.object.Envelope.Manifest }

// HasTail reports whether the manifest's end was read.
func (f *Found) HasTail() bool { return f.object.Footer != nil }

// TakeTail takes the manifest's end from a verified read of the same version.
func (f *Found) TakeTail(o *Object) {
	f.object.Tail, f.object.Footer, f.object.Tag, f.object.Size, f.unverified = o.Tail, o.Footer, o.Tag, o.Size, false
}

// VisibleETag returns the ETag for clients, without quotes.
func (o *Object) VisibleETag() string {
	if o.Envelope == nil {
		return o.ETag
	}
	if o.Envelope.VisibleETag != "" {
		return o.Envelope.VisibleETag
	}
	if t := o.Tag.String(); t != "" {
		return t
	}
	return o.ETag
}

// sealedSize is the size of the sealed parts, without the manifest.
func (o *Object) sealedSize() int64 {
	if o.Footer == nil {
		return o.BodySize
	}
	return o.BodySize - o.Footer.ManifestSize()
}

// TailRead is the size of a read of an object's end. The end holds the facts of every object, and the whole manifest of an
// object of a few hundred parts.
const TailRead = 32 << 10

// LookupBy looks an object up with the read r. It reads nothing of the client's request and leaves nothing at the session,
// so that many may run at once.
func (s *Session) LookupBy(r *store.Request, at Place, n int64) (o *Found, err error) {
	err = WhileChanging(func() error {
		o, err = s.lookupOnce(r, at, n)
		return err
	})
	return o, err
}

func (s *Session) lookupOnce(r *store.Request, at Place, n int64) (*Found, error) {
	r.Header.Set("Range", "bytes=-"+strconv.FormatInt(n, 10))
	resp, err := s.Send(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		// An empty body has no last bytes; no sealed object is empty.
		store.Drain(resp)
		return s.lookupEmpty(r, at)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return nil, store.Failure(resp)
	}
	defer store.Drain(resp) // to its end, or the connection is lost
	o, err := s.Describe(at, r, resp)
	if err != nil {
		return nil, err
	}
	if o.EndsInManifest() {
		if err := s.readTail(o, resp, n); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (s *Session) lookupEmpty(r *store.Request, at Place) (*Found, error) {
	o, err := s.describeByHead(r, at)
	switch {
	case err != nil:
		return nil, err
	case o.BodySize > 0:
		return nil, ErrChanged // it was written anew since the read found nothing
	case o.object.Envelope != nil && !o.object.Envelope.Bodyless():
		return nil, Tampered(errors.New("its body is empty"))
	}
	return o, nil
}

// LookupArchived looks an archived object up by its headers. An object with a manifest has its size in the body, so that
// LookupArchived returns ErrArchived. https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
func (s *Session) LookupArchived(r *store.Request, at Place) (*Found, error) {
	o, err := s.describeByHead(r, at)
	if err == nil && o.EndsInManifest() {
		err = ErrArchived
	}
	return o, err
}

// describeByHead makes a HEAD of a request to read.
func (s *Session) describeByHead(r *store.Request, at Place) (*Found, error) {
	head := *r
	head.Method, head.Header = http.MethodHead, r.Header.Clone()
	head.Header.Del("Range")
	resp, err := s.Send(&head)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, store.Failure(resp)
	}
	defer store.Drain(resp)
	return s.Describe(at, r, resp)
}

// readTail takes the manifest's end from an answer to a suffix read, or from an answer with the whole body.
func (s *Session) readTail(o *Found, resp *http.Response, n int64) error {
	if resp.StatusCode == http.StatusOK && o.BodySize > n {
		if _, err := io.CopyN(io.Discard, resp.Body, o.BodySize-n); err != nil {
			return store.Unanswered(s.Up, err)
		}
	}
	tail, err := io.ReadAll(io.LimitReader(resp.Body, n))
	if err != nil {
		return store.Unanswered(s.Up, err)
	}
	if int64(len(tail)) != min(n, o.BodySize) {
		return fmt.Errorf("%w: a read of its last %d bytes gave %d", store.ErrUnreachable, n, len(tail))
	}
	return s.UseTail(o, tail)
}

// UseTail learns size and tag from the end of the body.
func (s *Session) UseTail(o *Found, tail []byte) error {
	f, err := sse.ParseFooter(tail)
	if err != nil {
		return Tampered(err)
	}
	tag, err := f.OpenTag(tail, o.object.Envelope.Commitment(), s.ServiceKeys)
	if err != nil && !errors.Is(err, sse.ErrUnknownServiceKey) {
		return Tampered(err)
	}
	if f.ManifestSize() >= o.BodySize {
		return Tampered(fmt.Errorf("manifest of %d bytes in a body of %d", f.ManifestSize(), o.BodySize))
	}
	o.object.Footer, o.object.Tail, o.object.Tag = f, tail, tag
	o.unverified = o.unverified || err != nil
	return o.object.setSize(f.Size)
}

// setSize checks the size in the footer or the envelope against the size of the body.
func (o *Object) setSize(size int64) error {
	if o.Envelope.HasHeaders || o.Envelope.Bodyless() {
		if _, err := o.Envelope.Layout(o.sealedSize()); err != nil {
			return Tampered(err)
		}
	}
	o.Size = size
	return nil
}

// Verify returns the object, verified. Of an object whose service key is lost it opens the data key and takes tag and size
// from under it: an object's bytes and metadata and the KMS are enough to read it. An SSE-C object needs its customer key.
func (s *Session) Verify(f *Found, customer *CustomerKey) (*Object, error) {
	if !f.unverified {
		return &f.object, nil
	}
	o := &f.object
	if o.Envelope.Mode != sse.SSEC {
		customer = nil // the key is for the request's own object, or refused later
	}
	if err := Openable(o, customer); err != nil {
		return nil, err
	}
	p, err := s.Open(o, customer)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Footer != nil:
		m, err := s.ReadManifest(p)
		if err != nil {
			return nil, err
		}
		o.Tag = m.Tag
	case o.Envelope.TagKind() == sse.TagMD5 && p.Facts != nil && p.Facts.HasMD5:
		o.Tag = sse.Tag{Kind: sse.TagMD5, MD5: p.Facts.MD5}
	case o.Envelope.TagKind() != sse.TagNone:
		return nil, Tampered(errors.New("the envelope's tag is not under its data key"))
	}
	f.unverified = false
	return o, nil
}

// ManifestOf returns the manifest of an object whose data keys are known. The keys authenticate the manifest.
func (s *Session) ManifestOf(f *Found, keys sse.Keys) (*sse.Manifest, error) {
	return s.ReadManifest(&Opened{Object: &f.object, Keys: keys})
}

// ReadRequest is a GET of an object, pinned to a store ETag where one is given.
func (s *Session) ReadRequest(at Place, version, etag string) *store.Request {
	r := &store.Request{Method: http.MethodGet, Bucket: at.Bucket, Key: at.Key, Header: make(http.Header)}
	s.From.Carry(r.Header, at)
	if version != "" {
		r.Query = "versionId=" + s3.EscapeQuery(version)
	}
	if etag != "" {
		r.Header.Set("If-Match", s3.Quote(etag))
	}
	return r
}

// ReadMore returns a GET of more bytes of the version o. Where the store named the version and the client did not, the GET
// goes with waxseal's own credentials: the requester's were good for these very bytes a moment ago, but
// naming a version takes another permission (s3:GetObjectVersion). A version in the client's own request goes with the
// requester's credentials.
func (s *Session) ReadMore(o *Stored) *store.Request {
	r := s.ReadRequest(o.Place, o.Version, o.ETag)
	r.Own = o.ownReads
	return r
}

// Describe reads an object from the headers of the answer to r. Size and tag of an object with a manifest are still
// unknown.
func (s *Session) Describe(at Place, r *store.Request, resp *http.Response) (*Found, error) {
	h := resp.Header
	o := Stored{Place: at, Header: h, ETag: store.ETagOf(h), Version: h.Get("X-Amz-Version-Id"), BodySize: resp.ContentLength}
	if cr := h.Get("Content-Range"); resp.StatusCode == http.StatusPartialContent {
		_, total, ok := strings.Cut(cr, "/")
		size, err := strconv.ParseInt(total, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("%w: its Content-Range is %q", store.ErrUnreachable, cr)
		}
		o.BodySize = size
	}
	o.Modified, _ = s3.ParseTime(h.Get("Last-Modified"))
	o.ownReads = r.Own || r.Query == "" && o.Version != ""
	return s.ReadEnvelope(o, h.Get(s3.HeaderEnvelope))
}

// ReadEnvelope parses the envelope text of a stored object and authenticates it as far as the service key reaches.
func (s *Session) ReadEnvelope(stored Stored, text string) (*Found, error) {
	f := newFound(stored)
	if text == "" {
		if !s.ReadThrough[stored.Place.Bucket] {
			return nil, ErrNotSealed
		}
		f.object.Size = stored.BodySize
		return f, nil
	}
	env, err := sse.ParseEnvelope(text)
	if err != nil {
		return nil, err
	}
	tag, err := env.OpenTag(s.ServiceKeys, Binding(s.sealedAs(stored.Place.Bucket), stored.Place.Key, env.Mode))
	if err != nil && !errors.Is(err, sse.ErrUnknownServiceKey) {
		return nil, Tampered(err)
	}
	f.object.Envelope, f.object.Tag, f.unverified = env, tag, err != nil
	if env.Manifest {
		return f, nil
	}
	return f, f.object.setSize(env.Size)
}

// Openable refuses an SSE-C object without its headers, and SSE-C headers for another object.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
func Openable(o *Object, customer *CustomerKey) error {
	isC := o.Envelope != nil && o.Envelope.Mode == sse.SSEC
	switch {
	case isC && customer == nil:
		return s3.Errorf(s3.InvalidRequest, "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.").
			WithHeader(s3.HeaderErrorKind, s3.KindCustomerKey)
	case !isC && customer != nil:
		return s3.Errorf(s3.InvalidRequest, "The encryption parameters are not applicable to this object.")
	}
	return nil
}

// Opened is a stored object with its data keys.
type Opened struct {
	*Object
	Keys     sse.Keys
	Facts    *sse.Facts
	Manifest *sse.Manifest // only where it holds the layout
	Layout   *sse.Layout
}

// Open opens an object's data keys and finds its layout. The keys are zeroed when the call is done.
func (s *Session) Open(o *Object, customer *CustomerKey) (*Opened, error) {
	keys, facts, err := s.OpenEnvelope(o.Envelope, customer, o.Place)
	if err != nil {
		return nil, OpenError(err)
	}
	p := &Opened{Object: o, Keys: keys, Facts: facts}
	s.OnDone(p.Keys.Zero)
	if o.Footer != nil {
		if p.Facts, err = o.Footer.OpenFacts(o.Tail, keys); err != nil {
			return nil, Tampered(err)
		}
	}
	return p, s.findLayout(p)
}

func (s *Session) findLayout(p *Opened) error {
	if p.Envelope.HasHeaders || p.Envelope.Bodyless() {
		l, err := p.Envelope.Layout(p.sealedSize())
		if err != nil {
			return Tampered(err)
		}
		p.Layout = l
		return nil
	}
	if p.Footer == nil {
		return Tampered(errors.New("neither envelope nor manifest holds the layout"))
	}
	m, err := s.ReadManifest(p)
	if err != nil {
		return err
	}
	p.Manifest, p.Layout = m, m.Layout(p.Envelope.Layers())
	if p.Layout.BodySize() != p.sealedSize() || p.Layout.Size() != p.Size {
		return Tampered(errors.New("the body is not as long as its manifest says"))
	}
	return nil
}

// ReadManifest opens the whole manifest, fetching it when the tail holds only its end.
func (s *Session) ReadManifest(p *Opened) (*sse.Manifest, error) {
	need := p.Footer.ManifestSize()
	if int64(len(p.Tail)) < need {
		whole, err := s.LookupBy(s.ReadMore(&p.Stored), p.Place, need)
		if err != nil {
			return nil, ChangedError(err)
		}
		p.Tail = whole.object.Tail
	}
	if int64(len(p.Tail)) < need {
		return nil, Tampered(errors.New("the manifest is cut"))
	}
	m, err := sse.OpenManifest(p.Tail[int64(len(p.Tail))-need:], p.Keys)
	if err != nil {
		return nil, Tampered(err)
	}
	return m, nil
}
