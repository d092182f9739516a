package kmsapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"waxseal/keystore/local"
)

// tree is a decoded JSON object; numbers are json.Number.
type tree = map[string]any

// schema holds the constraints of a request type, read once from its fields and their `kms` tags.
type schema struct{ members []member }

type member struct {
	name       string // on the wire
	path       string // in messages: "keyId"
	index      int    // of the struct's field
	kind       kind
	rules      rules
	each       rules   // of a list's entries
	inner      *schema // of a structure, or of a list's entries
	isRequired bool
}

type kind int

const (
	kindString kind = iota
	kindInt
	kindBool
	kindBlob
	kindTime
	kindStrings // list of strings
	kindMap     // string to string
	kindStruct
	kindStructs // list of structures
)

// rules are the constraints of a single value.
type rules struct {
	hasLen, hasRange bool
	min, max         int
	enum             []string
	match            *regexp.Regexp
	pattern          string
	secret           bool // messages do not repeat the value
}

var unicodeEscape = regexp.MustCompile(`\\u([0-9A-F]{4})`)

var timeType, blobType = reflect.TypeFor[*local.Time](), reflect.TypeFor[[]byte]()

// schemaOf reads a request type. An unreadable tag is a mistake in this program.
func schemaOf(t reflect.Type) *schema {
	s := new(schema)
	for i := range t.NumField() {
		f := t.Field(i)
		m := member{name: f.Name, path: lowerFirst(f.Name), index: i}
		m.kind, m.inner = kindOf(f.Type)
		m.readTag(f.Tag.Get("kms"))
		s.members = append(s.members, m)
	}
	return s
}

func kindOf(t reflect.Type) (kind, *schema) {
	switch {
	case t == timeType:
		return kindTime, nil
	case t == blobType:
		return kindBlob, nil
	}
	switch t.Kind() {
	case reflect.String:
		return kindString, nil
	case reflect.Bool:
		return kindBool, nil
	case reflect.Map:
		return kindMap, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return kindStructs, schemaOf(t.Elem())
		}
		return kindStrings, nil
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Int {
			return kindInt, nil
		}
		return kindStruct, schemaOf(t.Elem())
	}
	panic("kmsapi: internal error: no rule for a member of type " + t.String())
}

func (m *member) readTag(tag string) {
	rest := tag
	for rest != "" {
		var rule string
		if each, ok := strings.CutPrefix(rest, "each="); ok {
			m.each.read(each)
			m.each.secret = m.rules.secret
			return
		}
		if strings.HasPrefix(rest, "match=") { // a pattern may hold commas
			rule, rest = rest, ""
		} else {
			rule, rest, _ = strings.Cut(rest, ",")
		}
		if rule == "required" {
			m.isRequired = true
			continue
		}
		m.rules.read(rule)
	}
}

func (r *rules) read(rule string) {
	name, value, _ := strings.Cut(rule, "=")
	switch name {
	case "len", "range":
		low, high, _ := strings.Cut(value, ":")
		var err1, err2 error
		r.min, err1 = strconv.Atoi(low)
		r.max, err2 = strconv.Atoi(high)
		if err1 != nil || err2 != nil {
			panic("kmsapi: internal error: bad rule " + rule)
		}
		r.hasLen, r.hasRange = name == "len", name == "range"
	case "enum":
		r.enum = strings.Split(value, "|")
	case "match":
		// The pattern is AWS's own, and its messages show it so; Go writes \uXXXX as \x{XXXX}.
		r.pattern, r.match = value, regexp.MustCompile("^(?:"+unicodeEscape.ReplaceAllString(value, `\x{$1}`)+")$")
	case "secret":
		r.secret = true
	default:
		panic("kmsapi: internal error: bad rule " + rule)
	}
}

// check validates a request. A value of a wrong JSON type is a SerializationException; all other faults together are
// a single ValidationException in AWS's words. Unknown members are ignored as in AWS's JSON protocol, or refused if
// strict.
func (s *schema) check(in tree, strict bool) error {
	v := &violations{strict: strict}
	if err := s.walk(v, "", in); err != nil {
		return err
	}
	return v.err()
}

