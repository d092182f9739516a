package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/proxy/s3"
)

// Results of an object in Rewrap.
const (
	rewrapped   = "rewrapped"
	reencrypted = "encrypted anew"
	leftVersion = ", with an earlier version left under the old key" // after rewrapped or reencrypted
	wouldRewrap = "to be rewrapped"
	asWanted    = "as wanted already"
	unknown     = "under a version of their key that is not known"
	otherKey    = "under other keys, left"
)

// algorithms are the modes as people name them, and as S3 does.
var algorithms = map[string]string{"sse-s3": "AES256", "sse-kms": "aws:kms", "dsse-kms": "aws:kms:dsse"}

// RewrapOptions are the target of Rewrap.
type RewrapOptions struct {
	Mode      string // sse-s3, sse-kms or dsse-kms; none: as it is, or sse-kms with ToKey
	ToKey     string // ARN of the KMS key to move to
	FromKey   string // only objects under the KMS key of this ARN
	BucketKey string // true or false: with or without a Bucket Key; none: as it is
	Reencrypt bool   // give every object a new data key
	DryRun    bool   // only count
	Restart   bool   // begin from the front, not where the last run was interrupted
}

// Rewrap wraps data keys anew, and reports the number of objects for each version of each key.
func (j *Job) Rewrap(ctx context.Context, o RewrapOptions) error {
	if err := o.check(j.s3.Operator); err != nil {
		return err
	}
	if err := j.checkKey(ctx, o.ToKey); err != nil {
		return fmt.Errorf("--to-key: %w", err)
	}
	r := &rewrap{Job: j, RewrapOptions: o, keyUses: make(map[keyUse]int)}
	j.dryRun = o.DryRun
	mark := noBookmark()
	if !o.DryRun {
		var err error
		mark, err = j.bookmark(o.Restart, "rewrap", o.Mode, o.ToKey, o.FromKey, o.BucketKey, fmt.Sprint(o.Reencrypt))
		if err != nil {
			return err
		}
	}
	return r.all(ctx, mark)
}

var fullARN = regexp.MustCompile(`^arn:aws[-a-z0-9]*:kms:[-a-z0-9]*:[0-9]{12}:key/.+$`)

func (f *RewrapOptions) check(operator bool) error {
	for flag, arn := range map[string]string{"--to-key": f.ToKey, "--from-key": f.FromKey} {
		if arn != "" && !fullARN.MatchString(arn) {
			return fmt.Errorf("%s: %q is not the ARN of a KMS key", flag, arn)
		}
	}
	if f.Mode != "" && algorithms[f.Mode] == "" {
		return fmt.Errorf("--mode: %q is not one of: sse-s3, sse-kms, dsse-kms", f.Mode)
	}
	if f.BucketKey != "" && f.BucketKey != "true" && f.BucketKey != "false" {
		return fmt.Errorf("--bucket-key: %q is neither true nor false", f.BucketKey)
	}
	switch {
	case f.Mode == "sse-s3" && f.ToKey != "":
		return errors.New("--to-key: sse-s3 has no KMS key")
	case f.Reencrypt && !operator:
		return errors.New("--reencrypt is for the waxseal of this data directory: it cannot be asked for by --endpoint")
	case !operator && f.newest() && !f.DryRun:
		return errors.New("--endpoint does not tell versions of keys apart: name --to-key or --mode")
	}
	return nil
}

// checkKey refuses an unusable KMS key before the first object is touched: it begins an upload under the key, with all
// checks of a write, and aborts it.
func (j *Job) checkKey(ctx context.Context, key string) error {
	if key == "" {
		return nil
	}
	under, err := encrypt.NewSSEKMS(key, nil)
	if err != nil {
		return err
	}
	name := j.prefix + "waxseal-rewrap-check"
	id, err := j.s3.core.NewMultipartUpload(ctx, j.bucket, name, minio.PutObjectOptions{ServerSideEncryption: under})
	if err != nil {
		return err
	}
	return j.s3.core.AbortMultipartUpload(context.WithoutCancel(ctx), j.bucket, name, id)
}

