// Package awskms is AWS KMS, or another key service with the KMS protocol, as a keystore.Provider.
//
// The key service sees a single principal, the owner of the configured credentials: its key policies and its
// CloudTrail know waxseal only. The requester is authenticated and authorized before a call to the key service.
package awskms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"waxseal/keystore"
)

// Config is the configuration of a Provider. Zero fields have defaults.
type Config struct {
	// Endpoint is a URL; empty: AWS's own of the region.
	Endpoint string
	// Region; empty: from the environment and the shared configuration of the AWS tools.
	Region string
	// AccessKeyID and SecretAccessKey; empty: the default credentials of the AWS tools (environment, profile, role).
	AccessKeyID, SecretAccessKey, SessionToken string
	// CAFile has the certificates, in PEM, of the CAs to trust for the endpoint; empty: the system's.
	CAFile string
	// AllowPlaintext allows an http endpoint beyond this machine. Data keys then travel in clear.
	AllowPlaintext bool
	// Timeout bounds a call with all its retries. Default 5 s.
	Timeout time.Duration
	// MaxAttempts is how often a call is tried when it was throttled or not answered. Default 3.
	MaxAttempts int
	// MaxConns bounds the connections. Default 64.
	MaxConns int
}

// maxBlob is the length of the longest CiphertextBlob of KMS.
const maxBlob = 6144

// Provider is a keystore.Provider.
type Provider struct {
	client  *kms.Client
	http    *awshttp.BuildableClient
	timeout time.Duration
}

var _ keystore.Provider = (*Provider)(nil)

// New makes no call to the key service.
func New(ctx context.Context, cfg Config) (*Provider, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.MaxAttempts <= 0 {
		cfg.MaxAttempts = 3
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 64
	}
	hc, err := httpClient(cfg)
	if err != nil {
		return nil, err
	}
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(hc),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { // exponential, with full jitter
				o.MaxAttempts, o.MaxBackoff = cfg.MaxAttempts, cfg.Timeout/4
			})
		}),
	}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	if cfg.AccessKeyID != "" {
		options = append(options, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(cfg.AccessKeyID, cfg.SecretAccessKey, cfg.SessionToken)))
	}
	sdk, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("awskms: %w", err)
	}
	if sdk.Region == "" {
		return nil, errors.New("awskms: no region is configured")
	}
	endpoint := cfg.Endpoint
	client := kms.NewFromConfig(sdk, func(o *kms.Options) {
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		} else if o.BaseEndpoint != nil { // of AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS or a profile
			endpoint = *o.BaseEndpoint
		}
	})
	if err := checkEndpoint(endpoint, cfg.AllowPlaintext); err != nil {
		return nil, err
	}
	return &Provider{client: client, http: hc, timeout: cfg.Timeout}, nil
}

// checkEndpoint refuses to send data keys over a network in clear.
func checkEndpoint(endpoint string, allowPlaintext bool) error {
	if endpoint == "" {
		return nil // AWS's own, by region
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("awskms: endpoint %q is not an http or https URL", endpoint)
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme == "http" && !local && !allowPlaintext {
		return fmt.Errorf("awskms: endpoint %s is not https: data keys would travel in clear", endpoint)
	}
	return nil
}

func httpClient(cfg Config) (*awshttp.BuildableClient, error) {
	var roots *x509.CertPool // nil: the system's
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("awskms: %w", err)
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("awskms: %s has no certificate in it", cfg.CAFile)
		}
	}
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = cfg.Timeout / 2 }).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxConnsPerHost, t.MaxIdleConnsPerHost = cfg.MaxConns, cfg.MaxConns
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
		}), nil
}

// call runs fn within the time limit and translates its error.
func call[T any](ctx context.Context, p *Provider, keyID string, fn func(context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	out, err := fn(limited)
	if err != nil {
		var none T
		return none, translate(ctx, keyID, err)
	}
	return out, nil
}

// Resolve implements keystore.Provider with DescribeKey.
func (p *Provider) Resolve(ctx context.Context, _ keystore.Caller, keyID string) (keystore.KeyInfo, error) {
	out, err := call(ctx, p, keyID, func(ctx context.Context) (*kms.DescribeKeyOutput, error) {
		return p.client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(keyID)})
	})
	if err != nil {
		return keystore.KeyInfo{}, err
	}
	m := out.KeyMetadata
	if m == nil || aws.ToString(m.Arn) == "" {
		return keystore.KeyInfo{}, broken(keyID, "DescribeKey told no key ARN")
	}
	return keystore.KeyInfo{
		ARN:       aws.ToString(m.Arn),
		AccountID: aws.ToString(m.AWSAccountId),
		State:     string(m.KeyState),
		Symmetric: m.KeyUsage == types.KeyUsageTypeEncryptDecrypt && m.KeySpec == types.KeySpecSymmetricDefault,
		Usage:     string(m.KeyUsage),
		Spec:      string(m.KeySpec),
		Manager:   string(m.KeyManager),
		Origin:    string(m.Origin),
	}, nil
}