type violations struct {
	strict bool
	found  []string
}

func (v *violations) add(value, path, constraint string) {
	v.found = append(v.found, fmt.Sprintf("%s at '%s' failed to satisfy constraint: %s", value, path, constraint))
}

func (v *violations) err() error {
	switch n := len(v.found); n {
	case 0:
		return nil
	case 1:
		return &exception{400, "ValidationException", "1 validation error detected: " + v.found[0]}
	default:
		return &exception{400, "ValidationException", fmt.Sprintf("%d validation errors detected: %s", n, strings.Join(v.found, "; "))}
	}
}

func (s *schema) walk(v *violations, prefix string, in tree) error {
	if v.strict {
		s.refuseUnknown(v, prefix, in)
	}
	for i := range s.members {
		m := &s.members[i]
		path := prefix + m.path
		value, present := in[m.name]
		if !present || value == nil {
			if m.isRequired {
				v.add("Value null", path, "Member must not be null")
			}
			continue
		}
		if err := m.checkValue(v, path, value); err != nil {
			return err
		}
	}
	return nil
}

// refuseUnknown adds a violation for each member unknown to s. The member may be a newer limit on the permission that
// the request gives, such as SourceArn of a grant. A limit dropped in silence would give more than was asked for.
func (s *schema) refuseUnknown(v *violations, prefix string, in tree) {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		known := slices.ContainsFunc(s.members, func(m member) bool { return m.name == name })
		if !known && in[name] != nil {
			v.add("Value", prefix+lowerFirst(fmt.Sprintf("%.64s", name)), "Member is not known to this key service")
		}
	}
}

func (m *member) checkValue(v *violations, path string, value any) error {
	switch m.kind {
	case kindString:
		text, ok := value.(string)
		if !ok {
			return mistyped(path, "a string")
		}
		m.rules.checkString(v, path, text)
	case kindInt:
		return m.checkInt(v, path, value)
	case kindBool:
		if _, ok := value.(bool); !ok {
			return mistyped(path, "a boolean")
		}
	case kindBlob:
		return m.checkBlob(v, path, value)
	case kindTime:
		if _, ok := timeOf(value); !ok {
			return mistyped(path, "a timestamp in seconds")
		}
	case kindMap:
		return checkMap(path, value)
	case kindStruct:
		inner, ok := value.(tree)
		if !ok {
			return mistyped(path, "a structure")
		}
		return m.inner.walk(v, path+".", inner)
	case kindStrings, kindStructs:
		return m.checkList(v, path, value)
	}
	return nil
}

func mistyped(path, want string) error {
	return serialization("The value of '%s' is not %s.", path, want)
}

func (m *member) checkInt(v *violations, path string, value any) error {
	n, ok := intOf(value)
	if !ok {
		return mistyped(path, "an integer")
	}
	shown := fmt.Sprintf("Value '%d'", n)
	if m.rules.hasRange && n < m.rules.min {
		v.add(shown, path, fmt.Sprintf("Member must have value greater than or equal to %d", m.rules.min))
	}
	if m.rules.hasRange && n > m.rules.max {
		v.add(shown, path, fmt.Sprintf("Member must have value less than or equal to %d", m.rules.max))
	}
	return nil
}

func (m *member) checkBlob(v *violations, path string, value any) error {
	text, ok := value.(string)
	if !ok {
		return mistyped(path, "a string in base64")
	}
	blob, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return mistyped(path, "a string in base64")
	}
	m.rules.checkLength(v, "Value", path, len(blob))
	return nil
}

func checkMap(path string, value any) error {
	pairs, ok := value.(tree)
	if !ok {
		return mistyped(path, "a map")
	}
	for _, item := range pairs {
		if _, ok := item.(string); !ok {
			return mistyped(path, "a map of strings")
		}
	}
	return nil
}

