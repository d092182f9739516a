package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"waxseal/proxy/s3"
)

// Check reports the Health of a store before anything is served from it.
func Check(ctx context.Context, cfg Config) error {
	up, err := New(cfg)
	if err != nil {
		return err
	}
	defer up.Close()
	return up.Health(ctx)
}

// Health sends a signed request and returns the reason for which waxseal cannot work with the store: no response,
// refused credentials or region, TLS on one side only, or a server that does not speak S3. AccessDenied for ListBuckets
// is healthy: the store knew the credentials.
func (u *Client) Health(ctx context.Context) error {
	resp, err := u.once(ctx, &Request{Method: http.MethodGet})
	if err != nil {
		return u.explain(err)
	}
	body, err := ReadDocument(resp)
	if err != nil {
		return err
	}
	if resp.StatusCode < 300 {
		if strings.Contains(string(body), "ListAllMyBucketsResult") {
			return nil
		}
		return u.notS3(resp.StatusCode)
	}
	answer := s3.ParseError(resp.StatusCode, body)
	switch {
	case resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented:
		return fmt.Errorf("it answered %d %s", resp.StatusCode, answer.Code)
	case answer.Code == "":
		return u.notS3(resp.StatusCode)
	case answer.Code == s3.AuthorizationHeaderMalformed || resp.StatusCode < 400 || namesRegion(answer):
		return fmt.Errorf("it refused the region %q that requests are signed for: %s: %s (--upstream-region)", u.cfg.Region, answer.Code, answer.Message)
	}
	if err := refusedCredentials(answer); err != nil {
		return fmt.Errorf("it refused the credentials that waxseal has for it: %s: %s (WAXSEAL_UPSTREAM_ACCESS_KEY, WAXSEAL_UPSTREAM_SECRET_KEY)", answer.Code, answer.Message)
	}
	return nil
}

// namesRegion reports whether an error about the signature is about its region: versitygw answers SignatureDoesNotMatch
// for a wrong region.
func namesRegion(e *s3.Error) bool {
	return refusedCredentials(&s3.Error{Code: e.Code}) != nil && strings.Contains(strings.ToLower(e.Message), "region")
}

// explain adds the likeliest cause to an error without a response, if it recognises the error.
func (u *Client) explain(err error) error {
	var plain tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &plain), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("it does not speak TLS, and its URL says https: %w", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("nobody vouches for its certificate (--upstream-ca): %w", err)
	}
	return err
}

func (u *Client) notS3(status int) error {
	hint := ""
	if u.base.Scheme == "http" {
		hint = "; a server with TLS answers plain HTTP like this: should its URL say https?"
	}
	return fmt.Errorf("it answered %d, and not as S3 does%s", status, hint)
}
