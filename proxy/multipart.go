package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waxseal/keystore/state"
	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/proxy/uploads"
	"waxseal/sse"
)

// A multipart upload is sealed like this. Create makes the data key and the envelope, which goes to the store with
// the store's own Create. Each part is a sealed part under its own number, sent whenever and by whichever replica. At
// Complete the manifest, which says what parts there are, goes up as one more part, and the store is told to complete
// the upload with it last:
//
//	sealed part 1 || sealed part 3 || ... || [held part] || manifest
//
// It goes up as part 10,000: no client's part ever has that number at the store, so that a Complete that fails has
// not overwritten one.
const lastPart = sse.MaxParts

// createMultipartUpload begins an upload.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html
func (c *call) createMultipartUpload() error {
	u := &uploads.Upload{Bucket: c.bucket, Key: c.key}
	if err := c.uploadChecksum(u); err != nil {
		return err
	}
	enc, err := c.encryptionFor(c)
	if err != nil {
		return err
	}
	if err := c.passOverBody(); err != nil {
		return err
	}
	h := c.storeHeader()
	if err := c.uploadEnvelope(u, enc, h); err != nil {
		return err
	}
	resp, err := c.Send(&store.Request{Method: http.MethodPost, Bucket: c.bucket, Key: c.key, Query: "uploads=", Header: h})
	if err != nil {
		return err
	}
	var doc s3.InitiateMultipartUploadResult
	if err := store.Result(resp, &doc); err != nil {
		return err
	}
	u.UploadID = doc.UploadID
	if err := c.s.uploads.Create(c.Up, u); err != nil {
		if errors.Is(err, state.ErrUnknown) {
			return err // its record may be there: ListMultipartUploads shows the upload, and a lifecycle rule ends it
		}
		_ = c.abandonUpload(c.place(), u.UploadID) // it is in the log
		return err
	}
	c.copyHeaders(without(resp.Header, "Content-Type"))
	c.showEncryption(u.Env, enc.Customer)
	if u.Named {
		c.res.Header.Set("x-amz-checksum-algorithm", s3.ChecksumName(u.Checksum))
		c.res.Header.Set("x-amz-checksum-type", s3.ChecksumType(sse.Checksum{Composite: u.Composite}))
	}
	return c.answerXML(http.StatusOK, s3.InitiateMultipartUploadResult{Bucket: c.bucket, Key: c.key, UploadID: u.UploadID})
}

// uploadEnvelope makes an upload's data keys and puts them, wrapped, into the header for the store.
func (c *call) uploadEnvelope(u *uploads.Upload, enc *objects.Encryption, h http.Header) error {
	s := &objects.Sealing{Keys: sse.NewKeys(enc.Mode.Double())}
	defer s.Keys.Zero()
	u.Env = &sse.Envelope{Size: -1, Manifest: true, ChecksumAlgorithm: u.Checksum, ChecksumComposite: u.Composite}
	kek, err := c.NewKEK(u.Env, enc, c.place())
	if err != nil {
		return err
	}
	defer kek.Release()
	s.Envelope, s.KEK = u.Env, kek
	if u.Envelope, err = c.SealEnvelope(s, c.place(), objects.KnownFacts{}); err != nil {
		return err
	}
	h.Set(s3.HeaderEnvelope, u.Envelope)
	if err := s3.CheckMetadata(h); err != nil {
		return err
	}
	if enc.Mode == sse.SSEC {
		return c.keepManifestKey(u, s.Keys)
	}
	return nil
}

// abandonUpload gives up an upload of which no client knows the id. A call that was cut does that, too: at the end of
// waxseal, Shutdown waits for it.
func (c *call) abandonUpload(at objects.Place, id string) error {
	ctx, cancel := c.outlasting()
	defer cancel()
	resp, err := c.SendWithin(ctx, &store.Request{Method: http.MethodDelete, Bucket: at.Bucket, Key: at.Key, Query: uploadQuery(id)})
	if err == nil {
		err = uploadEnded(resp)
	}
	if err != nil {
		c.s.log.Warn("an upload was left at the store", "id", c.id, "bucket", at.Bucket, "key", at.Key, "upload", id, "err", err)
	}
	return err
}

