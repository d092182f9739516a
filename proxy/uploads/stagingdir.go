package uploads

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"waxseal/keystore/state"
)

// stagingDir is staging in the directory of a process that is alone.
type stagingDir struct {
	held  *Space
	state state.Store
	now   func() time.Time
}

func (d *stagingDir) Stage(_ context.Context, p *Part, src io.Reader) (err error) {
	p.StagedCRC, err = d.held.put(p.Staged, src, p.Sealed)
	return err
}

// record needs no intent: the directory is this process's alone, and the sweeper waits for an hour.
func (d *stagingDir) record(*Part) ([]state.Cond, []state.Op) { return nil, nil }

func (d *stagingDir) Open(_ context.Context, p *Part) (io.ReadCloser, error) { return d.held.open(p) }
func (d *stagingDir) Abandon(p *Part)                                        { d.held.remove(p) }
func (d *stagingDir) remove(parts ...*Part)                                  { d.held.remove(parts...) }

// Sweep removes files that no record names: what a crash left between writing one and recording it.
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

// sweepUpload removes those files of one upload that its records do not name.
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

// cutStagedName takes the upload's name from that of a staged part.
func cutStagedName(name string) (upload, rest string, ok bool) { return strings.Cut(name, "-") }
