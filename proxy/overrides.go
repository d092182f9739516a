package proxy

import (
	"waxseal/keystore/sigv4"
	"waxseal/proxy/s3"
)

// overrides are the query parameters that set headers of the answer.
var overrides = []struct{ param, header string }{
	{"response-content-type", "Content-Type"},
	{"response-content-language", "Content-Language"},
	{"response-expires", "Expires"},
	{"response-cache-control", "Cache-Control"},
	{"response-content-disposition", "Content-Disposition"},
	{"response-content-encoding", "Content-Encoding"},
}

func (c *call) overrideHeaders() {
	for _, o := range overrides {
		if c.query.Has(o.param) {
			c.res.Header.Set(o.header, c.query.Get(o.param))
		}
	}
}

// checkOverrides refuses header overrides of unsigned requests, as S3 does.
func (c *call) checkOverrides() error {
	if c.auth.Kind != sigv4.Anonymous {
		return nil
	}
	for _, o := range overrides {
		if c.query.Has(o.param) {
			return s3.Errorf(s3.InvalidRequest, "Request specific response headers cannot be used for anonymous GET requests.")
		}
	}
	return nil
}
