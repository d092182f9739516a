package audit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// chainName is the file with the id of the chain of a directory of records.
const chainName = "chain.json"

// registerTimeout bounds a single read or change of the state.
const registerTimeout = 5 * time.Second

// chain is the chain of digests written by a FileSink.
type chain struct {
	dir    string
	reg    *Register
	now    func() time.Time
	report func(error)        // for errors that do not stop records
	fault  func(string) error // for tests: ends the process at a step

	head   Head // the newest link in the directory
	behind bool // the state does not know head yet
}

// chainID is the content of chainName.
type chainID struct {
	Chain string `json:"chain"`
}

// openChain continues the chain of a directory, or begins a chain. found is the origin of the records without a digest
// in the directory.
func openChain(ctx context.Context, dir string, o FileOptions) (c *chain, found Found, err error) {
	c = &chain{dir: dir, reg: o.Register, now: o.Now, report: o.Report, fault: o.fault}
	heads, err := c.reg.Heads(ctx)
	if err != nil {
		return nil, "", err
	}
	mended, err := c.findHead(heads)
	if err != nil {
		return nil, "", err
	}
	found = FoundUnclosed
	switch {
	case c.head.Chain == "":
		found, c.head.Chain = FoundBeforeChain, newChainID()
		if c.head.Before, err = lastNumber(dir); err != nil {
			return nil, "", err
		}
	case c.head.Closed:
		found = FoundAfterClose
	}
	c.head.Closed, c.head.Directory = false, directoryName(dir)
	// The directory names its chain before the state does: so a chain known to the state alone has been removed here.
	if found == FoundBeforeChain || mended != "" {
		if err := c.writeID(); err != nil {
			return nil, "", err
		}
	}
	if err := c.publish(ctx); err != nil {
		return nil, "", err
	}
	if mended != "" {
		if err := c.add(ctx, Digest{Kind: KindMended, Text: mended}); err != nil {
			return nil, "", err
		}
	}
	if err := c.signRestore(ctx, heads); err != nil {
		return nil, "", err
	}
	return c, found, c.takeIn(ctx, found)
}

func newChainID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// directoryName returns a name unique across machines: host and path.
func directoryName(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	host, err := os.Hostname()
	if err != nil {
		return dir
	}
	return host + ":" + dir
}

// findHead finds the chain of the directory and its newest link. head stays empty if a chain begins. mended is the
// fault found in chainName, if any.
func (c *chain) findHead(heads []Head) (mended string, err error) {
	here, err := digestsIn(c.dir)
	if err != nil {
		return "", err
	}
	id, err := readChainID(c.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		mended = chainName + " was missing"
	case err != nil:
		mended = err.Error()
	}
	var latest Head
	for _, h := range heads {
		if h.Chain == id {
			c.head = h
			return "", c.extend()
		}
		if len(here[h.Chain]) > 0 && h.Updated.After(latest.Updated.Time) {
			latest = h
		}
	}
	if mended == "" && len(here[id]) > 0 {
		// A backup from before the chain was registered has been restored.
		c.head = Head{Chain: id}
		if err := c.extend(); err != nil || c.head.Sequence > 0 {
			return "", err
		}
	}
	c.head = latest
	if latest.Chain == "" {
		return "", nil
	}
	if mended == "" {
		mended = chainName + " named a chain that is not registered: " + id
	}
	return mended, c.extend()
}

func readChainID(dir string) (string, error) {
	content, err := os.ReadFile(filepath.Join(dir, chainName))
	if err != nil {
		return "", err
	}
	var id chainID
	if err := json.Unmarshal(content, &id); err != nil || id.Chain == "" {
		return "", errors.New(chainName + " did not name a chain")
	}
	return id.Chain, nil
}

func (c *chain) writeID() error {
	content, err := json.Marshal(chainID{c.head.Chain})
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return writeFile(c.dir, chainName, append(content, '\n'))
}

