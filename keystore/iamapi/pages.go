package iamapi

import (
	"encoding/base64"
	"slices"
	"sort"
	"time"

	"waxseal/keystore/awsquery"
)

const defaultPage = 100

// page is the paging part of an answer.
type page struct {
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

// cut returns a page of a list, in the order of its names. A marker is the last name before the page: even if the list
// changes between two pages, every lasting entry appears.
func cut[T any](r *awsquery.Request, all []T, name func(T) string) ([]T, page, error) {
	// slices.SortFunc would be compiled anew for each of the nine types: 150 KB of the program.
	sort.Slice(all, func(i, j int) bool { return name(all[i]) < name(all[j]) })
	if marker := r.Get("Marker"); marker != "" {
		after, err := base64.RawURLEncoding.DecodeString(marker)
		if err != nil {
			return nil, page{}, awsquery.Fail(400, "ValidationError", "Invalid Marker.")
		}
		i := slices.IndexFunc(all, func(v T) bool { return name(v) > string(after) })
		if i < 0 {
			i = len(all)
		}
		all = all[i:]
	}
	n := r.Number("MaxItems", defaultPage)
	if len(all) <= n {
		return all, page{}, nil
	}
	all = all[:n]
	return all, page{true, base64.RawURLEncoding.EncodeToString([]byte(name(all[n-1])))}, nil
}

// isoTime returns a time in IAM's form.
func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