// outlasting is for what must be done although the call was cut.
func (c *call) outlasting() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.Up), 30*time.Second)
}

// uploadEnded reads the answer to an Abort. That there is no such upload is as good.
func uploadEnded(resp *http.Response) error {
	if resp.StatusCode/100 == 2 {
		store.Drain(resp)
		return nil
	}
	if err := store.Failure(resp); !isNoSuchUpload(err) && !errors.Is(err, &s3.Error{Code: s3.NoSuchBucket}) {
		return err
	}
	return nil
}

func uploadQuery(id string) string { return "uploadId=" + s3.EscapeQuery(id) }

// uploadChecksum reads which checksum the parts and the object will have: CRC64NVME of the whole object when the
// client names none. https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
func (c *parsed) uploadChecksum(u *uploads.Upload) error {
	alg, kind := c.header("x-amz-checksum-algorithm"), strings.ToUpper(c.header("x-amz-checksum-type"))
	if kind != "" && kind != "COMPOSITE" && kind != "FULL_OBJECT" {
		return errChecksumType()
	}
	if alg == "" {
		if kind != "" {
			return s3.Errorf(s3.InvalidRequest, "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		u.Checksum = sse.CRC64NVME
		return nil
	}
	u.Checksum, u.Named = s3.ChecksumID(alg), true
	if u.Checksum == 0 {
		return s3.UnsupportedChecksum()
	}
	combines := s3.Combines(s3.ChecksumName(u.Checksum)) // only a CRC of the whole object follows from those of its parts
	u.Composite = kind == "COMPOSITE" || kind == "" && u.Checksum != sse.CRC64NVME
	if u.Composite && u.Checksum == sse.CRC64NVME || !u.Composite && !combines {
		return s3.Errorf(s3.InvalidRequest, "The %s checksum type cannot be used with the %s checksum algorithm.",
			s3.ChecksumType(sse.Checksum{Composite: u.Composite}), strings.ToLower(s3.ChecksumName(u.Checksum)))
	}
	return nil
}

func errChecksumType() error {
	return s3.Errorf(s3.InvalidRequest, "Value for x-amz-checksum-type header is invalid.")
}

// upload finds the upload that the request names.
func (c *call) upload() (*uploads.Upload, error) {
	id := c.query.Get("uploadId")
	u, err := c.s.uploads.Get(c.Up, c.bucket, c.key, id)
	if errors.Is(err, state.ErrNotFound) {
		return nil, c.unknownUpload(id)
	}
	return u, err
}

// liveUpload finds an upload that has not ended.
func (c *call) liveUpload() (*uploads.Upload, error) {
	u, err := c.upload()
	if err == nil && u.Phase == uploads.Done {
		return nil, uploads.NoSuchUpload(u.UploadID)
	}
	return u, err
}

// unknownUpload lets the store say what is wrong: that there is no such bucket, or that the requester may not know. An
// upload that the store has and waxseal has not was begun behind its back, and has no data key.
func (c *call) unknownUpload(id string) error {
	if !plausibleIdentifier(id) {
		return uploads.NoSuchUpload(id)
	}
	resp, err := c.Send(&store.Request{Method: http.MethodGet, Bucket: c.bucket, Key: c.key, Query: "max-parts=1&" + uploadQuery(id), Header: c.ownerHeader()})
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusNotFound {
		return store.Failure(resp)
	}
	store.Drain(resp)
	return uploads.NoSuchUpload(id)
}

// ownerHeader is the little of a request's header that goes to the store with parts and completions.
func (c *parsed) ownerHeader() http.Header {
	h := make(http.Header)
	for _, name := range passOwner {
		if v := c.header(name); v != "" {
			h.Set(name, v)
		}
	}
	c.addOrigin(h)
	return h
}

func (c *parsed) partNumber() (int, error) {
	n, err := strconv.Atoi(c.query.Get("partNumber"))
	if err != nil || n < 1 || n > sse.MaxParts {
		return 0, s3.InvalidArgument("partNumber", c.query.Get("partNumber"), "Part number must be an integer between 1 and 10000, inclusive")
	}
	return n, nil
}

// uploadKey reads the request's encryption parameters, which must be those that the upload was created with.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
func (c *call) uploadKey(u *uploads.Upload) (*objects.CustomerKey, error) {
	if alg := algorithmOf(u.Env.Mode); c.hasHeader(hdrSSE) && c.header(hdrSSE) != alg {
		return nil, s3.InvalidArgument(hdrSSE, c.header(hdrSSE), "x-amz-server-side-encryption header is not supported for this operation.")
	}
	customer, err := c.customerKey(c, objectCustomer)
	if err != nil || customer == nil {
		return nil, err
	}
	if u.Env.Mode != sse.SSEC {
		return nil, errPartEncryption()
	}
	if !sse.CheckVerifier(u.Env.KeyBlob, customer.Key) {
		return nil, s3.Errorf(s3.InvalidRequest, "The provided encryption parameters did not match the ones used originally.")
	}
	return customer, nil
}

// partKey is uploadKey for a request that brings data: an SSE-C upload needs the key, and the bucket must still allow
// such keys.
func (c *call) partKey(u *uploads.Upload) (*objects.CustomerKey, error) {
	customer, err := c.uploadKey(u)
	if err != nil {
		return nil, err
	}
	if u.Env.Mode == sse.SSEC && customer == nil {
		return nil, errPartEncryption()
	}
	if customer != nil {
		if _, err := c.encryptionFor(c); err != nil {
			return nil, err
		}
	}
	return customer, nil
}

func errPartEncryption() error {
	return s3.Errorf(s3.InvalidRequest, "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters.")
}

// abortMultipartUpload gives an upload up.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html
func (c *call) abortMultipartUpload() error {
	c.unread = false
	id := c.query.Get("uploadId")
	release, err := c.lock(c.s.uploads.Working, uploads.UploadName(c.bucket, c.key, id))
	if err != nil {
		return err
	}
	defer release()
	if err := c.checkUploadID(id); err != nil {
		return err
	}
	resp, err := c.Send(&store.Request{Method: http.MethodDelete, Bucket: c.bucket, Key: c.key, Query: uploadQuery(id), Header: c.ownerHeader()})
	if err != nil {
		return err
	}
	answer := c.relay(resp)
	if answer != nil && !isNoSuchUpload(answer) {
		return answer
	}
	u, err := c.s.uploads.Get(c.Up, c.bucket, c.key, id)
	switch {
	case errors.Is(err, state.ErrNotFound):
		return answer
	case err != nil:
		return err
	case u.Phase == uploads.Done, u.Phase == uploads.Completing && c.objectOf(u) != nil:
		// It was completed, whatever the store says (MinIO is glad to abort what does not exist): a Complete that is
		// sent again must find its record.
		return answer
	}
	if err := c.s.uploads.Forget(c.Up, u); err != nil && !errors.Is(err, state.ErrConflict) {
		return fmt.Errorf("aborted at the store: %w", err)
	}
	return answer
}

// checkUploadID refuses an upload id that is neither in waxseal's records nor of a store's shape.
func (c *call) checkUploadID(id string) error {
	if plausibleIdentifier(id) {
		return nil
	}
	_, err := c.s.uploads.Get(c.Up, c.bucket, c.key, id)
	if errors.Is(err, state.ErrNotFound) {
		return uploads.NoSuchUpload(id)
	}
	return err
}

func isNoSuchUpload(err error) bool {
	return errors.Is(err, &s3.Error{Code: s3.NoSuchUpload})
}

// objectOf is the object that is there now, if it was made of an upload: an envelope is sealed once, for one upload. It
// looks with waxseal's own credentials, because who may write need not be allowed to read.
func (c *call) objectOf(u *uploads.Upload) *objects.Found {
	r := c.ReadRequest(c.place(), "", "")
	r.Own = true
	o, err := c.LookupBy(r, c.place(), objects.TailRead)
	if err != nil || !o.HasTail() || o.Header.Get(s3.HeaderEnvelope) != u.Envelope {
		return nil
	}
	return o
}
