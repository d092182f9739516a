package audit

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Trust is knowledge of Verify from outside the directory.
type Trust struct {
	Keys    map[string]ed25519.PublicKey `json:"keys"`    // by KeyID
	Heads   []Head                       `json:"heads"`   // of the state
	State   bool                         `json:"state"`   // the state is at hand: a chain without a head is not this waxseal's
	Shared  bool                         `json:"shared"`  // several processes share the state, each with a directory of its own
	Tail    *Tail                        `json:"tail"`    // from the process at work on the directory; nil: there is none
	Anchors []Head                       `json:"anchors"` // heads written down outside, earlier
}

// Tail describes the current file of a directory, from the writing process itself.
type Tail struct {
	Number uint64 `json:"number"` // the number of the file after its close
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // of the first Size bytes
}

// Result is the verdict of Verify on a file or digest.
type Result string

// Results. The first three mean that somebody has tampered with records; all other results are no alarm.
const (
	Edited    Result = "edited"
	Missing   Result = "missing"
	Added     Result = "added"
	WasPruned Result = "pruned"    // an operator had files removed, and a signed mark says so
	Restored  Result = "restored"  // the state is a backup's, and a signed mark says so
	OpenTail  Result = "open tail" // records without a digest so far
	Unclosed  Result = "unclosed"  // a process ended without closing: its last records are attested from the next start on
	Elsewhere Result = "elsewhere" // another process keeps this chain
)

// Alarm reports whether a result is a sign of tampering.
func (r Result) Alarm() bool { return r == Edited || r == Missing || r == Added }

