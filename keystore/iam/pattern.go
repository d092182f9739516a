package iam

import (
	"slices"
	"strings"
	"unicode"
)

// pattern is a compiled string with wildcards and policy variables
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html).
type pattern struct {
	pieces []piece
	simple []rune // the whole of a pattern without variables
}

// piece is text with wildcards, or a variable.
type piece struct {
	runes    []rune
	variable string // lower case; "" for text
	fallback string
	hasElse  bool
}

// Wildcards are negative runes in a pattern, absent from any text.
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

// compilePattern reads s; with wildcards false, * and ? stand for themselves (StringEquals); with variables false, a
// dollar sign stands for itself (policies of version 2008-10-17). It returns false for an unclosed variable.
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

// flatten turns a pattern without variables into a simple pattern.
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

// matches reports whether s matches the pattern.
func (p pattern) matches(r *Request, s []rune, fold bool) bool {
	runes, ok := p.expand(r)
	return ok && glob(runes, s, fold)
}

// Matches reports whether s matches a pattern with the wildcards * and ?; with fold, in any case.
func Matches(pattern, s string, fold bool) bool { return glob(wild(pattern), []rune(s), fold) }

// glob matches from asterisk to asterisk: the text before the first and after the last asterisk has a fixed place,
// and for each piece in between the first matching place is as good as any.
func glob(p, s []rune, fold bool) bool {
	star := slices.Index(p, anyRun)
	if star < 0 {
		return len(p) == len(s) && begins(p, s, fold)
	}
	if len(s) < star || !begins(p[:star], s, fold) {
		return false
	}
	for {
		s, p = s[star:], p[star+1:]
		next := slices.Index(p, anyRun)
		if next < 0 {
			return len(p) <= len(s) && begins(p, s[len(s)-len(p):], fold)
		}
		at := find(p[:next], s, fold)
		if at < 0 {
			return false
		}
		s, star = s[at:], next
	}
}

// begins reports whether s begins with p. p has no asterisk, and s is at least as long.
func begins(p, s []rune, fold bool) bool {
	for i, r := range p {
		if r != anyRune && !same(r, s[i], fold) {
			return false
		}
	}
	return true
}

// shortPiece is the length up to which a plain search in each place is faster.
const shortPiece = 2

// find returns the first place in s with a match of p, a pattern without asterisks; -1 for none. It takes at most
// len(s)*len(p)/64 steps: authors of policies and senders of long headers must not cost everybody time.
func find(p, s []rune, fold bool) int {
	if len(p) > shortPiece {
		return findLong(p, s, fold)
	}
	for at := 0; at+len(p) <= len(s); at++ {
		if begins(p, s[at:], fold) {
			return at
		}
	}
	return -1
}

// findLong goes through s once, with a bit for each prefix of p that ends at the current rune (the shift-and
// algorithm of Baeza-Yates and Gonnet).
func findLong(p, s []rune, fold bool) int {
	words := (len(p) + 63) / 64
	wild := make([]uint64, words) // places for any rune
	for i, r := range p {
		if r == anyRune {
			wild[i/64] |= 1 << (i % 64)
		}
	}
	var ascii [unicode.MaxASCII + 1][]uint64 // places for a rune
	other := map[rune][]uint64{}
	fits := func(r rune) []uint64 {
		if r <= unicode.MaxASCII {
			return ascii[r]
		}
		return other[r]
	}
	for i, r := range p {
		if r == anyRune {
			continue
		}
		r = folded(r, fold)
		places := fits(r)
		if places == nil {
			places = slices.Clone(wild)
			if r <= unicode.MaxASCII {
				ascii[r] = places
			} else {
				other[r] = places
			}
		}
		places[i/64] |= 1 << (i % 64)
	}
	matched, last := make([]uint64, words), uint64(1)<<((len(p)-1)%64)
	for j, r := range s {
		places := fits(folded(r, fold))
		if places == nil {
			places = wild
		}
		carry := uint64(1)
		for w, places := range places {
			carried := matched[w] >> 63
			matched[w] = (matched[w]<<1 | carry) & places
			carry = carried
		}
		if matched[words-1]&last != 0 {
			return j + 1 - len(p)
		}
	}
	return -1
}

func same(a, b rune, fold bool) bool {
	return a == b || fold && unicode.ToLower(a) == unicode.ToLower(b)
}

func folded(r rune, fold bool) rune {
	if fold {
		return unicode.ToLower(r)
	}
	return r
}
