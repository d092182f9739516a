package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"waxseal/keystore"
	"waxseal/keystore/awskms"
	"waxseal/keystore/transit"
)

// Locations of KMS keys.
const (
	providerLocal   = "local"   // the embedded key service, with its own KMS endpoint
	providerAWS     = "aws"     // AWS KMS, or a service with its protocol
	providerTransit = "transit" // a Transit engine of OpenBao or Vault
)

// Credentials for the external key service come from the environment.
const (
	envKMSAccessKey = "WAXSEAL_KMS_ACCESS_KEY"
	envKMSSecretKey = "WAXSEAL_KMS_SECRET_KEY"
	envKMSToken     = "WAXSEAL_KMS_TOKEN"
	envKMSTokenFile = "WAXSEAL_KMS_TOKEN_FILE"
)

func (c *Config) external() bool { return c.KMSProvider != providerLocal }

func (c *Config) kmsFlags(f *pflag.FlagSet) {
	f.StringVar(&c.KMSProvider, "kms-provider", c.KMSProvider, "`PLACE` of the KMS keys: local (embedded), aws, or transit (OpenBao, Vault)")
	f.StringVar(&c.KMSEndpoint, "kms-endpoint", c.KMSEndpoint, "`URL` of the external key service; aws without one: AWS's own")
	f.StringVar(&c.KMSRegion, "kms-region", c.KMSRegion, "`REGION` of the keys at aws; none: --region")
	f.StringVar(&c.KMSCA, "kms-ca", c.KMSCA, "PEM `FILE` with the external key service's certificate authorities")
	f.StringVar(&c.KMSMount, "kms-mount", c.KMSMount, "`PATH` of the transit engine; none: transit")
	f.StringVar(&c.KMSNamespace, "kms-namespace", c.KMSNamespace, "`NAMESPACE` of the transit engine")
	f.StringVar(&c.KMSRootKey, "kms-root-key", c.KMSRootKey, "`KEY` (id, ARN or alias) of the external key service that SSE-S3 stands on")
	f.Var((*list)(&c.KMSFormerRootKey), "kms-former-root-key", "`ARN` of a key that was --kms-root-key earlier; may be repeated")
	f.BoolVar(&c.GuardKeyDeletion, "guard-key-deletion", c.GuardKeyDeletion, "refuse ScheduleKeyDeletion while objects may be encrypted under the key, or the last waxseal inventory is older than a day")
	f.Float64Var(&c.KMSRate, "kms-rate", c.KMSRate, "`NUMBER` of requests a second that the embedded key service grants one principal; 0: no limit")
}

// checkKMS refuses settings that the chosen provider does not use: they show a mistake about the location of the keys.
func (c *Config) checkKMS() error {
	if err := oneOf("--kms-provider", c.KMSProvider, providerLocal, providerAWS, providerTransit); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		set  bool
		with []string
	}{
		{"kms-endpoint", c.KMSEndpoint != "", []string{providerAWS, providerTransit}},
		{"kms-ca", c.KMSCA != "", []string{providerAWS, providerTransit}},
		{"kms-root-key", c.KMSRootKey != "", []string{providerAWS, providerTransit}},
		{"kms-former-root-key", len(c.KMSFormerRootKey) > 0, []string{providerAWS, providerTransit}},
		{"kms-region", c.KMSRegion != "", []string{providerAWS}},
		{"kms-mount", c.KMSMount != "", []string{providerTransit}},
		{"kms-namespace", c.KMSNamespace != "", []string{providerTransit}},
		{"kms-rate", c.KMSRate != 0, []string{providerLocal}},
		{"guard-key-deletion", c.GuardKeyDeletion, []string{providerLocal}},
	} {
		if f.set && oneOf("", c.KMSProvider, f.with...) != nil {
			return fmt.Errorf("--%s: --kms-provider %s has no use for it", f.name, c.KMSProvider)
		}
	}
	switch {
	case c.KMSRate < 0:
		return fmt.Errorf("--kms-rate: %v is negative", c.KMSRate)
	case c.external() && c.KMSRootKey == "":
		return fmt.Errorf("--kms-root-key: --kms-provider %s needs a key that SSE-S3 can stand on", c.KMSProvider)
	case c.KMSProvider == providerTransit && c.KMSEndpoint == "":
		return errors.New("--kms-endpoint: --kms-provider transit needs one")
	case c.KMSEndpoint != "":
		return checkURL("--kms-endpoint", c.KMSEndpoint, envKMSAccessKey+" and "+envKMSSecretKey+", or "+envKMSToken)
	}
	return nil
}

// externalProvider returns the external key service behind a circuit breaker. It sends no request yet, so that waxseal
// starts even while the service is away.
func (c *Config) externalProvider(ctx context.Context, log *slog.Logger) (keystore.Provider, error) {
	var p keystore.Provider
	err := c.checkKMSCredentials()
	switch {
	case err != nil:
	case c.KMSProvider == providerAWS:
		p, err = c.awsProvider(ctx)
	default:
		p, err = c.transitProvider(log)
	}
	if err != nil {
		return nil, fmt.Errorf("--kms-provider %s: %w", c.KMSProvider, err)
	}
	return keystore.WithBreaker(p, keystore.BreakerConfig{}), nil
}

// checkKMSCredentials checks the credentials for the external key service without sending a request.
func (c *Config) checkKMSCredentials() error {
	access, secret := os.Getenv(envKMSAccessKey), os.Getenv(envKMSSecretKey)
	token, file := os.Getenv(envKMSToken), c.kmsTokenFile
	switch {
	case c.KMSProvider == providerAWS && (access == "") != (secret == ""):
		return fmt.Errorf("%s and %s: one is missing", envKMSAccessKey, envKMSSecretKey)
	case c.KMSProvider == providerTransit && token == "" && file == "":
		return fmt.Errorf("%s or %s is needed", envKMSToken, envKMSTokenFile)
	case c.KMSProvider == providerTransit && token == "":
		if err := onlyMine(file); err != nil {
			return fmt.Errorf("%s: %w", envKMSTokenFile, err)
		}
	}
	return nil
}

// awsProvider uses the credentials of the environment, else the default chain of the AWS tools (profile, role).
func (c *Config) awsProvider(ctx context.Context) (keystore.Provider, error) {
	region := c.KMSRegion
	if region == "" {
		region = c.Region
	}
	return awskms.New(ctx, awskms.Config{
		Endpoint: c.KMSEndpoint, Region: region, CAFile: c.KMSCA,
		AccessKeyID: os.Getenv(envKMSAccessKey), SecretAccessKey: os.Getenv(envKMSSecretKey),
	})
}

func (c *Config) transitProvider(log *slog.Logger) (keystore.Provider, error) {
	return transit.New(transit.Config{
		Address: c.KMSEndpoint, Namespace: c.KMSNamespace, Mount: c.KMSMount, Token: os.Getenv(envKMSToken), TokenFile: c.kmsTokenFile,
		CAFile: c.KMSCA, Region: c.Region, Account: c.Account,
		Warn: func(msg string, err error) { log.Warn("external key service: "+msg, "err", err) },
	})
}