func (m *member) checkList(v *violations, path string, value any) error {
	list, ok := value.([]any)
	if !ok {
		return mistyped(path, "a list")
	}
	m.rules.checkLength(v, fmt.Sprintf("Value '%s'", showList(list)), path, len(list))
	for i, item := range list {
		at := fmt.Sprintf("%s.%d.member", path, i+1)
		if m.kind == kindStructs {
			inner, ok := item.(tree)
			if !ok {
				return mistyped(at, "a structure")
			}
			if err := m.inner.walk(v, at+".", inner); err != nil {
				return err
			}
			continue
		}
		text, ok := item.(string)
		if !ok {
			return mistyped(at, "a string")
		}
		m.each.checkString(v, at, text)
	}
	return nil
}

// showList returns a list as AWS's messages show it. Entries that are no strings are on their way to another error.
func showList(list []any) string {
	texts := make([]string, 0, len(list))
	for _, item := range list {
		if text, ok := item.(string); ok {
			texts = append(texts, text)
		}
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func (r *rules) checkString(v *violations, path, text string) {
	shown := fmt.Sprintf("Value '%s'", text)
	if r.secret {
		shown = "Value"
	}
	r.checkLength(v, shown, path, utf8.RuneCountInString(text))
	if r.match != nil && text != "" && !r.match.MatchString(text) {
		v.add(shown, path, "Member must satisfy regular expression pattern: "+r.pattern)
	}
	if r.enum == nil {
		return
	}
	for _, allowed := range r.enum {
		if text == allowed {
			return
		}
	}
	v.add(shown, path, "Member must satisfy enum value set: ["+strings.Join(r.enum, ", ")+"]")
}

func (r *rules) checkLength(v *violations, shown, path string, n int) {
	if r.secret {
		shown = "Value"
	}
	if r.hasLen && n < r.min {
		v.add(shown, path, fmt.Sprintf("Member must have length greater than or equal to %d", r.min))
	}
	if r.hasLen && n > r.max {
		v.add(shown, path, fmt.Sprintf("Member must have length less than or equal to %d", r.max))
	}
}

// fill copies a checked request into its struct.
func (s *schema) fill(into reflect.Value, from tree) {
	for i := range s.members {
		m := &s.members[i]
		if value, ok := from[m.name]; ok && value != nil {
			m.set(into.Field(m.index), value)
		}
	}
}

func (m *member) set(field reflect.Value, value any) {
	switch m.kind {
	case kindString:
		field.SetString(value.(string))
	case kindBool:
		field.SetBool(value.(bool))
	case kindInt:
		n, _ := intOf(value)
		field.Set(reflect.ValueOf(&n))
	case kindBlob:
		blob, err := base64.StdEncoding.DecodeString(value.(string))
		if err != nil {
			panic("kmsapi: internal error: a blob passed the check and does not decode")
		}
		field.SetBytes(blob)
	case kindTime:
		t, _ := timeOf(value)
		field.Set(reflect.ValueOf(&local.Time{Time: t}))
	case kindMap:
		pairs := make(map[string]string)
		for name, item := range value.(tree) {
			pairs[name] = item.(string)
		}
		field.Set(reflect.ValueOf(pairs))
	case kindStrings:
		texts := []string{}
		for _, item := range value.([]any) {
			texts = append(texts, item.(string))
		}
		field.Set(reflect.ValueOf(texts))
	case kindStruct:
		inner := reflect.New(field.Type().Elem())
		m.inner.fill(inner.Elem(), value.(tree))
		field.Set(inner)
	case kindStructs:
		list := value.([]any)
		field.Set(reflect.MakeSlice(field.Type(), len(list), len(list)))
		for i, item := range list {
			m.inner.fill(field.Index(i), item.(tree))
		}
	}
}

func intOf(value any) (int, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(number.String(), 10, 32)
	return int(n), err == nil
}

// timeOf reads seconds since the epoch, as sent by AWS's clients; years beyond 9999 are refused.
func timeOf(value any) (time.Time, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	var t local.Time
	if err := t.UnmarshalJSON([]byte(number)); err != nil || t.Year() > 9999 || t.Year() < 1 {
		return time.Time{}, false
	}
	return t.Time, true
}

func lowerFirst(name string) string {
	first, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToLower(first)) + name[size:]
}
