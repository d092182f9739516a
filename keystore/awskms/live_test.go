package awskms_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/uuid"

	"waxseal/keystore"
	"waxseal/keystore/awskms"
	"waxseal/keystore/keystoretest"
)

// TestLive runs the provider suite against a running key service with the KMS protocol: WAXSEAL_TEST_KMS is its URL,
// for example http://127.0.0.1:4599 for local-kms; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are used where it
// checks them.
func TestLive(t *testing.T) {
	address := os.Getenv("WAXSEAL_TEST_KMS")
	if address == "" {
		t.Skip("set WAXSEAL_TEST_KMS to run against a key service")
	}
	access, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	if access == "" {
		access, secret = "AKIATEST", "secret"
	}
	admin := kms.New(kms.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(address), Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
	})
	var down atomic.Bool
	server, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy := httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { // the Host is signed, and stays
			p.SetURL(server)
			p.Out.Host = p.In.Host
		}}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	n := 0
	keystoretest.Run(t, func(t *testing.T) (keystore.Provider, keystoretest.Fixture) {
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		newKey := func(spec types.KeySpec, usage types.KeyUsageType) string {
			out, err := admin.CreateKey(t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
			must(err)
			return aws.ToString(out.KeyMetadata.Arn)
		}
		n++
		key, alias := newKey("", types.KeyUsageTypeEncryptDecrypt), fmt.Sprintf("alias/live-%d-%d", time.Now().UnixNano(), n)
		_, err := admin.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &key})
		must(err)
		p := connect(t, front.URL, func(c *awskms.Config) { c.AccessKeyID, c.SecretAccessKey, c.Timeout = access, secret, 20*time.Second })
		return p, keystoretest.Fixture{
			Key: key, OtherKey: newKey("", types.KeyUsageTypeEncryptDecrypt), Alias: alias, AliasARN: key[:len(key)-len("key/")-36] + alias,
			Missing: uuid.NewString(), Asymmetric: newKey(types.KeySpecEccNistP256, types.KeyUsageTypeSignVerify),
			SetEnabled: func(t *testing.T, id string, enabled bool) {
				var err error
				if enabled {
					_, err = admin.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &id})
				} else {
					_, err = admin.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &id})
				}
				must(err)
			},
			ScheduleDeletion: func(t *testing.T, id string) {
				_, err := admin.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &id})
				must(err)
			},
			SetDown: func(_ *testing.T, is bool) { down.Store(is) },
		}
	})
}
