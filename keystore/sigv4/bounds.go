package sigv4

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds before a signature is checked. S3 takes 8 KB of headers with 2 KB of metadata, too few bytes for more names.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
const (
	MaxHeaders     = 1024 // and signed headers
	MaxParameters  = 1024 // of a query
	maxTrailerName = 16
)

// bounded refuses a request with more headers or parameters than any client sends.
func (v *Verifier) bounded(r *Request) error {
	switch {
	case len(r.Headers) > MaxHeaders:
		return v.errTooMany("headers", MaxHeaders)
	case strings.Count(r.RawQuery, "&") >= MaxParameters:
		return v.errTooMany("query parameters", MaxParameters)
	}
	return nil
}

func (v *Verifier) errTooMany(what string, most int) *Error {
	message := fmt.Sprintf("The request has more than %d %s.", most, what)
	if !v.s3() {
		return errIncompleteKMS(message)
	}
	return fail(400, "InvalidRequest", message)
}

// nameIndex finds names by halving. order has the positions of names in their alphabetical order.
type nameIndex struct {
	names []string
	order []int32
}

func indexNames(names []string) nameIndex {
	x := nameIndex{names, make([]int32, len(names))}
	for i := range x.order {
		x.order[i] = int32(i)
	}
	if !slices.IsSorted(names) {
		slices.SortFunc(x.order, func(a, b int32) int { return strings.Compare(names[a], names[b]) })
	}
	return x
}

// find returns the position of a name, given in any case; -1 for an absent name.
func (x nameIndex) find(name string) int {
	at, ok := slices.BinarySearchFunc(x.order, name, func(i int32, name string) int { return compareLower(x.names[i], name) })
	if !ok {
		return -1
	}
	return int(x.order[at])
}

// compareLower compares a lower-case name with a name in any case.
func compareLower(lower, name string) int {
	for i := range min(len(lower), len(name)) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if lower[i] != c {
			return int(lower[i]) - int(c)
		}
	}
	return len(lower) - len(name)
}

// repeats reports whether a name comes twice.
func (x nameIndex) repeats() bool {
	for i := 1; i < len(x.order); i++ {
		if x.names[x.order[i-1]] == x.names[x.order[i]] {
			return true
		}
	}
	return false
}
