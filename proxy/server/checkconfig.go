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

// Check says what serve would use of the configuration that Load would read, and finds every mistake in it. With connect
// it asks the store and the key service, too.
func (c *Config) Check(ctx context.Context, f *pflag.FlagSet, connect bool) *Report {
	report := c.report(c.readProcess(f))
	if connect {
		report.connect(ctx, c)
	}
	return report
}

// checkStart finds what serve would refuse behind its configuration: in the data directory, the certificate, the
// credentials and the users' policies. It changes nothing.
func (c *Config) checkStart() []error {
	dir := dataDir(c.DataDir)
	mistakes := []error{dir.check(), dir.checkState(c.NewState), dir.checkSecret(), c.checkKMSCredentials(), c.checkCertificate()}
	if c.UpstreamEndpoint != "" {
		_, err := (&App{}).upstream(c)
		mistakes = append(mistakes, err)
	}
	return append(mistakes, c.checkDirectory()...)
}

// check looks at the directory itself, which need not be there yet.
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

// checkState finds a state that was lost, and a --new-state where there is one. It does not open the file, which a
// waxseal that serves has locked.
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

// checkSecret reads the root secret, unless it is yet to be made.
func (d dataDir) checkSecret() error {
	size, err := fileSize(d.state())
	if err != nil {
		return nil // checkState tells of it
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

// checkCertificate reads the operator's certificate. A self-signed one is made by serve.
func (c *Config) checkCertificate() error {
	if c.TLSSelfSigned || c.TLSCert == "" || c.TLSKey == "" {
		return nil
	}
	_, _, err := c.tlsConfig(dataDir(c.DataDir), slog.New(slog.DiscardHandler))
	return err
}

// rootUser is the root user as serve would have it. Credentials that serve would make are made up here, and not kept.
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

// checkDirectory finds the users whose rights serve would refuse, each by name.
func (c *Config) checkDirectory() (mistakes []error) {
	root, _, err := dataDir(c.DataDir).rootUser()
	if err != nil {
		return []error{err}
	}
	good := *c
	good.Users = nil
	for _, u := range c.Users {
		if u.check() != nil {
			continue // check tells of it
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
	_, err = good.directory(root) // all of them together
	return append(mistakes, err)
}

// askStore is /readyz's question to the store. The embedded store is a part of serve, and is not asked.
func (c *Config) askStore(ctx context.Context) error {
	up, err := (&App{}).upstream(c)
	if err != nil {
		return err
	}
	return store.Check(ctx, up)
}

// askKeys is /readyz's first question to an external key service, with its key for SSE-S3.
func (c *Config) askKeys(ctx context.Context) error {
	behind, err := c.externalProvider(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	p := &App{provider: behind, behind: behind}
	return errors.Join(p.keysHealth(ctx, c, true), behind.Close())
}
