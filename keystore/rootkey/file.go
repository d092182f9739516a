package rootkey

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"waxseal/keystore"
)

// rootFileHeader is the first line of the root secret's file. Each line after it is a secret in base64, newest first;
// lines that begin with # are comments.
const rootFileHeader = "waxseal-root-secret-v1"

// ErrNoSecret is returned for a missing root secret beside an existing state: a new root secret would not open the state.
var ErrNoSecret = errors.New("rootkey: there is no root secret")

// Load returns the root secret. env is the value of the environment variable: one or more secrets, newest first, with
// commas between; each is 32 bytes in base64. When it is empty, the secret is in the file, readable by its owner only.
// Without a file, Load makes a secret if create is set.
//
// create must not be set if a state exists already: it would not open under a new secret.
func Load(env, path string, create bool) (*Secret, error) {
	if env != "" {
		return rootFromEnv(env)
	}
	r, err := rootFromFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	if !create {
		return nil, fmt.Errorf("%w: %s is missing, and what is in the state cannot be opened without it: put it back from where you keep its copy", ErrNoSecret, path)
	}
	r = New(keystore.RandomSecret())
	r.path = path
	if err := r.write(os.Link); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	// Read the file back: a concurrent process may have been first.
	return rootFromFile(path)
}

func rootFromEnv(env string) (*Secret, error) {
	r := &Secret{}
	for i, text := range strings.Split(env, ",") {
		s, err := parseSecret(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("rootkey: root secret %d in the environment: %w", i+1, err)
		}
		r.secrets = append(r.secrets, &s)
	}
	return r, nil
}

func rootFromFile(path string) (*Secret, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("rootkey: %s can be read by others (mode %04o): chmod 600 it", path, perm)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if strings.TrimSpace(lines[0]) != rootFileHeader {
		return nil, fmt.Errorf("rootkey: %s is not a root secret file: its first line is not %s", path, rootFileHeader)
	}
	r := &Secret{path: path}
	for i, line := range lines[1:] {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		s, err := parseSecret(line)
		if err != nil {
			return nil, fmt.Errorf("rootkey: %s, line %d: %w", path, i+2, err)
		}
		r.secrets = append(r.secrets, &s)
	}
	if len(r.secrets) == 0 {
		return nil, fmt.Errorf("rootkey: %s has no secret in it", path)
	}
	return r, nil
}

// write writes the file: whole under another name first, then put in place by os.Link (when there must be none yet) or
// os.Rename. When it returns, both the contents and the name are durable.
func (r *Secret) write(place func(oldpath, newpath string) error) (err error) {
	text := []byte(rootFileHeader + "\n# Newest first. Whoever has this and the state has every key in it; keep them apart.\n")
	for _, s := range r.secrets {
		text = base64.StdEncoding.AppendEncode(text, s.Bytes())
		text = append(text, '\n')
	}
	defer clear(text)
	dir := filepath.Dir(r.path)
	f, err := os.CreateTemp(dir, ".root.key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if rm := os.Remove(f.Name()); rm != nil && !errors.Is(rm, fs.ErrNotExist) { // a rename took it away
			err = errors.Join(err, rm)
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), r.path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Rotate puts a new secret first, in the file too, and takes in secrets added to the file since it was read. Sealed
// values open as before; their owners seal them again (see Stale), and then the older secrets can be pruned. A secret
// from the environment is changed there.
func (r *Secret) Rotate() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	came, err := r.since()
	if err != nil {
		return err
	}
	s := keystore.RandomSecret()
	return r.replace(slices.Concat([]*keystore.Secret{&s}, came, r.secrets))
}

// Prune removes all secrets but the newest, from the file too. It removes none while the file has an unknown secret,
// added since it was read: something may be sealed under it.
func (r *Secret) Prune() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	came, err := r.since()
	if err != nil {
		return err
	}
	if len(came) > 0 {
		return fmt.Errorf("rootkey: %s has a secret that came since it was read, and what is sealed under it was not sealed again: nothing is removed; rekey once more", r.path)
	}
	return r.replace(append([]*keystore.Secret(nil), r.secrets[:min(1, len(r.secrets))]...))
}

// since returns the secrets added to the file since it was read. Where there is no file any more, there are none:
// it is written anew. mu is held.
func (r *Secret) since() ([]*keystore.Secret, error) {
	switch {
	case len(r.secrets) == 0:
		return nil, ErrNoSecret
	case r.path == "":
		return nil, errors.New("rootkey: the root secret is not in a file: change it where it is kept")
	}
	now, err := rootFromFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	known := func(s *keystore.Secret) bool { return slices.ContainsFunc(r.secrets, s.Equal) }
	return slices.DeleteFunc(now.secrets, known), nil
}

// replace writes the file first: a crash must not lose a secret in use. mu is held.
func (r *Secret) replace(secrets []*keystore.Secret) error {
	next := &Secret{secrets: secrets, path: r.path}
	if err := next.write(os.Rename); err != nil {
		return fmt.Errorf("rootkey: %w", err)
	}
	r.secrets = secrets
	return nil
}
