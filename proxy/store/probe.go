package store

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"waxseal/proxy/s3"
)

// Capabilities are the features that a store was seen to honour. A status 200 proves little: some stores ignore
// conditions.
type Capabilities struct {
	Probed bool // false: assumed, because the store did not let waxseal make a scratch bucket

	Trailers            bool // aws-chunked bodies with a checksum trailer; a wrong checksum is refused
	CutCommits          bool // a body cut short by a close is committed nevertheless
	PutIfNoneMatch      bool // If-None-Match: * on PUT
	PutIfMatch          bool // If-Match on PUT
	CompleteIfNoneMatch bool // If-None-Match: * on CompleteMultipartUpload
	CompleteIfMatch     bool // If-Match on CompleteMultipartUpload
	CopySourcePinned    bool // x-amz-copy-source-if-match
	DeleteIfMatch       bool // If-Match on DELETE; MinIO ignores it
	CleansPaths         bool // "a//b" or "a/../b" is stored under another name, or refused
	LockInHeadOnly      bool // HEAD shows an object's lock and GET does not: versitygw
	LosesNames          bool // a name outside XML 1.0 is listed as another name, or refused
	FoldsFolders        bool // "a__XLDIR__" and "a/" are one object: MinIO
}

// assumedCapabilities returns the capabilities that hold until a probe has run: only features that every tested store
// honours. Keys that look like paths are refused: most tested stores would take "a//b" for "a/b", and overwrite it.
func assumedCapabilities() Capabilities {
	return Capabilities{Trailers: true, PutIfNoneMatch: true, PutIfMatch: true, CompleteIfNoneMatch: true, CompleteIfMatch: true,
		CopySourcePinned: true, CleansPaths: true, LosesNames: true, FoldsFolders: true}
}

// Capabilities returns the probed capabilities of the store, or the assumed capabilities before a probe has run.
func (u *Client) Capabilities() Capabilities { return *u.probed.Load() }

// Assume sets the capabilities that requests rely on until the next probe.
func (u *Client) Assume(caps Capabilities) {
	u.probed.Store(&caps)
	u.plainBodies.Store(!caps.Trailers)
}

// Scratch holds the dependencies of a probe.
type Scratch struct {
	Records ScratchRecords
	Log     *slog.Logger
	Now     func() time.Time
}

// ScratchRecords keeps the names of the scratch buckets at the store, so that the names outlive the process.
type ScratchRecords interface {
	Add(ctx context.Context, bucket string) error
	Remove(ctx context.Context, bucket string) error
	All(ctx context.Context) ([]string, error)
}

// probing is a probe of a store.
type probing struct {
	up      *Client
	records ScratchRecords
	log     *slog.Logger
	now     func() time.Time
}

