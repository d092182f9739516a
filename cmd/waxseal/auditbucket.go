package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"waxseal/keystore/audit"
	"waxseal/proxy/server"
)

// deliveredPrefix is the prefix of delivered records in a bucket.
const deliveredPrefix = "AWSLogs/"

// readAuditBucket reads the records delivered to a bucket in the order of the file names. A name begins with the minute
// of the file's last record.
func readAuditBucket(ctx context.Context, c *server.Config, bucket string, stderr io.Writer, f audit.Filter, fn func(audit.Record) bool) error {
	task := server.Task{Name: "audit", URL: "s3://" + bucket + "/" + deliveredPrefix}
	return server.WithS3(ctx, c, "", task, stderr, func(a *server.S3Access) error {
		core, err := minio.NewCore(a.URL.Host, &minio.Options{
			Creds: credentials.NewStaticV4(a.AccessKey, a.SecretKey, ""), Region: a.Region, Secure: a.URL.Scheme == "https",
			BucketLookup: minio.BucketLookupPath, Transport: a.Transport,
		})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the listing
		for object := range core.Client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: deliveredPrefix, Recursive: true}) {
			if object.Err != nil {
				return object.Err
			}
			if !f.Since.IsZero() && audit.DeliveredBefore(object.Key, f.Since) {
				continue
			}
			if more, err := readAuditObject(ctx, core, bucket, object.Key, f, fn); err != nil || !more {
				return err
			}
		}
		return nil
	})
}

func readAuditObject(ctx context.Context, core *minio.Core, bucket, key string, f audit.Filter, fn func(audit.Record) bool) (more bool, err error) {
	body, _, _, err := core.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return false, fmt.Errorf("s3://%s/%s: %w", bucket, key, err)
	}
	more, err = audit.ReadDelivered(body, f, fn)
	if err = errors.Join(err, body.Close()); err != nil {
		return false, fmt.Errorf("s3://%s/%s: %w", bucket, key, err)
	}
	return more, nil
}
