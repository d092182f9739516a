package iam

import (
	"strings"
	"unicode"
)

// pattern is a compiled string with wildcards and policy variables
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html).
type pattern struct {
	pieces []piece
	simple []rune // the whole of a pattern without variables
}

// piece is text with wildcards, or one variable.
type piece struct {
	runes    []rune
	variable string // lower case; "" for text
	fallback string
	hasElse  bool
}

// Wildcards stand in a pattern as runes that no text has.
const (
	anyRun  rune = -1
	anyRune rune = -2
)

// wild compiles the wildcards of s.
func wild(s string) []rune {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		switch r {
		case '*':
			r = anyRun
		case '?':
			r = anyRune
		}
		out = append(out, r)
	}
	return out
}

// compilePattern reads s; with wildcards false, * and ? stand for themselves (StringEquals); with variables false,
// a dollar sign stands for itself (policies of version 2008-10-17). It reports a variable that is not closed.
func compilePattern(s string, wildcards, variables bool) (pattern, bool) {
	compile := func(s string) []rune {
		if wildcards {
			return wild(s)
		}
		return []rune(s)
	}
	if !variables || !strings.Contains(s, "${") {
		return pattern{simple: compile(s)}, true
	}
	var p pattern
	for s != "" {
		before, rest, found := strings.Cut(s, "${")
		if before != "" {
			p.pieces = append(p.pieces, piece{runes: compile(before)})
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || name == "" {
			return p, false
		}
		v, ok := compileVariable(name)
		if !ok {
			return p, false
		}
		p.pieces = append(p.pieces, v)
		s = after
	}
	return p.flatten(), true
}

// compileVariable reads ${*}, ${?}, ${$}, ${key} and ${key, 'default'}.
func compileVariable(name string) (piece, bool) {
	switch name {
	case "*", "?", "$":
		return piece{runes: []rune(name)}, true
	}
	key, fallback, hasElse := strings.Cut(name, ",")
	fallback = strings.TrimSpace(fallback)
	if hasElse {
		if len(fallback) < 2 || fallback[0] != '\'' || fallback[len(fallback)-1] != '\'' {
			return piece{}, false
		}
		fallback = fallback[1 : len(fallback)-1]
	}
	return piece{variable: strings.ToLower(strings.TrimSpace(key)), fallback: fallback, hasElse: hasElse}, true
}

// flatten turns a pattern without variables into a simple one.
func (p pattern) flatten() pattern {
	var all []rune
	for _, q := range p.pieces {
		if q.variable != "" {
			return p
		}
		all = append(all, q.runes...)
	}
	return pattern{simple: all}
}

// expand puts the request's values in the place of the variables, with wildcards in them as plain text. A variable
// without a value, and without a default, makes the whole match nothing.
func (p pattern) expand(r *Request) ([]rune, bool) {
	if p.pieces == nil {
		return p.simple, true
	}
	var out []rune
	for _, q := range p.pieces {
		if q.variable == "" {
			out = append(out, q.runes...)
			continue
		}
		values := r.values(q.variable)
		switch {
		case len(values) == 1:
			out = append(out, []rune(values[0])...)
		case len(values) == 0 && q.hasElse:
			out = append(out, []rune(q.fallback)...)
		default:
			return nil, false
		}
	}
	return out, true
}

// matches tells whether s is the pattern's.
func (p pattern) matches(r *Request, s string, fold bool) bool {
	runes, ok := p.expand(r)
	return ok && glob(runes, []rune(s), fold)
}

// glob matches with at most one point to come back to, so it takes len(p)*len(s) steps at worst.
func glob(p, s []rune, fold bool) bool {
	i, j := 0, 0
	star, mark := -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == anyRun:
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == anyRune || same(p[i], s[j], fold)):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == anyRun {
		i++
	}
	return i == len(p)
}

func same(a, b rune, fold bool) bool {
	return a == b || fold && a >= 0 && unicode.ToLower(a) == unicode.ToLower(b)
}
