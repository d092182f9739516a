package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"waxseal/keystore/bucketkey"
	"waxseal/keystore/rootkey"
	"waxseal/keystore/state"
)

// A state begins only once. If a waxseal began a new state in place of a lost one, it would serve without bucket
// policies and default encryption, and seal new objects under new keys, while every old object is refused. So a data
// directory with a history of service gets a new state only if the operator asks for it (--new-state).
//
// A first start creates the marker first-start before anything else, and removes it when the state has content. A start
// interrupted in between has lost nothing, and is repeated.

func (d dataDir) firstStart() string { return filepath.Join(string(d), "first-start") }

// fingerprint returns the name of the file with the root secret's fingerprint. If the secret is in the environment,
// this file is the directory's only trace of it.
func (d dataDir) fingerprint() string { return filepath.Join(string(d), "root.fingerprint") }

// remains returns the files and directories that only an earlier state explains.
func (d dataDir) remains() (found []string, err error) {
	for _, name := range []string{d.rootKey(), d.credentials(), d.fingerprint(), d.store(), d.audit(), d.held()} {
		there, err := hasContent(name)
		if err != nil {
			return nil, err
		}
		if there {
			found = append(found, filepath.Base(name))
		}
	}
	return found, nil
}

// hasContent reports whether name is a file, or a directory with entries.
func hasContent(name string) (bool, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.IsDir():
		return true, nil
	}
	files, err := os.ReadDir(name)
	return len(files) > 0, err
}

// mayBegin returns an error if a state must not begin. begun reports whether an interrupted first start is repeated.
func (d dataDir) mayBegin(newState bool) (begun bool, err error) {
	if begun, err = hasContent(d.firstStart()); begun || err != nil {
		return begun, err
	}
	found, err := d.remains()
	if err == nil && len(found) > 0 && !newState {
		err = d.lostState(found)
	}
	return false, err
}

// begin creates the marker of a first start, or returns an error if a state must not begin.
func (d dataDir) begin(newState bool) error {
	begun, err := d.mayBegin(newState)
	if begun || err != nil {
		return err
	}
	return writeOnce(d.firstStart(), []byte("This waxseal has not served yet.\n"))
}

// lostState returns the error for a lost state. It names the missing file, and the ways on: restore or --new-state.
func (d dataDir) lostState(found []string) error {
	what := "is missing"
	if _, err := os.Lstat(d.state()); err == nil {
		what = "is empty"
	}
	return fmt.Errorf("%s %s, but there is %s, so a waxseal has served from here: KMS keys, bucket policies and default "+
		"encryption were in that file. Put a backup in its place (waxseal restore FILE), or begin without all that "+
		"(waxseal serve --new-state); what was sealed under the lost keys does not open then%s",
		d.state(), what, strings.Join(found, ", "), d.sealedUnder())
}

// sealedUnder names the root secret of a lost state, if the directory knows it.
func (d dataDir) sealedUnder() string {
	text, err := os.ReadFile(d.fingerprint())
	if err != nil {
		return "" // directories of older versions have no fingerprint
	}
	return ". The backup needs the root secret with the fingerprint " + strings.TrimSpace(string(text))
}

