package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"waxseal/keystore/rootkey"
	"waxseal/proxy"
	"waxseal/proxy/store"
)

// Check reports the settings that serve would use, and every mistake in the configuration. With connect it also asks
// the store and the key service.
func (c *Config) Check(ctx context.Context, f *pflag.FlagSet, connect bool) *Report {
	report := c.report(c.readProcess(f))
	if connect {
		report.connect(ctx, c)
	}
	return report
}

// checkStart finds the mistakes that serve would find after reading the configuration: in the data directory, the
// certificate, the credentials and the users' policies. It changes nothing.
func (c *Config) checkStart() []error {
	dir := dataDir(c.DataDir)
	mistakes := []error{dir.check(), dir.checkState(c.NewState), dir.checkSecret(), c.checkKMSCredentials(), c.checkCertificate()}
	if c.UpstreamEndpoint != "" {
		_, err := (&App{}).upstream(c)
		mistakes = append(mistakes, err)
	}
	return append(mistakes, c.checkDirectory()...)
}

// check checks the directory itself. The directory need not exist yet.
func (d dataDir) check() error {
	info, err := os.Stat(string(d))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("--data-dir: %w", err)
	case !info.IsDir():
		return fmt.Errorf("--data-dir: %s: is not a directory", d)
	}
	return onlyMineToChange(string(d))
}

// checkState reports a lost state, and --new-state beside an existing state. It does not open the file, because a
// running waxseal holds the lock.
func (d dataDir) checkState(newState bool) error {
	size, err := fileSize(d.state())
	switch {
	case err != nil:
		return fmt.Errorf("--data-dir: %w", err)
	case size == 0:
		_, err = d.mayBegin(newState)
	case newState:
		err = d.notNew()
	}
	return err
}

// checkSecret reads the root secret, unless the first start will make it.
func (d dataDir) checkSecret() error {
	size, err := fileSize(d.state())
	if err != nil {
		return nil // checkState reports it
	}
	there, err := hasContent(d.rootKey())
	if err != nil {
		return err
	}
	env := os.Getenv("WAXSEAL_ROOT_SECRET")
	if size == 0 && !there && env == "" {
		return nil
	}
	secret, err := rootkey.Load(env, d.rootKey(), false)
	if err != nil {
		return err
	}
	secret.Zero()
	return nil
}

// checkCertificate reads the operator's certificate. serve makes self-signed certificates.
func (c *Config) checkCertificate() error {
	if c.TLSSelfSigned || c.TLSCert == "" || c.TLSKey == "" {
		return nil
	}
	_, _, err := c.tlsConfig(dataDir(c.DataDir), slog.New(slog.DiscardHandler))
	return err
}

// rootUser returns the root user as serve would have it. If serve would generate credentials, rootUser returns
// generated credentials and does not store them.
func (d dataDir) rootUser() (root Credentials, from string, err error) {
	if root, err = rootFromEnv(os.LookupEnv); err != nil || root.AccessKey != "" {
		return root, "WAXSEAL_ACCESS_KEY", err
	}
	root, err = d.readCredentials()
	if errors.Is(err, fs.ErrNotExist) {
		return newCredentials(), "made at the first start", nil
	}
	return root, d.credentials(), err
}

// checkDirectory returns the users whose policies serve would refuse, each by name.
func (c *Config) checkDirectory() (mistakes []error) {
	root, _, err := dataDir(c.DataDir).rootUser()
	if err != nil {
		return []error{err}
	}
	good := *c
	good.Users = nil
	for _, u := range c.Users {
		if u.check() != nil {
			continue // check reports it
		}
		one := *c
		one.Users = []UserConfig{u}
		users, err := one.directory(root)
		if err == nil {
			err = proxy.CheckUsers(users)
		}
		if err != nil {
			mistakes = append(mistakes, err)
			continue
		}
		good.Users = append(good.Users, u)
	}
	_, err = good.directory(root) // all users together
	return append(mistakes, err)
}

// askStore checks the store as /readyz does. The embedded store is part of serve, so it is not asked.
func (c *Config) askStore(ctx context.Context) error {
	up, err := (&App{}).upstream(c)
	if err != nil {
		return err
	}
	return store.Check(ctx, up)
}

// askKeys checks an external key service as /readyz does at first, with the key for SSE-S3.
func (c *Config) askKeys(ctx context.Context) error {
	behind, err := c.externalProvider(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	p := &App{provider: behind, behind: behind}
	return errors.Join(p.keysHealth(ctx, c, true), behind.Close())
}
