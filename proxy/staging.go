package proxy

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

// staging is where sealed parts wait for CompleteMultipartUpload. A process alone has a directory; replicas have a bucket
// of the store, so that any of them can complete any upload.
type staging interface {
	// stage writes the size bytes of src under a part's name, and notes in the part what open compares.
	stage(ctx context.Context, p *part, src io.Reader) error
	// record returns what a transaction that records the part must hold and do.
	record(p *part) ([]state.Cond, []state.Op)
	// open reads a part. Its reader says io.EOF only when the bytes are those that were staged.
	open(ctx context.Context, p *part) (io.ReadCloser, error)
	// abandon removes a part that was not recorded.
	abandon(p *part)
	// remove removes those of the parts that are staged. What cannot be removed now, the sweeper finds.
	remove(parts ...*part)
	// sweep removes what a crash left behind.
	sweep(ctx context.Context) error
}

// stagedPrefix is where intents are: proxy/staged/<name>. An intent is written before its object and removed by the
// transaction that records the part, which needs it. So an object without intent and record will never have a record,
// however late a replica wakes up and whatever its clock says.
const stagedPrefix = "proxy/staged/"

// stagingMarker is the object that makes a bucket waxseal's own.
const (
	stagingMarker = "waxseal-staging"
	stagingText   = "This bucket holds parts of uploads that wait for CompleteMultipartUpload. waxseal removes what lies here.\n"
)

// errStagingGone is the error of a part that took so long that the sweeper has given it up.
var errStagingGone = s3.Errorf(s3.ServiceUnavailable, "The part took too long to be recorded. Please send it again.")

// stagedAfter is how long a replica waits for the record of a part that it finds staged.
const stagedAfter = time.Hour

// refuseOwn refuses a bucket that is waxseal's own.
func (s *Server) refuseOwn(bucket string) error {
	if s.cfg.StagingBucket != "" && bucket == s.cfg.StagingBucket {
		return s3.Errorf(s3.AccessDenied, "Bucket %s is waxseal's own", bucket)
	}
	return nil
}

// AdoptStaging makes the staging bucket, or looks at the one that is there. Without one there is nothing to do.
func (s *Server) AdoptStaging(ctx context.Context) error {
	if b, ok := s.uploads.staged.(*stagingBucket); ok {
		return b.adopt(ctx)
	}
	return nil
}

// stagingBucket is staging in a bucket of the store. Names begin with the deployment's id: another deployment that has
// been given the same bucket neither sees nor sweeps them.
type stagingBucket struct {
	store      *store.Client
	state      state.Store
	bucket     string
	deployment string
	log        *slog.Logger
	patience   time.Duration // how old an intent must be, by this process's own clock
	mono       func() time.Time

	found map[string]intentSeen // the intents of the last sweep; of the sweeper alone
}

type intentSeen struct {
	revision int64
	first    time.Time
}

func (b *stagingBucket) object(p *part) string { return b.deployment + "/" + p.Held }

func (b *stagingBucket) request(method, key, query string) *store.Request {
	return &store.Request{Method: method, Bucket: b.bucket, Key: key, Query: query, Own: true, Header: make(http.Header)}
}

func (b *stagingBucket) stage(ctx context.Context, p *part, src io.Reader) error {
	rev, err := b.state.Txn(ctx, []state.Cond{{Key: stagedPrefix + p.Held}}, []state.Op{{Key: stagedPrefix + p.Held, Value: []byte("{}")}})
	if err != nil {
		return fmt.Errorf("the intent of a staged part: %w", err)
	}
	p.intent = rev
	sum := sha256.New()
	req := b.request(http.MethodPut, b.object(p), "")
	req.Stream, req.Size = io.TeeReader(src, sum), p.sealed
	resp, err := b.store.Send(ctx, req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = store.Failure(resp)
	}
	if err != nil {
		b.abandon(p)
		return err
	}
	store.Drain(resp)
	p.HeldSum = sum.Sum(nil)
	return nil
}

func (b *stagingBucket) record(p *part) ([]state.Cond, []state.Op) {
	key := stagedPrefix + p.Held
	return []state.Cond{{Key: key, Revision: p.intent}}, []state.Op{{Key: key, Delete: true}}
}

func (b *stagingBucket) open(ctx context.Context, p *part) (io.ReadCloser, error) {
	resp, err := b.store.Send(ctx, b.request(http.MethodGet, b.object(p), ""))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("part %d was staged in bucket %s: %w", p.Number, b.bucket, store.Failure(resp))
	}
	return &stagedReader{body: resp.Body, left: p.sealed, sum: sha256.New(), want: p.HeldSum}, nil
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

