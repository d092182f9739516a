package audit_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"waxseal/keystore/audit"
)

// TestNewest finds, over many files, what Read finds: the newest first.
func TestNewest(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, audit.FileOptions{MaxBytes: 3000})
	begun := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	var all []string
	for i := range 100 {
		r := record(fmt.Sprintf("Event%d", i%3))
		r.EventTime, r.RequestID = audit.At(begun.Add(time.Duration(i)*time.Hour)), fmt.Sprint(i)
		if err := s.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r.RequestID)
	}
	slices.Reverse(all)
	for _, c := range []struct {
		name     string
		filter   audit.Filter
		limit    int
		want     []string
		complete bool
	}{
		{"all", audit.Filter{}, 1000, all, true},
		{"the newest", audit.Filter{}, 7, all[:7], false},
		{"as many as there are", audit.Filter{}, 100, all, false},
		{"of a kind", audit.Filter{EventName: "Event0"}, 3, []string{"99", "96", "93"}, false},
		{"since", audit.Filter{Since: begun.Add(97 * time.Hour)}, 1000, []string{"99", "98", "97"}, true},
		{"until", audit.Filter{Until: begun.Add(3 * time.Hour)}, 2, []string{"2", "1"}, false},
		{"none", audit.Filter{EventName: "Nothing"}, 10, nil, true},
	} {
		found, complete, err := audit.Newest(t.Context(), dir, c.filter, c.limit)
		var got []string
		for _, r := range found {
			got = append(got, r.RequestID)
		}
		if err != nil || !slices.Equal(got, c.want) || complete != c.complete {
			t.Errorf("%s: %v, complete %v, %v; want %v, %v", c.name, got, complete, err, c.want, c.complete)
		}
	}
}

// TestNewestEndsInTime: a search whose time is over says that it is not complete.
func TestNewestEndsInTime(t *testing.T) {
	dir := t.TempDir()
	write(t, open(t, dir, audit.FileOptions{}), "A", "B")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if found, complete, err := audit.Newest(over, dir, audit.Filter{}, 10); err != nil || complete || len(found) > 0 {
		t.Errorf("%d records, complete %v, %v", len(found), complete, err)
	}
}

// TestFilterOfObjects picks by object and bucket, and passes over requests that only look.
func TestFilterOfObjects(t *testing.T) {
	kms := func(event, arn string) *audit.Record {
		return &audit.Record{EventSource: audit.KMSSource, EventName: event, RequestParameters: map[string]any{"encryptionContext": map[string]any{"aws:s3:arn": arn}}}
	}
	s3 := &audit.Record{EventSource: audit.S3Source, EventName: "GetObject", RequestParameters: map[string]any{"bucketName": "photos", "key": "a/b"}}
	for _, c := range []struct {
		record *audit.Record
		filter audit.Filter
		want   bool
	}{
		{kms("Decrypt", "arn:aws:s3:::photos/a/b"), audit.Filter{Object: "a/b"}, true},
		{kms("Decrypt", "arn:aws:s3:::photos/a/b"), audit.Filter{Object: "a/b", Bucket: "photos"}, true},
		{kms("Decrypt", "arn:aws:s3:::photos/a/b"), audit.Filter{Object: "a"}, false},
		{kms("Decrypt", "arn:aws:s3:::photos"), audit.Filter{Object: "a/b"}, false},
		{kms("Decrypt", "arn:aws:s3:::photos"), audit.Filter{Bucket: "photos"}, true},
		{s3, audit.Filter{Object: "a/b", Bucket: "photos"}, true},
		{s3, audit.Filter{Object: "a/b", Bucket: "other"}, false},
		{s3, audit.Filter{Uses: true}, true},
		{kms("Decrypt", ""), audit.Filter{Uses: true}, true},
		{kms("GenerateDataKey", ""), audit.Filter{Uses: true}, true},
		{kms("GetKeyLastUsage", ""), audit.Filter{Uses: true}, false},
		{kms("DescribeKey", ""), audit.Filter{Uses: true}, false},
		{kms("ListGrants", ""), audit.Filter{Uses: true}, false},
	} {
		if got := c.filter.Match(c.record); got != c.want {
			t.Errorf("%s %v with %+v: %v", c.record.EventName, c.record.RequestParameters, c.filter, got)
		}
	}
}
