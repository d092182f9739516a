package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"waxseal/keystore/state"
	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/proxy/uploads"
	"waxseal/sse"
)

// completion is one CompleteMultipartUpload.
//
// The store completes an upload once, and its answer can be lost; waxseal can stop at any point. So a Complete can be
// sent again: every step before the store's own is repeated without harm, and after it the object itself tells, by the
// upload id in its manifest, that it is this upload's.
type completion struct {
	*call
	upload   *uploads.Upload
	want     *completeRequest
	customer *objects.CustomerKey
	header   http.Header // conditions, for the store

	keys  sse.Keys
	blind bool // an SSE-C upload without its key

	chosen []*uploads.Part
	out    *uploads.Outcome
}

// completeMultipartUpload makes an object of an upload's parts.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
func (c *call) completeMultipartUpload() error {
	u, err := c.upload()
	if err != nil {
		return err
	}
	p := &completion{call: c}
	if p.want, err = c.completeRequest(); err != nil {
		return err
	}
	early := func(h *fasthttp.ResponseHeader) { showEncryption(h, u.Env, nil) }
	return c.patiently(early, func() error { return p.complete(u.Name) })
}

// complete is everything after the request has been read.
func (p *completion) complete(name string) error {
	release, err := p.lock(p.s.uploads.Working, name)
	if err != nil {
		return err
	}
	defer release()
	for attempt := range 5 {
		if p.upload, err = p.call.upload(); err != nil {
			return err
		}
		if p.upload.Phase == uploads.Done {
			return p.repeat()
		}
		err = p.run()
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
		// Another replica works on the same upload, or a part has just been sent again: not in step with it.
		time.Sleep(rand.N(time.Duration(attempt+1) * 20 * time.Millisecond))
	}
	var answered *store.AnswerError
	if errors.As(err, &answered) {
		return answered
	}
	return s3.NewError(s3.OperationAborted)
}

// repeat answers a Complete that has been answered before.
func (p *completion) repeat() error {
	if p.want.list != p.upload.Outcome.List {
		return uploads.NoSuchUpload(p.upload.UploadID)
	}
	return p.answerComplete(p.upload.Outcome, nil)
}

func (p *completion) run() error {
	if err := p.openKeys(); err != nil {
		return err
	}
	if p.upload.Phase == uploads.Completing {
		// Asked before anything else: conditions that held for the Complete whose answer was lost need not hold now.
		if out, header, err := p.recognise(); out != nil || err != nil {
			return p.recognised(out, header, err)
		}
	}
	if err := p.prepare(); err != nil {
		if p.overtaken() {
			return state.ErrConflict // it may have removed the parts that were looked for
		}
		return err
	}
	final, err := p.sendFinal()
	if err != nil {
		return p.afterFailure(err)
	}
	header, err := p.completeAtStore(final)
	if err != nil {
		return p.afterFailure(err)
	}
	p.out.Version = header.Get("X-Amz-Version-Id")
	return p.finish(p.out, header)
}

// openKeys opens the upload's data keys. S3 wants an SSE-C key here only when the upload was created with a checksum
// algorithm.
func (p *completion) openKeys() (err error) {
	if p.customer, err = p.uploadKey(p.upload); err != nil {
		return err
	}
	if p.blind = p.upload.Env.Mode == sse.SSEC && p.customer == nil; p.blind {
		if p.upload.Named || p.s.cfg.CompatCeph {
			return errPartEncryption()
		}
		return nil
	}
	return p.uploadKeys(&p.keys, p.upload, p.customer)
}

// prepare chooses the parts, checks all that is to be checked, and records that the store will now be told.
func (p *completion) prepare() error {
	if err := p.choose(); err != nil {
		return err
	}
	p.header = p.ownerHeader()
	if err := p.writeConditions(p.header); err != nil {
		return err
	}
	if err := p.s.honouredOnComplete(p.header); err != nil {
		return err
	}
	if err := p.chargeParts(); err != nil {
		return err
	}
	p.upload.Phase, p.upload.Changed, p.upload.Outcome = uploads.Completing, p.s.cfg.Now().UTC(), p.out
	return p.s.uploads.Save(p.Up, p.upload, heldOf(p.chosen))
}

// choose finds the parts that the client names, and what comes of them.
func (p *completion) choose() error {
	known, err := p.s.uploads.Parts(p.Up, p.upload)
	if err != nil {
		return err
	}
	all := uploads.CandidatesOf(known)
	var atStore map[int]string
	for _, w := range p.want.parts {
		if all.Disputed(w.PartNumber) {
			if atStore, err = p.storeParts(p.upload); err != nil {
				return err
			}
			break
		}
	}
	if p.chosen, err = p.want.choose(p.upload, all, atStore); err != nil {
		return err
	}
	p.out, err = p.want.outcome(p.upload, p.chosen)
	return err
}

