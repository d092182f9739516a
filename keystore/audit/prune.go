package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// PruneOptions limit the removal of closed files: it takes the oldest files, up to the first file to keep.
type PruneOptions struct {
	Before time.Time // keeps a file unless its last record is older
	Below  uint64    // keeps a file unless its number is less; 0: no such limit
}

// Pruned is the result of Prune.
type Pruned struct {
	Files   int    `json:"files"`
	Through uint64 `json:"through,omitempty"` // number of the last removed file
}

// ErrNoChain is returned by Prune where files have no digests.
var ErrNoChain = errors.New("audit: the records have no digests")

// Prune removes old files and their digests. First it signs a mark, so that Verify knows that the operator removed
// them. A crash in between leaves files for the next Prune to remove.
func (s *FileSink) Prune(ctx context.Context, o PruneOptions) (Pruned, error) {
	if s.chain == nil {
		return Pruned{}, ErrNoChain
	}
	s.pruning.Lock()
	defer s.pruning.Unlock()
	head, err := s.headNow()
	if err != nil {
		return Pruned{}, err
	}
	links, err := s.chain.linksOf(head.Chain)
	if err != nil {
		return Pruned{}, err
	}
	mark, err := prunable(links, head, o)
	if err != nil || mark.File == 0 {
		return Pruned{}, err
	}
	if err := s.markPruned(ctx, mark); err != nil {
		return Pruned{}, err
	}
	n, err := s.chain.removePruned(links, mark)
	return Pruned{Files: n, Through: mark.File}, err
}

// headNow returns the newest link, after pending digests are in the directory. The links up to it change no more.
func (s *FileSink) headNow() (Head, error) {
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.closed {
		return Head{}, ErrClosed
	}
	err := s.ready()
	return s.chain.head, err
}

func (s *FileSink) markPruned(ctx context.Context, mark PruneMark) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.ready(); err != nil {
		return err
	}
	if err := s.chain.add(ctx, Digest{Kind: KindPruned, Pruned: &mark}); err != nil {
		return err
	}
	return s.chain.retry(ctx)
}

// linksOf reads the links in the directory, in order.
func (c *chain) linksOf(id string) ([]link, error) {
	here, err := digestsIn(c.dir)
	if err != nil {
		return nil, err
	}
	var links []link
	for _, sequence := range here[id] {
		l, err := readLink(c.dir, id, sequence, c.reg.keys)
		if err != nil {
			return nil, fmt.Errorf("audit: digest %d %w: nothing is removed, waxseal audit verify says more", sequence, err)
		}
		links = append(links, l)
	}
	return links, nil
}

// prunable finds the last link before the first file to keep. Links under an earlier mark need not be whole: a crash
// left them.
func prunable(links []link, head Head, o PruneOptions) (PruneMark, error) {
	var earlier, mark PruneMark
	for _, l := range links {
		if l.Pruned != nil {
			earlier = *l.Pruned
		}
	}
	last := link{Digest{Sequence: earlier.Through}, earlier.Hash}
	for _, l := range links {
		if l.Sequence > earlier.Through {
			if l.Sequence != last.Sequence+1 || l.Previous != last.hash {
				return mark, fmt.Errorf("audit: digest %d does not follow digest %d: nothing is removed, waxseal audit verify says more", l.Sequence, last.Sequence)
			}
			last = l
		}
		if l.File != nil && !o.covers(l.File) || l.Sequence > head.Sequence {
			return mark, nil
		}
		mark.Through, mark.Hash = l.Sequence, l.hash
		if l.File != nil {
			mark.File = l.File.Number
		}
	}
	return mark, nil
}

func (o PruneOptions) covers(f *FileDigest) bool {
	return f.Last.Before(o.Before) && (o.Below == 0 || f.Number < o.Below)
}

// removePruned removes the files and digests under a mark. The files are durably removed before the first digest goes:
// a file without a digest counts as added by somebody else.
func (c *chain) removePruned(links []link, mark PruneMark) (files int, err error) {
	for _, l := range links {
		if l.File == nil || l.Sequence > mark.Through {
			continue
		}
		if err := c.remove(l.File.Name); err != nil {
			return files, err
		}
		files++
	}
	if err := syncDir(c.dir); err != nil {
		return files, fmt.Errorf("audit: %w", err)
	}
	for _, l := range links {
		if l.Sequence > mark.Through {
			break
		}
		if err := c.remove(digestName(l.Chain, l.Sequence)); err != nil {
			return files, err
		}
	}
	if err := syncDir(c.dir); err != nil {
		return files, fmt.Errorf("audit: %w", err)
	}
	return files, nil
}

// remove removes a file; a missing file is no error.
func (c *chain) remove(name string) error {
	err := os.Remove(filepath.Join(c.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("audit: %w", err)
	}
	return c.at("remove")
}
