package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
	"github.com/rogpeppe/go-internal/testscript"

	"waxseal/keystore/audit"
	"waxseal/keystore/keystoretest"
	"waxseal/proxy/jobs"
	"waxseal/proxy/server"
)

func freeAddr(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

func fetchURL(ts *testscript.TestScript, _ bool, args []string) {
	resp, err := http.Get(args[0])
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("fetched"), fmt.Appendf(body, "status %d\n", resp.StatusCode), 0o600))
}

// rootCreds returns root's credentials from the script's environment, else the credentials made at the first start.
func rootCreds(ts *testscript.TestScript) (c server.Credentials) {
	if access := ts.Getenv("WAXSEAL_ACCESS_KEY"); access != "" {
		return server.Credentials{AccessKey: access, SecretKey: ts.Getenv("WAXSEAL_SECRET_KEY")}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("waxseal-data/credentials")), &c))
	return c
}

func makeKMSKey(ts *testscript.TestScript, _ bool, args []string) {
	root := rootCreds(ts)
	client := kms.New(kms.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(ts.Getenv("KMS")),
		Credentials: awscreds.NewStaticCredentialsProvider(root.AccessKey, root.SecretKey, ""),
	})
	out, err := client.CreateKey(context.Background(), &kms.CreateKeyInput{})
	ts.Check(err)
	ts.Setenv(args[0], aws.ToString(out.KeyMetadata.Arn))
}

// s3As returns a minio-go client for a user.
func s3As(ts *testscript.TestScript, user string) *minio.Core {
	creds := rootCreds(ts)
	if user != "root" {
		creds = server.Credentials{AccessKey: "AKIA" + strings.ToUpper(user), SecretKey: user + "-secret"}
	}
	u, err := url.Parse(ts.Getenv("S3"))
	ts.Check(err)
	client, err := minio.NewCore(u.Host, &minio.Options{
		Creds: miniocreds.NewStaticV4(creds.AccessKey, creds.SecretKey, ""), Region: "us-east-1",
		BucketLookup: minio.BucketLookupPath, MaxRetries: 1, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	})
	ts.Check(err)
	return client
}

func useS3(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 4 {
		ts.Fatalf("usage: s3 USER put|get S3URL BYTES [MODE [KEY]]")
	}
	bucket, key, err := jobs.ParseURL(args[2])
	ts.Check(err)
	size, err := strconv.Atoi(args[3])
	ts.Check(err)
	client := s3As(ts, args[0])
	if args[1] == "put" {
		err = putAs(client, bucket, key, size, args[4:])
	} else {
		err = getAs(client, bucket, key, size)
	}
	switch {
	case neg && err == nil:
		ts.Fatalf("%v was not refused", args)
	case neg:
		ts.Logf("refused: %v", err)
		ts.Check(os.WriteFile(ts.MkAbs("refusal"), []byte(minio.ToErrorResponse(err).Code+" "+err.Error()+"\n"), 0o600))
	default:
		ts.Check(err)
	}
}

// putAs puts an object of size zero bytes, in parts of 5 MiB if it is larger.
func putAs(client *minio.Core, bucket, key string, size int, how []string) error {
	ctx := context.Background()
	if err := client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{}); err != nil &&
		!slices.Contains([]string{"BucketAlreadyOwnedByYou", "BucketAlreadyExists", "AccessDenied"}, minio.ToErrorResponse(err).Code) {
		return err
	}
	h := http.Header{}
	if len(how) > 0 {
		mode, bucketKey := strings.CutSuffix(how[0], "+bucketkey")
		h.Set("x-amz-server-side-encryption", mode)
		if bucketKey {
			h.Set("x-amz-server-side-encryption-bucket-key-enabled", "true")
		}
	}
	if len(how) > 1 {
		h.Set("x-amz-server-side-encryption-aws-kms-key-id", how[1])
	}
	_, err := client.Client.PutObject(ctx, bucket, key, bytes.NewReader(make([]byte, size)), int64(size),
		minio.PutObjectOptions{PartSize: 5 << 20, ServerSideEncryption: headers(h), DisableContentSha256: true})
	if err != nil {
		return err
	}
	info, err := client.Client.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return err
	}
	if got := info.Metadata.Get("x-amz-server-side-encryption"); len(how) > 0 && got != h.Get("x-amz-server-side-encryption") {
		return fmt.Errorf("%s is sealed as %s", key, got)
	}
	return nil
}

func getAs(client *minio.Core, bucket, key string, size int) error {
	body, _, _, err := client.GetObject(context.Background(), bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	got, err := io.ReadAll(body)
	if err == nil && !bytes.Equal(got, make([]byte, size)) {
		err = fmt.Errorf("%d other bytes", len(got))
	}
	return errors.Join(err, body.Close())
}

// waitDelivered waits for records in the audit bucket, all of it SSE-S3.
func waitDelivered(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[2])
	ts.Check(err)
	client := s3As(ts, "root")
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		n, err := countDelivered(client, args[0], args[1])
		ts.Check(err)
		if n == want {
			return
		}
		if n > want || time.Now().After(deadline) {
			ts.Fatalf("%d records of %s were delivered, want %d", n, args[1], want)
		}
	}
}

func countDelivered(client *minio.Core, bucket, event string) (n int, err error) {
	ctx := context.Background()
	for object := range client.Client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: "AWSLogs/", Recursive: true}) {
		if object.Err != nil {
			return 0, object.Err
		}
		records, err := readDelivered(ctx, client, bucket, object.Key)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", object.Key, err)
		}
		for _, r := range records {
			if r.EventName == event {
				n++
			}
		}
	}
	return n, nil
}

func readDelivered(ctx context.Context, client *minio.Core, bucket, key string) ([]audit.Record, error) {
	body, info, _, err := client.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if got := info.Metadata.Get("x-amz-server-side-encryption"); got != "AES256" {
		return nil, fmt.Errorf("it is sealed as %q", got)
	}
	if got := info.Metadata.Get("Content-Encoding"); got != "gzip" {
		return nil, fmt.Errorf("its encoding is %q", got)
	}
	z, err := gzip.NewReader(body)
	if err != nil {
		return nil, err
	}
	var document struct{ Records []audit.Record }
	return document.Records, errors.Join(json.NewDecoder(z).Decode(&document), z.Close())
}

// headers passes a request's encryption headers through minio-go without minio-go's own checks.
type headers http.Header

func (h headers) Type() encrypt.Type { return encrypt.KMS }
func (h headers) Marshal(into http.Header) {
	for name, values := range h {
		into[name] = values
	}
}

// startTransit runs a Transit engine with the given keys.
func startTransit(ts *testscript.TestScript, _ bool, args []string) {
	s := httptest.NewServer(keystoretest.NewTransit(ts.Getenv("WAXSEAL_KMS_TOKEN"), args...))
	ts.Defer(s.Close)
	ts.Setenv("TRANSIT", s.URL)
}
