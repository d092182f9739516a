package audit

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// closedFile is a file that does not change any more.
type closedFile struct {
	number uint64
	path   string
}

func closedName(number uint64, now time.Time) string {
	return fmt.Sprintf("%012d-%s.jsonl", number, now.UTC().Format("20060102T150405Z"))
}

// closedFiles lists the closed files of a directory by number.
func closedFiles(dir string) ([]closedFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	var files []closedFile
	for _, e := range entries {
		digits, rest, ok := strings.Cut(e.Name(), "-")
		if !ok || len(digits) != 12 || !strings.HasSuffix(rest, ".jsonl") {
			continue
		}
		number, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			continue // some other file that an operator put here
		}
		files = append(files, closedFile{number, filepath.Join(dir, e.Name())})
	}
	slices.SortFunc(files, func(a, b closedFile) int { return cmp.Compare(a.number, b.number) })
	return files, nil
}
