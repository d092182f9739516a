package awskms_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"waxseal/keystore"
	"waxseal/keystore/awskms"
)

// startMoto runs moto_server, another's imitation of AWS, on a loopback port for the length of the test.
func startMoto(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, "moto_server", "-H", "127.0.0.1", "-p", fmt.Sprint(port))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // always "signal: killed"
	})
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	for range 300 {
		resp, err := http.Get(url + "/moto-api/")
		if err == nil {
			if err := resp.Body.Close(); err != nil {
				t.Fatal(err)
			}
			return url
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("moto_server did not start")
	return ""
}

// TestMoto runs the SDK against moto, a partial imitation of KMS by another project. moto knows neither key states
// nor contexts that differ only in where a key ends, and has its own name for a wrong key, so the contract suite does
// not apply.
func TestMoto(t *testing.T) {
	if os.Getenv("WAXSEAL_TEST_MOTO") != "1" {
		t.Skip("set WAXSEAL_TEST_MOTO=1 to run against moto_server")
	}
	url := startMoto(t)
	admin := kms.New(kms.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", "secret", ""),
	})
	newKey := func() string {
		t.Helper()
		out, err := admin.CreateKey(t.Context(), &kms.CreateKeyInput{KeyUsage: types.KeyUsageTypeEncryptDecrypt})
		if err != nil {
			t.Fatal(err)
		}
		return aws.ToString(out.KeyMetadata.Arn)
	}
	key, other := newKey(), newKey()
	if _, err := admin.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/photos"), TargetKeyId: aws.String(key)}); err != nil {
		t.Fatal(err)
	}
	p := connect(t, url, func(c *awskms.Config) { c.Timeout = 20 * time.Second })
	nobody, ec := keystore.Caller{}, keystore.Context{"aws:s3:arn": "arn:aws:s3:::photos"}
	if err := p.Health(t.Context()); err != nil {
		t.Errorf("Health: %v", err)
	}
	info, err := p.Resolve(t.Context(), nobody, "alias/photos")
	if err != nil || info.ARN != key || !info.Symmetric || info.State != keystore.StateEnabled {
		t.Errorf("Resolve: got %+v, %v", info, err)
	}
	dk, err := p.GenerateDataKey(t.Context(), nobody, "alias/photos", ec)
	if err != nil || dk.KeyARN != key {
		t.Fatalf("GenerateDataKey: %s, %v", dk.KeyARN, err)
	}
	got, err := p.Decrypt(t.Context(), nobody, dk.Blob, key, ec)
	if err != nil || !got.Plaintext.Equal(&dk.Plaintext) {
		t.Errorf("Decrypt: %v", err)
	}
	if err := p.Authorize(t.Context(), nobody, keystore.GenerateDataKey, key, nil, ec); err != nil {
		t.Errorf("Authorize: %v", err)
	}
	for name, c := range map[string]struct {
		call func() error
		want keystore.Kind
	}{
		"another context": {func() error {
			_, err := p.Decrypt(t.Context(), nobody, dk.Blob, key, keystore.Context{"x": "y"})
			return err
		}, keystore.InvalidCiphertext},
		"another key": {func() error { _, err := p.Decrypt(t.Context(), nobody, dk.Blob, other, ec); return err }, keystore.AccessDenied},
		"no such key": {func() error {
			_, err := p.Resolve(t.Context(), nobody, "12345678-1234-1234-1234-123456789012")
			return err
		}, keystore.NotFound},
		"no such alias": {func() error { _, err := p.GenerateDataKey(t.Context(), nobody, "alias/nonesuch", ec); return err }, keystore.NotFound},
	} {
		if err := c.call(); keystore.KindOf(err) != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}
