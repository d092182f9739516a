package iam

import (
	"bytes"
	"encoding/base64"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// comparison is an operator's comparison of a request's value with a policy's value.
type comparison uint8

const (
	stringEquals comparison = iota
	stringEqualsFold
	stringLike
	numericEquals
	numericLess
	numericLessEquals
	numericGreater
	numericGreaterEquals
	dateEquals
	dateLess
	dateLessEquals
	dateGreater
	dateGreaterEquals
	boolEquals
	binaryEquals
	ipIn
	arnLike
	isNull
)

// operand is a value of the policy, read as its operator reads it.
type operand struct {
	text   string
	wild   pattern    // strings
	arn    [6]pattern // ARNs, by component
	anyARN bool       // the ARN pattern "*"
	number float64
	when   time.Time
	binary []byte
	net    netip.Prefix
}

// parseOperand reads a policy's value; a value without any possible match under its operator is malformed.
func parseOperand(kind comparison, value string, variables bool) (operand, bool) {
	o := operand{text: value}
	var ok bool
	switch kind {
	case stringEquals, stringEqualsFold, stringLike:
		o.wild, ok = compilePattern(value, kind == stringLike, variables)
	case numericEquals, numericLess, numericLessEquals, numericGreater, numericGreaterEquals:
		o.number, ok = parseNumber(value)
	case dateEquals, dateLess, dateLessEquals, dateGreater, dateGreaterEquals:
		o.when, ok = parseTime(value)
	case boolEquals, isNull:
		o.text = strings.ToLower(value)
		ok = o.text == "true" || o.text == "false"
	case binaryEquals:
		var err error
		o.binary, err = base64.StdEncoding.DecodeString(value)
		ok = err == nil
	case ipIn:
		o.net, ok = parseNet(value)
	case arnLike:
		return parseARN(o, value, variables)
	}
	return o, ok
}

// parseARN compiles each component by itself: a wildcard does not reach across a colon, but the sixth component
// may hold colons.
func parseARN(o operand, value string, variables bool) (operand, bool) {
	if value == "*" {
		o.anyARN = true
		return o, true
	}
	parts := splitARN(value)
	if len(parts) != 6 || parts[0] != "arn" {
		return o, false
	}
	for i, part := range parts {
		var ok bool
		if o.arn[i], ok = compilePattern(part, true, variables); !ok {
			return o, false
		}
	}
	return o, true
}

// splitARN cuts at the first five colons outside policy variables: "${aws:username}", for example, has a colon of its
// own.
func splitARN(s string) []string {
	var parts []string
	depth, start := 0, 0
	for i := 0; i < len(s) && len(parts) < 5; i++ {
		switch {
		case strings.HasPrefix(s[i:], "${"):
			depth = 1
		case s[i] == '}':
			depth = 0
		case s[i] == ':' && depth == 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// compare asks whether a value of the request, given twice, meets the operand.
func (o *operand) compare(r *Request, kind comparison, value string, runes []rune) bool {
	switch kind {
	case stringEquals, stringLike:
		return o.wild.matches(r, runes, false)
	case stringEqualsFold:
		return o.wild.matches(r, runes, true)
	case numericEquals, numericLess, numericLessEquals, numericGreater, numericGreaterEquals:
		return o.compareNumber(kind, value)
	case dateEquals, dateLess, dateLessEquals, dateGreater, dateGreaterEquals:
		return o.compareTime(kind, value)
	case boolEquals, isNull:
		return strings.EqualFold(o.text, value)
	case binaryEquals:
		got, err := base64.StdEncoding.DecodeString(value)
		return err == nil && bytes.Equal(got, o.binary)
	case ipIn:
		address, err := netip.ParseAddr(value)
		return err == nil && o.net.Contains(address.Unmap().WithZone(""))
	case arnLike:
		return o.compareARN(r, value)
	}
	return false
}

func (o *operand) compareNumber(kind comparison, value string) bool {
	n, ok := parseNumber(value)
	if !ok {
		return false
	}
	switch kind {
	case numericEquals:
		return n == o.number
	case numericLess:
		return n < o.number
	case numericLessEquals:
		return n <= o.number
	case numericGreater:
		return n > o.number
	default:
		return n >= o.number
	}
}

func (o *operand) compareTime(kind comparison, value string) bool {
	t, ok := parseTime(value)
	if !ok {
		return false
	}
	c := t.Compare(o.when)
	switch kind {
	case dateEquals:
		return c == 0
	case dateLess:
		return c < 0
	case dateLessEquals:
		return c <= 0
	case dateGreater:
		return c > 0
	default:
		return c >= 0
	}
}

func (o *operand) compareARN(r *Request, value string) bool {
	if o.anyARN {
		return true
	}
	parts := strings.SplitN(value, ":", 6)
	if len(parts) != 6 {
		return false
	}
	for i := range parts {
		if !o.arn[i].matches(r, []rune(parts[i]), false) {
			return false
		}
	}
	return true
}

func parseNumber(s string) (float64, bool) {
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) && !strings.ContainsAny(s, "xXpP_")
}

// parseTime reads the W3C forms of ISO 8601 and seconds since 1970.
func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	seconds, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0), true
}

// parseNet reads a CIDR block, or a lone address as a block of a single address.
func parseNet(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