// Probe finds out the store's capabilities in a scratch bucket, which it creates and removes. Requests rely on the
// result from then on. Probe tries again until the store answers or ctx ends.
func (u *Client) Probe(ctx context.Context, scratch Scratch) {
	if u.cfg.Local != nil {
		return // its capabilities are known
	}
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := u.ProbeOnce(ctx, scratch)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !errors.Is(err, ErrUnreachable) {
			scratch.Log.Warn("the store cannot be probed; going by what is usual", "err", err)
			return
		}
		scratch.Log.Warn("the store does not answer yet", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// ProbeOnce runs a single probe; an unreachable store is an error.
func (u *Client) ProbeOnce(ctx context.Context, scratch Scratch) error {
	s := &probing{up: u, records: scratch.Records, log: scratch.Log, now: scratch.Now}
	if err := s.sweepScratch(ctx); err != nil {
		return fmt.Errorf("removing what earlier probes left: %w", err)
	}
	var b [6]byte
	rand.Read(b[:])
	p := &prober{s: s, ctx: ctx, bucket: "waxseal-probe-" + hex.EncodeToString(b[:])}
	if err := p.make(nil); err != nil {
		return fmt.Errorf("making the scratch bucket %s: %w", p.bucket, err)
	}
	defer p.cleanup()
	caps, err := p.run()
	if err != nil {
		return err
	}
	u.Assume(caps)
	s.log.Info("store probed", "trailers", caps.Trailers, "cut_commits", caps.CutCommits, "put_if_none_match", caps.PutIfNoneMatch,
		"put_if_match", caps.PutIfMatch, "complete_if_none_match", caps.CompleteIfNoneMatch, "complete_if_match", caps.CompleteIfMatch,
		"copy_source_pinned", caps.CopySourcePinned,
		"delete_if_match", caps.DeleteIfMatch, "cleans_paths", caps.CleansPaths,
		"lock_in_head_only", caps.LockInHeadOnly, "loses_names", caps.LosesNames, "folds_folders", caps.FoldsFolders)
	if !caps.CompleteIfMatch || !caps.PutIfMatch {
		s.log.Warn("the store ignores conditions on writes: in-place changes of an object's encryption are refused")
	}
	if !caps.CopySourcePinned {
		s.log.Warn("the store ignores conditions on a copy's source: copies go through the proxy and are sealed anew")
	}
	return nil
}

// prober asks one question after another, each with a key of its own.
type prober struct {
	s      *probing
	ctx    context.Context
	bucket string
}

func (p *prober) run() (c Capabilities, err error) {
	c.Probed = true
	for _, step := range []struct {
		what string
		ask  func() (bool, error)
		into *bool
	}{
		{"trailers", p.trailers, &c.Trailers},
		{"a cut body", p.cutCommits, &c.CutCommits},
		{"If-None-Match on PUT", func() (bool, error) { return p.putRefused("if-none-match", "If-None-Match", "*") }, &c.PutIfNoneMatch},
		{"If-Match on PUT", func() (bool, error) { return p.putRefused("if-match", "If-Match", otherETag) }, &c.PutIfMatch},
		{"If-None-Match on Complete", func() (bool, error) { return p.completeRefused("complete-none", "If-None-Match", "*") }, &c.CompleteIfNoneMatch},
		{"If-Match on Complete", func() (bool, error) { return p.completeRefused("complete", "If-Match", otherETag) }, &c.CompleteIfMatch},
		{"a pinned copy source", p.copyPinned, &c.CopySourcePinned},
		{"If-Match on DELETE", p.deleteIfMatch, &c.DeleteIfMatch},
		{"keys that look like paths", p.cleansPaths, &c.CleansPaths},
		{"object lock", p.lockInHeadOnly, &c.LockInHeadOnly},
		{"names that XML cannot hold", p.losesNames, &c.LosesNames},
		{"folders and names like theirs", p.foldsFolders, &c.FoldsFolders},
	} {
		if *step.into, err = step.ask(); err != nil {
			return c, fmt.Errorf("probing %s: %w", step.what, err)
		}
	}
	return c, nil
}

// otherETag is the ETag of no object.
const otherETag = `"00000000000000000000000000000000"`

// do sends a request with waxseal's own credentials and returns status and body.
func (p *prober) do(method, key, query string, header http.Header, body []byte) (int, []byte, error) {
	resp, err := p.s.up.Send(p.ctx, &Request{Method: method, Bucket: p.bucket, Key: key, Query: query, Header: header, Body: body})
	if err != nil {
		return 0, nil, err
	}
	b, err := ReadDocument(resp)
	return resp.StatusCode, b, err
}

func (p *prober) expect(method, key, query string, header http.Header, body []byte, want int) error {
	status, b, err := p.do(method, key, query, header, body)
	if err == nil && status != want {
		err = &otherAnswer{status, s3.ParseError(status, b).Code}
	}
	return err
}

// otherAnswer is an unexpected response of the store.
type otherAnswer struct {
	status int
	code   s3.Code
}

func (e *otherAnswer) Error() string {
	return fmt.Sprintf("the store answered %d %s", e.status, e.code)
}

// make records the prober's bucket and then creates it. If the store refuses, no bucket exists and the record goes.
func (p *prober) make(header http.Header) error {
	if err := p.s.records.Add(p.ctx, p.bucket); err != nil {
		return err
	}
	err := p.create(header)
	var answered *otherAnswer
	if errors.As(err, &answered) {
		err = errors.Join(err, p.s.records.Remove(p.ctx, p.bucket))
	}
	return err
}

// create sends CreateBucket. AWS wants the region named, except for us-east-1. A store without regions may not know the
// region of waxseal's signature, so the first attempt names none.
func (p *prober) create(header http.Header) error {
	err := p.expect(http.MethodPut, "", "", header, nil, http.StatusOK)
	var answered *otherAnswer
	if !errors.As(err, &answered) || answered.code != s3.IllegalLocationConstraintException {
		return err
	}
	body, err := s3.Encode(s3.CreateBucketConfiguration{LocationConstraint: p.s.up.cfg.Region})
	if err != nil {
		return err
	}
	return p.expect(http.MethodPut, "", "", header, body, http.StatusOK)
}

func (p *prober) exists(key string) (bool, error) {
	status, _, err := p.do(http.MethodHead, key, "", nil, nil)
	return status == http.StatusOK, err
}

// trailers sends a body with a right trailer and a body with a wrong trailer.
func (p *prober) trailers() (bool, error) {
	data := []byte("waxseal probes the store")
	status, err := p.stream("trailer", bytes.NewReader(data), len(data))
	if err != nil || status != http.StatusOK {
		return false, err
	}
	resp, err := p.s.up.sendFramed(p.ctx, &Request{Method: http.MethodPut, Bucket: p.bucket, Key: "trailer-wrong", Size: int64(len(data))},
		&wrongTrailer{newTrailerBody(bytes.NewReader(data), int64(len(data)))})
	if err != nil {
		return false, err
	}
	Drain(resp)
	there, err := p.exists("trailer-wrong")
	return resp.StatusCode >= 400 && !there, err
}

// wrongTrailer spoils the checksum of its body.
type wrongTrailer struct{ *trailerBody }

func (w *wrongTrailer) Read(b []byte) (int, error) {
	w.sum.Write([]byte{1})
	return w.trailerBody.Read(b)
}

func (p *prober) stream(key string, src io.Reader, size int) (int, error) {
	resp, err := p.s.up.Send(p.ctx, &Request{Method: http.MethodPut, Bucket: p.bucket, Key: key, Stream: src, Size: int64(size)})
	if err != nil {
		return 0, err
	}
	Drain(resp)
	return resp.StatusCode, nil
}

// cutCommits aborts a body as Send aborts bodies, and looks whether the store committed it.
func (p *prober) cutCommits() (bool, error) {
	const size = 300_000
	_, err := p.stream("cut", io.MultiReader(bytes.NewReader(make([]byte, size-1)), failing{}), size)
	if err == nil {
		return false, errors.New("a broken body was answered")
	}
	// The store may still be working on the bytes received.
	for range 5 {
		if there, err := p.exists("cut"); there || err != nil {
			return there, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, ErrBodyRefused }

// putRefused reports whether the store refuses a PUT over an existing object if its condition fails.
func (p *prober) putRefused(key, header, value string) (bool, error) {
	if err := p.expect(http.MethodPut, key, "", nil, []byte("1"), http.StatusOK); err != nil {
		return false, err
	}
	status, _, err := p.do(http.MethodPut, key, "", http.Header{header: {value}}, []byte("2"))
	return status == http.StatusPreconditionFailed, err
}

// completeRefused reports the same of CompleteMultipartUpload.
func (p *prober) completeRefused(key, header, value string) (bool, error) {
	if err := p.expect(http.MethodPut, key, "", nil, []byte("1"), http.StatusOK); err != nil {
		return false, err
	}
	status, b, err := p.do(http.MethodPost, key, "uploads=", nil, nil)
	var doc s3.InitiateMultipartUploadResult
	if err != nil || status != http.StatusOK || s3.DecodeReply(bytes.NewReader(b), MaxDocument, &doc) != nil {
		return false, err
	}
	id := s3.EscapeQuery(doc.UploadID)
	resp, err := p.s.up.Send(p.ctx, &Request{Method: http.MethodPut, Bucket: p.bucket, Key: key, Query: "partNumber=1&uploadId=" + id, Body: []byte("2")})
	if err != nil {
		return false, err
	}
	Drain(resp)
	list, err := s3.Encode(s3.CompleteMultipartUpload{Parts: []s3.CompletePart{{PartNumber: 1, ETag: resp.Header.Get("Etag")}}})
	if err != nil {
		return false, err
	}
	status, _, err = p.do(http.MethodPost, key, "uploadId="+id, http.Header{header: {value}}, list)
	if err != nil {
		return false, err
	}
	_, _, err = p.do(http.MethodDelete, key, "uploadId="+id, nil, nil)
	return status == http.StatusPreconditionFailed, err
}

func (p *prober) copyPinned() (bool, error) {
	if err := p.expect(http.MethodPut, "source", "", nil, []byte("1"), http.StatusOK); err != nil {
		return false, err
	}
	status, _, err := p.do(http.MethodPut, "copy", "", http.Header{
		"X-Amz-Copy-Source":          {s3.CopySource{Bucket: p.bucket, Key: "source"}.String()},
		"X-Amz-Copy-Source-If-Match": {otherETag},
	}, nil)
	return status == http.StatusPreconditionFailed, err
}

func (p *prober) deleteIfMatch() (bool, error) {
	if err := p.expect(http.MethodPut, "delete", "", nil, []byte("1"), http.StatusOK); err != nil {
		return false, err
	}
	if _, _, err := p.do(http.MethodDelete, "delete", "", http.Header{"If-Match": {otherETag}}, nil); err != nil {
		return false, err
	}
	return p.exists("delete")
}

// cleansPaths reports whether keys such as "path//double" are refused or stored under another name.
func (p *prober) cleansPaths() (bool, error) {
	for _, key := range []string{"path//double", "path/../up"} {
		status, _, err := p.do(http.MethodPut, key, "", nil, []byte("1"))
		if err != nil {
			return false, err
		}
		if status != http.StatusOK {
			return true, nil
		}
		_, b, err := p.do(http.MethodGet, "", "prefix=&list-type=2", nil, nil)
		if err != nil {
			return false, err
		}
		if !strings.Contains(string(b), "<Key>"+key+"</Key>") {
			return true, nil
		}
	}
	return false, nil
}

// lockInHeadOnly compares the lock headers of HEAD and GET. It needs a bucket of its own, because only a new bucket can
// have object lock enabled. The lock expires by itself, in case this process ends before it can remove the object.
func (p *prober) lockInHeadOnly() (bool, error) {
	l := &prober{s: p.s, ctx: p.ctx, bucket: p.bucket + "-lock"}
	if err := l.make(http.Header{"X-Amz-Bucket-Object-Lock-Enabled": {"true"}}); err != nil {
		var answered *otherAnswer
		if errors.As(err, &answered) {
			err = nil // the store has no object lock
		}
		return false, err
	}
	defer l.cleanup()
	body := []byte("1")
	sum := md5.Sum(body)
	resp, err := p.s.up.Send(p.ctx, &Request{Method: http.MethodPut, Bucket: l.bucket, Key: "locked", Body: body, Header: http.Header{
		"Content-Md5":                         {s3.Base64(sum[:])}, // required with a lock
		"X-Amz-Object-Lock-Mode":              {"GOVERNANCE"},
		"X-Amz-Object-Lock-Retain-Until-Date": {time.Now().Add(scratchLock).UTC().Format(time.RFC3339)},
	}})
	if err != nil {
		return false, err
	}
	Drain(resp)
	version := resp.Header.Get("X-Amz-Version-Id")
	if resp.StatusCode != http.StatusOK || version == "" {
		return false, nil
	}
	query := "versionId=" + s3.EscapeQuery(version)
	shown := make(map[string]bool)
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		resp, err := p.s.up.Send(p.ctx, &Request{Method: method, Bucket: l.bucket, Key: "locked", Query: query})
		if err != nil {
			return false, err
		}
		Drain(resp)
		shown[method] = resp.Header.Get("X-Amz-Object-Lock-Mode") != ""
	}
	return shown[http.MethodHead] && !shown[http.MethodGet], nil
}
