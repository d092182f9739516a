package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"waxseal/proxy/s3"
)

// The probe's scratch buckets are waxseal's own: clients do not see them, and none stays. Each is recorded in the state
// before it is created and until it is removed, so that the next start removes the buckets of a killed process. Buckets
// without a record, from an earlier version or a lost state, are recognised by name, age and keys.

// scratchName matches the names of scratch buckets.
var scratchName = regexp.MustCompile(`^waxseal-probe-[0-9a-f]{12}(-lock)?$`)

const (
	scratchAge   = time.Hour        // age at which a scratch bucket without a record counts as left behind
	scratchLock  = 5 * time.Second  // duration of the probe's object lock
	scratchLimit = 10 * time.Second // how long the removal of a bucket is tried: longer than scratchLock
)

// scratchKeys are all the keys that a probe writes, and the names that a store may make of them.
var scratchKeys = []string{"trailer", "trailer-wrong", "cut", "if-none-match", "if-match", "complete-none", "complete", "source", "copy",
	"delete", "path//double", "path/../up", "path/double", "up", "locked",
	"name\x01", "name\uFFFE", "name\uFFFF", "name\uFFFD", "folder" + FolderSuffix, "folder/"}

// removeScratch removes a scratch bucket with its contents, and its record. It tries again while an object is locked.
func (s *probing) removeScratch(ctx context.Context, bucket string) error {
	p := &prober{s: s, ctx: ctx, bucket: bucket}
	limit := time.Now().Add(scratchLimit)
	for {
		err := p.remove()
		if err == nil {
			return s.records.Remove(ctx, bucket)
		}
		var answered *otherAnswer
		if !errors.As(err, &answered) || answered.status != http.StatusConflict || time.Now().After(limit) {
			return err
		}
		if err := p.removeKnown(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(scratchLimit / 20):
		}
	}
}

// remove empties the bucket and deletes it. A bucket that does not exist is no error.
func (p *prober) remove() error {
	for _, empty := range []func() error{p.removeUploads, p.removeVersions, p.removeObjects} {
		if err := empty(); err != nil {
			return err
		}
	}
	status, b, err := p.do(http.MethodDelete, "", "", nil, nil)
	if err != nil || status < 300 || status == http.StatusNotFound {
		return err
	}
	return &otherAnswer{status, s3.ParseError(status, b).Code}
}

// bypass allows the removal of the probe's own locked object.
var bypass = http.Header{"X-Amz-Bypass-Governance-Retention": {"true"}}

// read sends a list request. A store without versions or uploads refuses theirs: then there are none to remove.
func (p *prober) read(query string, doc any) error {
	status, b, err := p.do(http.MethodGet, "", query, nil, nil)
	if err != nil || status != http.StatusOK {
		return err
	}
	return s3.DecodeReply(bytes.NewReader(b), MaxDocument, doc)
}

// removeKnown removes every key from scratchKeys: the store's listing can omit or rename some of them.
func (p *prober) removeKnown() error {
	for _, key := range scratchKeys {
		if _, _, err := p.do(http.MethodDelete, key, "", bypass, nil); err != nil {
			return err
		}
	}
	return nil
}

// decoded returns a key from a listing, decoded if the store applied encoding-type=url.
func decoded(encoding, key string) string {
	if encoding != "url" {
		return key
	}
	if plain, err := url.QueryUnescape(key); err == nil {
		return plain
	}
	return key
}

func (p *prober) removeUploads() error {
	var doc s3.ListMultipartUploadsResult
	if err := p.read("encoding-type=url&uploads=", &doc); err != nil {
		return err
	}
	for _, u := range doc.Uploads {
		if _, _, err := p.do(http.MethodDelete, decoded(doc.EncodingType, u.Key), "uploadId="+s3.EscapeQuery(u.UploadID), nil, nil); err != nil {
			return err
		}
	}
	return nil
}

