package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/valyala/fasthttp/fasthttputil"

	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
)

// courierName is the name of the audit delivery user in access log and bucket policies.
const courierName = "waxseal-audit-delivery"

// deliveryUser returns the user for the delivery of records to the audit bucket. Its credentials are made anew at each
// start and stay in memory, so nobody else can use it. Its policy allows adding records and nothing else.
func (c *Config) deliveryUser() (iam.User, Credentials, error) {
	creds := newCredentials()
	policy, err := iam.ParsePolicy(fmt.Appendf(nil,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::%s/AWSLogs/*"}]}`,
		c.AuditBucket), iam.Options{Kind: iam.Identity})
	if err != nil {
		return iam.User{}, creds, fmt.Errorf("--audit-bucket: %w", err)
	}
	return iam.User{
		Name: courierName, ARN: c.courierARN(), AccountID: c.Account,
		AccessKey: creds.AccessKey, Secret: iam.NewSecret(creds.SecretKey), Policy: policy,
	}, creds, nil
}

func (c *Config) courierARN() string { return "arn:aws:iam::" + c.Account + ":role/" + courierName }

// openDelivery delivers audit records to a bucket through the S3 endpoint, always as SSE-S3. Thus a delivery uses no
// KMS key, and makes no record to be delivered in turn.
func (p *App) openDelivery(c *Config, log *slog.Logger) error {
	p.background(func(ctx context.Context) { p.countUsage(ctx, log) })
	if c.AuditWebhook != "" {
		p.openWebhook(c, log)
	}
	if c.AuditBucket == "" {
		p.background(func(ctx context.Context) { p.rotateRecords(ctx, log) })
		return nil
	}
	l := fasthttputil.NewInmemoryListener() // the delivery user works even if this machine cannot reach the S3 port
	go func() {
		if err := p.S3.Serve(l, nil); err != nil { // ends with the S3 endpoint
			log.Error("audit records are not delivered any more", "err", err)
		}
	}()
	client, err := p.courierClient(c, l)
	if err != nil {
		return err
	}
	counts := newDeliveryMetrics()
	if err := errors.Join(p.registry.Register(counts.delivered), p.registry.Register(counts.failed)); err != nil {
		return err
	}
	d := &audit.Deliverer{
		Dir: dataDir(c.DataDir).audit(), Account: c.Account, Region: c.Region, Rotate: p.audit.Rotate,
		Interval: min(c.AuditInterval, time.Minute),
		Report: func(err error) {
			counts.failed.Inc()
			log.Warn("audit records wait for delivery", "bucket", c.AuditBucket, "err", err)
		},
		Deliver: func(ctx context.Context, key string, body []byte) error {
			err := deliver(ctx, client, c.AuditBucket, key, body)
			if err == nil {
				counts.delivered.Inc()
			}
			return err
		},
	}
	p.background(func(ctx context.Context) {
		_ = d.Run(ctx) // ends with ctx; its only error is that of ctx
	})
	return nil
}

func (p *App) courierClient(c *Config, l *fasthttputil.InmemoryListener) (*minio.Core, error) {
	return minio.NewCore("waxseal", &minio.Options{
		Creds: miniocreds.NewStaticV4(p.deliveryUser.AccessKey, p.deliveryUser.SecretKey, ""), Region: c.Region,
		BucketLookup: minio.BucketLookupPath, MaxRetries: 1, // the next round tries again
		Transport: &http.Transport{
			DialContext:        func(context.Context, string, string) (net.Conn, error) { return l.Dial() },
			DisableCompression: true, DisableKeepAlives: true,
		},
	})
}

// deliveryTimeout bounds the delivery of a batch.
const deliveryTimeout = 2 * time.Minute

// deliver puts a batch with the headers of CloudTrail's own files.
func deliver(ctx context.Context, client *minio.Core, bucket, key string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	_, err := client.PutObject(ctx, bucket, key, bytes.NewReader(body), int64(len(body)), "", "", minio.PutObjectOptions{
		ContentType: "application/json", ContentEncoding: "gzip", ServerSideEncryption: encrypt.NewSSE(),
	})
	return err
}
