package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Newest returns the newest records of a FileSink's directory that the filter picks, at most limit, newest first. It
// reads the files from the newest to the oldest and stops at the first file that ended before f.Since. When ctx ends
// Newest returns what it has found; complete reports whether there is no other record to find.
func Newest(ctx context.Context, dir string, f Filter, limit int) (found []Record, complete bool, err error) {
	files, err := newestFiles(dir)
	if err != nil {
		return nil, false, err
	}
	for _, path := range files {
		older, err := newestOf(ctx, path, f, limit, &found)
		switch {
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
			return found, false, nil
		case err != nil:
			return nil, false, err
		case len(found) == limit:
			return found, false, nil
		case older:
			return found, true, nil
		}
	}
	return found, true, nil
}

// newestFiles lists the files of records, the current file first.
func newestFiles(dir string) ([]string, error) {
	closed, err := closedFiles(dir)
	if err != nil {
		return nil, err
	}
	paths := []string{filepath.Join(dir, currentName)}
	for _, c := range slices.Backward(closed) {
		paths = append(paths, c.path)
	}
	return paths, nil
}

// newestOf adds a file's records to found. older reports whether every record of the file is older than f.Since.
func newestOf(ctx context.Context, path string, f Filter, limit int, found *[]Record) (older bool, err error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) { // the current file, closed meanwhile; or a pruned file
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("audit: %w", err)
	}
	defer file.Close()
	var picked []Record
	var last time.Time
	err = eachLine(file, func(number int, line []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			return fmt.Errorf("audit: %s, line %d: %w", file.Name(), number, err)
		}
		if r.EventTime.After(last) {
			last = r.EventTime.Time
		}
		if f.Match(&r) {
			if picked = append(picked, r); len(picked) > 2*limit { // the older half cannot be among the newest
				picked = slices.Delete(picked, 0, len(picked)-limit)
			}
		}
		return nil
	})
	for _, r := range slices.Backward(picked) {
		if len(*found) < limit {
			*found = append(*found, r)
		}
	}
	return !last.IsZero() && last.Before(f.Since), err
}
