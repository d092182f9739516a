package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// inlineLimit is the size up to which a body is digested before it is sent, so that all its facts fit into the
// envelope and the object needs no manifest.
const inlineLimit = 1 << 20

// write is one object on its way to the store.
type write struct {
	call   *call
	at     objects.Place
	enc    *objects.Encryption
	header http.Header // to the store; gets the envelope
	body   io.Reader   // plaintext
	size   int64
	want   *s3.Declared
	digest *s3.DigestReader
}

// written is what the store made of it.
type written struct {
	resp  *http.Response // read and closed
	env   *sse.Envelope
	etag  string
	facts sse.Facts
}

// putObject seals the request's body into one object.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
func (c *call) putObject() error {
	enc, err := c.encryptionFor(c)
	if err != nil {
		return err
	}
	want, err := c.declaredOf(c)
	if err != nil {
		return err
	}
	body, size, err := c.body()
	if err != nil {
		return err
	}
	if err := checkPut(size, layersOf(enc.Mode)); err != nil {
		return err
	}
	w := &write{call: c, at: c.place(), enc: enc, header: c.storeHeader(), body: body, size: size, want: want}
	if err := c.writeConditions(w.header); err != nil {
		return err
	}
	done, err := w.send()
	if err != nil {
		return c.pinLost(err, w.at)
	}
	c.copyHeaders(done.resp.Header)
	h := &c.res.Header
	h.Set("Etag", s3.Quote(done.etag))
	c.showEncryption(done.env, enc.Customer)
	c.showChecksums(done.facts.Checksums, 0)
	c.answer(http.StatusOK, "", nil)
	return nil
}

// send seals the body and sends it.
func (w *write) send() (*written, error) {
	if err := w.call.s.honouredOnPut(w.header); err != nil {
		return nil, err
	}
	s := &objects.Sealing{Envelope: &sse.Envelope{Size: w.size}, Keys: sse.NewKeys(w.enc.Mode.Double()), Size: w.size}
	defer s.Keys.Zero()
	kek, err := w.call.NewKEK(s.Envelope, w.enc, w.at)
	if err != nil {
		return nil, err
	}
	defer kek.Release()
	s.KEK = kek
	w.digest = s3.NewDigestReader(w.body, w.size, w.want, w.showsMD5())
	if w.size == 0 && strings.HasSuffix(w.at.Key, "/") {
		return w.sendBodyless(s)
	}
	if w.compressible() {
		// A body is compressed in memory, at its client's pace. Who finds no place for that need not wait for other
		// clients: their body is sealed as it is.
		select {
		case w.call.s.compressing <- struct{}{}:
			defer func() { <-w.call.s.compressing }()
			return w.sendCompressed(s)
		default:
		}
	}
	if w.size <= inlineLimit {
		if buf := w.call.s.inline.take(w.size); buf != nil {
			defer w.call.s.inline.give(buf)
			return w.sendInline(s, buf)
		}
	}
	return w.sendStream(s)
}

// showsMD5 says whether the object's ETag is the MD5 of its plaintext.
func (w *write) showsMD5() bool {
	return w.enc.Mode == sse.SSES3 && !w.call.s.cfg.OpaqueETag
}

func (w *write) tag(facts *sse.Facts) *sse.Tag {
	if !w.showsMD5() {
		return &sse.Tag{}
	}
	return &sse.Tag{Kind: sse.TagMD5, MD5: facts.MD5}
}

// sendInline reads the whole body first: everything is known, and verified, before a byte goes up.
func (w *write) sendInline(s *objects.Sealing, buf *bytes.Buffer) (*written, error) {
	if _, err := buf.ReadFrom(w.digest); err != nil {
		return nil, err
	}
	return w.sendKnown(s, bytes.NewReader(buf.Bytes()), w.size)
}

// sendBodyless sends a folder's marker, an empty object whose name ends with a slash, without a body: stores that keep
// objects in files have nowhere to put one.
func (w *write) sendBodyless(s *objects.Sealing) (*written, error) {
	if _, err := io.Copy(io.Discard, w.digest); err != nil {
		return nil, err
	}
	facts := w.digest.Facts
	return w.commit(s, objects.KnownFacts{Facts: &facts, Tag: w.tag(&facts)}, bytes.NewReader(nil), 0)
}

// sendKnown sends a plaintext whose facts are all known: one sealed part and nothing else.
func (w *write) sendKnown(s *objects.Sealing, plain io.Reader, size int64) (*written, error) {
	facts := w.digest.Facts
	part := s.Keys.SealPart(1, plain, size)
	defer part.Close()
	s.Envelope.Headers, s.Envelope.HasHeaders = part.Headers(), true
	return w.commit(s, objects.KnownFacts{Facts: &facts, Tag: w.tag(&facts)}, part, sse.SealedSize(size, s.Keys.Layers()))
}

