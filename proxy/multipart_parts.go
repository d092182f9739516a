package proxy

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"

	"waxseal/keystore/state"
	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/proxy/uploads"
	"waxseal/sse"
)

// uploadPart seals the request's body into a part.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html
func (c *call) uploadPart() error {
	w, err := c.newPartWrite()
	if err != nil {
		return err
	}
	if w.want, err = c.declaredOf(c); err != nil {
		return err
	}
	if err := w.checkAlgorithm(); err != nil {
		return err
	}
	if w.body, w.size, err = c.body(); err != nil {
		return err
	}
	if err := checkPart(w.size, w.keys.Layers()); err != nil {
		return err
	}
	p, header, err := w.send()
	if err != nil {
		return err
	}
	c.copyHeaders(header)
	c.res.Header.Set("Etag", s3.Quote(p.ETag))
	c.showEncryption(w.upload.Env, w.customer)
	switch {
	case w.upload.Named:
		c.showPartChecksum(p, w.upload.Checksum)
	case w.want.Named:
		c.showPartChecksum(p, w.want.Algorithm)
	}
	c.answer(http.StatusOK, "", nil)
	return nil
}

func (c *outgoing) showPartChecksum(p *uploads.Part, algorithm uint8) {
	if sum := p.Sum(algorithm); sum != nil {
		c.res.Header.Set(s3.ChecksumHeaderOf(algorithm), s3.Base64(sum))
	}
}

// partWrite is one part on its way to the store, or to where parts are held.
type partWrite struct {
	*call
	upload   *uploads.Upload
	number   int
	customer *objects.CustomerKey
	keys     sse.Keys

	body io.Reader // plaintext
	size int64
	want *s3.Declared

	digest *s3.DigestReader
	own    hash.Hash // of the upload's algorithm, where the client declared another
}

// newPartWrite finds the upload and opens its data keys. With SSE-KMS that asks the KMS for Decrypt, as on S3.
func (c *call) newPartWrite() (*partWrite, error) {
	number, err := c.partNumber()
	if err != nil {
		return nil, err
	}
	u, err := c.liveUpload()
	if err != nil {
		return nil, err
	}
	w := &partWrite{call: c, upload: u, number: number}
	if w.customer, err = c.partKey(u); err != nil {
		return nil, err
	}
	return w, c.uploadKeys(&w.keys, u, w.customer)
}

// uploadKeys opens an upload's data keys into where the caller keeps them. There they are zeroed when the call is done.
func (c *call) uploadKeys(into *sse.Keys, u *uploads.Upload, customer *objects.CustomerKey) (err error) {
	if *into, _, err = c.OpenEnvelope(u.Env, customer, c.place()); err != nil {
		return objects.OpenError(err)
	}
	c.OnDone(into.Zero)
	return nil
}

// checkAlgorithm refuses a checksum of another algorithm than the upload was created with. An upload that was created
// with none takes any, and of a part whose client gives none, a checksum of the whole object can be computed all the same.
func (w *partWrite) checkAlgorithm() error {
	actual := "null"
	switch {
	case !w.upload.Named, !w.want.Named && !w.upload.Composite, w.want.Named && w.want.Algorithm == w.upload.Checksum:
		return nil
	case w.want.Named:
		actual = strings.ToLower(s3.ChecksumName(w.want.Algorithm))
	}
	return s3.Errorf(s3.InvalidRequest, "Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
		strings.ToLower(s3.ChecksumName(w.upload.Checksum)), actual)
}

// showsMD5 says whether the part's ETag is the MD5 of its plaintext.
func (w *partWrite) showsMD5() bool {
	return w.upload.Env.Mode == sse.SSES3 && !w.s.cfg.OpaqueETag
}