// started records that the state has content: it removes the marker and writes the root secret's fingerprint.
func (d dataDir) started(secret *rootkey.Secret) error {
	if err := d.keepFingerprint(secret); err != nil {
		return err
	}
	if err := os.Remove(d.firstStart()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(string(d))
}

func (d dataDir) keepFingerprint(secret *rootkey.Secret) error {
	print, err := secret.Fingerprint()
	if err != nil {
		return err
	}
	if text, err := os.ReadFile(d.fingerprint()); err == nil && strings.TrimSpace(string(text)) == print {
		return nil
	}
	if err := os.Remove(d.fingerprint()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeOnce(d.fingerprint(), []byte(print+"\n"))
}

// openFile opens the state file. The error for a damaged file names the remedy.
func (d dataDir) openFile() (state.Store, error) {
	s, err := state.OpenBolt(d.state())
	if err != nil && !errors.Is(err, state.ErrInUse) {
		return nil, fmt.Errorf("%w: should it be lost, move it aside and put a backup in its place (made by waxseal backup): waxseal restore FILE", err)
	}
	return s, err
}

// openExisting opens an existing state. It creates none.
func (d dataDir) openExisting() (state.Store, error) {
	if _, err := os.Stat(d.state()); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if size, err := fileSize(d.state()); err != nil || size == 0 {
		return nil, errors.Join(err, errNoState(d))
	}
	s, err := d.openFile()
	if err != nil {
		return nil, err
	}
	if empty, err := isEmpty(s); err != nil || empty {
		return nil, errors.Join(err, errNoState(d), s.Close())
	}
	return s, nil
}

func errNoState(d dataDir) error {
	return fmt.Errorf("%s is empty: there is no waxseal's state in it", d.state())
}

// fileSize returns the size of a file, 0 if it does not exist.
func fileSize(name string) (int64, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func isEmpty(s state.Store) (bool, error) {
	entries, err := s.Range(context.Background(), "", "", 1)
	return len(entries) == 0, err
}

// openState opens or begins the state, and then reads the root secret. The order matters: the previous owner of the
// state's lock may have changed the secret.
func (p *App) openState(ctx context.Context, dir dataDir, newState bool) error {
	p.dir = dir
	file, empty, err := p.stateFile(newState)
	if err != nil {
		return err
	}
	if p.secret, err = rootkey.Load(os.Getenv("WAXSEAL_ROOT_SECRET"), dir.rootKey(), empty); err != nil {
		return err
	}
	p.onClose(func(context.Context) error { p.secret.Zero(); return nil })
	p.state, err = dir.sealState(ctx, file, p.secret)
	return p.otherSecret(err)
}

// openOrBegin opens the state file. empty reports whether the state begins now.
func (d dataDir) openOrBegin(newState bool) (file state.Store, empty bool, err error) {
	size, err := fileSize(d.state())
	if err == nil && size == 0 {
		err = d.begin(newState)
	}
	if err != nil {
		return nil, false, err
	}
	if file, err = d.openFile(); err != nil {
		return nil, false, err
	}
	empty, err = isEmpty(file)
	switch {
	case err == nil && empty:
		err = d.begin(newState)
	case err == nil && newState:
		err = d.notNew()
	}
	if err != nil {
		return nil, false, errors.Join(err, file.Close())
	}
	return file, empty, nil
}

// ownSeals are the prefixes of values sealed by their owners.
var ownSeals = []string{bucketkey.Prefix, rootkey.ServiceKeyPrefix, rootkey.ServiceKeyCurrent}

// sealState returns a state sealed under the root secret. Bucket keys and service keys have seals of their own, so that
// a bucket key that does not open is replaced.
func (d dataDir) sealState(ctx context.Context, s state.Store, secret *rootkey.Secret) (*state.Sealed, error) {
	mayTakeOver := func(ctx context.Context) error { return d.mayTakeOver(ctx, s, secret) }
	sealed, err := state.Seal(ctx, s, secret.Sealer("state"), mayTakeOver, ownSeals...)
	if err != nil {
		return nil, fmt.Errorf("state.db: %w", err)
	}
	return sealed, nil
}

// mayTakeOver returns an error if the plain state of an earlier version must not be sealed. There are two cases. The
// directory had a sealed state before: an attacker who can write state.db, but has no root secret, could plant a plain
// state with more rights. Or the root secret does not open the service keys in the state: after sealing, no other
// secret would open the state.
func (d dataDir) mayTakeOver(ctx context.Context, s state.Store, secret *rootkey.Secret) error {
	if sealedBefore, err := hasContent(d.fingerprint()); err != nil {
		return err
	} else if sealedBefore {
		return fmt.Errorf("%w: it is not sealed, and the one that this directory was last served with was: restore a backup (waxseal restore FILE; it takes those of earlier versions, too). Had you gone back to an earlier version, remove %s", state.ErrNotAuthentic, d.fingerprint())
	}
	return rootkey.CheckRing(ctx, s, secret.Sealer("service-keys"))
}

// notNew refuses --new-state if there is a state: left in a unit file, the flag would hide the next loss.
func (d dataDir) notNew() error {
	if marked, err := hasContent(d.firstStart()); marked || err != nil {
		return err
	}
	return fmt.Errorf("--new-state: %s is there: take the flag away (or WAXSEAL_NEW_STATE); to begin anew, move the file aside first", d.state())
}

// otherSecret adds both root secrets' names to the error of a state that does not open.
func (p *App) otherSecret(err error) error {
	if !errors.Is(err, rootkey.ErrNotSealed) {
		return err
	}
	print, printErr := p.secret.Fingerprint()
	if printErr != nil {
		return errors.Join(err, printErr)
	}
	last := ""
	if text, readErr := os.ReadFile(p.dir.fingerprint()); p.dir != "" && readErr == nil {
		last = ", this directory was last served with " + strings.TrimSpace(string(text))
	}
	return fmt.Errorf("the state was sealed under another root secret, or is another waxseal's (the fingerprint at hand is %s%s): %w", print, last, err)
}
