package uploads

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"waxseal/keystore/state"
)

// stagingDir stages parts in a directory, for a single process.
type stagingDir struct {
	held  *Space
	state state.Store
	now   func() time.Time
}

func (d *stagingDir) Stage(_ context.Context, p *Part, src io.Reader) (err error) {
	p.StagedCRC, err = d.held.put(p.Staged, src, p.Sealed)
	return err
}

// record returns nothing: the directory belongs to this process alone, so no intent is needed, and the sweeper waits
// for heldOrphan.
func (d *stagingDir) record(*Part) ([]state.Cond, []state.Op) { return nil, nil }

func (d *stagingDir) Open(_ context.Context, p *Part) (io.ReadCloser, error) { return d.held.open(p) }
func (d *stagingDir) Abandon(p *Part)                                        { d.held.remove(p) }
func (d *stagingDir) remove(parts ...*Part)                                  { d.held.remove(parts...) }

// Sweep removes files without a record: a crash came between writing the file and recording the part.
func (d *stagingDir) Sweep(ctx context.Context) error {
	var left []string
	now := d.now()
	err := d.held.scan(func(name string, _ int64, modified time.Time) {
		if now.Sub(modified) > heldOrphan {
			left = append(left, name)
		}
	})
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	for _, name := range left {
		of, _, _ := cutStagedName(name)
		if !known[of] {
			known[of] = true
			if err := d.sweepUpload(ctx, of, left); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepUpload removes the files of an upload that its records do not name.
func (d *stagingDir) sweepUpload(ctx context.Context, upload string, files []string) error {
	entries, err := d.state.Range(ctx, PartPrefix+upload+"/", "", 0)
	if err != nil {
		return err
	}
	named := make(map[string]bool)
	for _, e := range entries {
		p, err := decodePart(e)
		if err != nil {
			return fmt.Errorf("what is staged of upload %s stays: %w", upload, err)
		}
		named[p.Staged+heldSuffix] = true
	}
	for _, name := range files {
		if strings.HasPrefix(name, upload+"-") && !named[name] {
			d.held.removeFile(name)
		}
	}
	return nil
}

// cutStagedName splits the name of a staged part after the upload's name.
func cutStagedName(name string) (upload, rest string, ok bool) { return strings.Cut(name, "-") }
