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

// Object is one version of an object as the store holds it, with what its envelope and its manifest say. Everything
// shown of it has been authenticated, under the service key or under its data key.
type Object struct {
	Place    Place
	Version  string // as the store named it; empty when it named none
	Header   http.Header
	ETag     string // the store's own, unquoted: for pins, and shown where S3's ETag is not an MD5
	Modified time.Time
	BodySize int64 // of the whole body at the store

	Envelope *sse.Envelope // nil: plaintext, in a bucket where that is served
	Tag      sse.Tag
	Size     int64 // of the plaintext
	Footer   *sse.Footer
	Tail     []byte // the last bytes of the body, where there is a manifest

	// ownReads says that further reads of this very version are waxseal's own (see ReadMore).
	ownReads bool

	// Unvouched says that the service key which vouched for tag and size is not in this deployment's state. They are
	// then had from what the data key seals (see VouchWith).
	Unvouched bool
}

// VisibleETag is the ETag that clients see, without quotes.
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

// TailRead is how much of an object's end is read to know it: the facts of every object, and the whole manifest of
// one of a few hundred parts.
const TailRead = 32 << 10

// LookupBy looks with a request of the caller's making, who vouches for what is unvouched. It reads nothing of the
// client's request and leaves nothing at the call, so that many may run at once.
func (s *Session) LookupBy(r *store.Request, at Place, n int64) (o *Object, err error) {
	err = WhileChanging(func() error {
		o, err = s.lookupOnce(r, at, n)
		return err
	})
	return o, err
}

func (s *Session) lookupOnce(r *store.Request, at Place, n int64) (*Object, error) {
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
	if o.Envelope != nil && o.Envelope.Manifest {
		if err := s.readTail(o, resp, n); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (s *Session) lookupEmpty(r *store.Request, at Place) (*Object, error) {
	o, err := s.describeByHead(r, at)
	switch {
	case err != nil:
		return nil, err
	case o.BodySize > 0:
		return nil, ErrChanged // it was written anew since the read found nothing
	case o.Envelope != nil && !o.Envelope.Bodyless():
		return nil, Tampered(errors.New("its body is empty"))
	}
	return o, nil
}

// LookupArchived asks for what there is to be had of an archived object: its headers, which is enough where there is no
// manifest. https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
func (s *Session) LookupArchived(r *store.Request, at Place) (*Object, error) {
	o, err := s.describeByHead(r, at)
	if err == nil && o.Envelope != nil && o.Envelope.Manifest {
		err = ErrArchived
	}
	return o, err
}

// describeByHead makes a HEAD of a request to read.
func (s *Session) describeByHead(r *store.Request, at Place) (*Object, error) {
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

// readTail takes the manifest's end from an answer to a suffix read, or from one that ignored the range.
func (s *Session) readTail(o *Object, resp *http.Response, n int64) error {
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
func (s *Session) UseTail(o *Object, tail []byte) error {
	f, err := sse.ParseFooter(tail)
	if err != nil {
		return Tampered(err)
	}
	tag, err := f.OpenTag(tail, o.Envelope.Commitment(), s.ServiceKeys)
	if err != nil && !errors.Is(err, sse.ErrUnknownServiceKey) {
		return Tampered(err)
	}
	if f.ManifestSize() >= o.BodySize {
		return Tampered(fmt.Errorf("manifest of %d bytes in a body of %d", f.ManifestSize(), o.BodySize))
	}
	o.Footer, o.Tail, o.Tag = f, tail, tag
	o.Unvouched = o.Unvouched || err != nil
	return o.setSize(f.Size)
}

// setSize holds a size that the footer or the envelope claims to the size of the body.
func (o *Object) setSize(size int64) error {
	if o.Envelope.HasHeaders || o.Envelope.Bodyless() {
		if _, err := o.Envelope.Layout(o.sealedSize()); err != nil {
			return Tampered(err)
		}
	}
	o.Size = size
	return nil
}

// VouchWith opens the data key of an object whose service key is lost, and takes size and tag from under the data key. The
// customer key must be that of this object: a request may bring the key of another object, too.
func (s *Session) VouchWith(o *Object, customer *CustomerKey) error {
	switch {
	case !o.Unvouched:
		return nil
	case o.Envelope.Mode != sse.SSEC:
		customer = nil // it is for what the request writes, or refused later
	}
	if err := Openable(o, customer); err != nil {
		return err
	}
	p, err := s.Open(o, customer)
	if err != nil {
		return err
	}
	switch {
	case o.Footer != nil:
		m, err := s.ReadManifest(p)
		if err != nil {
			return err
		}
		o.Tag = m.Tag
	case o.Envelope.TagKind() == sse.TagMD5 && p.Facts != nil && p.Facts.HasMD5:
		o.Tag = sse.Tag{Kind: sse.TagMD5, MD5: p.Facts.MD5}
	case o.Envelope.TagKind() != sse.TagNone:
		return Tampered(errors.New("the envelope's tag is not under its data key"))
	}
	o.Unvouched = false
	return nil
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

// ReadMore is a GET of more of what an answer has shown, pinned to exactly that. Where the store named the version and the
// client did not, it goes with waxseal's own credentials: the requester's were good for these very bytes a moment ago, but
// naming a version takes another permission (s3:GetObjectVersion). A version that the client names stays the client's to ask for.
func (s *Session) ReadMore(o *Object) *store.Request {
	r := s.ReadRequest(o.Place, o.Version, o.ETag)
	r.Own = o.ownReads
	return r
}

// Describe reads what the headers of the answer to r say of an object. Of one with a manifest, size and tag are still
// unknown.
func (s *Session) Describe(at Place, r *store.Request, resp *http.Response) (*Object, error) {
	h := resp.Header
	o := &Object{Place: at, Header: h, ETag: store.ETagOf(h), Version: h.Get("X-Amz-Version-Id"), BodySize: resp.ContentLength}
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
	return o, s.ReadEnvelope(o, h.Get(s3.HeaderEnvelope))
}

// ReadEnvelope parses and authenticates the envelope of a stored object.
func (s *Session) ReadEnvelope(o *Object, text string) error {
	if text == "" {
		if !s.ReadThrough[o.Place.Bucket] {
			return ErrNotSealed
		}
		o.Size = o.BodySize
		return nil
	}
	env, err := sse.ParseEnvelope(text)
	if err != nil {
		return err
	}
	o.Envelope = env
	tag, err := env.OpenTag(s.ServiceKeys, Binding(s.sealedAs(o.Place.Bucket), o.Place.Key, env.Mode))
	if err != nil && !errors.Is(err, sse.ErrUnknownServiceKey) {
		return Tampered(err)
	}
	o.Tag, o.Unvouched = tag, err != nil
	if env.Manifest {
		return nil
	}
	return o.setSize(env.Size)
}

// Openable refuses what the request's SSE-C headers do not fit.
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
	Manifest *sse.Manifest // only of an object whose layout is in it
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
		whole, err := s.LookupBy(s.ReadMore(p.Object), p.Place, need)
		if err != nil {
			return nil, ChangedError(err)
		}
		p.Tail = whole.Tail
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
