// Package awsquery speaks AWS's query protocol: a request is a urlencoded body with an Action and its parameters, an
// answer is XML. IAM and STS are such APIs. The package knows the protocol; the API implements the operations.
package awsquery

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxBody bounds a request: the largest legitimate request carries a policy of 131,072 characters, percent-encoded.
const MaxBody = 512 << 10

const maxParameters = 500

// Form are the parameters of a request. Each is there once.
type Form struct {
	values map[string]string
	names  []string // in the order of the body
}

// ParseForm reads a body. A body open to a second reading is refused: a parameter that comes twice, invalid UTF-8, an
// invalid escape.
func ParseForm(body []byte) (*Form, error) {
	f := &Form{values: make(map[string]string)}
	if len(body) == 0 {
		return f, nil
	}
	for pair := range strings.SplitSeq(string(body), "&") {
		if len(f.names) == maxParameters {
			return nil, malformed("The request has more than %d parameters.", maxParameters)
		}
		name, value, _ := strings.Cut(pair, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		switch {
		case errName != nil, errValue != nil, !utf8.ValidString(name), !utf8.ValidString(value):
			return nil, malformed("The body is not urlencoded UTF-8.")
		case name == "":
			return nil, malformed("A parameter has no name.")
		}
		if _, twice := f.values[name]; twice {
			return nil, malformed("The parameter %s must be given once.", shown(name))
		}
		f.values[name] = value
		f.names = append(f.names, name)
	}
	return f, nil
}

// shown returns a name in its form for an error.
func shown(name string) string {
	if len(name) > 64 {
		name = name[:64]
	}
	return strings.ToValidUTF8(name, "?")
}

// Get returns a parameter, "" without it.
func (f *Form) Get(name string) string { return f.values[name] }

// Has reports whether a parameter is there.
func (f *Form) Has(name string) bool {
	_, ok := f.values[name]
	return ok
}

// list returns the members of a list: name.member.1 and so on, each with a suffix or none. Members are numbered from 1
// without a hole: with a hole, two readers could see two lists.
func (f *Form) list(name, suffix string) ([]string, error) {
	var numbers []int
	for _, given := range f.names {
		rest, ok := strings.CutPrefix(given, name+".member.")
		if !ok {
			continue
		}
		number, after, _ := strings.Cut(rest, ".")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || strconv.Itoa(n) != number || after != suffix {
			return nil, malformed("%s is not a member of the list %s.", shown(given), name)
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var list []string
	for i, n := range numbers {
		if n != i+1 {
			return nil, malformed("The members of the list %s are not numbered without a hole.", name)
		}
		full := name + ".member." + strconv.Itoa(n)
		if suffix != "" {
			full += "." + suffix
		}
		list = append(list, f.values[full])
	}
	return list, nil
}

// Error is a refusal in AWS's words.
type Error struct {
	Code    string
	Message string
	Status  int
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Fail returns an error of a status.
func Fail(status int, code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: status}
}

func malformed(format string, args ...any) error {
	return Fail(400, "MalformedInput", format, args...)
}
