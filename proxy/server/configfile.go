package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reading is the result of reading a configuration.
type reading struct {
	file     string            // empty: none
	from     map[string]string // by key: the file's line, the variable or the flag; defaults have no entry
	mistakes []error
}

func (r *reading) mistake(errs ...error) {
	for _, err := range errs {
		if err != nil {
			r.mistakes = append(r.mistakes, err)
		}
	}
}

func (r *reading) first() error {
	if len(r.mistakes) == 0 {
		return nil
	}
	return r.mistakes[0]
}

// readFile reads YAML into c, over the values there. An unknown key is a mistake, and so is a file with secrets that is
// readable by others.
func (c *Config) readFile(r *reading) {
	text, err := os.ReadFile(r.file)
	if err != nil {
		r.mistake(fmt.Errorf("config: %w", err))
		return
	}
	for _, err := range decodeFile(text, c) {
		r.mistake(fmt.Errorf("config: %s: %w", r.file, err))
	}
	for key, line := range linesOf(text) {
		r.from[key] = fmt.Sprintf("%s:%d", r.file, line)
	}
	if len(c.Users) == 0 { // users have secret keys
		return
	}
	if err := onlyMine(r.file); err != nil {
		r.mistake(fmt.Errorf("config: %w", err))
	}
}

func decodeFile(text []byte, c *Config) []error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	err := d.Decode(c)
	if errors.Is(err, io.EOF) {
		return nil // an empty file
	}
	var several *yaml.TypeError
	if errors.As(err, &several) {
		return mistakesOf(several)
	}
	if err == nil {
		err = d.Decode(new(yaml.Node))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = errors.New("has a second document, which nobody would read: take out the line --- before it")
		}
	}
	return []error{oneLine(err)}
}

// unknownField matches YAML's error about a key without a field: line 2: field usres not found in type server.Config.
var unknownField = regexp.MustCompile(`: field (.+) not found in type server\.(\w+)$`)

// mistakesOf returns each mistake of a document as a line of its own. For an unknown key it suggests the nearest known
// key.
func mistakesOf(several *yaml.TypeError) (mistakes []error) {
	for _, text := range several.Errors {
		hint := ""
		if m := unknownField.FindStringSubmatch(text); m != nil {
			hint = didYouMean(m[1], keysIn[m[2]])
		}
		mistakes = append(mistakes, fmt.Errorf("%w%s", oneLine(errors.New(text)), hint))
	}
	return mistakes
}

// keysIn lists the allowed keys of a mapping, by the name of its Go type.
var keysIn = map[string][]string{
	"Config": keysOf[Config](), "UserConfig": keysOf[UserConfig](), "CompressionConfig": keysOf[CompressionConfig](),
	"IssuerConfig": keysOf[IssuerConfig](),
	"Credentials":  keysOf[Credentials](),
}

// keysOf returns the YAML keys of a structure.
func keysOf[T any]() (keys []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if key := f.Tag.Get("yaml"); key != "" && key != "-" {
			keys = append(keys, key)
		}
	}
	return keys
}

// onlyKeys refuses a mapping with unknown keys. It shows an unknown key only if a known key is near: otherwise it may
// be a secret whose key is missing.
func onlyKeys(n *yaml.Node, keys []string) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		if slices.Contains(keys, key.Value) {
			continue
		}
		if near := Nearest(key.Value, keys); near != "" {
			return fmt.Errorf("line %d: field %s not found; did you mean %s?", key.Line, key.Value, near)
		}
		return fmt.Errorf("line %d: a field is none of: %s", key.Line, strings.Join(keys, ", "))
	}
	return nil
}

// linesOf returns the lines of a document's keys, or nothing if the document cannot be read.
func linesOf(text []byte) map[string]int {
	lines := make(map[string]int)
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil || len(doc.Content) == 0 { // decodeFile reports the error
		return lines
	}
	top := doc.Content[0]
	for i := 0; i < len(top.Content) && top.Kind == yaml.MappingNode; i += 2 {
		lines[top.Content[i].Value] = top.Content[i].Line
	}
	return lines
}

// misplaced matches a YAML error with a value in place of a user or credentials: the value may be a secret.
var misplaced = regexp.MustCompile("`.*` into (\\[\\]|\\*)*server\\.")

// oneLine joins the lines of a YAML error. It has a line for each mistake.
func oneLine(err error) error {
	text := misplaced.ReplaceAllString(err.Error(), "(not shown) into ${1}server.")
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\n  ", " "), "yaml: ")
	return errors.New(typeName.ReplaceAllStringFunc(text, func(name string) string {
		return " in " + strings.ToLower(strings.TrimPrefix(name, " in type server."))
	}))
}

// typeName matches the beginning of a type's name in a YAML error.
var typeName = regexp.MustCompile(` in type server\.[A-Z]`)
