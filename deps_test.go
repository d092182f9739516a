package waxseal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "waxseal"

// anything lets a package import all of the others.
var anything = []string{"*"}

// mayImport is the table of docs/architecture.md: which of our packages a package may import. What the table allows
// a package, it does not allow the packages that import it.
var mayImport = map[string][]string{
	"sse":                {},
	"bench/nullstore":    {},
	"sse/speed":          {"sse"},
	"keystore":           {"keystore/iam"},
	"keystore/bucketkey": {"keystore", "keystore/state"},
	"keystore/rootkey":   {"keystore", "keystore/state"},
	"keystore/local":     {"keystore", "keystore/iam", "keystore/audit", "keystore/rootkey", "keystore/state"},
	"keystore/kmsapi": {"keystore", "keystore/awsquery", "keystore/forwarded", "keystore/inbound", "keystore/local", "keystore/iam", "keystore/sigv4", "keystore/strictjson",
		"keystore/unproven"},
	"keystore/inbound":      {"keystore", "keystore/iam", "keystore/sigv4"},
	"keystore/directory":    {"keystore/iam", "keystore/state"},
	"keystore/awsquery":     {"keystore", "keystore/audit", "keystore/iam", "keystore/inbound", "keystore/sigv4"},
	"keystore/webidentity":  {"keystore/strictjson"},
	"keystore/stsapi":       {"keystore/audit", "keystore/awsquery", "keystore/directory", "keystore/iam", "keystore/webidentity"},
	"keystore/iamapi":       {"keystore/awsquery", "keystore/directory", "keystore/iam"},
	"keystore/enforce":      {"keystore", "keystore/iam", "keystore/audit"},
	"keystore/awskms":       {"keystore"},
	"keystore/transit":      {"keystore"},
	"keystore/keystoretest": {"keystore"},
	"keystore/iam":          {"keystore/strictjson"},
	"keystore/audit":        {"keystore/iam", "keystore/state"},
	"keystore/sigv4":        {"keystore/strictjson", "keystore/iam"},
	"keystore/strictjson":   {},
	"keystore/unproven":     {},
	"keystore/usage":        {"keystore/audit", "keystore/state"},
	"keystore/forwarded":    {},
	"keystore/state":        {},

	"keystore/state/etcd":      {"keystore/state"},
	"keystore/state/statetest": {"keystore/state"},

	"proxy": {"sse", "keystore", "keystore/awsquery", "keystore/inbound", "keystore/audit", "keystore/forwarded", "keystore/bucketkey", "keystore/iam", "keystore/sigv4", "keystore/strictjson", "keystore/state",
		"keystore/unproven", "proxy/s3", "proxy/keyed", "proxy/ledger", "proxy/objects", "proxy/store", "proxy/trace", "proxy/uploads"},
	"proxy/keyed":     {},
	"proxy/ledger":    {"keystore/state"},
	"proxy/objects":   {"sse", "keystore", "keystore/bucketkey", "proxy/ledger", "proxy/s3", "proxy/store"},
	"proxy/trace":     {},
	"proxy/console":   {"keystore", "keystore/audit", "keystore/iam", "keystore/kmsapi", "keystore/local", "keystore/usage", "proxy/ledger"},
	"proxy/uploads":   {"proxy/s3", "proxy/keyed", "proxy/store", "keystore/state", "sse"},
	"proxy/s3":        {"sse"},
	"proxy/store":     {"proxy/s3", "keystore/sigv4", "sse"},
	"proxy/embedded":  {"proxy/s3", "keystore/iam"},
	"proxy/proxytest": {"proxy/embedded", "proxy/s3"},
	"proxy/server": {"proxy", "proxy/console", "proxy/embedded", "proxy/ledger", "proxy/s3", "proxy/store", "proxy/trace", "keystore", "keystore/local", "keystore/kmsapi", "keystore/enforce",
		"keystore/awskms", "keystore/transit", "keystore/bucketkey", "keystore/rootkey", "keystore/iam", "keystore/audit", "keystore/sigv4",
		"keystore/awsquery", "keystore/directory", "keystore/iamapi", "keystore/stsapi", "keystore/webidentity", "keystore/state", "keystore/state/etcd", "keystore/unproven", "keystore/forwarded", "keystore/usage"},
	"proxy/jobs":      {"proxy/ledger", "proxy/s3", "sse"},
	"cmd/waxseal":     anything,
	"bench":           anything,
	"bench/bareproxy": {},
}

// testsMayImport is what tests may import beyond the package's own list.
var testsMayImport = map[string][]string{
	"keystore":           {"keystore/keystoretest"},
	"keystore/bucketkey": {"keystore/keystoretest", "keystore/rootkey", "keystore/iam"},
	"keystore/local":     {"keystore/bucketkey", "keystore/keystoretest"},
	"keystore/awskms":    {"keystore/keystoretest", "keystore/local", "keystore/kmsapi", "keystore/iam", "keystore/audit", "keystore/rootkey", "keystore/sigv4", "keystore/state"},
	"keystore/iamapi":    {"keystore", "keystore/audit", "keystore/state"},
	"keystore/stsapi":    {"keystore", "keystore/state"},
	"keystore/enforce":   {"keystore/keystoretest"},
	"keystore/transit":   {"keystore/keystoretest"},
	"keystore/kmsapi":    {"keystore/audit", "keystore/rootkey", "keystore/state"},
	"proxy":              {"proxy/proxytest", "keystore/local", "keystore/rootkey"},
	"proxy/server":       {"proxy/proxytest", "keystore/keystoretest"},
	"proxy/jobs":         {"proxy/server", "proxy/proxytest", "keystore", "keystore/keystoretest", "keystore/local", "keystore/iam", "keystore/state"},

	"keystore/state":      {"keystore/state/statetest"},
	"keystore/state/etcd": {"keystore/state/statetest"},
}

