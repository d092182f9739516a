package awskms_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/awskms"
	"waxseal/keystore/iam"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/kmsapi"
	"waxseal/keystore/local"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/sigv4"
	"waxseal/keystore/state"
)

// waxseal is the key service of another waxseal: the KMS endpoint on a loopback port.
type waxseal struct {
	url   string
	admin *kms.Client
	audit *audit.Memory
	down  atomic.Bool
}

const waxsealAccount = "111122223333"

func startWaxseal(t *testing.T) *waxseal {
	t.Helper()
	users, err := iam.NewDirectory([]iam.User{
		{Name: "root", ARN: iam.RootARN(waxsealAccount), AccountID: waxsealAccount, Root: true, AccessKey: "AKIAROOT", Secret: iam.NewSecret("secret-of-root")},
		{Name: "front", ARN: iam.UserARN(waxsealAccount, "front"), AccountID: waxsealAccount, AccessKey: "AKIAFRONT", Secret: iam.NewSecret("secret-of-front"), Everything: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &waxseal{audit: new(audit.Memory)}
	service, err := local.Open(context.Background(), local.Config{
		State: state.NewMemory(), Secrets: rootkey.New(keystore.RandomSecret()), Audit: w.audit,
		Region: "us-east-1", AccountID: waxsealAccount, Identities: users, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	h := &kmsapi.Handler{
		Service: service, Log: slog.New(slog.DiscardHandler),
		Authenticate: kmsapi.SigV4(&sigv4.Verifier{Service: "kms", Region: "us-east-1", Lookup: users.Resolve, Now: time.Now}, nil),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := h.Server()
	server.Handler = func(ctx *fasthttp.RequestCtx) {
		if w.down.Load() {
			ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
			return
		}
		h.ServeFastHTTP(ctx)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	w.url = "http://" + listener.Addr().String()
	w.admin = kms.New(kms.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(w.url), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAROOT", "secret-of-root", ""),
	})
	t.Cleanup(func() {
		ended := server.Shutdown()
		listener.Close() // Shutdown leaves a listener open whose Serve has not begun
		if err := errors.Join(ended, <-served, service.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *waxseal) newKey(t *testing.T, in *kms.CreateKeyInput) string {
	t.Helper()
	out, err := w.admin.CreateKey(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.KeyMetadata.Arn)
}

func (w *waxseal) connect(t *testing.T) *awskms.Provider {
	t.Helper()
	return connect(t, w.url, func(c *awskms.Config) {
		c.AccessKeyID, c.SecretAccessKey, c.Timeout = "AKIAFRONT", "secret-of-front", 20*time.Second
	})
}

// TestWaxseal: waxseal's own KMS endpoint is a KMS for another waxseal, in every respect.
func TestWaxseal(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) (keystore.Provider, keystoretest.Fixture) {
		w := startWaxseal(t)
		key := w.newKey(t, &kms.CreateKeyInput{})
		ctx := context.Background()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		_, err := w.admin.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/photos"), TargetKeyId: &key})
		must(err)
		return w.connect(t), keystoretest.Fixture{
			Key: key, OtherKey: w.newKey(t, &kms.CreateKeyInput{}), Alias: "alias/photos",
			AliasARN: "arn:aws:kms:us-east-1:" + waxsealAccount + ":alias/photos", Missing: uuid.NewString(),
			Asymmetric: w.newKey(t, &kms.CreateKeyInput{KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify}),
			SetEnabled: func(t *testing.T, id string, enabled bool) {
				if enabled {
					_, err = w.admin.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &id})
				} else {
					_, err = w.admin.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &id})
				}
				must(err)
			},
			ScheduleDeletion: func(t *testing.T, id string) {
				_, err := w.admin.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &id})
				must(err)
			},
			Rotate: func(t *testing.T, id string) {
				_, err := w.admin.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &id})
				must(err)
			},
			SetDown: func(_ *testing.T, down bool) { w.down.Store(down) },
		}
	})
}

// TestWaxsealSeesOneIdentity: the waxseal behind sees the user of the front's credentials, for every requester of the
// front; and this user needs no more rights than a key policy gives.
func TestWaxsealSeesOneIdentity(t *testing.T) {
	w := startWaxseal(t)
	front := iam.UserARN(waxsealAccount, "front")
	limited := w.newKey(t, &kms.CreateKeyInput{BypassPolicyLockoutSafetyCheck: true, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"` + front + `"},"Action":["kms:DescribeKey","kms:GenerateDataKey"],"Resource":"*",
		 "Condition":{"StringEquals":{"kms:EncryptionContext:aws:s3:arn":"arn:aws:s3:::photos"}}},
		{"Effect":"Allow","Principal":{"AWS":"` + front + `"},"Action":"kms:DescribeKey","Resource":"*"}]}`)})
	p := w.connect(t)
	alice := keystore.Caller{ARN: iam.UserARN("000000000000", "alice"), AccountID: "000000000000", UserName: "alice"}
	ec := keystore.Context{"aws:s3:arn": "arn:aws:s3:::photos"}
	dk, err := p.GenerateDataKey(t.Context(), alice, limited, ec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.GenerateDataKey(t.Context(), alice, limited, keystore.Context{"aws:s3:arn": "arn:aws:s3:::other"}); keystore.KindOf(err) != keystore.AccessDenied {
		t.Errorf("another context: got %v", err)
	}
	if _, err := p.Decrypt(t.Context(), alice, dk.Blob, limited, ec); keystore.KindOf(err) != keystore.AccessDenied {
		t.Errorf("Decrypt: got %v", err)
	}
	for _, r := range w.audit.Records() {
		if r.EventName != "CreateKey" && r.UserIdentity.ARN != front {
			t.Errorf("%s by %s", r.EventName, r.UserIdentity.ARN)
		}
	}
	// The AWS managed key of S3 is S3's to use, so not a direct caller's.
	info, err := p.Resolve(t.Context(), alice, "alias/aws/s3")
	if err != nil || info.Manager != "AWS" {
		t.Fatalf("got %+v, %v", info, err)
	}
	if _, err := p.GenerateDataKey(t.Context(), alice, info.ARN, ec); keystore.KindOf(err) != keystore.AccessDenied {
		t.Errorf("alias/aws/s3: got %v", err)
	}
}
