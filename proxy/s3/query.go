package s3

import "strings"

// Query is the query of a request, decoded, in the order of the wire.
type Query struct {
	Raw    string
	Params []Param
}

// Param is a parameter of a query.
type Param struct{ Name, Value string }

// ParseQuery decodes a query of at most limit parameters.
func ParseQuery(raw string, limit int) (Query, error) {
	q := Query{Raw: raw}
	if strings.Count(raw, "&") >= limit {
		return q, Errorf(InvalidRequest, "The request has more than %d query parameters.", limit)
	}
	for raw != "" {
		var item string
		item, raw, _ = strings.Cut(raw, "&")
		if item == "" {
			continue
		}
		n, v, _ := strings.Cut(item, "=")
		name, err := UnescapeQuery(n)
		if err != nil {
			return q, err
		}
		value, err := UnescapeQuery(v)
		if err != nil {
			return q, err
		}
		q.Params = append(q.Params, Param{name, value})
	}
	return q, nil
}

// Has reports whether the query has a parameter, with or without a value.
func (q Query) Has(name string) bool {
	for _, p := range q.Params {
		if p.Name == name {
			return true
		}
	}
	return false
}

// Get returns the value of a parameter, the first of several.
func (q Query) Get(name string) string {
	for _, p := range q.Params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}