// abandon removes the intent first: after that no record can come.
func (b *stagingBucket) abandon(p *part) {
	ctx, cancel := context.WithTimeout(context.Background(), removal)
	defer cancel()
	if err := b.drop(ctx, p.Held, p.intent); err != nil && !errors.Is(err, state.ErrConflict) {
		b.log.Warn("a staged part is left to the sweeper", "bucket", b.bucket, "part", p.Held, "err", err)
	}
}

// drop removes an intent, as it was seen, and then its object.
func (b *stagingBucket) drop(ctx context.Context, name string, revision int64) error {
	key := stagedPrefix + name
	if _, err := b.state.Txn(ctx, []state.Cond{{Key: key, Revision: revision}}, []state.Op{{Key: key, Delete: true}}); err != nil {
		return err
	}
	return b.delete(ctx, b.deployment+"/"+name)
}

func (b *stagingBucket) delete(ctx context.Context, object string) error {
	resp, err := b.store.Send(ctx, b.request(http.MethodDelete, object, ""))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotFound {
		return store.Failure(resp)
	}
	store.Drain(resp)
	return nil
}

func (b *stagingBucket) remove(parts ...*part) {
	for _, p := range parts {
		if p.Held == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), removal)
		if err := b.delete(ctx, b.object(p)); err != nil {
			b.log.Warn("a staged part is left to the sweeper", "bucket", b.bucket, "part", p.Held, "err", err)
		}
		cancel()
	}
}

// sweep gives up intents that have been there for long, and removes objects that have neither an intent nor a record.
func (b *stagingBucket) sweep(ctx context.Context) error {
	if err := b.sweepIntents(ctx); err != nil {
		return err
	}
	return b.sweepObjects(ctx)
}

func (b *stagingBucket) sweepIntents(ctx context.Context) error {
	intents, err := b.state.Range(ctx, stagedPrefix, "", 0)
	if err != nil {
		return err
	}
	seen := make(map[string]intentSeen, len(intents))
	for _, e := range intents {
		name := e.Key[len(stagedPrefix):]
		i, known := b.found[name]
		if !known || i.revision != e.Revision {
			i = intentSeen{e.Revision, b.mono()}
		}
		if b.mono().Sub(i.first) < b.patience {
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

func (b *stagingBucket) sweepObjects(ctx context.Context) error {
	for token := ""; ; {
		query := "list-type=2&prefix=" + s3.EscapeQuery(b.deployment+"/")
		if token != "" {
			query += "&continuation-token=" + s3.EscapeQuery(token)
		}
		resp, err := b.store.Send(ctx, b.request(http.MethodGet, "", query))
		if err != nil {
			return err
		}
		var list stagingList
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

// stagingList is what the sweeper reads of ListObjectsV2.
type stagingList struct {
	Contents              []struct{ Key string }
	NextContinuationToken string
}

// sweepObject removes an object without an intent and without a record. The intent is looked for first: the transaction
// that removes it writes the record.
func (b *stagingBucket) sweepObject(ctx context.Context, object string) error {
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
	entries, err := s.Range(ctx, partPrefix+upload+"/", "", 0)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		p, err := decodePart(e)
		if err != nil {
			return false, err
		}
		if p.Held == name {
			return true, nil
		}
	}
	return false, nil
}

// adopt makes the bucket, or sees that it is one that waxseal has made, and that nothing in it is kept or removed behind
// waxseal's back.
func (b *stagingBucket) adopt(ctx context.Context) error {
	resp, err := b.store.Send(ctx, b.request(http.MethodPut, "", ""))
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
		req := b.request(http.MethodPut, stagingMarker, "")
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

func (b *stagingBucket) empty(ctx context.Context) (bool, error) {
	resp, err := b.store.Send(ctx, b.request(http.MethodGet, "", "list-type=2&max-keys=1"))
	if err != nil {
		return false, err
	}
	var list stagingList
	err = store.Result(resp, &list)
	return len(list.Contents) == 0, err
}

// suitable refuses a bucket without the marker, and one whose settings keep objects that are deleted or delete objects
// that are kept.
func (b *stagingBucket) suitable(ctx context.Context) error {
	resp, err := b.store.Send(ctx, b.request(http.MethodGet, stagingMarker, ""))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("bucket %s cannot be used for staged parts: it has no object %s, so it is not waxseal's; name one that does not exist: %w", b.bucket, stagingMarker, store.Failure(resp))
	}
	store.Drain(resp)
	resp, err = b.store.Send(ctx, b.request(http.MethodGet, "", "versioning="))
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
		resp, err := b.store.Send(ctx, b.request(http.MethodGet, "", setting+"="))
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
