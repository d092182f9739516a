package jobs

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"waxseal/proxy/s3"
)

// Results of an object in Verify.
const (
	opened      = "opened"
	inTheClear  = "not encrypted"
	customerKey = "SSE-C, not opened"
	gone        = "deleted meanwhile"
)

// VerifyOptions are the options of Verify.
type VerifyOptions struct {
	Versions       bool // all versions
	AllowPlaintext bool // plaintext of a read_through bucket is no error
}

// PlaintextError reports intact objects without encryption.
type PlaintextError struct{ Objects, Of int }

func (e *PlaintextError) Error() string {
	return fmt.Sprintf("%d of %d objects are not encrypted: migrate them, or say --allow-plaintext", e.Objects, e.Of)
}

// Verify opens every object to its last byte. Where there is no worse, plaintext objects make it a PlaintextError.
func (j *Job) Verify(ctx context.Context, o VerifyOptions) error {
	j.versions = o.Versions
	if err := j.each(ctx, noBookmark(), j.verify); err != nil {
		return err
	}
	err := j.summary(opened, inTheClear, customerKey, gone)
	if n := j.counts[inTheClear]; err == nil && n > 0 && !o.AllowPlaintext {
		err = &PlaintextError{n, j.seen}
	}
	return err
}

// verify reads an object. An interrupted answer is repeated once: the cause may be the connection.
func (j *Job) verify(ctx context.Context, o minio.ObjectInfo) (string, error) {
	what, err := j.verifyOnce(ctx, o)
	if err != nil && codeOf(err) == "" {
		what, err = j.verifyOnce(ctx, o)
	}
	switch {
	case isGone(err):
		return gone, nil
	case errors.Is(err, errCustomerKey):
		return customerKey, nil
	}
	return what, err
}

func (j *Job) verifyOnce(ctx context.Context, o minio.ObjectInfo) (string, error) {
	body, info, header, err := j.s3.core.GetObject(ctx, j.bucket, o.Key, minio.GetObjectOptions{VersionID: o.VersionID, Checksum: true})
	if codeOf(err) == string(s3.InvalidRequest) {
		// minio-go shows no header of an error: HEAD has the error's kind.
		_, kind := j.s3.head(ctx, j.bucket, o.Key, o.VersionID)
		return "", cmp.Or(kind, err)
	}
	if err != nil {
		return "", err
	}
	defer body.Close()
	sum := checksumOf(header)
	n, err := io.Copy(sum, body)
	switch {
	case err != nil:
		return "", fmt.Errorf("breaks off after %d of %d bytes: %w", n, info.Size, err)
	case info.ETag == o.ETag && info.Size != o.Size:
		return "", fmt.Errorf("is listed with %d bytes and has %d", o.Size, info.Size)
	}
	if err := sum.check(); err != nil {
		return "", err
	}
	if header.Get(s3.HeaderPlaintext) == "true" {
		return inTheClear, nil
	}
	return opened, nil
}

// wantedSum is an announced checksum, with the hash of the body.
type wantedSum struct {
	hash.Hash
	name, want string
}

// checksumOf finds the checksum of the whole object. A checksum of checksums of parts is none of the body.
func checksumOf(h http.Header) *wantedSum {
	if !strings.EqualFold(h.Get("X-Amz-Checksum-Type"), "COMPOSITE") {
		for _, name := range s3.ChecksumAlgorithms {
			if want := h.Get(s3.ChecksumHeader(name)); want != "" {
				return &wantedSum{s3.NewChecksum(name), name, want}
			}
		}
	}
	return &wantedSum{Hash: crc32.NewIEEE()}
}

func (s *wantedSum) check() error {
	if got := base64.StdEncoding.EncodeToString(s.Sum(nil)); s.want != "" && got != s.want {
		return fmt.Errorf("its %s is %s, and was %s when it was written", s.name, got, s.want)
	}
	return nil
}
