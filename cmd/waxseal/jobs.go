package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/s3utils"
	"github.com/minio/minio-go/v7/pkg/signer"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// A job works through the objects below a prefix, as an S3 client of waxseal: what it may do, what it sees and how it
// is kept from overwriting a concurrent write are the proxy's business.
type job struct {
	s3       *jobAccess
	bucket   string
	prefix   string
	workers  int
	versions bool // earlier versions, too
	dryRun   bool

	out      io.Writer // results
	failures io.Writer // a line for each object that failed, up to shown
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
	counts map[string]int // by what came of an object
	failed int
	keys   []keyCount // what objects hang on, for the summary in JSON
}

// jobFlags are those that all jobs have.
type jobFlags struct {
	endpoint string
	workers  int
	failures int
	rate     float64
}

func (f jobFlags) check() error {
	switch {
	case f.workers < 1:
		return fmt.Errorf("--workers: %d is less than one", f.workers)
	case f.failures < 0:
		return fmt.Errorf("--show-failures: %d is negative", f.failures)
	case f.rate < 0:
		return fmt.Errorf("--rate: %v is negative", f.rate)
	}
	return nil
}

// jobCommand is an operatorCommand with a job in it.
func jobCommand(cmd *cobra.Command, run func(context.Context, *config, *job) error) *cobra.Command {
	var f jobFlags
	j := &job{}
	cmd.Args = cobra.ExactArgs(1)
	cmd = operatorCommand(cmd, func(cmd *cobra.Command, c *config, args []string) (err error) {
		if j.bucket, j.prefix, err = parseS3URL(args[0]); err != nil {
			return err
		}
		if err := f.check(); err != nil {
			return err
		}
		j.workers, j.out, j.progress = f.workers, cmd.OutOrStdout(), cmd.ErrOrStderr()
		j.failures, j.shown, j.terminal = cmd.ErrOrStderr(), f.failures, isTerminal(cmd.ErrOrStderr())
		if f.rate > 0 {
			j.limit = rate.NewLimiter(rate.Limit(f.rate), 1)
		}
		return withS3(cmd.Context(), c, f.endpoint, cmd.ErrOrStderr(), func(s3 *jobAccess) error {
			j.s3 = s3
			return run(cmd.Context(), c, j)
		})
	}, "upstream-endpoint", "upstream-region", "upstream-ca", "upstream-path-style")
	cmd.Flags().StringVar(&f.endpoint, "endpoint", "", "`URL` of a waxseal that serves elsewhere; credentials from WAXSEAL_ACCESS_KEY and WAXSEAL_SECRET_KEY")
	cmd.Flags().IntVar(&f.workers, "workers", 8, "`NUMBER` of objects worked on at once")
	cmd.Flags().IntVar(&f.failures, "show-failures", 100, "`NUMBER` of objects that failed to be named on stderr; 0: all")
	cmd.Flags().BoolVar(&j.json, "json", false, "a JSON object a line for each object that failed, and a last one with the sums")
	cmd.Flags().BoolVar(&j.count, "count", false, "count the objects first, for percent and the time that is left")
	cmd.Flags().Float64Var(&f.rate, "rate", 0, "`NUMBER` of objects a second, at most; 0: no limit")
	return cmd
}

// each hands every object below the prefix to do, several at once. An object that fails is counted and reported, and
// the others go on; only a listing that fails, or the end of ctx, ends the job.
func (j *job) each(ctx context.Context, mark *bookmark, do func(context.Context, minio.ObjectInfo) (string, error)) error {
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

// listedNames tells keys that the store lists under another name than the object's: whoever asks for that name finds
// another object or none, and would take the object for one that was deleted.
type listedNames struct{ last, lastVersion string }

var errMisnamed = errors.New("the store lists this object under another name, which cannot be asked for: it was not looked at")

func (l *listedNames) check(j *job, o minio.ObjectInfo) error {
	again := l.last == o.Key && l.lastVersion == o.VersionID
	l.last, l.lastVersion = o.Key, o.VersionID
	if again || strings.ContainsRune(o.Key, utf8.RuneError) || !strings.HasPrefix(o.Key, j.prefix) {
		return errMisnamed
	}
	return nil
}

var errListedOnly = errors.New("is listed, and not there")

// checkGone tells an object that was deleted since it was listed from one that the store lists and does not have.
func (j *job) checkGone(ctx context.Context, o minio.ObjectInfo) error {
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

// head asks for all that waxseal says of an object: the header as it came, which minio-go does not show whole.
func (a *jobAccess) head(ctx context.Context, bucket, key string) (http.Header, error) {
	resp, err := a.send(ctx, http.MethodHead, bucket, key, nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return resp.Header, nil
	case http.StatusBadRequest:
		return nil, a.refusal(ctx, bucket, key)
	}
	return nil, &headError{resp.StatusCode}
}

// refusal asks again for what HEAD answered 400, as the answer to a GET says why: SSE-C, or a KMS key that is disabled, or
// anything else.
func (a *jobAccess) refusal(ctx context.Context, bucket, key string) error {
	body, _, _, err := a.core.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	return errors.Join(errOtherNow, body.Close())
}

// errOtherNow says that an object is not what it was a moment ago.
var errOtherNow = errors.New("HEAD answered 400, and GET did not")

// isCustomers says whether an object needs its client's key: for anything, and from anybody.
func isCustomers(err error) bool {
	e := minio.ToErrorResponse(err)
	return e.Code == "InvalidRequest" && strings.HasPrefix(e.Message, "The object was stored using a form of Server Side Encryption")
}

// send sends a request without a body as it stands.
func (a *jobAccess) send(ctx context.Context, method, bucket, key string, query url.Values, h http.Header) (*http.Response, error) {
	u := *a.url
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

// headError is the answer to a HEAD, which has no body to say more.
type headError struct{ status int }

func (e *headError) Error() string { return fmt.Sprintf("HEAD answered %d", e.status) }

// codeOf is the S3 error code of an error, empty for what is no answer of S3.
func codeOf(err error) string {
	var e minio.ErrorResponse
	errors.As(err, &e)
	return e.Code
}

// changedMeanwhile says whether an object is not what it was when the job looked at it.
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

// settle works on one object until it holds still: look says what there is to do, and an object that was written
// between the look and the deed is looked at again. A deletion is as good as done.
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

// exists refuses a data directory that is not there: a job makes none.
func (c *config) exists() error {
	if _, err := os.Stat(dataDir(c.DataDir).state()); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	return nil
}
