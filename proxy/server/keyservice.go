package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"waxseal/keystore"
	"waxseal/keystore/bucketkey"
	"waxseal/keystore/enforce"
	"waxseal/keystore/iam"
	"waxseal/keystore/local"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// openKeys opens the key service and the bucket keys in front of it.
func (p *App) openKeys(ctx context.Context, c *Config, log *slog.Logger) (err error) {
	if err := holdProvider(ctx, p.state, c.KMSProvider); err != nil {
		return err
	}
	if p.ServiceKeys, err = rootkey.OpenRing(ctx, p.state, p.secret.Sealer("service-keys")); err != nil {
		return p.otherSecret(err)
	}
	if c.external() {
		err = p.openExternal(ctx, c, log)
	} else {
		err = p.openLocal(ctx, c, log)
	}
	if err != nil {
		return err
	}
	p.provider = p.with.inFront(p.provider)
	p.BucketKeys = p.bucketKeys(c, p.provider)
	if p.KeyService != nil {
		p.KeyService.OnKeyChange(p.BucketKeys.Forget)
		p.KeyService.OnChangeElsewhere(p.BucketKeys.ForgetElsewhere)
	}
	p.background(func(ctx context.Context) { prune(ctx, p.BucketKeys, log) })
	return nil
}

// bucketKeys puts bucket keys in front of a provider.
func (p *App) bucketKeys(c *Config, provider keystore.Provider) *bucketkey.Keys {
	keys := bucketkey.New(provider, p.state, p.secret.Sealer("bucket-keys"), bucketkey.Config{
		PlaintextTTL: c.BucketKeyTTL,
		Period:       c.BucketKeyPeriod,
		NoChain:      !c.BucketKeyChain,
		Now:          p.with.Now,
		Service: keystore.Caller{
			ARN: iam.RootARN(c.Account), AccountID: c.Account, ViaService: "s3." + c.Region + ".amazonaws.com",
		},
	})
	p.onClose(func(context.Context) error { keys.Close(); return nil })
	return keys
}

// openLocal opens the embedded key service.
func (p *App) openLocal(ctx context.Context, c *Config, log *slog.Logger) (err error) {
	p.KeyService, err = local.Open(ctx, local.Config{
		State: p.state, Secrets: p.secret, Audit: p.records(), Region: c.Region, AccountID: c.Account,
		Identities: p.users, Log: log, RequestsPerSecond: c.KMSRate, NoSweep: p.looking, Now: p.with.Now,
		Kept:     p.deletionGuard(c),
		Replicas: p.replicas,
	})
	if err != nil {
		return err
	}
	p.onClose(func(context.Context) error { return p.KeyService.Close() })
	p.provider, p.sseRoot = p.KeyService.Provider(), p.KeyService.Root(p.ServiceKeys)
	return nil
}

// openExternal puts policy enforcement in front of an external key service. That service knows only waxseal as a
// caller, so waxseal itself authorizes requesters and records their uses. The SSE-S3 root bypasses both. It is the
// service's own key, as an AWS owned key is, and a record for each use would make every delivery of records cause
// another.
func (p *App) openExternal(ctx context.Context, c *Config, log *slog.Logger) error {
	behind, err := c.externalProvider(ctx, log)
	if err != nil {
		return err
	}
	p.onClose(func(context.Context) error { return behind.Close() })
	p.behind = behind
	p.provider, err = enforce.New(behind, enforce.Config{Users: p.users.Users(), Audit: p.records(), Region: c.Region, Account: c.Account})
	if err != nil {
		return err
	}
	p.sseRoot, err = bucketkey.NewRoot(p.bucketKeys(c, behind), p.ServiceKeys, bucketkey.RootConfig{
		KeyID: c.KMSRootKey, Accept: c.KMSFormerRootKey,
	})
	return err
}

const (
	// providerKey is the record of the kind of key service that sealed this state's objects.
	providerKey = "keyservice/provider"
	// embeddedRoot exists if the embedded key service has ever used a state.
	embeddedRoot = "kms/root"
)

// holdProvider refuses a state whose objects were sealed with another kind of key service: the old objects would not
// open. A state without keys is assigned to this provider.
func holdProvider(ctx context.Context, s state.Store, provider string) error {
	held, err := s.Get(ctx, providerKey)
	switch {
	case err == nil && string(held.Value) == provider:
		return nil
	case err == nil:
		return otherProvider(string(held.Value), provider)
	case !errors.Is(err, state.ErrNotFound):
		return err
	}
	_, err = s.Get(ctx, embeddedRoot)
	switch {
	case err == nil && provider != providerLocal:
		return otherProvider(providerLocal, provider)
	case err != nil && !errors.Is(err, state.ErrNotFound):
		return err
	}
	_, err = s.Txn(ctx, []state.Cond{{Key: providerKey}}, []state.Op{{Key: providerKey, Value: []byte(provider)}})
	if errors.Is(err, state.ErrConflict) || errors.Is(err, state.ErrUnknown) {
		return holdProvider(ctx, s, provider) // a concurrent start of another replica, or a lost response: the record decides
	}
	return err
}

func otherProvider(held, asked string) error {
	return fmt.Errorf("--kms-provider: %s: the keys of this data directory are with %s, and what was sealed under them opens nowhere else: use another directory",
		asked, held)
}
