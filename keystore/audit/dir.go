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
		if number, ok := parseClosedName(e.Name()); ok { // else an operator put an unrelated file here
			files = append(files, closedFile{number, filepath.Join(dir, e.Name())})
		}
	}
	slices.SortFunc(files, func(a, b closedFile) int { return cmp.Compare(a.number, b.number) })
	return files, nil
}

// maxNumber is the greatest number of a closed file. An attacker with write access to the directory can leave a file
// with that number: the next file then gets no number, and opening fails.
const maxNumber = 1e18

// parseClosedName returns the number in a closed file's name.
func parseClosedName(name string) (number uint64, ok bool) {
	digits, rest, ok := strings.Cut(name, "-")
	if !ok || !strings.HasSuffix(rest, ".jsonl") {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, err == nil && number <= maxNumber && fmt.Sprintf("%012d", number) == digits
}