// GenerateDataKey implements keystore.Provider.
func (p *Provider) GenerateDataKey(ctx context.Context, _ keystore.Caller, keyID string, ec keystore.Context) (keystore.DataKey, error) {
	out, err := call(ctx, p, keyID, func(ctx context.Context) (*kms.GenerateDataKeyOutput, error) {
		return p.client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
			KeyId: aws.String(keyID), KeySpec: types.DataKeySpecAes256, EncryptionContext: ec,
		})
	})
	if err != nil {
		return keystore.DataKey{}, err
	}
	defer clear(out.Plaintext)
	if len(out.CiphertextBlob) == 0 || aws.ToString(out.KeyId) == "" {
		return keystore.DataKey{}, broken(keyID, "GenerateDataKey told no blob, or no key ARN")
	}
	return dataKey(keyID, out.Plaintext, out.CiphertextBlob, out.KeyId, out.KeyMaterialId)
}

// Decrypt implements keystore.Provider.
func (p *Provider) Decrypt(ctx context.Context, _ keystore.Caller, blob []byte, keyARN string, ec keystore.Context) (keystore.DataKey, error) {
	if len(blob) == 0 || len(blob) > maxBlob {
		return keystore.DataKey{}, &keystore.Error{Kind: keystore.InvalidCiphertext, KeyARN: keyARN}
	}
	out, err := call(ctx, p, keyARN, func(ctx context.Context) (*kms.DecryptOutput, error) {
		return p.client.Decrypt(ctx, &kms.DecryptInput{
			CiphertextBlob: blob, KeyId: aws.String(keyARN), EncryptionContext: ec,
		})
	})
	if err != nil {
		return keystore.DataKey{}, err
	}
	defer clear(out.Plaintext)
	if aws.ToString(out.KeyId) != keyARN {
		// KMS refuses another key's blob itself; an imitation may not.
		return keystore.DataKey{}, &keystore.Error{Kind: keystore.IncorrectKey, KeyARN: keyARN, Message: incorrectKey}
	}
	return dataKey(keyARN, out.Plaintext, blob, out.KeyId, out.KeyMaterialId)
}

const incorrectKey = "The key ID in the request does not identify a CMK that can perform this operation."

func dataKey(keyID string, plaintext, blob []byte, arn, material *string) (keystore.DataKey, error) {
	secret, err := keystore.NewSecret(plaintext)
	if err != nil {
		// The plaintext is no data key of GenerateDataKey.
		return keystore.DataKey{}, &keystore.Error{Kind: keystore.InvalidCiphertext, KeyARN: keyID, Err: err}
	}
	return keystore.DataKey{
		Plaintext: secret, Blob: blob, KeyARN: aws.ToString(arn), MaterialID: aws.ToString(material),
	}, nil
}

// Version implements keystore.Provider. It returns "": AWS KMS never refuses only some material of a key.
func (p *Provider) Version([]byte) string { return "" }

// Authorize implements keystore.Provider with the call itself, as far as it can be had without a key: KMS audits it,
// and it costs the same.
func (p *Provider) Authorize(ctx context.Context, caller keystore.Caller, action keystore.Action, keyARN string, blob []byte, ec keystore.Context) error {
	if action == keystore.Decrypt {
		dk, err := p.Decrypt(ctx, caller, blob, keyARN, ec)
		dk.Plaintext.Zero()
		return err
	}
	_, err := call(ctx, p, keyARN, func(ctx context.Context) (*kms.GenerateDataKeyWithoutPlaintextOutput, error) {
		return p.client.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{
			KeyId: aws.String(keyARN), KeySpec: types.DataKeySpecAes256, EncryptionContext: ec,
		})
	})
	return err
}

// Health implements keystore.Provider with ListKeys: any response is health, also AccessDenied.
func (p *Provider) Health(ctx context.Context) error {
	_, err := call(ctx, p, "", func(ctx context.Context) (*kms.ListKeysOutput, error) {
		return p.client.ListKeys(ctx, &kms.ListKeysInput{Limit: aws.Int32(1)})
	})
	if keystore.KindOf(err) == keystore.AccessDenied {
		return nil
	}
	return err
}

// Close implements keystore.Provider.
func (p *Provider) Close() error {
	p.http.GetTransport().CloseIdleConnections()
	return nil
}
