//go:build ignore

// Backedges counts, by package, the uses between files that run against the order of the files: go run .ci/backedges.go
// [-v] [package...], from the root, for all packages or for the named ones, with -v every use that runs back.
//
// A use is a pair of files: file A uses file B if A names a declaration, a method or a field of B, however often. Tests
// do not count. Of all orders of the files the program takes the order with the fewest uses that run back: it orders the
// files by the greedy rule of Eades, Lin and Smyth (files that use more than they are used go first), and then moves
// single files as long as a move helps. A package without cycles among its files has no use that runs back; a reader can
// read its files from the first to the last, each standing on later ones. A package of the list limits fails above its
// limit.
//
// The program also prints the functions with more than maxParameters parameters, and fails if there is one. It counts the
// fields and the methods of the types in the list widths, and fails above their limits: a type that every function of a
// package hangs on is a package without rooms.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const maxParameters = 6

// given are functions whose parameters a dependency fixes.
var given = []string{"failFast"} // grpc.UnaryClientInterceptor

// limits are the most uses that may run back in a package. They only shrink.
var limits = map[string]int{
	"proxy":         27,
	"proxy/objects": 0,
	"proxy/s3":      4,
	"proxy/store":   8,
	"proxy/uploads": 3,
	"sse":           1,
}

// width is how many fields and declared methods a struct may have.
type width struct{ fields, methods int }

// widths are the limits of single types. They only shrink.
var widths = map[string]width{
	"proxy.call":            {11, 200},
	"proxy/objects.Session": {5, 33},
}

// listed is a package as go list prints it.
type listed struct {
	ImportPath string
	Dir        string
	Export     string
	GoFiles    []string
	Module     *struct{ Main bool }
	DepOnly    bool
}

func main() {
	verbose := flag.Bool("v", false, "print the uses that run back")
	flag.Parse()
	patterns := flag.Args()
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	all, err := list(patterns)
	if err != nil {
		fmt.Fprintln(os.Stderr, "backedges:", err)
		os.Exit(2)
	}
	ok := true
	fmt.Printf("%-26s %6s %6s %6s\n", "package", "files", "uses", "back")
	for _, p := range all {
		if p.DepOnly || p.Module == nil || !p.Module.Main {
			continue
		}
		read, err := p.read(exports(all))
		if err != nil {
			fmt.Fprintln(os.Stderr, "backedges:", err)
			os.Exit(2)
		}
		ok = read.report(strings.TrimPrefix(p.ImportPath, "waxseal/"), *verbose) && ok
	}
	if !ok {
		os.Exit(1)
	}
}

// list asks the go command for packages, with the export data of everything that they import.
func list(patterns []string) ([]listed, error) {
	var stderr bytes.Buffer
	cmd := exec.Command("go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Module,DepOnly"}, patterns...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	var all []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

func exports(all []listed) map[string]string {
	files := make(map[string]string, len(all))
	for _, p := range all {
		files[p.ImportPath] = p.Export
	}
	return files
}

// unit is a type-checked package.
type unit struct {
	names []string                   // of the files
	uses  map[[2]int]map[string]bool // with the names that are used
	long  []string                   // functions with too many parameters
	wide  map[string]width           // of the package's structs
}

func (p listed) read(export map[string]string) (*unit, error) {
	fset := token.NewFileSet()
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(export[path]) }
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", lookup)}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	u := &unit{uses: make(map[[2]int]map[string]bool), wide: make(map[string]width)}
	index := make(map[string]int)
	var files []*ast.File
	for i, name := range p.GoFiles {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
		u.names = append(u.names, name)
		index[filepath.Join(p.Dir, name)] = i
	}
	checked, err := conf.Check(p.ImportPath, fset, files, info)
	if err != nil {
		return nil, err
	}
	for id, object := range info.Uses {
		if object.Pkg() != checked {
			continue
		}
		from, to := index[fset.Position(id.Pos()).Filename], index[fset.Position(object.Pos()).Filename]
		if from == to {
			continue
		}
		use := [2]int{from, to}
		if u.uses[use] == nil {
			u.uses[use] = make(map[string]bool)
		}
		u.uses[use][object.Name()] = true
	}
	for _, file := range files {
		u.measure(fset, file)
	}
	for _, name := range checked.Scope().Names() {
		u.weigh(checked.Scope().Lookup(name))
	}
	return u, nil
}

// weigh counts the fields and the declared methods of a struct; a field that is embedded counts once.
func (u *unit) weigh(object types.Object) {
	named, ok := object.Type().(*types.Named)
	if !ok {
		return
	}
	if s, ok := named.Underlying().(*types.Struct); ok {
		u.wide[object.Name()] = width{s.NumFields(), named.NumMethods()}
	}
}

