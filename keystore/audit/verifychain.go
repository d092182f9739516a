package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// walk is the verification of a single chain.
type walk struct {
	v          *verification
	id         string
	head       Head // in the state
	registered bool

	links  map[uint64]link
	bad    map[uint64]bool   // sequences with an invalid digest
	hashes map[uint64]string // of digests, including absent digests with a hash in the next link or in a mark
	pruned PruneMark         // the latest
	last   uint64            // the greatest expected sequence
	tip    Head              // the newest link here
}

func (w *walk) find(r Result, sequence uint64, file, text string) {
	w.v.find(Finding{Result: r, Chain: w.id, Sequence: sequence, File: file, Text: text})
}

// run checks the links here against the expected sequences.
func (w *walk) run(sequences []uint64) error {
	w.links, w.bad, w.hashes = make(map[uint64]link), make(map[uint64]bool), make(map[uint64]string)
	w.last, w.tip = w.head.Sequence, Head{Chain: w.id, Directory: w.head.Directory}
	for _, sequence := range sequences {
		if err := w.read(sequence); err != nil {
			return err
		}
	}
	if w.pruned.Through > 0 {
		w.hashes[w.pruned.Through] = w.pruned.Hash
		w.find(WasPruned, w.pruned.Through, "", fmt.Sprintf("files up to number %d were removed by the operator", w.pruned.File))
	}
	for _, sequence := range sequences {
		if sequence <= w.pruned.Through {
			w.check(sequence) // left by an interrupted prune
		}
	}
	for sequence := w.pruned.Through + 1; sequence <= w.last; sequence++ {
		if len(w.v.report.Findings) > maxFindings {
			return fmt.Errorf("audit: more than %d findings: this is not a directory of records", maxFindings)
		}
		w.check(sequence)
	}
	w.checkHead()
	return nil
}

// maxFindings bounds a report: a sequence in a name can be any number.
const maxFindings = 100_000

// read reads a digest. An invalid digest becomes a finding, and counts as absent.
func (w *walk) read(sequence uint64) error {
	l, err := readLink(w.v.dir, w.id, sequence, w.v.trust.Keys)
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return fmt.Errorf("audit: %w", err)
	}
	if err != nil {
		w.bad[sequence] = true
		w.find(Edited, sequence, digestName(w.id, sequence), err.Error())
		return nil
	}
	w.links[sequence], w.hashes[sequence] = l, l.hash
	w.last, w.tip = max(w.last, sequence), w.tip.after(l)
	w.v.report.Digests++
	if l.Pruned != nil && l.Pruned.Through > w.pruned.Through {
		w.pruned = *l.Pruned
	}
	for _, h := range l.Absent {
		w.v.absent[h.Chain] = true
	}
	return nil
}

// check checks a link, its place in the chain, and its file.
func (w *walk) check(sequence uint64) {
	l, ok := w.links[sequence]
	if !ok {
		if !w.bad[sequence] {
			w.find(Missing, sequence, digestName(w.id, sequence), "a digest of the chain is not here")
		}
		return
	}
	if before, known := w.hashes[sequence-1]; known && before != l.Previous || sequence == 1 && l.Previous != "" {
		w.find(Edited, sequence, digestName(w.id, sequence), "does not follow the digest before")
	}
	switch {
	case l.File != nil:
		w.v.named[l.File.Name] = true
		w.checkFile(l)
	case l.Kind == KindMended:
		w.find(Edited, sequence, "", "a start found: "+l.Text)
	case l.Kind == KindRestored:
		w.find(Restored, sequence, "", "a backup of the state was restored before "+l.Time.UTC().Format(timeFormat))
	}
}

// checkFile compares a file with its digest.
func (w *walk) checkFile(l link) {
	d := l.File
	t, err := tallyOf(filepath.Join(w.v.dir, d.Name))
	switch {
	case errors.Is(err, fs.ErrNotExist) && l.Sequence <= w.pruned.Through:
		return
	case errors.Is(err, fs.ErrNotExist):
		w.find(Missing, l.Sequence, d.Name, fmt.Sprintf("the file of %d records is not here", d.Records))
		return
	case err != nil:
		w.find(Edited, l.Sequence, d.Name, "cannot be read: "+err.Error())
		return
	case t.size != d.Size || t.hash() != d.SHA256:
		w.find(Edited, l.Sequence, d.Name, fmt.Sprintf("the file has %d records, %d bytes, and its digest is of other %d records, %d bytes", t.records, t.size, d.Records, d.Size))
		return
	}
	w.v.report.Files++
	w.v.report.Records += t.records
	switch d.Found {
	case FoundAfterClose:
		w.find(Added, l.Sequence, d.Name, "came after the chain was closed: no process of this waxseal wrote it")
	case FoundUnclosed:
		w.find(Unclosed, l.Sequence, d.Name, fmt.Sprintf("its first %d bytes were left by a process that ended without closing, and are attested from the next start on", d.FoundSize))
	case FoundBeforeChain:
		w.find(Unclosed, l.Sequence, d.Name, fmt.Sprintf("its first %d bytes are older than the chain, and are attested from its beginning on", d.FoundSize))
	}
}

// checkHead compares the newest digest with the head in the state.
func (w *walk) checkHead() {
	hash, known := w.hashes[w.head.Sequence]
	if known && hash != w.head.Hash {
		w.find(Edited, w.head.Sequence, digestName(w.id, w.head.Sequence), "is another than the newest that the state knows")
	}
	w.v.report.Heads = append(w.v.report.Heads, w.tip)
	if w.registered && w.v.trust.Tail == nil && !w.closed() {
		w.find(Unclosed, w.tip.Sequence, "", "the process ended without closing the chain")
	}
}

// closed reports whether no record is written before the next start. If the head in the state is open, and not older
// than the newest link, then a process has started since.
func (w *walk) closed() bool {
	return w.registered && w.tip.Closed && (w.head.Closed || w.tip.Sequence > w.head.Sequence)
}