// sendStream seals the body as it comes. What is known only at its end goes into a manifest behind it, unless the
// request has declared all of it.
func (w *write) sendStream(s *objects.Sealing) (*written, error) {
	if w.allDeclared() {
		return w.sendDeclared(s)
	}
	part := s.Keys.SealPart(1, w.digest, w.size)
	defer part.Close()
	s.Envelope.Headers, s.Envelope.HasHeaders, s.Envelope.Manifest = part.Headers(), true, true
	s.Envelope.ChecksumAlgorithm = w.want.Algorithm
	svc, err := w.call.ServiceKey()
	if err != nil {
		return nil, err
	}
	defer svc.Key.Zero()
	m := &sse.Manifest{
		Parts: []sse.ManifestPart{{Number: 1, Size: w.size, Headers: part.Headers()}},
		Facts: sse.Facts{HasMD5: w.digest.HasMD5(), Checksums: []sse.Checksum{{Algorithm: w.want.Algorithm}}},
		Tag:   *w.tag(&sse.Facts{}),
	}
	tail := &lateManifest{size: m.SealedSize(s.Keys.Layers()), seal: func() ([]byte, error) {
		m.Facts = w.digest.Facts
		m.Tag = *w.tag(&m.Facts)
		return m.Seal(s.Keys, svc)
	}}
	size := sse.SealedSize(w.size, s.Keys.Layers()) + tail.size
	done, err := w.commit(s, objects.KnownFacts{}, io.MultiReader(part, tail), size)
	if err != nil {
		return nil, err
	}
	done.facts = m.Facts
	if t := m.Tag.String(); t != "" {
		done.etag = t
	}
	return done, nil
}

// lateManifest is a manifest that is sealed when the plaintext before it has ended.
type lateManifest struct {
	size int64
	seal func() ([]byte, error)
	rest []byte
	done bool
}

func (l *lateManifest) Read(p []byte) (int, error) {
	if !l.done {
		sealed, err := l.seal()
		if err != nil {
			return 0, err
		}
		if int64(len(sealed)) != l.size {
			return 0, fmt.Errorf("manifest of %d bytes, %d were declared", len(sealed), l.size)
		}
		l.rest, l.done = sealed, true
	}
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// allDeclared says whether the request's headers already name every fact of the body.
func (w *write) allDeclared() bool {
	return w.want.Value != nil && (!w.showsMD5() || w.want.MD5 != nil)
}

// sendDeclared streams a body whose facts the request declared; the digest reader holds it to them.
func (w *write) sendDeclared(s *objects.Sealing) (*written, error) {
	facts := sse.Facts{Checksums: []sse.Checksum{{Algorithm: w.want.Algorithm, Value: w.want.Value}}}
	if w.want.MD5 != nil {
		facts.HasMD5 = true
		copy(facts.MD5[:], w.want.MD5)
	}
	part := s.Keys.SealPart(1, w.digest, w.size)
	defer part.Close()
	s.Envelope.Headers, s.Envelope.HasHeaders = part.Headers(), true
	return w.commit(s, objects.KnownFacts{Facts: &facts, Tag: w.tag(&facts)}, part, sse.SealedSize(w.size, s.Keys.Layers()))
}

// commit seals the envelope and sends it with the body.
func (w *write) commit(s *objects.Sealing, known objects.KnownFacts, body io.Reader, size int64) (*written, error) {
	text, err := w.call.SealEnvelope(s, w.at, known)
	if err != nil {
		return nil, err
	}
	w.header.Set(s3.HeaderEnvelope, text)
	if err := s3.CheckMetadata(w.header); err != nil {
		return nil, err
	}
	resp, err := w.call.Send(&store.Request{
		Method: http.MethodPut, Bucket: w.at.Bucket, Key: w.at.Key, Header: w.header, Stream: body, Size: size,
	})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, store.Failure(resp)
	}
	store.Drain(resp)
	done := &written{resp: resp, env: s.Envelope, etag: store.ETagOf(resp.Header)}
	if known.Facts != nil {
		done.facts = *known.Facts
	}
	if known.Tag != nil && known.Tag.Kind != sse.TagNone {
		done.etag = known.Tag.String()
	}
	if done.etag == "" {
		return nil, errors.New("the store answered a PUT without an ETag")
	}
	return done, nil
}

// compressible says whether a rule asks to compress this object. SSE-C objects never are: their size would tell
// about a plaintext that waxseal promised to know nothing of.
func (w *write) compressible() bool {
	if w.enc.Mode == sse.SSEC || w.size == 0 || w.size > sse.MaxCompressible {
		return false
	}
	kind, _, _ := strings.Cut(strings.ToLower(w.header.Get("Content-Type")), ";")
	kind = strings.TrimSpace(kind)
	for _, r := range w.call.s.cfg.Compression {
		if r.Bucket != w.at.Bucket {
			continue
		}
		for _, t := range r.Types {
			if t == kind || strings.HasSuffix(t, "/*") && strings.HasPrefix(kind, strings.TrimSuffix(t, "*")) {
				return true
			}
		}
	}
	return false
}

// sendCompressed compresses a body in memory, where that makes it smaller.
func (w *write) sendCompressed(s *objects.Sealing) (*written, error) {
	plain := bytes.NewBuffer(make([]byte, 0, w.size+bytes.MinRead))
	if _, err := plain.ReadFrom(w.digest); err != nil {
		return nil, err
	}
	small, ok := sse.Compress(plain.Bytes())
	if !ok {
		return w.sendKnown(s, plain, w.size)
	}
	s.Envelope.Compressed = true
	return w.sendKnown(s, bytes.NewReader(small), int64(len(small)))
}
