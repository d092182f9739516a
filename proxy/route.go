package proxy

import (
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
	return r.handler(c)
}

// findRoute finds the row of a request: the first whose method, level, query and header all fit. Rows with a query
// stand before the plain one of their method.
func findRoute(c *call) *route {
	on := onObject
	switch {
	case c.bucket == "":
		on = onService
	case c.key == "":
		on = onBucket
	}
	for i := range routes {
		r := &routes[i]
		if r.method != c.method || r.on != on {
			continue
		}
		if r.query != "" && !c.query.has(r.query) {
			continue
		}
		if r.header != "" && !c.hasHeader(r.header) {
			continue
		}
		return r
	}
	return nil
}

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
}
