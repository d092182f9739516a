package proxy

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

// stored is one version of an object as the store holds it, with what its envelope and its manifest say. Everything
// shown of it has been authenticated, under the service key or under its data key.
type stored struct {
	at       sealTarget
	version  string // as the store named it; empty when it named none
	header   http.Header
	etag     string // the store's own, unquoted: for pins, and shown where S3's ETag is not an MD5
	modified time.Time
	bodySize int64 // of the whole body at the store

	env    *sse.Envelope // nil: plaintext, in a bucket where that is served
	tag    sse.Tag
	size   int64 // of the plaintext
	footer *sse.Footer
	tail   []byte // the last bytes of the body, where there is a manifest

	// ownReads says that further reads of this very version are waxseal's own (see readMore).
	ownReads bool

	// unvouched says that the service key which vouched for tag and size is not in this deployment's state. They are
	// then had from what the data key seals (see vouch).
	unvouched bool
}

// visibleETag is the ETag that clients see, without quotes.
func (o *stored) visibleETag() string {
	if o.env == nil {
		return o.etag
	}
	if o.env.VisibleETag != "" {
		return o.env.VisibleETag
	}
	if t := o.tag.String(); t != "" {
		return t
	}
	return o.etag
}

// sealedSize is the size of the sealed parts, without the manifest.
func (o *stored) sealedSize() int64 {
	if o.footer == nil {
		return o.bodySize
	}
	return o.bodySize - o.footer.ManifestSize()
}

// tailRead is how much of an object's end is read to know it: the facts of every object, and the whole manifest of
// one of a few hundred parts.
const tailRead = 32 << 10

// lookupBy looks with a request of the caller's making, who vouches for what is unvouched. It reads nothing of the
// client's request and leaves nothing at the call, so that many may run at once.
func (s *session) lookupBy(r *store.Request, at sealTarget, n int64) (o *stored, err error) {
	err = whileChanging(func() error {
		o, err = s.lookupOnce(r, at, n)
		return err
	})
	return o, err
}

