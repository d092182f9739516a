package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
	"github.com/minio/minio-go/v7/pkg/signer"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"waxseal/proxy/s3"
)

// Endpoint is the S3 endpoint of a waxseal, with a job's credentials there.
type Endpoint struct {
	URL       *url.URL
	Transport *http.Transport // reaches URL
	Region    string
	AccessKey string
	SecretKey string

	Store       string   // name of the store behind: a bookmark is valid for a single store
	ReadThrough []string // buckets with plaintext objects to serve
	Operator    bool     // the endpoint is the operator's listener, and takes orders
}

// Options are common to all jobs. Errors name them as the program's flags.
type Options struct {
	Bucket, Prefix string

	Workers      int     // objects worked on at once
	Rate         float64 // objects a second, at most; 0: no limit
	Count        bool    // count the objects before the first is worked on
	ShowFailures int     // failed objects to name; 0: all
	JSON         bool    // results and failures are JSON
	Stdout       io.Writer
	Stderr       io.Writer // failures and how far it is
	Bookmarks    string    // directory for the bookmarks of interrupted jobs
}

// Check refuses invalid values and names the flag.
func (o *Options) Check() error {
	switch {
	case o.Workers < 1:
		return fmt.Errorf("--workers: %d is less than one", o.Workers)
	case o.ShowFailures < 0:
		return fmt.Errorf("--show-failures: %d is negative", o.ShowFailures)
	case o.Rate < 0:
		return fmt.Errorf("--rate: %v is negative", o.Rate)
	}
	return nil
}

// ParseURL takes s3://BUCKET or s3://BUCKET/PREFIX apart.
func ParseURL(text string) (bucket, prefix string, err error) {
	rest, ok := strings.CutPrefix(text, "s3://")
	bucket, prefix, _ = strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return "", "", fmt.Errorf("%q is not s3://BUCKET or s3://BUCKET/PREFIX", text)
	}
	return bucket, prefix, nil
}

// A Job works through the objects below a prefix as an S3 client of waxseal: rights, decryption and protection of
// concurrent writes are the proxy's business. A Job runs once.
type Job struct {
	s3       *access
	bucket   string
	prefix   string
	marks    string // directory of bookmarks
	workers  int
	versions bool // earlier versions, too
	dryRun   bool

	out      io.Writer // results
	failures io.Writer // a line for each failed object, up to shown
	shown    int       // 0: all
	json     bool      // results and failures are JSON
	progress io.Writer // how far it is
	terminal bool      // progress is a terminal
	begun    time.Time
	count    bool          // count the objects before the first is worked on
	limit    *rate.Limiter // of objects; nil: none

	mu     sync.Mutex
	total  int // objects to work on; 0: not known
	seen   int
	bytes  int64
	counts map[string]int // by result, for example "rewrapped"
	failed int
	keys   []keyUseCount // key usage, for the summary in JSON
}

// New returns a job for Verify, Migrate or Rewrap.
func New(e Endpoint, o Options) (*Job, error) {
	s3, err := newAccess(e)
	if err != nil {
		return nil, err
	}
	j := &Job{
		s3: s3, bucket: o.Bucket, prefix: o.Prefix, marks: o.Bookmarks, workers: o.Workers, count: o.Count, json: o.JSON,
		out: o.Stdout, progress: o.Stderr, failures: o.Stderr, shown: o.ShowFailures, terminal: isTerminal(o.Stderr),
	}
	if o.Rate > 0 {
		j.limit = rate.NewLimiter(rate.Limit(o.Rate), 1)
	}
	return j, nil
}

// access is an endpoint with its clients.
type access struct {
	Endpoint
	client *http.Client
	core   *minio.Core
}

func newAccess(e Endpoint) (*access, error) {
	core, err := minio.NewCore(e.URL.Host, &minio.Options{
		Creds: miniocreds.NewStaticV4(e.AccessKey, e.SecretKey, ""), Region: e.Region, Secure: e.URL.Scheme == "https",
		BucketLookup: minio.BucketLookupPath, Transport: e.Transport, TrailingHeaders: false,
	})
	return &access{Endpoint: e, client: &http.Client{Transport: e.Transport}, core: core}, err
}