// Finding is a single result, with its subject.
type Finding struct {
	Result   Result `json:"result"`
	Chain    string `json:"chain,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
	File     string `json:"file,omitempty"`
	Text     string `json:"text"`
}

// Report is the outcome of a verification.
type Report struct {
	Findings []Finding `json:"findings"` // alarms first
	Digests  int       `json:"digests"`  // valid digests
	Files    int       `json:"files"`    // files that match their digest
	Records  int       `json:"records"`  // in these files
	Heads    []Head    `json:"heads"`    // newest digests here: anchors to write down outside
}

// Tampered reports whether there is an alarm.
func (r *Report) Tampered() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Result.Alarm() })
}

// Trust returns the register's keys and heads.
func (r *Register) Trust(ctx context.Context) (Trust, error) {
	heads, err := r.Heads(ctx)
	return Trust{Keys: r.keys, Heads: heads, State: true}, err
}

// Tail returns the sink's tally of its current file.
func (s *FileSink) Tail() Tail {
	s.commit.Lock()
	defer s.commit.Unlock()
	return Tail{Number: s.next, Size: s.tally.size, SHA256: s.tally.hash()}
}

// Head returns the newest link of the sink's chain; a zero Head where it has none.
func (s *FileSink) Head() Head {
	s.commit.Lock()
	defer s.commit.Unlock()
	if s.chain == nil {
		return Head{}
	}
	return s.chain.head
}

// Verify checks the records of a directory against the digests, the digests against their signatures and each other,
// and the newest digest against the head in the state.
func Verify(dir string, trust Trust) (*Report, error) {
	v := &verification{dir: dir, trust: trust, named: make(map[string]bool), absent: make(map[string]bool)}
	for _, step := range []func() error{v.chains, v.otherFiles, v.current, v.chainFile, v.gone} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	v.anchors()
	slices.SortStableFunc(v.report.Findings, func(a, b Finding) int {
		return cmp.Compare(boolToInt(b.Result.Alarm()), boolToInt(a.Result.Alarm()))
	})
	return &v.report, nil
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// verification is a Verify under way.
type verification struct {
	dir    string
	trust  Trust
	report Report

	walks  []*walk
	named  map[string]bool // files named by a digest
	absent map[string]bool // chains absent according to a signed restore
}

func (v *verification) find(f Finding) { v.report.Findings = append(v.report.Findings, f) }

// head returns the head of a chain in the state.
func (v *verification) head(chain string) (Head, bool) {
	i := slices.IndexFunc(v.trust.Heads, func(h Head) bool { return h.Chain == chain })
	if i < 0 {
		return Head{Chain: chain}, false
	}
	return v.trust.Heads[i], true
}

// chains walks every chain with digests here.
func (v *verification) chains() error {
	here, err := digestsIn(v.dir)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(here)) {
		w := &walk{v: v, id: id}
		if w.head, w.registered = v.head(id); !w.registered && v.trust.State {
			v.find(Finding{Result: Added, Chain: id, Text: "the state does not know this chain"})
		}
		if err := w.run(here[id]); err != nil {
			return err
		}
		v.walks = append(v.walks, w)
	}
	return nil
}

// otherFiles judges the closed files without a digest.
func (v *verification) otherFiles() error {
	files, err := closedFiles(v.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := filepath.Base(f.path)
		switch {
		case v.named[name]:
		case v.mayBeOpen(f.number):
			v.find(Finding{Result: OpenTail, File: name, Text: "is closed and has no digest yet"})
		default:
			v.find(Finding{Result: Added, File: name, Text: "no digest names this file"})
		}
	}
	return nil
}

// mayBeOpen reports whether a file of this number may belong to a rotation under way, or to an interrupted rotation.
func (v *verification) mayBeOpen(number uint64) bool {
	if v.trust.State && len(v.trust.Heads) == 0 {
		return true // written before there were digests
	}
	newest, closed := v.newest()
	return !closed && number > newest.File && newest.origin(number, FoundUnclosed) != FoundAfterClose
}

// newest returns the head of the directory's own chain, and whether the chain is closed.
func (v *verification) newest() (h Head, closed bool) {
	id, err := readChainID(v.dir)
	if err != nil {
		return h, false
	}
	h, _ = v.head(id)
	for _, w := range v.walks {
		if w.id == id {
			h.File = max(h.File, w.tip.File)
			return h, w.closed() && v.trust.Tail == nil
		}
	}
	return h, h.Closed
}

// current judges the current file.
func (v *verification) current() error {
	f, err := os.Open(filepath.Join(v.dir, currentName))
	if errors.Is(err, fs.ErrNotExist) {
		if v.trust.Tail != nil {
			v.find(Finding{Result: Missing, File: currentName, Text: "a process writes this file"})
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	defer f.Close()
	if v.trust.Tail != nil {
		return v.liveTail(f)
	}
	t, err := tallyFrom(f)
	if err != nil || t.size == 0 {
		return err
	}
	if _, closed := v.newest(); closed {
		v.find(Finding{Result: Added, File: currentName, Text: fmt.Sprintf("%d bytes came after the chain was closed", t.size)})
		return nil
	}
	v.find(Finding{Result: OpenTail, File: currentName, Text: fmt.Sprintf("%d records that no digest attests yet; no process writes them: the last ended without closing", t.records)})
	return nil
}

// liveTail compares the current file with the tally of its writer.
func (v *verification) liveTail(f *os.File) error {
	known := v.trust.Tail
	t, err := tallyFrom(io.NewSectionReader(f, 0, known.Size))
	if err != nil {
		return err
	}
	if t.size != known.Size || t.hash() != known.SHA256 {
		v.find(Finding{Result: Edited, File: currentName, Text: "is not what the process that writes it has written"})
		return nil
	}
	v.report.Records += t.records
	return nil
}

// chainFile checks the file that names the directory's chain.
func (v *verification) chainFile() error {
	if len(v.walks) == 0 && len(v.trust.Heads) == 0 {
		return nil
	}
	id, err := readChainID(v.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.find(Finding{Result: Missing, File: chainName, Text: "nothing says which chain this directory belongs to"})
	case err != nil:
		v.find(Finding{Result: Edited, File: chainName, Text: err.Error()})
	default:
		_, registered := v.head(id)
		walked := slices.ContainsFunc(v.walks, func(w *walk) bool { return w.id == id })
		if !walked && len(v.walks) > 0 || v.trust.State && !registered {
			v.find(Finding{Result: Edited, File: chainName, Text: "names a chain that is not this directory's: " + id})
		}
	}
	return nil
}

// gone looks for chains of the state without digests here.
func (v *verification) gone() error {
	own, err := readChainID(v.dir)
	if err != nil {
		own = ""
	}
	for _, h := range v.trust.Heads {
		if slices.ContainsFunc(v.walks, func(w *walk) bool { return w.id == h.Chain }) || h.Chain == own && h.Sequence == 0 {
			continue
		}
		f := Finding{Chain: h.Chain, Sequence: h.Sequence}
		switch {
		case v.absent[h.Chain]:
			f.Result, f.Text = Restored, "its directory was gone when a backup was restored: "+h.Directory
		case v.trust.Shared && h.Directory != directoryName(v.dir):
			f.Result, f.Text = Elsewhere, fmt.Sprintf("is kept in %s, newest digest of %s, closed: %t", h.Directory, h.Updated.UTC().Format(timeFormat), h.Closed)
		default:
			f.Result, f.Text = Missing, "the state knows this chain, and no digest of it is here; it was written in "+h.Directory
		}
		v.find(f)
	}
	return nil
}

// anchors compares the chains with heads written down earlier.
func (v *verification) anchors() {
	for _, a := range v.trust.Anchors {
		f := Finding{Result: Missing, Chain: a.Chain, Sequence: a.Sequence, Text: "this digest was written down outside, and is not here"}
		for _, w := range v.walks {
			if w.id != a.Chain {
				continue
			}
			hash, known := w.hashes[a.Sequence]
			switch {
			case known && hash == a.Hash, a.Sequence <= w.pruned.Through && !known:
				f.Result = ""
			case known:
				f.Result, f.Text = Edited, "this digest is another than the one that was written down outside"
			}
		}
		if f.Result != "" {
			v.find(f)
		}
	}
}