func (p *prober) removeVersions() error {
	var doc s3.ListVersionsResult
	if err := p.read("encoding-type=url&versions=", &doc); err != nil {
		return err
	}
	for _, v := range doc.Entries {
		if v.VersionID == "" {
			continue // removeObjects removes it
		}
		if _, _, err := p.do(http.MethodDelete, decoded(doc.EncodingType, v.Key), "versionId="+s3.EscapeQuery(v.VersionID), bypass, nil); err != nil {
			return err
		}
	}
	return nil
}

func (p *prober) removeObjects() error {
	keys, err := p.list()
	if err != nil {
		return err
	}
	for _, key := range keys {
		if _, _, err := p.do(http.MethodDelete, key, "", bypass, nil); err != nil {
			return err
		}
	}
	return nil
}

func (p *prober) list() (keys []string, err error) {
	var doc s3.ListBucketResultV2
	if err := p.read("encoding-type=url&list-type=2", &doc); err != nil {
		return nil, err
	}
	for _, o := range doc.Contents {
		keys = append(keys, decoded(doc.EncodingType, o.Key))
	}
	return keys, nil
}

// sweepScratch removes the scratch buckets of killed processes.
func (s *probing) sweepScratch(ctx context.Context) error {
	recorded, err := s.records.All(ctx)
	if err != nil {
		return err
	}
	var left []string
	for _, bucket := range recorded {
		if !scratchName.MatchString(bucket) { // a bucket of any other name would be emptied
			s.log.Error("a record of a probe's bucket names another bucket, which stays as it is", "bucket", bucket)
			continue
		}
		left = append(left, bucket)
	}
	named, err := s.oldScratch(ctx)
	if err != nil {
		return err
	}
	for _, bucket := range slices.Compact(slices.Sorted(slices.Values(append(left, named...)))) {
		if err := s.removeScratch(ctx, bucket); err != nil {
			s.log.Warn("a probe's bucket stays at the store", "bucket", bucket, "err", err)
		} else {
			s.log.Info("a probe's bucket that was left behind is removed", "bucket", bucket)
		}
	}
	return nil
}

// oldScratch finds buckets with the name and age of a scratch bucket and with no keys but a probe's.
func (s *probing) oldScratch(ctx context.Context) (found []string, err error) {
	all := &prober{s: s, ctx: ctx}
	var doc s3.ListAllMyBucketsResult
	if err := all.read("", &doc); err != nil {
		return nil, err
	}
	for _, b := range doc.Buckets.Buckets {
		made, err := time.Parse(time.RFC3339, b.CreationDate)
		if err != nil || !scratchName.MatchString(b.Name) || s.now().Sub(made) < scratchAge {
			continue
		}
		keys, err := (&prober{s: s, ctx: ctx, bucket: b.Name}).list()
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(keys, func(key string) bool { return !slices.Contains(scratchKeys, key) }) {
			found = append(found, b.Name)
		}
	}
	return found, nil
}

// WithoutOwn removes scratch buckets, and the staging bucket, from the store's ListBuckets response.
func WithoutOwn(list []byte, staging string) []byte {
	const begin, end = "<Bucket>", "</Bucket>"
	var kept []byte
	for rest := list; ; {
		from := bytes.Index(rest, []byte(begin))
		to := bytes.Index(rest, []byte(end))
		if from < 0 || to < from {
			return append(kept, rest...)
		}
		to += len(end)
		kept = append(kept, rest[:from]...)
		if name := bucketName(rest[from:to]); !scratchName.Match(name) && (staging == "" || string(name) != staging) {
			kept = append(kept, rest[from:to]...)
		}
		rest = rest[to:]
	}
}

func bucketName(bucket []byte) []byte {
	_, name, _ := bytes.Cut(bucket, []byte("<Name>"))
	name, _, _ = bytes.Cut(name, []byte("</Name>"))
	return name
}

// cleanup removes the prober's bucket, even while the process is shutting down.
func (p *prober) cleanup() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), 30*time.Second)
	defer cancel()
	if err := p.s.removeScratch(ctx, p.bucket); err != nil {
		p.s.log.Warn("a probe's bucket stays at the store; the next start tries again", "bucket", p.bucket, "err", fmt.Errorf("removing it: %w", err))
	}
}
