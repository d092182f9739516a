// Package inbound reads a fasthttp server's requests after their bodies: for the check of the signature, and for the
// audit record's data about the connection. The endpoints of KMS, IAM and STS share it; S3 streams bodies and has its
// own code.
package inbound

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"strings"

	"github.com/valyala/fasthttp"

	"waxseal/keystore"
	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
)

// Signed returns the request for the check of its signature.
func Signed(ctx *fasthttp.RequestCtx, body []byte) *sigv4.Request {
	path, query, _ := strings.Cut(string(ctx.Request.Header.RequestURI()), "?")
	sum := sha256.Sum256(body)
	r := &sigv4.Request{
		Method: string(ctx.Method()), RawPath: path, RawQuery: query, Host: string(ctx.Request.Header.Host()),
		ContentLength: int64(len(body)), BodySHA256: hex.EncodeToString(sum[:]),
	}
	for name, value := range ctx.Request.Header.All() {
		r.Headers = append(r.Headers, sigv4.Header{Name: string(name), Value: string(value)})
	}
	return r
}

// Caller returns the caller of a request: a proven requester, or nil.
func Caller(ctx *fasthttp.RequestCtx, who *iam.Requester) keystore.Caller {
	c := keystore.CallerOf(who)
	c.SourceIP, c.UserAgent, c.TLS = ctx.RemoteIP().String(), string(ctx.UserAgent()), tlsOf(ctx)
	c.Transport = keystore.TransportOf(ctx.IsTLS())
	return c
}

func tlsOf(ctx *fasthttp.RequestCtx) keystore.TLS {
	state := ctx.TLSConnectionState()
	if state == nil {
		return keystore.TLS{}
	}
	return keystore.TLS{
		TLSVersion:               strings.Replace(tls.VersionName(state.Version), " ", "v", 1),
		CipherSuite:              tls.CipherSuiteName(state.CipherSuite),
		ClientProvidedHostHeader: string(ctx.Request.Header.Host()),
	}
}

// Service returns the service in the credential scope of an Authorization header, "" without a scope.
func Service(authorization string) string {
	_, credential, _ := strings.Cut(authorization, "Credential=")
	credential, _, _ = strings.Cut(credential, ",")
	parts := strings.Split(strings.TrimSpace(credential), "/")
	if len(parts) < 5 {
		return ""
	}
	return parts[len(parts)-2]
}