// newest reports whether the only target is the newest version of an object's present key.
func (f RewrapOptions) newest() bool {
	return f.Mode == "" && f.ToKey == "" && f.BucketKey == "" && !f.Reencrypt
}

// sealedAs is how an object is encrypted.
type sealedAs struct {
	algorithm, key string
	bucketKey      bool
}

// keyUse is a version of a key in use by objects.
type keyUse struct {
	sealedAs
	version string
	current string // true, false, or empty when it is not known
}

func keyUseOf(h http.Header) keyUse {
	return keyUse{
		sealedAs: sealedAs{h.Get(s3.HeaderSSE), h.Get(s3.HeaderSSEKMSKeyID), h.Get(s3.HeaderSSEBucketKey) == "true"},
		version:  h.Get(s3.HeaderKeyVersion), current: h.Get(s3.HeaderKeyCurrent),
	}
}

// rewrap is the job.
type rewrap struct {
	*Job
	RewrapOptions
	keyUses map[keyUse]int // guarded by the job's mutex

	versioned atomic.Bool // there are objects with versions
}

func (r *rewrap) all(ctx context.Context, mark *bookmark) error {
	from := mark.after()
	if from != "" {
		r.say("going on after %s, and counting only what comes after it", from)
	}
	err := r.each(ctx, mark, func(ctx context.Context, o minio.ObjectInfo) (string, error) {
		return settle(ctx, func(ctx context.Context) (string, error) { return r.one(ctx, o.Key) })
	})
	if err == nil {
		if from != "" {
			r.say("What was written, or rotated, since the first run, up to %s, was not looked at: run it again, from the front, before you let a key go.", from)
		}
		r.reportKeyUse()
		if r.versioned.Load() {
			r.say("The bucket has versions, and this is of the newest of each object only: waxseal inspect --versions shows what the others hang on.")
		}
		err = r.summary(rewrapped, reencrypted, rewrapped+leftVersion, reencrypted+leftVersion, wouldRewrap, asWanted, unknown, otherKey, customerKey, inTheClear, gone)
	}
	return errors.Join(err, mark.close(err == nil))
}

// one rewraps an object, where its target differs.
func (r *rewrap) one(ctx context.Context, key string) (string, error) {
	h, err := r.s3.head(ctx, r.bucket, key, "")
	switch {
	case errors.Is(err, errCustomerKey):
		return customerKey, nil // its client's key is needed for anything
	case err != nil:
		return "", err
	case h.Get(s3.HeaderPlaintext) == "true":
		return inTheClear, nil
	}
	version := versionOf(h)
	if version != "null" {
		r.versioned.Store(true)
	}
	now := keyUseOf(h)
	want, what := r.plan(now)
	if what == unknown && !r.dryRun {
		return "", errUnknownVersion
	}
	if what != rewrapped && what != reencrypted || r.dryRun {
		r.count(now)
		if r.dryRun && (what == rewrapped || what == reencrypted) {
			what = wouldRewrap
		}
		return what, nil
	}
	if want.algorithm != "AES256" && want.key == "" {
		return "", errors.New("it is under no KMS key now: name one with --to-key")
	}
	if err := r.move(ctx, key, h, now.sealedAs, want); err != nil {
		return "", err
	}
	if h, err = r.s3.head(ctx, r.bucket, key, ""); err != nil {
		return "", err
	}
	now = keyUseOf(h)
	r.count(now)
	if r.newest() && now.current == "false" {
		return "", errOlderStill
	}
	if versionOf(h) != version {
		r.versioned.Store(true)
		what += leftVersion
	}
	return what, nil
}

// versionOf is an object's version, null where its bucket has none.
func versionOf(h http.Header) string { return cmp.Or(h.Get("X-Amz-Version-Id"), "null") }

var (
	errUnknownVersion = errors.New("the version of its key is not known, as this key service does not tell it: name another key with --to-key, or have a new data key with --reencrypt")
	errOlderStill     = errors.New("it is rewrapped, but under an older version of its key still: Bucket Keys are renewed after --bucket-key-period")
)

