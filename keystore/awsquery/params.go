package awsquery

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Param is a parameter of an operation.
type Param struct {
	Name     string
	Required bool
	Rule     Rule
	// List: the parameter is a list of values. Member is the field of each, "" where they are plain.
	List   bool
	Member string
	// Secret: the value is in no record.
	Secret bool
}

// Rule is a constraint on a value, in the terms of AWS's models.
type Rule struct {
	Min, Max int // characters, or the value of a number; 0: no bound
	Pattern  *regexp.Regexp
	Shown    string // the pattern as AWS's errors show it
	Enum     []string
	Number   bool
	Bool     bool
}

// escapedRune matches an escaped character in a pattern of AWS's models; Go spells the escape differently.
var escapedRune = regexp.MustCompile(`\\u([0-9A-F]{4})`)

// Match returns the rule of a pattern and its lengths.
func Match(pattern string, minimum, maximum int) Rule {
	compiled := regexp.MustCompile(`^(?:` + escapedRune.ReplaceAllString(pattern, `\x{$1}`) + `)$`)
	return Rule{Min: minimum, Max: maximum, Pattern: compiled, Shown: pattern}
}

// check refuses a value in the words of AWS's validation.
func (p *Param) check(value string) error {
	r := &p.Rule
	switch {
	case r.Number:
		n, err := strconv.Atoi(value)
		if err != nil || strconv.Itoa(n) != value {
			return Fail(400, "MalformedInput", "%s is not a number.", p.Name)
		}
		if n < r.Min {
			return p.invalid(value, "Member must have value greater than or equal to "+strconv.Itoa(r.Min))
		}
		if r.Max > 0 && n > r.Max {
			return p.invalid(value, "Member must have value less than or equal to "+strconv.Itoa(r.Max))
		}
		return nil
	case r.Bool:
		if value != "true" && value != "false" {
			return Fail(400, "MalformedInput", "%s is neither true nor false.", p.Name)
		}
		return nil
	case r.Enum != nil && !slices.Contains(r.Enum, value):
		return p.invalid(value, "Member must satisfy enum value set: ["+strings.Join(r.Enum, ", ")+"]")
	}
	n := utf8.RuneCountInString(value)
	switch {
	case n < r.Min:
		return p.invalid(value, "Member must have length greater than or equal to "+strconv.Itoa(r.Min))
	case r.Max > 0 && n > r.Max:
		return p.invalid(value, "Member must have length less than or equal to "+strconv.Itoa(r.Max))
	case r.Pattern != nil && !r.Pattern.MatchString(value):
		return p.invalid(value, "Member must satisfy regular expression pattern: "+r.Shown)
	}
	return nil
}

// maxShownValue bounds the part of a value repeated in an error. A secret is never repeated.
const maxShownValue = 128

func (p *Param) invalid(value, constraint string) error {
	if p.Secret {
		value = "***"
	}
	if len(value) > maxShownValue {
		value = strings.ToValidUTF8(value[:maxShownValue], "") + "..."
	}
	return Fail(400, "ValidationError", "1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s",
		value, lowerFirst(p.Name), constraint)
}

// Values are the parameters of a request, checked.
type Values struct {
	form  *Form
	lists map[string][]string
}

// Get returns a parameter, "" without it.
func (v *Values) Get(name string) string { return v.form.Get(name) }

// Has reports whether a parameter is there.
func (v *Values) Has(name string) bool { return v.form.Has(name) }

// List returns the members of a list.
func (v *Values) List(name string) []string { return v.lists[name] }

// Number returns a number, or without it another.
func (v *Values) Number(name string, without int) int {
	n, err := strconv.Atoi(v.form.Get(name))
	if err != nil {
		return without
	}
	return n
}

// read checks the parameters of an operation: each parameter of the request must belong to the operation, and no
// required parameter may be missing.
func (o *Operation) read(f *Form) (*Values, error) {
	v := &Values{form: f, lists: make(map[string][]string)}
	for _, name := range f.names {
		if name != "Action" && name != "Version" && !o.has(name) {
			base, _, _ := strings.Cut(name, ".")
			return nil, Fail(400, "ValidationError", "waxseal does not support the parameter %s of %s.", shown(base), o.Name)
		}
	}
	for i := range o.Params {
		if err := v.readParam(&o.Params[i]); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *Values) readParam(p *Param) error {
	if !p.List {
		switch value, there := v.form.Get(p.Name), v.form.Has(p.Name); {
		case !there && p.Required:
			return Fail(400, "ValidationError", "1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", lowerFirst(p.Name))
		case there:
			return p.check(value)
		}
		return nil
	}
	list, err := v.form.list(p.Name, p.Member)
	if err != nil {
		return err
	}
	if p.Required && len(list) == 0 {
		return Fail(400, "ValidationError", "1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", lowerFirst(p.Name))
	}
	for _, value := range list {
		if err := p.check(value); err != nil {
			return err
		}
	}
	v.lists[p.Name] = list
	return nil
}

// has reports whether a name is a parameter of the operation, or a member of a list parameter.
func (o *Operation) has(name string) bool {
	return slices.ContainsFunc(o.Params, func(p Param) bool {
		return name == p.Name && !p.List || p.List && strings.HasPrefix(name, p.Name+".member.")
	})
}

func lowerFirst(name string) string { return strings.ToLower(name[:1]) + name[1:] }
