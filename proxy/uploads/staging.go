package uploads

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"time"

	"waxseal/keystore/state"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// Staging keeps sealed parts until CompleteMultipartUpload. A single process uses a directory. Replicas use a bucket of
// the store, so that each can complete any upload.
type Staging interface {
	// Stage writes src, the sealed part, under the name p.Staged, and sets the checksum in p for Open.
	Stage(ctx context.Context, p *Part, src io.Reader) error
	// record returns the conditions and operations for the transaction that records the part.
	record(p *Part) ([]state.Cond, []state.Op)
	// Open opens a staged part. Its reader returns io.EOF only if the bytes are unchanged.
	Open(ctx context.Context, p *Part) (io.ReadCloser, error)
	// Abandon removes a staged part without a record.
	Abandon(p *Part)
	// remove removes the staged bytes of parts. The sweeper retries a failed removal.
	remove(parts ...*Part)
	// Sweep removes the remains of a crash.
	Sweep(ctx context.Context) error
}

// stagedPrefix is the prefix of intents: proxy/staged/<name>. An intent is written before its object. The transaction
// that records the part requires the intent and removes it. So an object without intent and record never gets a record,
// however late a replica wakes up and whatever its clock says.
const stagedPrefix = "proxy/staged/"

// StagingMarker is the key of the object that marks a bucket as waxseal's own.
const (
	StagingMarker = "waxseal-staging"
	stagingText   = "This bucket holds parts of uploads that wait for CompleteMultipartUpload. waxseal removes what lies here.\n"
)

// ErrStagingGone is returned for a part whose record came too late: the sweeper had removed the part.
var ErrStagingGone = s3.Errorf(s3.ServiceUnavailable, "The part took too long to be recorded. Please send it again.")

// StagedAfter is how long a replica waits for the record of a staged part.
const StagedAfter = time.Hour

// Bucket stages parts in a bucket of the store. Names begin with the deployment's ID: a second deployment with the same
// bucket neither sees nor sweeps them.
type Bucket struct {
	store      *store.Client
	state      state.Store
	bucket     string
	deployment string
	log        *slog.Logger
	patience   time.Duration // age at which an intent is removed, by this process's own clock
	Mono       func() time.Time

	found map[string]intentSeen // the intents of the last sweep; used by the sweeper alone
}

type intentSeen struct {
	revision int64
	first    time.Time
}

func (b *Bucket) object(p *Part) string { return b.deployment + "/" + p.Staged }

func (b *Bucket) Request(method, key, query string) *store.Request {
	return &store.Request{Method: method, Bucket: b.bucket, Key: key, Query: query, Own: true, Header: make(http.Header)}
}

func (b *Bucket) Stage(ctx context.Context, p *Part, src io.Reader) error {
	rev, err := b.state.Txn(ctx, []state.Cond{{Key: stagedPrefix + p.Staged}}, []state.Op{{Key: stagedPrefix + p.Staged, Value: []byte("{}")}})
	if err != nil {
		return fmt.Errorf("the intent of a staged part: %w", err)
	}
	p.intent = rev
	sum := sha256.New()
	req := b.Request(http.MethodPut, b.object(p), "")
	req.Stream, req.Size = io.TeeReader(src, sum), p.Sealed
	resp, err := b.store.Send(ctx, req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = store.Failure(resp)
	}
	if err != nil {
		b.Abandon(p)
		return err
	}
	store.Drain(resp)
	p.StagedSum = sum.Sum(nil)
	return nil
}

func (b *Bucket) record(p *Part) ([]state.Cond, []state.Op) {
	key := stagedPrefix + p.Staged
	return []state.Cond{{Key: key, Revision: p.intent}}, []state.Op{{Key: key, Delete: true}}
}

func (b *Bucket) Open(ctx context.Context, p *Part) (io.ReadCloser, error) {
	resp, err := b.store.Send(ctx, b.Request(http.MethodGet, b.object(p), ""))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("part %d was staged in bucket %s: %w", p.Number, b.bucket, store.Failure(resp))
	}
	return &stagedReader{body: resp.Body, left: p.Sealed, sum: sha256.New(), want: p.StagedSum}, nil
}

