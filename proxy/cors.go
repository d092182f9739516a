package proxy

import (
	"net/http"
	"strings"

	"waxseal/proxy/store"
)

// A bucket's CORS rules are the store's. It applies them to requests that come with an Origin, so that one goes up with
// whatever is asked on behalf of the request itself, and what the store says to it goes into the answer, be that
// another request's or an error. https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html
var corsHeaders = []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers", "Access-Control-Allow-Methods",
	"Access-Control-Max-Age", "Vary"}

// addOrigin gives a request to the store the client's Origin, with what S3's rules look at beside it, in a preflight or not.
func (c *parsed) addOrigin(h http.Header) {
	if c.header("Origin") == "" {
		return
	}
	for _, name := range []string{"Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"} {
		if v := c.header(name); v != "" {
			h.Set(name, v)
		}
	}
	if c.method == http.MethodHead && h.Get("Access-Control-Request-Method") == "" {
		h.Set("Access-Control-Request-Method", http.MethodHead) // a HEAD is a GET at the store
	}
}

// noteCORS keeps what the store's answer to a request with an Origin says of it: the last one that was allowed counts.
func (c *outgoing) noteCORS(r *store.Request, resp *http.Response) {
	if r.Header.Get("Origin") != "" && resp.Header.Get(corsHeaders[0]) != "" {
		c.cors = resp.Header
	}
}

// showCORS puts into the answer what the store said, where it is not there yet.
func (c *outgoing) showCORS() {
	for _, name := range corsHeaders {
		if v := c.cors.Values(name); len(v) > 0 && len(c.res.Header.Peek(name)) == 0 {
			c.res.Header.Set(name, strings.Join(v, ", "))
		}
	}
}
