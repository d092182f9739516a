package awsquery

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/iam"
	"waxseal/keystore/inbound"
	"waxseal/keystore/sigv4"
)

// timeout bounds an operation.
const timeout = 30 * time.Second

// Port serves APIs beside KMS on its port: they are told apart by the service in the credential's scope.
type Port struct {
	apis      []*API
	verifiers map[string]*sigv4.Verifier
	used      func(who *iam.Requester, service, region string)
}

// NewPort returns a port for APIs. used is called for each request with a valid signature.
func NewPort(lookup func(accessKey, token string) (iam.Credential, error), region string, now func() time.Time,
	used func(who *iam.Requester, service, region string), apis ...*API,
) *Port {
	p := &Port{apis: apis, verifiers: make(map[string]*sigv4.Verifier), used: used}
	for _, a := range apis {
		p.verifiers[a.Name] = &sigv4.Verifier{Service: a.Name, Region: region, Global: true, Lookup: lookup, Now: now}
	}
	return p
}

const urlencoded = "application/x-www-form-urlencoded"

// Takes reports whether a request is for an API of the port: signed for it, or unsigned and urlencoded.
func (p *Port) Takes(ctx *fasthttp.RequestCtx) bool { return p.api(ctx) != nil }

// api returns the API of a request. An unsigned request is for STS: no other API has operations without a signature.
func (p *Port) api(ctx *fasthttp.RequestCtx) *API {
	h := &ctx.Request.Header
	if !h.IsPost() || len(h.Peek("X-Amz-Target")) > 0 {
		return nil
	}
	service := inbound.Service(string(h.Peek("Authorization")))
	if len(h.Peek("Authorization")) == 0 && bytes.HasPrefix(h.ContentType(), []byte(urlencoded)) {
		service = "sts"
	}
	for _, a := range p.apis {
		if a.Name == service {
			return a
		}
	}
	return nil
}

// Head refuses a request that is wrong with any body, before the body is read.
func (p *Port) Head(ctx *fasthttp.RequestCtx) error {
	path, query, _ := strings.Cut(string(ctx.Request.Header.RequestURI()), "?")
	switch {
	case path != "/":
		return Fail(404, "InvalidAction", "The path of a request must be /.")
	case query != "":
		return malformed("Parameters are taken in the body of the request, not in its address.")
	case !bytes.HasPrefix(ctx.Request.Header.ContentType(), []byte(urlencoded)):
		return malformed("The Content-Type of a request must be " + urlencoded + ".")
	case len(ctx.Request.Header.Peek("Authorization")) == 0:
		return nil
	}
	return queryError(p.verifiers[p.api(ctx).Name].VerifyHead(inbound.Signed(ctx, nil)))
}

// Origin is the origin of a request, behind a trusted proxy as the proxy names it.
type Origin struct {
	Address string
	Secure  bool // it came over TLS
}

// Serve answers a request. proven is called when its signature was found to be right.
func (p *Port) Serve(ctx *fasthttp.RequestCtx, body []byte, from Origin, proven func()) {
	a := p.api(ctx)
	var who *iam.Requester
	if len(ctx.Request.Header.Peek("Authorization")) > 0 {
		auth, err := p.verifiers[a.Name].Verify(inbound.Signed(ctx, body))
		if err != nil {
			p.Refuse(ctx, queryError(err))
			return
		}
		proven()
		who = auth.Owner
		p.used(who, a.Name, auth.Region)
	}
	// Not a child of fasthttp's context: that context does not end with the client's connection, and is reused for the
	// next request.
	deadline, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	caller := inbound.Caller(ctx, who)
	caller.SourceIP, caller.Transport = from.Address, keystore.TransportOf(from.Secure)
	write(ctx, a.Serve(deadline, caller, body))
}

// Refuse answers a request with an error.
func (p *Port) Refuse(ctx *fasthttp.RequestCtx, err error) {
	write(ctx, p.api(ctx).Refusal(uuid.NewString(), err))
}

func write(ctx *fasthttp.RequestCtx, a Answer) {
	ctx.Response.Header.Set("x-amzn-RequestId", a.RequestID)
	ctx.SetContentType("text/xml")
	ctx.SetStatusCode(a.Status)
	ctx.SetBody(a.Body)
	clear(a.Body) // it may hold a secret key
}

// queryErrors maps KMS's error names to the query protocol's.
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
var queryErrors = map[string]Error{
	"UnrecognizedClientException":         {Code: "InvalidClientTokenId", Status: 403},
	"InvalidSignatureException":           {Code: "SignatureDoesNotMatch", Status: 403},
	"MissingAuthenticationTokenException": {Code: "MissingAuthenticationToken", Status: 403},
	"IncompleteSignatureException":        {Code: "IncompleteSignature", Status: 400},
	"ExpiredTokenException":               {Code: "ExpiredToken", Status: 403},
}

// queryError returns an error of a signature in the words of the query protocol.
func queryError(err error) error {
	e, ok := sigv4.AsError(err)
	if !ok {
		return err
	}
	if named, known := queryErrors[e.Code]; known {
		return Fail(named.Status, named.Code, "%s", e.Message)
	}
	return Fail(e.Status, e.Code, "%s", e.Message)
}