// stagedReader compares the store's bytes with the staged size and checksum.
type stagedReader struct {
	body io.ReadCloser
	left int64
	sum  hash.Hash
	want []byte
}

func (r *stagedReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.sum.Write(p[:n])
	r.left -= int64(n)
	if err == io.EOF && (r.left != 0 || subtle.ConstantTimeCompare(r.sum.Sum(nil), r.want) != 1) {
		return n, fmt.Errorf("%w: a staged part was changed in its bucket", store.ErrBodyRefused)
	}
	return n, err
}

func (r *stagedReader) Close() error { return r.body.Close() }

// removal is the time limit for removing a part.
const removal = 10 * time.Second

// Abandon removes the intent first: after that the part cannot be recorded.
func (b *Bucket) Abandon(p *Part) {
	ctx, cancel := context.WithTimeout(context.Background(), removal)
	defer cancel()
	if err := b.drop(ctx, p.Staged, p.intent); err != nil && !errors.Is(err, state.ErrConflict) {
		b.log.Warn("a staged part is left to the sweeper", "bucket", b.bucket, "part", p.Staged, "err", err)
	}
}

// drop removes an intent, if it is unchanged, and then its object.
func (b *Bucket) drop(ctx context.Context, name string, revision int64) error {
	key := stagedPrefix + name
	if _, err := b.state.Txn(ctx, []state.Cond{{Key: key, Revision: revision}}, []state.Op{{Key: key, Delete: true}}); err != nil {
		return err
	}
	return b.delete(ctx, b.deployment+"/"+name)
}

func (b *Bucket) delete(ctx context.Context, object string) error {
	resp, err := b.store.Send(ctx, b.Request(http.MethodDelete, object, ""))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotFound {
		return store.Failure(resp)
	}
	store.Drain(resp)
	return nil
}

func (b *Bucket) remove(parts ...*Part) {
	for _, p := range parts {
		if p.Staged == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), removal)
		if err := b.delete(ctx, b.object(p)); err != nil {
			b.log.Warn("a staged part is left to the sweeper", "bucket", b.bucket, "part", p.Staged, "err", err)
		}
		cancel()
	}
}

// Sweep removes old intents with their objects, and objects with neither an intent nor a record.
func (b *Bucket) Sweep(ctx context.Context) error {
	if err := b.sweepIntents(ctx); err != nil {
		return err
	}
	return b.sweepObjects(ctx)
}

func (b *Bucket) sweepIntents(ctx context.Context) error {
	intents, err := b.state.Range(ctx, stagedPrefix, "", 0)
	if err != nil {
		return err
	}
	seen := make(map[string]intentSeen, len(intents))
	for _, e := range intents {
		name := e.Key[len(stagedPrefix):]
		i, known := b.found[name]
		if !known || i.revision != e.Revision {
			i = intentSeen{e.Revision, b.Mono()}
		}
		if b.Mono().Sub(i.first) < b.patience {
			seen[name] = i
			continue
		}
		if err := b.drop(ctx, name, e.Revision); err != nil && !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
	b.found = seen
	return nil
}

func (b *Bucket) sweepObjects(ctx context.Context) error {
	for token := ""; ; {
		query := "list-type=2&prefix=" + s3.EscapeQuery(b.deployment+"/")
		if token != "" {
			query += "&continuation-token=" + s3.EscapeQuery(token)
		}
		resp, err := b.store.Send(ctx, b.Request(http.MethodGet, "", query))
		if err != nil {
			return err
		}
		var list BucketList
		if err := store.Result(resp, &list); err != nil {
			return err
		}
		for _, o := range list.Contents {
			if err := b.sweepObject(ctx, o.Key); err != nil {
				return err
			}
		}
		if token = list.NextContinuationToken; token == "" {
			return nil
		}
	}
}

// BucketList holds the fields of a ListObjectsV2 response for the sweeper.
type BucketList struct {
	Contents              []struct{ Key string }
	NextContinuationToken string
}

// sweepObject removes an object with neither an intent nor a record. It reads the intent first, because the transaction
// that removes the intent writes the record.
func (b *Bucket) sweepObject(ctx context.Context, object string) error {
	name := object[len(b.deployment)+1:]
	_, err := b.state.Get(ctx, stagedPrefix+name)
	if !errors.Is(err, state.ErrNotFound) {
		return err
	}
	named, err := stagedName(ctx, b.state, name)
	if err != nil || named {
		return err
	}
	return b.delete(ctx, object)
}

// stagedName reports whether a record names a staged part. An unreadable record is an error: it might name the part.
func stagedName(ctx context.Context, s state.Store, name string) (bool, error) {
	upload, _, ok := cutStagedName(name)
	if !ok {
		return false, nil
	}
	entries, err := s.Range(ctx, PartPrefix+upload+"/", "", 0)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		p, err := decodePart(e)
		if err != nil {
			return false, err
		}
		if p.Staged == name {
			return true, nil
		}
	}
	return false, nil
}