func (s *session) lookupOnce(r *store.Request, at sealTarget, n int64) (*stored, error) {
	r.Header.Set("Range", "bytes=-"+strconv.FormatInt(n, 10))
	resp, err := s.send(r)
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
	o, err := s.describe(at, r, resp)
	if err != nil {
		return nil, err
	}
	if o.env != nil && o.env.Manifest {
		if err := s.readTail(o, resp, n); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (s *session) lookupEmpty(r *store.Request, at sealTarget) (*stored, error) {
	o, err := s.describeByHead(r, at)
	switch {
	case err != nil:
		return nil, err
	case o.bodySize > 0:
		return nil, errChanged // it was written anew since the read found nothing
	case o.env != nil && !o.env.Bodyless():
		return nil, tampered(errors.New("its body is empty"))
	}
	return o, nil
}

// lookupArchived asks for what there is to be had of an archived object: its headers, which is enough where there is no
// manifest. https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
func (s *session) lookupArchived(r *store.Request, at sealTarget) (*stored, error) {
	o, err := s.describeByHead(r, at)
	if err == nil && o.env != nil && o.env.Manifest {
		err = errArchived
	}
	return o, err
}

// describeByHead makes a HEAD of a request to read.
func (s *session) describeByHead(r *store.Request, at sealTarget) (*stored, error) {
	head := *r
	head.Method, head.Header = http.MethodHead, r.Header.Clone()
	head.Header.Del("Range")
	resp, err := s.send(&head)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, store.Failure(resp)
	}
	defer store.Drain(resp)
	return s.describe(at, r, resp)
}

// readTail takes the manifest's end from an answer to a suffix read, or from one that ignored the range.
func (s *session) readTail(o *stored, resp *http.Response, n int64) error {
	if resp.StatusCode == http.StatusOK && o.bodySize > n {
		if _, err := io.CopyN(io.Discard, resp.Body, o.bodySize-n); err != nil {
			return store.Unanswered(s.up, err)
		}
	}
	tail, err := io.ReadAll(io.LimitReader(resp.Body, n))
	if err != nil {
		return store.Unanswered(s.up, err)
	}
	if int64(len(tail)) != min(n, o.bodySize) {
		return fmt.Errorf("%w: a read of its last %d bytes gave %d", store.ErrUnreachable, n, len(tail))
	}
	return s.useTail(o, tail)
}

// useTail learns size and tag from the end of the body.
func (s *session) useTail(o *stored, tail []byte) error {
	f, err := sse.ParseFooter(tail)
	if err != nil {
		return tampered(err)
	}
	tag, err := f.OpenTag(tail, o.env.Commitment(), s.serviceKeys)
	if err != nil && !errors.Is(err, sse.ErrUnknownServiceKey) {
		return tampered(err)
	}
	if f.ManifestSize() >= o.bodySize {
		return tampered(fmt.Errorf("manifest of %d bytes in a body of %d", f.ManifestSize(), o.bodySize))
	}
	o.footer, o.tail, o.tag = f, tail, tag
	o.unvouched = o.unvouched || err != nil
	return o.setSize(f.Size)
}

// setSize holds a size that the footer or the envelope claims to the size of the body.
func (o *stored) setSize(size int64) error {
	if o.env.HasHeaders || o.env.Bodyless() {
		if _, err := o.env.Layout(o.sealedSize()); err != nil {
			return tampered(err)
		}
	}
	o.size = size
	return nil
}

// vouchWith is vouch with the customer's key for this object: a request may bring one for another.
func (s *session) vouchWith(o *stored, customer *customerKey) error {
	switch {
	case !o.unvouched:
		return nil
	case o.env.Mode != sse.SSEC:
		customer = nil // it is for what the request writes, or refused later
	}
	if err := openable(o, customer); err != nil {
		return err
	}
	p, err := s.open(o, customer)
	if err != nil {
		return err
	}
	switch {
	case o.footer != nil:
		m, err := s.readManifest(p)
		if err != nil {
			return err
		}
		o.tag = m.Tag
	case o.env.TagKind() == sse.TagMD5 && p.facts != nil && p.facts.HasMD5:
		o.tag = sse.Tag{Kind: sse.TagMD5, MD5: p.facts.MD5}
	case o.env.TagKind() != sse.TagNone:
		return tampered(errors.New("the envelope's tag is not under its data key"))
	}
	o.unvouched = false
	return nil
}

// readRequest is a GET of an object, pinned to a store ETag where one is given.
func (s *session) readRequest(at sealTarget, version, etag string) *store.Request {
	r := &store.Request{Method: http.MethodGet, Bucket: at.bucket, Key: at.key, Header: make(http.Header)}
	s.from.carry(r.Header, at)
	if version != "" {
		r.Query = "versionId=" + s3.EscapeQuery(version)
	}
	if etag != "" {
		r.Header.Set("If-Match", s3.Quote(etag))
	}
	return r
}

// readMore is a GET of more of what an answer has shown, pinned to exactly that. Where the store named the version and the
// client did not, it goes with waxseal's own credentials: the requester's were good for these very bytes a moment ago, but
// naming a version takes another permission (s3:GetObjectVersion). A version that the client names stays the client's to ask for.
func (s *session) readMore(o *stored) *store.Request {
	r := s.readRequest(o.at, o.version, o.etag)
	r.Own = o.ownReads
	return r
}

// describe reads what the headers of the answer to r say of an object. Of one with a manifest, size and tag are still
// unknown.
func (s *session) describe(at sealTarget, r *store.Request, resp *http.Response) (*stored, error) {
	h := resp.Header
	o := &stored{at: at, header: h, etag: store.ETagOf(h), version: h.Get("X-Amz-Version-Id"), bodySize: resp.ContentLength}
	if cr := h.Get("Content-Range"); resp.StatusCode == http.StatusPartialContent {
		_, total, ok := strings.Cut(cr, "/")
		size, err := strconv.ParseInt(total, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("%w: its Content-Range is %q", store.ErrUnreachable, cr)
		}
		o.bodySize = size
	}
	o.modified, _ = s3.ParseTime(h.Get("Last-Modified"))
	o.ownReads = r.Own || r.Query == "" && o.version != ""
	return o, s.readEnvelope(o, h.Get(s3.HeaderEnvelope))
}

// readEnvelope parses and authenticates the envelope of a stored object.
func (s *session) readEnvelope(o *stored, text string) error {
	if text == "" {
		if !s.readThrough[o.at.bucket] {
			return errNotSealed
		}
		o.size = o.bodySize
		return nil
	}
	env, err := sse.ParseEnvelope(text)
	if err != nil {
		return err
	}
	o.env = env
	tag, err := env.OpenTag(s.serviceKeys, binding(s.sealedAs(o.at.bucket), o.at.key, env.Mode))
	if err != nil && !errors.Is(err, sse.ErrUnknownServiceKey) {
		return tampered(err)
	}
	o.tag, o.unvouched = tag, err != nil
	if env.Manifest {
		return nil
	}
	return o.setSize(env.Size)
}

// openable refuses what the request's SSE-C headers do not fit.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
func openable(o *stored, customer *customerKey) error {
	isC := o.env != nil && o.env.Mode == sse.SSEC
	switch {
	case isC && customer == nil:
		return s3.Errorf(s3.InvalidRequest, "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.").
			WithHeader(s3.HeaderErrorKind, s3.KindCustomerKey)
	case !isC && customer != nil:
		return s3.Errorf(s3.InvalidRequest, "The encryption parameters are not applicable to this object.")
	}
	return nil
}

// opened is a stored object with its data keys.
type opened struct {
	*stored
	keys     sse.Keys
	facts    *sse.Facts
	manifest *sse.Manifest // only of an object whose layout is in it
	layout   *sse.Layout
}

// open opens an object's data keys and finds its layout. The keys are zeroed when the call is done.
func (s *session) open(o *stored, customer *customerKey) (*opened, error) {
	keys, facts, err := s.openEnvelope(o.env, customer, o.at)
	if err != nil {
		return nil, openError(err)
	}
	p := &opened{stored: o, keys: keys, facts: facts}
	s.onDone(p.keys.Zero)
	if o.footer != nil {
		if p.facts, err = o.footer.OpenFacts(o.tail, keys); err != nil {
			return nil, tampered(err)
		}
	}
	return p, s.findLayout(p)
}

func (s *session) findLayout(p *opened) error {
	if p.env.HasHeaders || p.env.Bodyless() {
		l, err := p.env.Layout(p.sealedSize())
		if err != nil {
			return tampered(err)
		}
		p.layout = l
		return nil
	}
	if p.footer == nil {
		return tampered(errors.New("neither envelope nor manifest holds the layout"))
	}
	m, err := s.readManifest(p)
	if err != nil {
		return err
	}
	p.manifest, p.layout = m, m.Layout(p.env.Layers())
	if p.layout.BodySize() != p.sealedSize() || p.layout.Size() != p.size {
		return tampered(errors.New("the body is not as long as its manifest says"))
	}
	return nil
}

// readManifest opens the whole manifest, fetching it when the tail holds only its end.
func (s *session) readManifest(p *opened) (*sse.Manifest, error) {
	need := p.footer.ManifestSize()
	if int64(len(p.tail)) < need {
		whole, err := s.lookupBy(s.readMore(p.stored), p.at, need)
		if err != nil {
			return nil, changedError(err)
		}
		p.tail = whole.tail
	}
	if int64(len(p.tail)) < need {
		return nil, tampered(errors.New("the manifest is cut"))
	}
	m, err := sse.OpenManifest(p.tail[int64(len(p.tail))-need:], p.keys)
	if err != nil {
		return nil, tampered(err)
	}
	return m, nil
}