// heldOf are the parts that are not at the store: none, or the last.
func heldOf(chosen []*uploads.Part) []*uploads.Part {
	if last := chosen[len(chosen)-1]; last.Staged != "" {
		return []*uploads.Part{last}
	}
	return nil
}

// sendFinal sends what ends the body: a held part, if there is one, and the manifest. It gives the store's ETag.
func (p *completion) sendFinal() (etag string, err error) {
	manifest, err := p.sealManifest()
	if err != nil {
		return "", err
	}
	body, size := io.Reader(bytes.NewReader(manifest)), int64(len(manifest))
	for _, h := range heldOf(p.chosen) {
		f, err := p.s.uploads.Staged.Open(p.Up, h)
		if err != nil {
			p.s.log.Error("a held part is lost", "id", p.id, "bucket", p.bucket, "key", p.key, "part", h.Number, "err", err)
			return "", errInvalidPart(p.upload, &p.want.parts[len(p.want.parts)-1])
		}
		defer f.Close()
		body, size = io.MultiReader(f, body), size+h.Sealed
	}
	resp, err := p.Send(&store.Request{
		Method: http.MethodPut, Bucket: p.bucket, Key: p.key, Header: p.ownerHeader(), Stream: body, Size: size,
		Query: fmt.Sprintf("partNumber=%d&%s", lastPart, uploadQuery(p.upload.UploadID)),
	})
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", store.Failure(resp)
	}
	store.Drain(resp)
	return store.ETagOf(resp.Header), nil
}

func (p *completion) sealManifest() ([]byte, error) {
	svc, err := p.ServiceKey()
	if err != nil {
		return nil, err
	}
	defer svc.Key.Zero()
	m := uploads.ManifestOf(p.upload, p.chosen, p.out.Sum)
	if p.blind {
		return p.sealBlind(p.upload, m, svc)
	}
	return m.Seal(p.keys, svc)
}

// completeAtStore tells the store to put the parts together. Each is named by the store's own ETag, so that the store
// refuses one that was sent again meanwhile.
func (p *completion) completeAtStore(final string) (http.Header, error) {
	list := s3.CompleteMultipartUpload{}
	for _, part := range p.chosen {
		if part.Staged == "" {
			list.Parts = append(list.Parts, s3.CompletePart{PartNumber: part.Number, ETag: s3.Quote(part.StoreETag)})
		}
	}
	list.Parts = append(list.Parts, s3.CompletePart{PartNumber: lastPart, ETag: s3.Quote(final)})
	body, err := s3.Encode(list)
	if err != nil {
		return nil, err
	}
	p.header.Set("Content-Type", "application/xml")
	resp, err := p.Send(&store.Request{
		Method: http.MethodPost, Bucket: p.bucket, Key: p.key, Query: uploadQuery(p.upload.UploadID), Header: p.header, Body: body,
	})
	if err != nil {
		return nil, err
	}
	header := resp.Header
	var doc s3.CompleteMultipartUploadResult
	if err := store.Result(resp, &doc); err != nil {
		p.tellManyParts(len(list.Parts), err)
		return nil, err
	}
	return header, nil
}

// manyParts is where versitygw on ext4 fails: its list of the parts is an extended attribute, and outgrows a block.
const manyParts = 1000

// tellManyParts says in the log what the store's 500 most likely means, as every byte has gone up by then and clients
// send all of them again.
func (c *call) tellManyParts(parts int, err error) {
	var answered *store.AnswerError
	if parts >= manyParts && errors.As(err, &answered) && answered.Cause.Status() >= http.StatusInternalServerError {
		c.s.log.Warn("the store failed to complete an upload of many parts; versitygw on ext4 cannot with 1,024 and more: let clients send larger parts, or give it XFS",
			"id", c.id, "bucket", c.bucket, "key", c.key, "parts", parts)
	}
}

// afterFailure looks at the object when the store's answer leaves open whether it has completed the upload: it was
// lost, it says that there is no such upload (any more), or that a condition does not hold (any more).
func (p *completion) afterFailure(err error) error {
	var answered *store.AnswerError
	if errors.As(err, &answered) {
		switch {
		case answered.Cause.Code == s3.NoSuchUpload, answered.Cause.Code == s3.PreconditionFailed, answered.Cause.Status() >= 500:
		case answered.Cause.Code == s3.InvalidPart:
			// Another replica that works on the same upload may have replaced the final part.
			return fmt.Errorf("%w: %w", state.ErrConflict, err)
		default:
			return err
		}
	}
	if out, header, other := p.recognise(); out != nil || other != nil {
		return p.recognised(out, header, other)
	}
	return p.pinLost(err, p.place())
}