// adopt creates the bucket, or checks that waxseal created it and that no setting of the bucket keeps or removes
// objects behind waxseal's back.
func (b *Bucket) adopt(ctx context.Context) error {
	resp, err := b.store.Send(ctx, b.Request(http.MethodPut, "", ""))
	if err != nil {
		return err
	}
	made := resp.StatusCode == http.StatusOK
	store.Drain(resp)
	if made {
		if made, err = b.empty(ctx); err != nil { // us-east-1 answers 200 if the bucket exists
			return err
		}
	}
	if made {
		req := b.Request(http.MethodPut, StagingMarker, "")
		req.Body = []byte(stagingText)
		if resp, err = b.store.Send(ctx, req); err == nil && resp.StatusCode != http.StatusOK {
			err = store.Failure(resp)
		}
		if err != nil {
			return fmt.Errorf("marking bucket %s: %w", b.bucket, err)
		}
		store.Drain(resp)
	}
	return b.suitable(ctx)
}

func (b *Bucket) empty(ctx context.Context) (bool, error) {
	resp, err := b.store.Send(ctx, b.Request(http.MethodGet, "", "list-type=2&max-keys=1"))
	if err != nil {
		return false, err
	}
	var list BucketList
	err = store.Result(resp, &list)
	return len(list.Contents) == 0, err
}

// suitable returns an error for a bucket without the marker, and for a bucket with versioning, object lock or lifecycle
// rules: they keep deleted objects, or delete objects in use.
func (b *Bucket) suitable(ctx context.Context) error {
	resp, err := b.store.Send(ctx, b.Request(http.MethodGet, StagingMarker, ""))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("bucket %s cannot be used for staged parts: it has no object %s, so it is not waxseal's; name one that does not exist: %w", b.bucket, StagingMarker, store.Failure(resp))
	}
	store.Drain(resp)
	resp, err = b.store.Send(ctx, b.Request(http.MethodGet, "", "versioning="))
	if err != nil {
		return err
	}
	var versioning struct{ Status string }
	if err := store.Result(resp, &versioning); err != nil {
		return err
	}
	if versioning.Status != "" {
		return fmt.Errorf("bucket %s cannot be used for staged parts: its versioning is %s", b.bucket, versioning.Status)
	}
	for _, setting := range []string{"lifecycle", "object-lock"} {
		resp, err := b.store.Send(ctx, b.Request(http.MethodGet, "", setting+"="))
		if err != nil {
			return err
		}
		status := resp.StatusCode
		store.Drain(resp)
		switch {
		case status == http.StatusOK:
			return fmt.Errorf("bucket %s cannot be used for staged parts: it has a configuration of %s", b.bucket, setting)
		case status != http.StatusNotFound && status != http.StatusNotImplemented && status != http.StatusMethodNotAllowed:
			return fmt.Errorf("bucket %s cannot be used for staged parts: the store answered %d for its %s", b.bucket, status, setting)
		}
	}
	return nil
}

// StageIn stages parts in a bucket of the store instead of the directory.
func (s *Records) StageIn(up *store.Client, bucket, deployment string, log *slog.Logger) {
	s.Staged = &Bucket{store: up, state: s.state, bucket: bucket, deployment: deployment,
		log: log, patience: StagedAfter, Mono: time.Now}
}

// AdoptStaging creates or checks the staging bucket, if one is configured.
func (s *Records) AdoptStaging(ctx context.Context) error {
	if b, ok := s.Staged.(*Bucket); ok {
		return b.adopt(ctx)
	}
	return nil
}
