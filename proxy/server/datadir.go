package server

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// dataDir is the directory of waxseal's files.
type dataDir string

func (d dataDir) state() string       { return filepath.Join(string(d), "state.db") }
func (d dataDir) rootKey() string     { return filepath.Join(string(d), "root.key") }
func (d dataDir) credentials() string { return filepath.Join(string(d), "credentials") }
func (d dataDir) store() string       { return filepath.Join(string(d), "store") }
func (d dataDir) held() string        { return filepath.Join(string(d), "held") }
func (d dataDir) audit() string       { return filepath.Join(string(d), "audit") }
func (d dataDir) control() string     { return filepath.Join(string(d), "control.sock") }
func (d dataDir) jobs() string        { return filepath.Join(string(d), "jobs.sock") }
func (d dataDir) tlsCert() string     { return filepath.Join(string(d), "tls.crt") }
func (d dataDir) tlsKey() string      { return filepath.Join(string(d), "tls.key") }
func (d dataDir) backupTime() string  { return filepath.Join(string(d), "last-backup") }

// AuditDir returns the directory of the audit records.
func (c *Config) AuditDir() string { return dataDir(c.DataDir).audit() }

// make creates the directory with access for this user only.
func (d dataDir) make() error {
	for _, dir := range []string{string(d), d.held(), d.audit()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("--data-dir: %w", err)
		}
	}
	return onlyMineToChange(string(d))
}

// rootCredentials returns the root credentials from the environment, else from the data directory. The first start
// generates them there.
func (d dataDir) rootCredentials(env func(string) (string, bool)) (c Credentials, made bool, err error) {
	if c, err = rootFromEnv(env); err != nil || c.AccessKey != "" {
		return c, false, err
	}
	c, err = d.readCredentials()
	if errors.Is(err, fs.ErrNotExist) {
		c = newCredentials()
		return c, true, d.keepCredentials(c)
	}
	return c, false, err
}

// rootFromEnv returns the root credentials from the environment, empty if it has none.
func rootFromEnv(env func(string) (string, bool)) (c Credentials, err error) {
	access, _ := env("WAXSEAL_ACCESS_KEY") // an empty value counts as unset: environment files leave variables out like this
	secret, _ := env("WAXSEAL_SECRET_KEY")
	if (access == "") != (secret == "") {
		return c, errors.New("WAXSEAL_ACCESS_KEY and WAXSEAL_SECRET_KEY: one is missing")
	}
	if access == "" {
		return c, nil
	}
	c = Credentials{access, secret}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("WAXSEAL_ACCESS_KEY and WAXSEAL_SECRET_KEY: %w", err)
	}
	return c, nil
}

// readCredentials reads the root credentials from the data directory.
func (d dataDir) readCredentials() (c Credentials, err error) {
	text, err := os.ReadFile(d.credentials())
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("%s: %w", d.credentials(), err)
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("%s: %w", d.credentials(), err)
	}
	return c, onlyMine(d.credentials())
}

func (d dataDir) keepCredentials(c Credentials) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return writeOnce(d.credentials(), append(text, '\n'))
}

// newCredentials generates credentials in AWS's format: clients check the shape of access keys.
func newCredentials() Credentials {
	var id [10]byte
	var secret [30]byte
	rand.Read(id[:])
	rand.Read(secret[:])
	return Credentials{
		AccessKey: "AKIA" + base32.StdEncoding.EncodeToString(id[:]),
		SecretKey: base64.URLEncoding.EncodeToString(secret[:]),
	}
}

// writeOnce creates a private file with data.
func writeOnce(name string, data []byte) error {
	return writeNew(name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// writeNew creates a private file, either complete and durable or not at all. It never replaces a file.
func writeNew(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".waxseal-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	err = write(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
