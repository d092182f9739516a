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

// Staging is where sealed parts wait for CompleteMultipartUpload. A process alone has a directory; replicas have a bucket
// of the store, so that any of them can complete any upload.
type Staging interface {
	// Stage writes the size bytes of src under a part's name, and notes in the part what open compares.
	Stage(ctx context.Context, p *Part, src io.Reader) error
	// record returns what a transaction that records the part must hold and do.
	record(p *Part) ([]state.Cond, []state.Op)
	// Open reads a part. Its reader says io.EOF only when the bytes are those that were staged.
	Open(ctx context.Context, p *Part) (io.ReadCloser, error)
	// Abandon removes a part that was not recorded.
	Abandon(p *Part)
	// remove removes those of the parts that are staged. What cannot be removed now, the sweeper finds.
	remove(parts ...*Part)
	// Sweep removes what a crash left behind.
	Sweep(ctx context.Context) error
}

// stagedPrefix is where intents are: proxy/staged/<name>. An intent is written before its object and removed by the
// transaction that records the part, which needs it. So an object without intent and record will never have a record,
// however late a replica wakes up and whatever its clock says.
const stagedPrefix = "proxy/staged/"

// StagingMarker is the object that makes a bucket waxseal's own.
const (
	StagingMarker = "waxseal-staging"
	stagingText   = "This bucket holds parts of uploads that wait for CompleteMultipartUpload. waxseal removes what lies here.\n"
)

// ErrStagingGone is the error of a part that took so long that the sweeper has given it up.
var ErrStagingGone = s3.Errorf(s3.ServiceUnavailable, "The part took too long to be recorded. Please send it again.")

// StagedAfter is how long a replica waits for the record of a part that it finds staged.
const StagedAfter = time.Hour

// Bucket is staging in a bucket of the store. Names begin with the deployment's id: another deployment that has
// been given the same bucket neither sees nor sweeps them.
type Bucket struct {
	store      *store.Client
	state      state.Store
	bucket     string
	deployment string
	log        *slog.Logger
	patience   time.Duration // how old an intent must be, by this process's own clock
	Mono       func() time.Time

	found map[string]intentSeen // the intents of the last sweep; of the sweeper alone
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

// stagedReader compares what the store gives back with what was staged.
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

// removal bounds the removal of what nobody needs any more.
const removal = 10 * time.Second

// Abandon removes the intent first: after that no record can come.
func (b *Bucket) Abandon(p *Part) {
	ctx, cancel := context.WithTimeout(context.Background(), removal)
	defer cancel()
	if err := b.drop(ctx, p.Staged, p.intent); err != nil && !errors.Is(err, state.ErrConflict) {
		b.log.Warn("a staged part is left to the sweeper", "bucket", b.bucket, "part", p.Staged, "err", err)
	}
}

// drop removes an intent, as it was seen, and then its object.
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

// Sweep gives up intents that have been there for long, and removes objects that have neither an intent nor a record.
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

// BucketList is what the sweeper reads of ListObjectsV2.
type BucketList struct {
	Contents              []struct{ Key string }
	NextContinuationToken string
}

// sweepObject removes an object without an intent and without a record. The intent is looked for first: the transaction
// that removes it writes the record.
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

// stagedName reports whether a record names a staged part. A record that cannot be read is an error: it may be the one.
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

// adopt makes the bucket, or sees that it is one that waxseal has made, and that nothing in it is kept or removed behind
// waxseal's back.
func (b *Bucket) adopt(ctx context.Context) error {
	resp, err := b.store.Send(ctx, b.Request(http.MethodPut, "", ""))
	if err != nil {
		return err
	}
	made := resp.StatusCode == http.StatusOK
	store.Drain(resp)
	if made {
		if made, err = b.empty(ctx); err != nil { // us-east-1 answers 200 for a bucket that is there
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

// suitable refuses a bucket without the marker, and one whose settings keep objects that are deleted or delete objects
// that are kept.
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

// StageIn has parts wait in a bucket of the store, in place of the directory.
func (s *Records) StageIn(up *store.Client, bucket, deployment string, log *slog.Logger) {
	s.Staged = &Bucket{store: up, state: s.state, bucket: bucket, deployment: deployment,
		log: log, patience: StagedAfter, Mono: time.Now}
}

// AdoptStaging makes the staging bucket, or looks at the one that is there. Without one there is nothing to do.
func (s *Records) AdoptStaging(ctx context.Context) error {
	if b, ok := s.Staged.(*Bucket); ok {
		return b.adopt(ctx)
	}
	return nil
}