// each hands every object below the prefix to do, several at once. A failed object is counted and reported, and the
// work goes on; only a failed listing, or the end of ctx, ends the job.
func (j *Job) each(ctx context.Context, mark *bookmark, do func(context.Context, minio.ObjectInfo) (string, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j.begun, j.counts = time.Now(), make(map[string]int)
	stop := j.reportProgress(ctx)
	defer stop()
	list := minio.ListObjectsOptions{Prefix: j.prefix, Recursive: true, WithVersions: j.versions, StartAfter: mark.after()}
	if j.count {
		if err := j.countAll(ctx, list); err != nil {
			return err
		}
	}
	var g errgroup.Group
	g.SetLimit(j.workers)
	var names listedNames
	for o := range j.s3.core.Client.ListObjects(ctx, j.bucket, list) {
		if o.Err != nil {
			return errors.Join(o.Err, g.Wait())
		}
		if o.IsDeleteMarker {
			continue
		}
		if err := j.wait(ctx); err != nil {
			return errors.Join(err, g.Wait())
		}
		place, misnamed := mark.begin(o.Key), names.check(j, o)
		g.Go(func() (err error) {
			what := ""
			if err = misnamed; err == nil {
				what, err = do(ctx, o)
			}
			if err == nil && what == gone {
				err = j.checkGone(ctx, o)
			}
			if ctx.Err() != nil {
				return ctx.Err() // not this object's fault: it will be done the next time
			}
			j.note(o, what, err)
			return mark.end(place, err == nil)
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// listedNames detects keys listed under a wrong name: a request for such a name finds nothing, or another object, and
// would look like a deletion. Example: a listing shows a key with invalid UTF-8 as U+FFFD.
type listedNames struct{ last, lastVersion string }

var errMisnamed = errors.New("the store lists this object under another name, which cannot be asked for: it was not looked at")

func (l *listedNames) check(j *Job, o minio.ObjectInfo) error {
	again := l.last == o.Key && l.lastVersion == o.VersionID
	l.last, l.lastVersion = o.Key, o.VersionID
	if again || strings.ContainsRune(o.Key, utf8.RuneError) || !strings.HasPrefix(o.Key, j.prefix) {
		return errMisnamed
	}
	return nil
}

var errListedOnly = errors.New("is listed, and not there")

// checkGone distinguishes an object deleted since the listing from a listed object without data.
func (j *Job) checkGone(ctx context.Context, o minio.ObjectInfo) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for now := range j.s3.core.Client.ListObjects(ctx, j.bucket, minio.ListObjectsOptions{Prefix: o.Key, Recursive: true, WithVersions: j.versions}) {
		switch {
		case now.Err != nil:
			return now.Err
		case !strings.HasPrefix(now.Key, o.Key):
			return errMisnamed
		case now.Key != o.Key: // the key itself comes first
			return nil
		case now.VersionID == o.VersionID && now.ETag == o.ETag && now.LastModified.Equal(o.LastModified) && !now.IsDeleteMarker:
			return errListedOnly
		}
	}
	return nil
}

// head returns the response header of HEAD as it came: minio-go shows only a part of it.
func (a *access) head(ctx context.Context, bucket, key, version string) (http.Header, error) {
	query := url.Values{}
	if version != "" {
		query.Set("versionId", version)
	}
	resp, err := a.send(ctx, http.MethodHead, bucket, key, query, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
		return resp.Header, nil
	case resp.Header.Get(s3.HeaderErrorKind) == s3.KindCustomerKey:
		return nil, errCustomerKey
	case resp.Header.Get(s3.HeaderErrorKind) == s3.KindNotSealed:
		return nil, errNotSealed
	case resp.StatusCode == http.StatusBadRequest:
		return nil, a.refusal(ctx, bucket, key, version)
	}
	return nil, &headError{resp.StatusCode}
}

// errCustomerKey reports an object under SSE-C: nobody can open it without its client's key.
var errCustomerKey = errors.New("the object is under SSE-C, and its key is its client's")

// errNotSealed reports an object in plaintext in a bucket that is not read through.
var errNotSealed = errors.New("the object was not written through waxseal, and its bucket is not one that plaintext is read from")

// refusal repeats a HEAD answered 400 as a GET, whose body has the reason: a disabled KMS key, for example.
func (a *access) refusal(ctx context.Context, bucket, key, version string) error {
	body, _, _, err := a.core.GetObject(ctx, bucket, key, minio.GetObjectOptions{VersionID: version})
	if err != nil {
		return err
	}
	return errors.Join(errOtherNow, body.Close())
}

// errOtherNow reports an object changed between two requests.
var errOtherNow = errors.New("HEAD answered 400, and GET did not")

// send sends a request without a body as it stands.
func (a *access) send(ctx context.Context, method, bucket, key string, query url.Values, h http.Header) (*http.Response, error) {
	u := *a.URL
	u.Path, u.RawPath = "/"+bucket+"/"+key, "/"+s3utils.EncodePath(bucket+"/"+key)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, h)
	req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	return a.client.Do(signer.SignV4(*req, a.AccessKey, a.SecretKey, "", a.Region))
}

// headError is a refused HEAD. Its answer has no body to say more.
type headError struct{ status int }

func (e *headError) Error() string { return fmt.Sprintf("HEAD answered %d", e.status) }

// codeOf returns the S3 error code of an error. It is empty without an answer of S3.
func codeOf(err error) string {
	var e minio.ErrorResponse
	errors.As(err, &e)
	return e.Code
}

// changedMeanwhile reports whether an object changed after the job looked at it.
func changedMeanwhile(err error) bool {
	switch codeOf(err) {
	case "PreconditionFailed", "ConditionalRequestConflict":
		return true
	}
	return errors.Is(err, errOtherNow)
}

// isGone says whether there is no such object any more.
func isGone(err error) bool {
	var h *headError
	return errors.As(err, &h) && h.status == http.StatusNotFound || codeOf(err) == "NoSuchKey"
}

// settle repeats once while concurrent writes change the object in between, up to ten times. A deleted object is done.
func settle(ctx context.Context, once func(context.Context) (string, error)) (string, error) {
	var err error
	for range 10 {
		var what string
		what, err = once(ctx)
		switch {
		case isGone(err):
			return gone, nil
		case err == nil, !changedMeanwhile(err):
			return what, err
		}
	}
	return "", fmt.Errorf("it is written faster than it can be worked on: %w", err)
}
