package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"waxseal/proxy/s3"
)

// Results of an object in Migrate.
const (
	encrypted     = "encrypted"
	keptVersion   = "encrypted, with an earlier version left in plaintext"
	wouldEncrypt  = "to be encrypted"
	alreadySealed = "encrypted already"
)

// MigrateOptions are the options of Migrate.
type MigrateOptions struct {
	DryRun  bool // only count
	Restart bool // begin from the front, not where the last run was interrupted
}

// Migrate encrypts plaintext objects in place, by the bucket's default encryption.
func (j *Job) Migrate(ctx context.Context, o MigrateOptions) error {
	j.dryRun = o.DryRun
	if !j.servesPlaintext() {
		return fmt.Errorf("read_through does not name %s: an object without an envelope is refused there, and not taken for one of yours", j.bucket)
	}
	mark := noBookmark()
	if !o.DryRun {
		var err error
		if mark, err = j.bookmark(o.Restart, "migrate"); err != nil {
			return err
		}
	}
	return j.migrateAll(ctx, mark)
}

// servesPlaintext reports whether the configuration names the bucket in read_through. A waxseal elsewhere does not
// tell: it refuses by itself.
func (j *Job) servesPlaintext() bool {
	return !j.s3.Operator || slices.Contains(j.s3.ReadThrough, j.bucket)
}

func (j *Job) migrateAll(ctx context.Context, mark *bookmark) error {
	from := mark.after()
	if from != "" {
		j.say("going on after %s", from)
	}
	err := j.each(ctx, mark, func(ctx context.Context, o minio.ObjectInfo) (string, error) {
		return settle(ctx, func(ctx context.Context) (string, error) { return j.migrate(ctx, o.Key) })
	})
	if err == nil {
		err = j.summary(encrypted, keptVersion, wouldEncrypt, alreadySealed, gone)
	}
	switch {
	case err != nil || j.dryRun:
	case from != "":
		j.say("What came to the store since the first run, up to %s, was not looked at: run it again, from the front, before you rely on it.", from)
	case j.prefix == "":
		j.say("Take %s out of read_through now.", j.bucket)
	}
	return errors.Join(err, mark.close(err == nil))
}

// migrate encrypts an object by a copy onto itself, on condition of the same plaintext as before.
func (j *Job) migrate(ctx context.Context, key string) (string, error) {
	h, err := j.s3.head(ctx, j.bucket, key, "")
	switch {
	case errors.Is(err, errCustomerKey):
		return alreadySealed, nil // SSE-C: only its client can say more
	case err != nil:
		return "", err
	case h.Get(s3.HeaderPlaintext) != "true":
		return alreadySealed, nil
	case j.dryRun:
		return wouldEncrypt, nil
	}
	if err := j.copyOntoItself(ctx, key, h, nil); err != nil {
		// An earlier run's copy may have ended since: the sealed object has the same ETag.
		if now, again := j.s3.head(ctx, j.bucket, key, ""); again == nil && now.Get(s3.HeaderPlaintext) != "true" {
			return alreadySealed, nil
		}
		return "", err
	}
	if v := h.Get("X-Amz-Version-Id"); v != "" && v != "null" {
		return keptVersion, nil
	}
	return encrypted, nil
}

// maxSingleCopy is below S3's limit of 5 GiB for a copy, also in the sealed form.
const maxSingleCopy = 5_000_000_000

// keptOnCopy are headers not copied by S3's CopyObject.
var keptOnCopy = []string{"X-Amz-Storage-Class", "X-Amz-Website-Redirect-Location", lockMode, lockUntil, "X-Amz-Object-Lock-Legal-Hold"}

const (
	lockMode  = "X-Amz-Object-Lock-Mode"
	lockUntil = "X-Amz-Object-Lock-Retain-Until-Date"
)

// kept returns an object's headers of keptOnCopy. An expired retention is left out: a store refuses to set it.
func kept(h http.Header, now time.Time) map[string]string {
	set := make(map[string]string)
	for _, name := range keptOnCopy {
		if v := h.Get(name); v != "" {
			set[name] = v
		}
	}
	if until, err := time.Parse(time.RFC3339, set[lockUntil]); err == nil && !until.After(now) {
		delete(set, lockMode)
		delete(set, lockUntil)
	}
	return set
}

// copyOntoItself rewrites an object in its place, on condition of its ETag. h is the header of its HEAD, and how has
// the encryption headers of the copy.
func (j *Job) copyOntoItself(ctx context.Context, key string, h http.Header, how map[string]string) error {
	size, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil {
		return err
	}
	if size > maxSingleCopy && how[s3.HeaderOrder] != s3.OrderRewrap {
		return j.copyInParts(ctx, key, h, how, size)
	}
	set := kept(h, time.Now())
	set["x-amz-copy-source-if-match"] = h.Get("Etag")
	maps.Copy(set, how)
	_, err = j.s3.core.CopyObject(ctx, j.bucket, key, j.bucket, key, set, minio.CopySrcOptions{}, minio.PutObjectOptions{})
	return err
}

// partOfCopy is the size of a part of a large copy.
const partOfCopy = 1 << 30

// copyInParts is copyOntoItself for objects above the limit of a copy.
func (j *Job) copyInParts(ctx context.Context, key string, h http.Header, how map[string]string, size int64) error {
	id, err := j.createCopy(ctx, key, h, how)
	if err != nil {
		return err
	}
	pin := map[string]string{"x-amz-copy-source-if-match": h.Get("Etag")}
	var parts []minio.CompletePart
	for off := int64(0); off < size && err == nil; off += partOfCopy {
		var p minio.CompletePart
		p, err = j.s3.core.CopyObjectPart(ctx, j.bucket, key, j.bucket, key, id, len(parts)+1, off, min(partOfCopy, size-off), pin)
		parts = append(parts, p)
	}
	if err == nil {
		var opts minio.PutObjectOptions
		opts.SetMatchETag(s3.Unquote(h.Get("Etag")))
		_, err = j.s3.core.CompleteMultipartUpload(ctx, j.bucket, key, id, parts, opts)
	}
	if err == nil {
		return nil
	}
	return errors.Join(err, j.s3.core.AbortMultipartUpload(context.WithoutCancel(ctx), j.bucket, key, id))
}

// describes are the headers of an object to repeat in CreateMultipartUpload.
var describes = []string{"Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires"}

func (j *Job) createCopy(ctx context.Context, key string, h http.Header, how map[string]string) (id string, err error) {
	set := make(http.Header)
	for name, values := range h {
		if slices.Contains(describes, name) || strings.HasPrefix(name, "X-Amz-Meta-") {
			set[name] = values
		}
	}
	for name, v := range kept(h, time.Now()) {
		set.Set(name, v)
	}
	for name, v := range how {
		set.Set(name, v)
	}
	tags, err := j.s3.core.GetObjectTagging(ctx, j.bucket, key, minio.GetObjectTaggingOptions{})
	switch code := codeOf(err); {
	case err == nil && tags.String() != "":
		set.Set("X-Amz-Tagging", tags.String())
	case err != nil && code != "NoSuchTagSet" && code != "NotImplemented":
		return "", err
	}
	resp, err := j.s3.send(ctx, http.MethodPost, j.bucket, key, url.Values{"uploads": {""}}, set)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var doc s3.InitiateMultipartUploadResult
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("CreateMultipartUpload answered %s", resp.Status)
	}
	err = s3.DecodeReply(resp.Body, 1<<20, &doc)
	return doc.UploadID, err
}