// send seals the part, puts it where it belongs, and records it. header is what the store answered, if it was asked.
func (w *partWrite) send() (*uploads.Part, http.Header, error) {
	w.digest = s3.NewDigestReader(w.body, w.size, w.want, w.showsMD5())
	src := io.Reader(w.digest)
	if w.want.Algorithm != w.upload.Checksum {
		w.own = s3.NewChecksumOf(w.upload.Checksum)
		src = io.TeeReader(src, w.own)
	}
	sealed := w.keys.SealPart(w.number, src, w.size)
	defer sealed.Close()
	p := &uploads.Part{Number: w.number, Size: w.size, Sealed: sse.SealedSize(w.size, w.keys.Layers())}
	p.SetHeaders(sealed.Headers(), w.keys.Layers())
	header, err := w.keep(p, sealed)
	if err != nil {
		return nil, nil, err
	}
	w.describe(p)
	if err := w.s.uploads.AddPart(w.Up, w.upload, p); err != nil {
		if p.Staged != "" && !errors.Is(err, state.ErrUnknown) { // else its record may be there: the sweeper looks, an hour later
			w.s.uploads.Staged.Abandon(p)
		}
		return nil, nil, err
	}
	return p, header, nil
}

// maxManifest is more than the manifest of 10,000 parts has.
const maxManifest = 4 << 20

// keep holds a part that the store would only take as the last one, and sends every other.
func (w *partWrite) keep(p *uploads.Part, sealed io.Reader) (http.Header, error) {
	if p.Number == lastPart || p.Sealed < s3.MinPartSize {
		if p.Sealed > maxPut-maxManifest {
			return nil, s3.Errorf(s3.EntityTooLarge, "Your proposed upload exceeds the maximum allowed size of part number %d", lastPart).
				With("ProposedSize", fmt.Sprint(w.size))
		}
		if err := w.mayStage(p); err != nil {
			return nil, err
		}
		p.Staged = uploads.StagedName(w.upload, p.Number, w.who())
		err := w.s.uploads.Staged.Stage(w.Up, p, sealed)
		w.askCORS()
		return make(http.Header), err
	}
	resp, err := w.call.Send(&store.Request{
		Method: http.MethodPut, Bucket: w.bucket, Key: w.key, Header: w.ownerHeader(), Stream: sealed, Size: p.Sealed,
		Query: fmt.Sprintf("partNumber=%d&%s", p.Number, uploadQuery(w.upload.UploadID)),
	})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, store.Failure(resp)
	}
	store.Drain(resp)
	if p.StoreETag = store.ETagOf(resp.Header); p.StoreETag == "" {
		return nil, errors.New("the store answered a part without an ETag")
	}
	return resp.Header, nil
}

// mayStage asks the store whether the requester may write a part, where the store alone knows: of an anonymous requester, and of
// a user with credentials of its own there. A staged part goes to the store with Complete only, signed by waxseal. The request is no
// part, because its Content-MD5 is another body's.
func (w *partWrite) mayStage(p *uploads.Part) error {
	if w.user != nil && w.user.Upstream == nil {
		return nil
	}
	h := w.ownerHeader()
	h.Set("Content-Md5", s3.Base64(make([]byte, md5.Size)))
	resp, err := w.call.Send(&store.Request{Method: http.MethodPut, Bucket: w.bucket, Key: w.key, Header: h,
		Query: fmt.Sprintf("partNumber=%d&%s", p.Number, uploadQuery(w.upload.UploadID))})
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		store.Drain(resp)
		return nil
	}
	err = store.Failure(resp)
	var refused *s3.Error
	if errors.As(err, &refused) && (refused.Code == s3.BadDigest || refused.Code == s3.InvalidDigest) {
		return nil
	}
	return err
}

// describe writes down what is known of the plaintext, now that all of it has passed.
func (w *partWrite) describe(p *uploads.Part) {
	facts := &w.digest.Facts
	p.Sums = facts.Checksums
	if w.own != nil {
		own := sse.Checksum{Algorithm: w.upload.Checksum, Value: w.own.Sum(nil)}
		p.Sums = append([]sse.Checksum{own}, p.Sums...)
	}
	if facts.HasMD5 && w.showsMD5() {
		p.MD5 = facts.MD5[:]
	}
	switch {
	case w.showsMD5():
		p.ETag = hex.EncodeToString(p.MD5)
	case p.StoreETag != "":
		p.ETag = p.StoreETag
	default:
		p.ETag = uploads.RandomName() // no digest of anything, as S3's ETags in these modes
	}
}
