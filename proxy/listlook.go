package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// Entries that neither the page nor the cache could fill are looked up, each with one small read.
const (
	looksPerList = 32
	looksAtOnce  = 256 // of the whole server
)

// lookAll looks every cold entry up. A store that does not answer fails the page: half of its sizes would be wrong.
func (l *listing) lookAll() error {
	if len(l.cold) == 0 {
		return nil
	}
	header := make(http.Header)
	for _, name := range passOwner {
		if v := l.header(name); v != "" {
			header.Set(name, v)
		}
	}
	g, ctx := errgroup.WithContext(l.Up)
	g.SetLimit(looksPerList)
	for _, e := range l.cold {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() (err error) {
			defer caught(&err)
			return l.look(ctx, e, header.Clone())
		})
	}
	return g.Wait()
}

// look fills one entry with what the object says of itself.
func (l *listing) look(ctx context.Context, e *s3.ListEntry, header http.Header) error {
	if strings.ContainsRune(e.Key, '\uFFFD') {
		// XML could not hold the key's characters: the object cannot be named.
		l.asStored(e, errUnnameable)
		return nil
	}
	select {
	case l.s.looks <- struct{}{}:
		defer func() { <-l.s.looks }()
	case <-ctx.Done():
		return nil // another look has failed, and says why
	}
	found, err := l.lookOnce(e, header)
	var o *objects.Object
	if err == nil {
		o, err = l.verifyListed(found)
	}
	switch {
	case isGone(err):
		e.Drop = true
	case isUnreadable(err):
		l.asStored(e, err)
	case err != nil:
		return err
	default:
		l.found(e, o)
	}
	return nil
}

// lookOnce asks with waxseal's own rights: the list was the client's to see, and S3 shows in it sizes and ETags of
// objects that the client may not read.
func (l *listing) lookOnce(e *s3.ListEntry, header http.Header) (*objects.Found, error) {
	r := &store.Request{Method: http.MethodGet, Bucket: l.bucket, Key: e.Key, Header: header, Own: true}
	if e.VersionID != "" {
		r.Query = "versionId=" + s3.EscapeQuery(e.VersionID)
	}
	o, err := l.LookupBy(r, l.placeOf(e), sse.TailSize)
	if errors.Is(err, objects.ErrArchived) {
		return l.LookupArchived(r, l.placeOf(e))
	}
	return o, err
}

// verifyListed opens the data keys of objects whose service key is lost, one after the other: a call's keys are its own. An
// object that the requester may not open is listed as it is stored.
func (l *listing) verifyListed(found *objects.Found) (*objects.Object, error) {
	if o, ok := found.Verified(); ok {
		return o, nil
	}
	l.verifying.Lock()
	defer l.verifying.Unlock()
	o, err := l.verifyObject(found)
	if err == nil || errors.Is(err, store.ErrUnreachable) {
		return o, err
	}
	return nil, errors.Join(sse.ErrUnknownServiceKey, err)
}

var (
	errUnnameable = errors.New("the key cannot be told from the listing")
)

// found shows an object that was looked up. When it is another one than the page has, all that is shown of it is
// from one answer.
func (l *listing) found(e *s3.ListEntry, o *objects.Object) {
	f := listFactsOf(o, o.Header.Get(s3.HeaderEnvelope), o.Header)
	if o.ETag == s3.Unquote(e.ETag) && o.BodySize == e.Size && near(o.Modified, modifiedOf(e)) {
		l.s.facts.putListed(l.factsKeyOf(e), f)
		show(e, f)
		return
	}
	e.ETag, e.LastModified = s3.Quote(o.VisibleETag()), s3.FormatTime(o.Modified)
	e.ChecksumAlgorithm, e.ChecksumType = nil, ""
	show(e, f)
}

// near allows for a store that rounds a time up in one place and down in another.
func near(a, b time.Time) bool { return a.Sub(b).Abs() <= time.Second }

// isGone says whether an object is not there any more.
func isGone(err error) bool {
	var e *s3.Error
	if !errors.As(err, &e) || e.Code == s3.NoSuchBucket {
		return false
	}
	return e.Status() == http.StatusNotFound || e.Code == s3.MethodNotAllowed
}

// isUnreadable says whether an error is the object's own: it does not authenticate, was not written through waxseal,
// or is not to be read. One such object must not hide a whole bucket.
func isUnreadable(err error) bool { return unreadable(err) != "" }

// unreadable is the reason, as the metric has it.
func unreadable(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, sse.ErrUnknownServiceKey), errors.Is(err, sse.ErrUnsupportedVersion):
		return "unknown"
	case errors.Is(err, objects.ErrNotSealed):
		return "not_sealed"
	case errors.Is(err, objects.ErrTampered), errors.Is(err, sse.ErrAuthentication), errors.Is(err, sse.ErrMalformed):
		return "tampered"
	case errors.Is(err, objects.ErrArchived):
		return "archived"
	case errors.Is(err, errUnnameable):
		return "unnameable"
	case errors.Is(err, s3.NewError(s3.AccessDenied)):
		return "denied"
	}
	return ""
}

// asStored leaves an entry as the store has it: what there is of the object is its stored bytes, and a read of it is
// refused. The operator is told, once for each bucket and reason.
func (l *listing) asStored(e *s3.ListEntry, err error) {
	reason := unreadable(err)
	l.s.metrics.listedAsStored.WithLabelValues(reason).Inc()
	if _, told := l.s.warned.LoadOrStore(l.bucket+"/"+reason, true); !told {
		l.s.log.Warn("listed as the store has it", "id", l.id, "bucket", l.bucket, "key", e.Key, "version", e.VersionID, "reason", reason, "err", err)
	}
}
