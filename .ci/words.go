//go:build ignore

// Words counts the words of comments, by package: go run .ci/words.go [dir...], from the root, for all packages or for
// the named directories. Many relative clauses and pronouns mean sentences without a noun as the subject: "what was read
// is one of those". A package of the list done fails above either limit.
package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	maxClauses  = 18  // relative clauses per 1,000 words
	maxPronouns = 9   // pronouns per 1,000 words
	fewWords    = 300 // packages below count together: a single sentence would decide
)

// done names the packages with rewritten comments. The list only grows.
var done = []string{
	"bench",
	"bench/nullstore",
	"cmd/waxseal",
	"keystore",
	"keystore/audit",
	"keystore/awskms",
	"keystore/awsquery",
	"keystore/bucketkey",
	"keystore/directory",
	"keystore/enforce",
	"keystore/iam",
	"keystore/iamapi",
	"keystore/keystoretest",
	"keystore/kmsapi",
	"keystore/local",
	"keystore/rootkey",
	"keystore/sigv4",
	"keystore/state",
	"keystore/state/etcd",
	"keystore/stsapi",
	"keystore/transit",
	"keystore/unproven",
	"keystore/usage",
	"keystore/webidentity",
	"proxy/jobs",
	"proxy/objects",
	"proxy/proxytest",
	"proxy/s3",
	"proxy/server",
	"proxy/store",
	"proxy/uploads",
	"sse",
}

var (
	word    = regexp.MustCompile(`\p{L}+(?:['’-]\p{L}+)*`)
	clause  = regexp.MustCompile(`^(?i:that|which|what|who|whose|whoever|whatever)$`)
	pronoun = regexp.MustCompile(`^(?i:one|ones|those|other|others)$`)
)

type count struct{ words, clauses, pronouns int }

func (c *count) add(d count) {
	c.words += d.words
	c.clauses += d.clauses
	c.pronouns += d.pronouns
}

func per1000(n, words int) float64 { return 1000 * float64(n) / float64(max(words, 1)) }

func (c count) within() bool {
	return per1000(c.clauses, c.words) <= maxClauses && per1000(c.pronouns, c.words) <= maxPronouns
}

func main() {
	dirs := os.Args[1:]
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	packages := map[string]count{}
	for _, dir := range dirs {
		if err := walk(filepath.Clean(dir), packages); err != nil {
			fmt.Fprintln(os.Stderr, "words:", err)
			os.Exit(2)
		}
	}
	if !report(packages) {
		os.Exit(1)
	}
}

// walk counts the comments of every Go file below dir, except in hidden directories and test data.
func walk(dir string, packages map[string]count) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != dir && (strings.HasPrefix(name, ".") || name == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".go":
			return nil
		}
		found, err := countFile(path)
		if err != nil {
			return err
		}
		found.add(packages[filepath.ToSlash(filepath.Dir(path))])
		packages[filepath.ToSlash(filepath.Dir(path))] = found
		return nil
	})
}

// countFile counts one file. Text leaves out directives such as go:build.
func countFile(path string) (count, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return count{}, err
	}
	var c count
	for _, group := range file.Comments {
		c.add(countText(group))
	}
	return c, nil
}

func countText(group *ast.CommentGroup) (c count) {
	for _, w := range word.FindAllString(group.Text(), -1) {
		c.words++
		switch {
		case clause.MatchString(w):
			c.clauses++
		case pronoun.MatchString(w):
			c.pronouns++
		}
	}
	return c
}

// report prints a line for each package, the highest rates first, and reports whether every package of the list done
// is within the limits.
func report(packages map[string]count) bool {
	ok := true
	fmt.Printf("%-26s %7s %8s %8s\n", "package", "words", "clauses", "pronouns")
	var small count
	for _, name := range sorted(packages) {
		c := packages[name]
		if c.words < fewWords {
			small.add(c)
			continue
		}
		ok = line(name, c, slices.Contains(done, name)) && ok
	}
	const together = "small packages"
	return line(together, small, slices.Contains(done, together)) && ok
}

func sorted(packages map[string]count) []string {
	rate := func(name string) float64 {
		return per1000(packages[name].clauses+packages[name].pronouns, packages[name].words)
	}
	return slices.SortedFunc(maps.Keys(packages), func(a, b string) int {
		return cmp.Or(cmp.Compare(rate(b), rate(a)), cmp.Compare(a, b))
	})
}

func line(name string, c count, held bool) bool {
	mark := ""
	switch {
	case held && !c.within():
		mark = fmt.Sprintf("  above %d or %d", maxClauses, maxPronouns)
	case held:
		mark = "  ok"
	}
	fmt.Printf("%-26s %7d %8.1f %8.1f%s\n", name, c.words, per1000(c.clauses, c.words), per1000(c.pronouns, c.words), mark)
	return !held || c.within()
}