// extend adds the links after the head in the directory: a crash came before the state knew of them, or an older state
// was restored. They are as trustworthy as the head, because each is signed and names the link before.
func (c *chain) extend() error {
	for {
		l, err := readLink(c.dir, c.head.Chain, c.head.Sequence+1, c.reg.keys)
		var damage *fs.PathError
		if errors.As(err, &damage) && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("audit: %w", err)
		}
		if err != nil || l.Previous != c.head.Hash {
			return nil
		}
		c.head = c.head.after(l)
	}
}

// after returns the head with l as the newest link.
func (h Head) after(l link) Head {
	h.Sequence, h.Hash, h.Closed, h.Updated = l.Sequence, l.hash, l.Kind == KindClosed, l.Time
	if l.File != nil {
		h.File = max(h.File, l.File.Number)
	}
	return h
}

// signRestore signs the fact that the state is a backup's, with the chains whose directories are absent.
func (c *chain) signRestore(ctx context.Context, heads []Head) error {
	restored, err := c.reg.restored(ctx)
	if err != nil || !restored {
		return err
	}
	here, err := digestsIn(c.dir)
	if err != nil {
		return err
	}
	d := Digest{Kind: KindRestored}
	for _, h := range heads {
		if h.Chain != c.head.Chain && len(here[h.Chain]) == 0 {
			d.Absent = append(d.Absent, h)
		}
	}
	if err := c.add(ctx, d); err != nil {
		return err
	}
	return c.reg.restoreSigned(ctx)
}

// lastNumber returns the greatest number of a closed file; 0: there is none.
func lastNumber(dir string) (uint64, error) {
	files, err := closedFiles(dir)
	if err != nil || len(files) == 0 {
		return 0, err
	}
	return files[len(files)-1].number, nil
}

// takeIn signs digests of closed files without a digest, with the files' origin.
func (c *chain) takeIn(ctx context.Context, found Found) error {
	files, err := closedFiles(c.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.number <= c.head.File {
			continue
		}
		t, err := tallyOf(f.path)
		if err != nil {
			return err
		}
		t.found, t.foundSize = c.head.origin(f.number, found), t.size
		if t.found == FoundUnclosed {
			found = FoundAfterClose
		}
		if err := c.add(ctx, t.digest(f.number, filepath.Base(f.path))); err != nil {
			return err
		}
	}
	return nil
}

// origin returns the origin of a closed file without a digest. An interrupted rotation leaves a single file, the next
// after the newest; any other file was added by somebody else.
func (h Head) origin(number uint64, found Found) Found {
	switch {
	case number <= h.Before:
		return FoundBeforeChain
	case found == FoundUnclosed && number == max(h.File, h.Before)+1:
		return FoundUnclosed
	}
	return FoundAfterClose
}

// add signs the next link, writes it to the directory, and makes it the head in the state. An unreachable state does
// not stop records: the head is published with the next link, or by retry.
func (c *chain) add(ctx context.Context, d Digest) error {
	d.Chain, d.Sequence, d.Previous, d.Time = c.head.Chain, c.head.Sequence+1, c.head.Hash, At(c.now())
	content, hash, err := d.sign(c.reg.key)
	if err == nil {
		err = c.at("sign")
	}
	if err == nil {
		err = writeFile(c.dir, digestName(d.Chain, d.Sequence), content)
	}
	if err != nil {
		return err
	}
	c.head, c.behind = c.head.after(link{d, hash}), true
	if err := c.at("place"); err != nil {
		return err
	}
	if err := c.publish(ctx); err != nil {
		c.report(fmt.Errorf("the state does not know the newest digest of the audit records: %w", err))
		return nil
	}
	return c.at("publish")
}

// publish writes the head to the state.
func (c *chain) publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	err := c.reg.publish(ctx, c.head)
	c.behind = err != nil
	return err
}

// retry publishes the head if its first publication failed.
func (c *chain) retry(ctx context.Context) error {
	if !c.behind {
		return nil
	}
	return c.publish(ctx)
}

// at lets a test end the process at a step.
func (c *chain) at(step string) error {
	if c.fault == nil {
		return nil
	}
	return c.fault(step)
}

// close ends the chain until the next start.
func (c *chain) close(ctx context.Context) error {
	if err := c.add(ctx, Digest{Kind: KindClosed}); err != nil {
		return err
	}
	return c.retry(ctx)
}
