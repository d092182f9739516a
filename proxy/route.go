package proxy

import (
	"net/http"
	"slices"
	"strings"

	"waxseal/proxy/s3"
)

// class says what an operation does with object data.
type class uint8

const (
	seal    class = iota + 1 // plaintext comes in, ciphertext goes to the store
	open                     // ciphertext comes from the store, plaintext or facts about it go out
	local                    // waxseal answers from its own state
	forward                  // no object data and no fact about it: the store answers
	refuse                   // not supported, by name
)

// level is what a request's address names.
type level uint8

const (
	onService level = iota + 1
	onBucket
	onObject
)

// route is one S3 operation.
type route struct {
	name    string // the operation's name in AWS's API reference
	method  string
	on      level
	query   string // the parameter that tells it from its neighbours, if any
	header  string // the header that does, if any
	class   class
	action  string   // the IAM action that the requester needs
	also    string   // a further one that the requester needs
	params  []string // the query parameters that the operation has beside query
	pass    []string // x-amz-* request headers that reach the store unchanged
	handler func(*call) error
}

// run carries the operation out, or refuses it by name.
func (r *route) run(c *call) error {
	if r.class == refuse || r.handler == nil {
		return s3.Errorf(s3.NotImplemented, "waxseal does not support %s", r.name)
	}
	if err := c.checkAmzHeaders(); err != nil {
		return err
	}
	if err := c.checkConditions(); err != nil {
		return err
	}
	for _, p := range c.query.Params {
		if r.mistakes(p) {
			return errSubResource(p.Name, r.on)
		}
	}
	if err := c.checkIdentifiers(); err != nil {
		return err
	}
	if r.class == seal {
		if err := c.s.checkNewKey(c.key); err != nil {
			return err
		}
	}
	return r.handler(c)
}

func (c *parsed) level() level {
	switch {
	case c.bucket == "":
		return onService
	case c.key == "":
		return onBucket
	}
	return onObject
}

// selectors are the parameters that tell operations from their neighbours, with the levels that have such operations.
var selectors = make(map[string][]level)

// mistakes reports whether the row would be taken for another operation's, which is told by a parameter that waxseal
// does not know: "PUT /bucket?newThing" would make the bucket. A sub-resource has no value; beside a parameter that has
// one, no bucket is made or removed either. Reading an object changes nothing, and browsers are given addresses such as
// "/bucket/logo.png?1401234567", so that they do not take it from their cache. A condition is never passed over.
func (r *route) mistakes(p s3.Param) bool {
	if (r.name == "GetObject" || r.name == "HeadObject") && !isConditional(p.Name) {
		return false
	}
	name := strings.ToLower(p.Name)
	if r.query != "" || r.method == http.MethodOptions || selectors[p.Name] != nil || slices.Contains(r.params, p.Name) || parameters[p.Name] || strings.HasPrefix(name, "x-amz-") || name == "x-id" || signatureV2[name] {
		return false
	}
	return p.Value == "" || r.name == "CreateBucket" || r.name == "DeleteBucket"
}

// maxShownName bounds what a refusal repeats of a parameter's name.
const maxShownName = 64

func errSubResource(name string, on level) error {
	name = strings.ToValidUTF8(name[:min(len(name), maxShownName)], "")
	return s3.Errorf(s3.NotImplemented, "waxseal knows no sub-resource ?%s of a %s", name, on)
}

// signatureV2 are the parameters of a URL that is presigned with Signature Version 2, in lower case.
var signatureV2 = map[string]bool{"awsaccesskeyid": true, "expires": true, "signature": true}

// parameters are the names of all rows' parameters: one that is not the operation's own is passed over.
var parameters = make(map[string]bool)

// errMethodOf refuses a method that a sub-resource does not have.
func errMethodOf(c *call, query string, on level) error {
	var allowed []string
	for i := range routes {
		if r := &routes[i]; r.query == query && r.on == on && !slices.Contains(allowed, r.method) {
			allowed = append(allowed, r.method)
		}
	}
	e := errMethod(c)
	e.Header = append(e.Header, s3.Field{Name: "Allow", Value: strings.Join(allowed, ", ")})
	return e
}

func (on level) String() string { return [...]string{"", "service", "bucket", "key"}[on] }

// Parameters of several rows.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
var (
	paramsVersion = []string{"versionId"}
	paramsRead    = []string{"versionId", "partNumber", "response-cache-control", "response-content-disposition",
		"response-content-encoding", "response-content-language", "response-content-type", "response-expires"}
	paramsPart     = []string{"partNumber"}
	paramsParts    = []string{"max-parts", "part-number-marker", "encoding-type"}
	paramsConfig   = []string{"id", "continuation-token"}
	paramsList     = []string{"delimiter", "encoding-type", "marker", "max-keys", "prefix"}
	paramsListV2   = []string{"continuation-token", "delimiter", "encoding-type", "fetch-owner", "max-keys", "prefix", "start-after"}
	paramsVersions = []string{"delimiter", "encoding-type", "key-marker", "max-keys", "prefix", "version-id-marker"}
	paramsUploads  = []string{"delimiter", "encoding-type", "key-marker", "max-uploads", "prefix", "upload-id-marker"}
	paramsBuckets  = []string{"bucket-region", "continuation-token", "max-buckets", "prefix"}
)

// Headers that several rows let through.
var (
	passOwner  = []string{"x-amz-expected-bucket-owner", "x-amz-request-payer"}
	passACL    = append([]string{"x-amz-acl", "x-amz-grant-full-control", "x-amz-grant-read", "x-amz-grant-read-acp", "x-amz-grant-write", "x-amz-grant-write-acp"}, passOwner...)
	passObject = append([]string{"x-amz-storage-class", "x-amz-tagging", "x-amz-website-redirect-location",
		"x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold"}, passACL...)
	passBypass = append([]string{"x-amz-bypass-governance-retention", "x-amz-mfa"}, passOwner...)
	passCreate = append([]string{"x-amz-bucket-object-lock-enabled", "x-amz-object-ownership"}, passACL...)
	passPolicy = append([]string{"x-amz-confirm-remove-self-bucket-access", "x-amz-mfa", "x-amz-bucket-object-lock-token",
		"x-amz-transition-default-minimum-object-size"}, passOwner...)
	passAttrs = append([]string{"x-amz-object-attributes", "x-amz-max-parts", "x-amz-part-number-marker"}, passOwner...)
)

// routes has a row for every operation of Amazon S3's API reference.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
var routes []route

func init() {
	routes = append(routes, objectRoutes...)
	routes = append(routes, bucketRoutes...)
	routes = append(routes, serviceRoutes...)
	for i := range routes {
		if r := &routes[i]; r.query != "" && !slices.Contains(selectors[r.query], r.on) {
			selectors[r.query] = append(selectors[r.query], r.on)
		}
		for _, name := range routes[i].params {
			parameters[name] = true
		}
	}
}
