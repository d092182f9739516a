package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Position is a place between two records of closed files: after all files before File, and after Offset bytes of File.
type Position struct {
	File   uint64 `json:"file"`
	Offset int64  `json:"offset"`
}

// ChainOf returns the name of a directory's chain. It tells the directories of several processes apart.
func ChainOf(dir string) (string, error) {
	id, err := readChainID(dir)
	if err != nil {
		return "", fmt.Errorf("audit: %s: %w", filepath.Join(dir, chainName), err)
	}
	return id, nil
}

// ReadClosed calls fn with each record of the closed files from a position on, and with the position behind it. A line
// that is no record is passed as nil: a digest attests bytes of any kind. ReadClosed returns the position behind the
// last line.
func ReadClosed(dir string, from Position, fn func(*Record, Position) error) (Position, error) {
	files, err := closedFiles(dir)
	if err != nil {
		return from, err
	}
	for _, f := range files {
		if f.number < from.File {
			continue
		}
		if f.number > from.File {
			from = Position{File: f.number}
		}
		if from, err = readFrom(f.path, from, fn); err != nil {
			return from, err
		}
		from = Position{File: f.number + 1}
	}
	return from, nil
}

// ReadAll calls fn with each record from a position on, including the records of the current file.
func ReadAll(dir string, from Position, fn func(*Record) error) error {
	// The current file is opened first, so that a file closed meanwhile is read once, not missed.
	current, err := os.Open(filepath.Join(dir, currentName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("audit: %w", err)
	}
	if current != nil {
		defer current.Close()
	}
	files, err := closedFiles(dir)
	if err != nil {
		return err
	}
	each := func(r *Record, _ Position) error { return fn(r) }
	for _, f := range files {
		if f.number < from.File {
			continue
		}
		if f.number > from.File {
			from = Position{File: f.number}
		}
		same, err := isSame(f.path, current)
		if err != nil {
			return err
		}
		if same {
			break // it was current when this began, so there is none behind it
		}
		if _, err := readFrom(f.path, from, each); err != nil {
			return err
		}
	}
	if current == nil {
		return nil
	}
	_, err = readRecordsFrom(current, Position{}, each)
	return err
}

func isSame(path string, current *os.File) (bool, error) {
	if current == nil {
		return false, nil
	}
	a, errA := os.Stat(path)
	b, errB := current.Stat()
	if err := errors.Join(errA, errB); err != nil {
		return false, fmt.Errorf("audit: %w", err)
	}
	return os.SameFile(a, b), nil
}

func readFrom(path string, from Position, fn func(*Record, Position) error) (Position, error) {
	f, err := os.Open(path)
	if err != nil {
		return from, fmt.Errorf("audit: %w", err)
	}
	defer f.Close()
	return readRecordsFrom(f, from, fn)
}

func readRecordsFrom(f *os.File, from Position, fn func(*Record, Position) error) (Position, error) {
	if _, err := f.Seek(from.Offset, io.SeekStart); err != nil {
		return from, fmt.Errorf("audit: %w", err)
	}
	err := eachLine(f, func(_ int, line []byte) error {
		from.Offset += int64(len(line)) + 1
		r := new(Record)
		if json.Unmarshal(line, r) != nil {
			r = nil
		}
		return fn(r, from)
	})
	return from, err
}