// measure finds the functions with too many parameters.
func (u *unit) measure(fset *token.FileSet, file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		if f, ok := n.(*ast.FuncDecl); ok && f.Type.Params.NumFields() > maxParameters && !slices.Contains(given, f.Name.Name) {
			u.long = append(u.long, fmt.Sprintf("%s: %s has %d parameters", fset.Position(f.Pos()), f.Name.Name, f.Type.Params.NumFields()))
		}
		return true
	})
}

// report prints a package's line, and reports whether the package is within its limits.
func (u *unit) report(name string, verbose bool) bool {
	order := u.order()
	back := u.back(order)
	limit, limited := limits[name]
	ok := !limited || len(back) <= limit
	mark := ""
	switch {
	case !ok:
		mark = fmt.Sprintf("  above %d", limit)
	case limited:
		mark = "  ok"
	}
	fmt.Printf("%-26s %6d %6d %6d%s\n", name, len(u.names), len(u.uses), len(back), mark)
	for _, f := range u.long {
		fmt.Println("  " + f)
	}
	ok = u.narrow(name) && ok
	if verbose {
		for _, i := range order {
			fmt.Println("  " + u.names[i])
		}
		for _, use := range back {
			fmt.Printf("  %s uses %s: %s\n", u.names[use[0]], u.names[use[1]], strings.Join(slices.Sorted(maps.Keys(u.uses[use])), ", "))
		}
	}
	return ok && len(u.long) == 0
}

// narrow prints the types of a package that have limits, and reports whether all are within them. A type that is gone
// must leave the list.
func (u *unit) narrow(name string) bool {
	ok := true
	for _, full := range slices.Sorted(maps.Keys(widths)) {
		dir, typ, _ := strings.Cut(full, ".")
		if dir != name {
			continue
		}
		limit, got := widths[full], u.wide[typ]
		mark := "ok"
		if got == (width{}) || got.fields > limit.fields || got.methods > limit.methods {
			ok, mark = false, fmt.Sprintf("above %d fields, %d methods, or gone", limit.fields, limit.methods)
		}
		fmt.Printf("  %s: %d fields, %d methods  %s\n", typ, got.fields, got.methods, mark)
	}
	return ok
}

// back returns the uses that run back in an order of the files.
func (u *unit) back(order []int) [][2]int {
	rank := make([]int, len(order))
	for at, file := range order {
		rank[file] = at
	}
	var found [][2]int
	for _, use := range slices.SortedFunc(maps.Keys(u.uses), func(a, b [2]int) int { return slices.Compare(a[:], b[:]) }) {
		if rank[use[0]] > rank[use[1]] {
			found = append(found, use)
		}
	}
	return found
}

// order returns the files so that few uses run back.
func (u *unit) order() []int {
	order := u.greedy()
	for u.improve(order) {
	}
	return order
}

// greedy takes, of the files that are left, one that is not used to the front, one that uses none to the end, and else
// the file with the most uses above those of it to the front.
func (u *unit) greedy() []int {
	left := make(map[int]bool)
	for i := range u.names {
		left[i] = true
	}
	var front, end []int
	for len(left) > 0 {
		best, most, last := -1, 0, false
		for _, i := range slices.Sorted(maps.Keys(left)) {
			out, in := u.degree(i, left)
			if out == 0 {
				best, last = i, true
				break
			}
			if best < 0 || out-in > most || in == 0 {
				best, most = i, out-in
			}
			if in == 0 {
				break
			}
		}
		delete(left, best)
		if last {
			end = append(end, best)
		} else {
			front = append(front, best)
		}
	}
	slices.Reverse(end)
	return append(front, end...)
}

// degree counts the uses by a file, and of it, among some files.
func (u *unit) degree(file int, among map[int]bool) (out, in int) {
	for use := range u.uses {
		if use[0] == file && among[use[1]] {
			out++
		}
		if use[1] == file && among[use[0]] {
			in++
		}
	}
	return out, in
}

// improve moves each file to its best place, and reports whether that helped.
func (u *unit) improve(order []int) bool {
	helped := false
	for file := range u.names {
		from := slices.Index(order, file)
		to, gain, best := from, 0, 0
		for at := from + 1; at < len(order); at++ { // later: uses by order[at] stop to run back, uses of it begin to
			gain += u.gain(order[at], file)
			if gain > best {
				to, best = at, gain
			}
		}
		gain = 0
		for at := from - 1; at >= 0; at-- {
			gain += u.gain(file, order[at])
			if gain > best {
				to, best = at, gain
			}
		}
		if best > 0 {
			order = slices.Insert(slices.Delete(order, from, from+1), to, file)
			helped = true
		}
	}
	return helped
}

// gain is how many fewer uses run back once first stands before second, and no longer behind it.
func (u *unit) gain(first, second int) (n int) {
	if u.uses[[2]int{first, second}] != nil {
		n++
	}
	if u.uses[[2]int{second, first}] != nil {
		n--
	}
	return n
}
