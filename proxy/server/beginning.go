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

// A state begins once. Whoever starts as new where a state was lost serves without the buckets' policies and default
// encryption, and seals new objects under new keys, while every old object is refused. So a data directory in which a
// waxseal has served gets a new state only when the operator says so.
//
// A first start leaves the marker first-start from before anything else is made until the state has content: a start
// that was cut short in between has lost nothing and is repeated.

func (d dataDir) firstStart() string { return filepath.Join(string(d), "first-start") }

// fingerprint is the file that names the root secret: it is all that a directory has of a secret in the environment.
func (d dataDir) fingerprint() string { return filepath.Join(string(d), "root.fingerprint") }

// remains are the files and directories that only an earlier state explains.
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

// hasContent reports whether there is a file, or a directory that is not empty.
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

// mayBegin says why a state must not begin, or that it began already and was cut short.
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

// begin lets a state begin, or says why it must not. On success the marker is there.
func (d dataDir) begin(newState bool) error {
	begun, err := d.mayBegin(newState)
	if begun || err != nil {
		return err
	}
	return writeOnce(d.firstStart(), []byte("This waxseal has not served yet.\n"))
}

// lostState says what is missing, and the two ways on.
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

// sealedUnder names the root secret of a lost state, where the directory knows it.
func (d dataDir) sealedUnder() string {
	text, err := os.ReadFile(d.fingerprint())
	if err != nil {
		return "" // an older waxseal's directory has none
	}
	return ". The backup needs the root secret with the fingerprint " + strings.TrimSpace(string(text))
}

// started says that the state has content now: the marker goes, and the root secret's fingerprint stays.
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

// openFile opens the state file. Damage is told with what helps.
func (d dataDir) openFile() (state.Store, error) {
	s, err := state.OpenBolt(d.state())
	if err != nil && !errors.Is(err, state.ErrInUse) {
		return nil, fmt.Errorf("%w: should it be lost, move it aside and put a backup in its place (made by waxseal backup): waxseal restore FILE", err)
	}
	return s, err
}

// openExisting opens the state of a waxseal that has served; it makes none.
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

// fileSize is 0 for a file that is not there.
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

// openState opens the state, which begins where it may, and then the root secret: whoever had the state until now may
// have changed it.
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

// openOrBegin opens the state file. empty says that it begins now.
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

// ownSeals are the prefixes of values that their owners seal.
var ownSeals = []string{bucketkey.Prefix, rootkey.ServiceKeyPrefix, rootkey.ServiceKeyCurrent}

// sealState puts the seal of the root secret in front of a state. Bucket keys and service keys have seals of their own:
// a bucket key that does not open is made anew.
func (d dataDir) sealState(ctx context.Context, s state.Store, secret *rootkey.Secret) (*state.Sealed, error) {
	mayTakeOver := func(ctx context.Context) error { return d.mayTakeOver(ctx, s, secret) }
	sealed, err := state.Seal(ctx, s, secret.Sealer("state"), mayTakeOver, ownSeals...)
	if err != nil {
		return nil, fmt.Errorf("state.db: %w", err)
	}
	return sealed, nil
}

// mayTakeOver gives an error where the plain state of an earlier version must not be sealed: in a directory that had a
// sealed one (whoever can write state.db, but has no root secret, would grant themselves rights by a plain one), and
// under a root secret that is not the one of the service keys in it (no other would open it any more).
func (d dataDir) mayTakeOver(ctx context.Context, s state.Store, secret *rootkey.Secret) error {
	if sealedBefore, err := hasContent(d.fingerprint()); err != nil {
		return err
	} else if sealedBefore {
		return fmt.Errorf("%w: it is not sealed, and the one that this directory was last served with was: restore a backup (waxseal restore FILE; it takes those of earlier versions, too). Had you gone back to an earlier version, remove %s", state.ErrNotAuthentic, d.fingerprint())
	}
	return rootkey.CheckRing(ctx, s, secret.Sealer("service-keys"))
}

// notNew refuses --new-state where there is a state: left in a unit file, the flag would make the next loss a silent one.
func (d dataDir) notNew() error {
	if marked, err := hasContent(d.firstStart()); marked || err != nil {
		return err
	}
	return fmt.Errorf("--new-state: %s is there: take the flag away (or WAXSEAL_NEW_STATE); to begin anew, move the file aside first", d.state())
}

// otherSecret adds to an error of a state that does not open under the root secret at hand which secrets they are.
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
