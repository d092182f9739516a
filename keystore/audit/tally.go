package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// tally collects the contents of a file's digest while the file is written. So the digest covers the writer's own
// bytes, even if somebody changes the file later.
type tally struct {
	sum         hash.Hash
	size        int64
	records     int
	first, last Time

	found     Found
	foundSize int64
}

func newTally() *tally { return &tally{sum: sha256.New()} }

// add counts whole lines.
func (t *tally) add(lines []byte, records int, first, last Time) {
	t.sum.Write(lines)
	t.size += int64(len(lines))
	if t.records == 0 {
		t.first = first
	}
	t.records, t.last = t.records+records, last
}

func (t *tally) hash() string { return hex.EncodeToString(t.sum.Sum(nil)) }

// digest returns the link for a file closed under a name.
func (t *tally) digest(number uint64, name string) Digest {
	return Digest{Kind: KindFile, File: &FileDigest{
		Number: number, Name: name, Size: t.size, Records: t.records, SHA256: t.hash(), First: t.first, Last: t.last,
		Found: t.found, FoundSize: t.foundSize,
	}}
}

// tallyOf counts the bytes of a file, including a partial last line.
func tallyOf(path string) (*tally, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	t, err := tallyFrom(f)
	return t, errors.Join(err, f.Close())
}

func tallyFrom(r io.Reader) (*tally, error) {
	t := newTally()
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			at, records := timeOf(line), 0
			if bytes.HasSuffix(line, []byte("\n")) {
				records = 1
			}
			t.add(line, records, at, at)
		}
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
	}
}

// timeOf returns the eventTime of a line, or zero if the line is no record: a digest attests the bytes of a file,
// records or not.
func timeOf(line []byte) Time {
	var r struct {
		EventTime Time `json:"eventTime"`
	}
	if json.Unmarshal(line, &r) != nil {
		return Time{}
	}
	return r.EventTime
}

// writeFile writes a file durably and as a whole; it replaces an earlier file of this name.
func writeFile(dir, name string, content []byte) error {
	to := filepath.Join(dir, name)
	f, err := os.OpenFile(to+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}