// recognised answers from an object that is there already.
func (p *completion) recognised(out *uploads.Outcome, header http.Header, err error) error {
	if err != nil {
		return err
	}
	return p.finish(out, header)
}

// overtaken says whether another replica has gone on with the same upload meanwhile.
func (p *completion) overtaken() bool {
	now, err := p.s.uploads.Get(p.Up, p.bucket, p.key, p.upload.UploadID)
	return err == nil && now.Revision != p.upload.Revision
}

// recognise says whether the object was made of this upload, and what of it is to be answered. When it was made of
// another list than the client's, the upload is over for this one: NoSuchUpload, and nothing is recorded of it.
func (p *completion) recognise() (*uploads.Outcome, http.Header, error) {
	o := p.objectOf(p.upload)
	if o == nil {
		return nil, nil, nil
	}
	header := make(http.Header)
	if o.Version != "" {
		header.Set("X-Amz-Version-Id", o.Version)
	}
	if p.blind {
		return p.recogniseBlind(o, header)
	}
	keys := p.keys
	defer keys.Zero()
	m, err := p.ManifestOf(o, keys)
	if err != nil || m.UploadID != p.upload.UploadID || len(m.Facts.Checksums) != 1 {
		return nil, nil, nil
	}
	if !p.want.made(m.Tag.String(), m) {
		return nil, nil, uploads.NoSuchUpload(p.upload.UploadID)
	}
	return &uploads.Outcome{List: p.want.list, ETag: m.Tag.String(), Sum: m.Facts.Checksums[0], Parts: uint32(len(m.Parts)), Version: o.Version}, header, nil
}

// recogniseBlind is recognise without the key that opens the manifest. The object's checksum is then what was recorded, or
// what the parts give again.
func (p *completion) recogniseBlind(found *objects.Found, header http.Header) (*uploads.Outcome, http.Header, error) {
	o, ok := found.Verified()
	if !ok || !p.want.made(o.VisibleETag(), nil) {
		return nil, nil, uploads.NoSuchUpload(p.upload.UploadID)
	}
	out := p.upload.Outcome
	if out == nil || out.List != p.want.list {
		if err := p.choose(); err != nil {
			return nil, nil, err
		}
		out = p.out
	}
	out.Version = o.Version
	return out, header, nil
}

// finish records the outcome, so that the same Complete gets the same answer for a while, clears up, and answers.
func (p *completion) finish(out *uploads.Outcome, header http.Header) error {
	u := p.upload
	u.Phase, u.Changed, u.Outcome, u.ManifestKey = uploads.Done, p.s.cfg.Now().UTC(), out, nil
	err := p.s.uploads.Save(p.Up, u, nil)
	if err == nil {
		err = p.s.uploads.ForgetParts(p.Up, u)
	}
	if err != nil {
		// The object is there. A repetition will recognise it, and the sweeper will clear up.
		p.s.log.Warn("the end of an upload was not recorded", "id", p.id, "bucket", p.bucket, "key", p.key, "err", err)
	}
	return p.answerComplete(out, header)
}

func (p *completion) answerComplete(out *uploads.Outcome, header http.Header) error {
	p.copyHeaders(without(header, "Content-Type"))
	h := &p.res.Header
	if out.Version != "" {
		h.Set("x-amz-version-id", out.Version)
	}
	shown := p.customer
	if !p.s.cfg.CompatCeph {
		shown = nil // S3 does not echo an SSE-C key here
	}
	p.showEncryption(p.upload.Env, shown)
	doc := s3.CompleteMultipartUploadResult{Location: p.location(), Bucket: p.bucket, Key: p.key, ETag: s3.Quote(out.ETag)}
	if m := p.upload.Env.Mode; m != sse.SSEKMS && m != sse.DSSEKMS {
		// With SSE-KMS S3 shows the checksum only to who asks for it with the right to decrypt.
		*doc.Field(s3.ChecksumName(out.Sum.Algorithm)) = s3.ChecksumText(out.Sum, out.Parts)
		doc.ChecksumType = s3.ChecksumType(out.Sum)
	}
	return p.answerXML(http.StatusOK, doc)
}

// location is the URL of the object as the client addresses this endpoint.
func (c *call) location() string {
	scheme := "http://"
	if c.secure {
		scheme = "https://"
	}
	return scheme + c.host() + c.rawPath
}