// forbiddenNames say nothing about what a package knows.
var forbiddenNames = []string{"utils", "util", "common", "helpers", "models", "mocks", "types", "misc"}

func TestImportsFollowTheTable(t *testing.T) {
	files := goFiles(t)
	if len(files) < 20 {
		t.Fatalf("only %d Go files were found: the test does not look where the code is", len(files))
	}
	for _, file := range files {
		pkg := path.Dir(filepath.ToSlash(file))
		if pkg == "." {
			continue // this test
		}
		if name := path.Base(pkg); slices.Contains(forbiddenNames, name) {
			t.Errorf("%s: a package called %q says nothing", file, name)
		}
		allowed, known := mayImport[pkg]
		if !known {
			t.Errorf("%s: package %s is not in the table of docs/architecture.md and of this test", file, pkg)
			continue
		}
		if strings.HasSuffix(file, "_test.go") {
			allowed = append(slices.Clone(allowed), append(testsMayImport[pkg], pkg)...)
		}
		for _, imported := range ours(t, file) {
			if !slices.Contains(allowed, "*") && !slices.Contains(allowed, imported) {
				t.Errorf("%s: %s may not import %s", file, pkg, imported)
			}
		}
	}
}

// TestTableHasNoSpareAllowance fails for an import that the table allows and no file has: the table shows what is, and
// an edge that was cut does not grow back unseen.
func TestTableHasNoSpareAllowance(t *testing.T) {
	code, tests := make(map[string][]string), make(map[string][]string)
	for _, file := range goFiles(t) {
		into := code
		if strings.HasSuffix(file, "_test.go") {
			into = tests
		}
		pkg := path.Dir(filepath.ToSlash(file))
		into[pkg] = append(into[pkg], ours(t, file)...)
	}
	for _, table := range []struct{ allowed, used map[string][]string }{{mayImport, code}, {testsMayImport, tests}} {
		for pkg, allowed := range table.allowed {
			for _, imported := range allowed {
				if imported != "*" && !slices.Contains(table.used[pkg], imported) {
					t.Errorf("%s may import %s, and does not: take it out of the table", pkg, imported)
				}
			}
		}
	}
}

// TestTableNamesWhatExists keeps the table from outliving packages.
func TestTableNamesWhatExists(t *testing.T) {
	for _, table := range []map[string][]string{mayImport, testsMayImport} {
		for pkg := range table {
			if info, err := os.Stat(filepath.FromSlash(pkg)); err != nil || !info.IsDir() {
				t.Errorf("package %s is in the table and not in the tree", pkg)
			}
		}
	}
}

// TestBytesKnowNoProtocol keeps HTTP out of the object format.
func TestBytesKnowNoProtocol(t *testing.T) {
	for _, file := range goFiles(t) {
		if !strings.HasPrefix(filepath.ToSlash(file), "sse/") {
			continue
		}
		for _, imported := range imports(t, file) {
			if strings.HasPrefix(imported, "net") || strings.Contains(imported, "minio-go") || strings.Contains(imported, "fasthttp") {
				t.Errorf("%s imports %s", file, imported)
			}
		}
	}
}

// TestObjectsKnowNoServer keeps the client's side of HTTP out of the sealed objects.
func TestObjectsKnowNoServer(t *testing.T) {
	seen := false
	for _, file := range goFiles(t) {
		if !strings.HasPrefix(filepath.ToSlash(file), "proxy/objects/") {
			continue
		}
		seen = true
		for _, imported := range imports(t, file) {
			if strings.Contains(imported, "fasthttp") {
				t.Errorf("%s imports %s", file, imported)
			}
		}
	}
	if !seen {
		t.Error("proxy/objects has no files")
	}
}

// TestOnlyVerifyMakesObjects: an objects.Object is a verified object, so that nobody but package objects may make one.
func TestOnlyVerifyMakesObjects(t *testing.T) {
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, made := range []string{"objects.Object{", "new(objects.Object)"} {
			if strings.Contains(string(source), made) {
				t.Errorf("%s makes an object that is not verified: %s", file, made)
			}
		}
	}
}

// TestServersAreForTests keeps etcd's server out of the program.
func TestServersAreForTests(t *testing.T) {
	seen := false
	for _, file := range goFiles(t) {
		for _, imported := range imports(t, file) {
			if !strings.HasPrefix(imported, "go.etcd.io/etcd/server") {
				continue
			}
			if seen = true; !strings.HasSuffix(file, "_test.go") {
				t.Errorf("%s imports %s", file, imported)
			}
		}
	}
	if !seen {
		t.Error("no test imports etcd's server: this test looks for the wrong name")
	}
}

func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(file, ".go") {
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// ours are the packages of this module that a file imports.
func ours(t *testing.T, file string) []string {
	t.Helper()
	var found []string
	for _, imported := range imports(t, file) {
		if rest, ok := strings.CutPrefix(imported, module+"/"); ok {
			found = append(found, rest)
		}
	}
	return found
}

func imports(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, imported)
	}
	return found
}
