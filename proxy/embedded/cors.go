package embedded

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"waxseal/proxy/s3"
)

var corsMethods = []string{"GET", "PUT", "HEAD", "POST", "DELETE"}

// checkCORS holds the rules to S3's. https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html
func checkCORS(_ *bucket, text []byte) error {
	var c s3.CORSConfiguration
	if err := decodeDocument(text, &c); err != nil {
		return err
	}
	if len(c.Rules) == 0 || len(c.Rules) > 100 {
		return s3.NewError(s3.MalformedXML)
	}
	for _, r := range c.Rules {
		if len(r.AllowedMethods) == 0 || len(r.AllowedOrigins) == 0 {
			return s3.NewError(s3.MalformedXML)
		}
		for _, m := range r.AllowedMethods {
			if !slices.Contains(corsMethods, m) {
				return s3.Errorf(s3.InvalidRequest, "Found unsupported HTTP method in CORS config. Unsupported method is %s", m)
			}
		}
		for _, h := range r.ExposeHeaders {
			if strings.Contains(h, "*") {
				return s3.Errorf(s3.InvalidRequest, "ExposeHeader \"%s\" contains wildcard. We currently do not support wildcard for ExposeHeader.", h)
			}
		}
		for _, o := range append(slices.Clone(r.AllowedOrigins), r.AllowedHeaders...) {
			if strings.Count(o, "*") > 1 {
				return s3.Errorf(s3.InvalidRequest, "AllowedOrigin \"%s\" can not have more than one wildcard.", o)
			}
		}
	}
	return nil
}

// matches compares with a pattern that may have one asterisk.
func matches(pattern, s string) bool {
	before, after, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == s
	}
	return len(s) >= len(before)+len(after) && strings.HasPrefix(s, before) && strings.HasSuffix(s, after)
}

// corsRule finds the first rule that allows a request, and the origin pattern by which it does.
func (b *bucket) corsRule(origin, method string, headers []string) (*s3.CORSRule, string) {
	if b.rules.cors == nil {
		return nil, ""
	}
	for i := range b.rules.cors.Rules {
		r := &b.rules.cors.Rules[i]
		at := slices.IndexFunc(r.AllowedOrigins, func(p string) bool { return matches(p, origin) })
		if at >= 0 && slices.Contains(r.AllowedMethods, method) && allAllowed(r.AllowedHeaders, headers) {
			return r, r.AllowedOrigins[at]
		}
	}
	return nil, ""
}

func allAllowed(patterns, headers []string) bool {
	for _, h := range headers {
		if !slices.ContainsFunc(patterns, func(p string) bool { return matches(strings.ToLower(p), strings.ToLower(h)) }) {
			return false
		}
	}
	return true
}

// show puts into an answer what a rule allows.
func (r *response) show(rule *s3.CORSRule, pattern, origin string) {
	if pattern == "*" {
		origin = "*"
	} else {
		r.set("Access-Control-Allow-Credentials", "true")
	}
	r.set("Access-Control-Allow-Origin", origin).set("Access-Control-Allow-Methods", strings.Join(rule.AllowedMethods, ", ")).
		set("Access-Control-Expose-Headers", strings.Join(rule.ExposeHeaders, ", ")).
		set("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
	if rule.MaxAgeSeconds != nil {
		r.set("Access-Control-Max-Age", strconv.Itoa(*rule.MaxAgeSeconds))
	}
}

// addCORS adds to the answer of a request with an Origin what the bucket's rules say of it. An error has them too: without
// them a script could not read why it was refused. A request that names another method, as a preflight does, gets that
// method's rule.
func (s *Store) addCORS(q *request, resp *response, origin string) error {
	return s.view(func(t *txn) error {
		b, err := t.store.buckets.decode(q.bucket, t.get(bucketSpace, []byte(q.bucket)))
		if err != nil || b == nil {
			return err
		}
		method := q.header.Get("Access-Control-Request-Method")
		if method == "" {
			method = q.method
		}
		if rule, pattern := b.corsRule(origin, method, q.corsHeaders()); rule != nil {
			resp.show(rule, pattern, origin)
		}
		return nil
	})
}

// corsHeaders are the headers that a script wants to send.
func (q *request) corsHeaders() (names []string) {
	for h := range strings.SplitSeq(q.header.Get("Access-Control-Request-Headers"), ",") {
		if h = strings.TrimSpace(h); h != "" {
			names = append(names, h)
		}
	}
	return names
}

// errForbidden is how S3 refuses a preflight.
func errForbidden(message string) error {
	e := s3.Errorf("AccessForbidden", "%s", message)
	e.HTTPStatus = http.StatusForbidden
	return e
}

func (s *Store) preflight(q *request) (*response, error) {
	origin, method := q.header.Get("Origin"), q.header.Get("Access-Control-Request-Method")
	switch {
	case origin == "":
		return nil, s3.Errorf(s3.BadRequest, "Insufficient information. Origin request header needed.")
	case !slices.Contains(corsMethods, method):
		return nil, s3.Errorf(s3.BadRequest, "Invalid Access-Control-Request-Method: %s", method)
	case q.bucket == "":
		return nil, errForbidden("CORSResponse: Bucket not found")
	}
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	if b.rules.cors == nil {
		return nil, errForbidden("CORSResponse: CORS is not enabled for this bucket.")
	}
	rule, pattern := b.corsRule(origin, method, q.corsHeaders())
	if rule == nil {
		return nil, errForbidden("CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.")
	}
	resp := answer(http.StatusOK).set("Access-Control-Allow-Headers", strings.ToLower(q.header.Get("Access-Control-Request-Headers")))
	resp.show(rule, pattern, origin)
	return resp, nil
}