// plan returns an object's target and the result to report.
func (r *rewrap) plan(now keyUse) (sealedAs, string) {
	if r.FromKey != "" && now.key != r.FromKey {
		return now.sealedAs, otherKey
	}
	want := now.sealedAs
	switch {
	case r.Mode != "":
		want.algorithm = algorithms[r.Mode]
	case r.ToKey != "" && want.algorithm == "AES256":
		want.algorithm = "aws:kms"
	}
	want.key = cmp.Or(r.ToKey, want.key)
	if r.BucketKey != "" {
		want.bucketKey = r.BucketKey == "true"
	}
	want.bucketKey = want.bucketKey && want.algorithm == "aws:kms"
	if want.algorithm == "AES256" {
		want.key = ""
	}
	switch {
	case r.Reencrypt:
		return want, reencrypted
	case r.newest() && now.current == "":
		return want, unknown
	case want == now.sealedAs && now.current != "false":
		return want, asWanted
	}
	return want, rewrapped
}

// move chooses the operation with the least change: UpdateObjectEncryption keeps the ETag, for example.
func (r *rewrap) move(ctx context.Context, key string, h http.Header, now, want sealedAs) error {
	if want.algorithm == "aws:kms" && now.algorithm != "aws:kms:dsse" && !r.Reencrypt {
		_, err := r.s3.core.Client.UpdateObjectEncryption(ctx, r.bucket, key, minio.UpdateObjectEncryptionOptions{KMSKeyArn: want.key, BucketKeyEnabled: want.bucketKey})
		return err
	}
	how := map[string]string{s3.HeaderSSE: want.algorithm}
	if want.key != "" {
		how[s3.HeaderSSEKMSKeyID] = want.key
	}
	if want.algorithm == "aws:kms" {
		how[s3.HeaderSSEBucketKey] = fmt.Sprint(want.bucketKey)
	}
	switch {
	case r.Reencrypt:
		how[s3.HeaderOrder] = s3.OrderReencrypt
	case now.algorithm == want.algorithm:
		how[s3.HeaderOrder] = s3.OrderRewrap
	}
	return r.copyOntoItself(ctx, key, h, how)
}

func (r *rewrap) count(h keyUse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keyUses[h]++
}

// reportKeyUse says how many objects hang on each version of each key: printed, or kept for the summary in JSON.
func (r *rewrap) reportKeyUse() {
	r.mu.Lock()
	defer r.mu.Unlock()
	rows := slices.SortedFunc(maps.Keys(r.keyUses), func(a, b keyUse) int {
		return cmp.Or(cmp.Compare(a.algorithm, b.algorithm), cmp.Compare(a.key, b.key), cmp.Compare(a.version, b.version), strings.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	for _, h := range rows {
		if r.json {
			r.keys = append(r.keys, keyUseCount{r.keyUses[h], h.algorithm, h.key, h.bucketKey, h.version, h.current == "true"})
			continue
		}
		fmt.Fprintf(r.out, "%10d  %s\n", r.keyUses[h], h)
	}
}

// keyUseCount is a line of the key usage report in JSON.
type keyUseCount struct {
	Objects   int    `json:"objects"`
	Algorithm string `json:"algorithm"`
	Key       string `json:"key,omitempty"`
	BucketKey bool   `json:"bucket_key,omitempty"`
	Version   string `json:"version,omitempty"` // none: not known
	Newest    bool   `json:"newest,omitempty"`
}

func (h keyUse) String() string {
	parts := []string{h.algorithm}
	if h.key != "" {
		parts = append(parts, h.key)
	}
	if h.bucketKey {
		parts = append(parts, "bucket key")
	}
	if h.version != "" {
		parts = append(parts, "version "+h.version)
	}
	switch h.current {
	case "true":
		parts = append(parts, "(newest)")
	case "false":
		parts = append(parts, "(older)")
	}
	return strings.Join(parts, "  ")
}
