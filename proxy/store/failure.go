package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"waxseal/proxy/s3"
)

// Redirected returns the error for a redirect from the store. The client of the store is waxseal, which keeps to its
// configured endpoint: a requester who followed the redirect would send plaintext past waxseal.
func Redirected(resp *http.Response) error {
	Drain(resp)
	return fmt.Errorf("%w: it answered %s and named %q: is that its endpoint and region?", ErrUnreachable, resp.Status, resp.Header.Get("Location"))
}

// refusedCredentials returns an error if the store refuses waxseal's own signature. This is the operator's concern: the
// client's signature was good, and the store's response would show the client waxseal's access key.
func refusedCredentials(e *s3.Error) error {
	switch e.Code {
	case s3.SignatureDoesNotMatch, s3.InvalidAccessKeyID, "RequestTimeTooSkewed", "RequestExpired", "ExpiredToken", "InvalidToken",
		"InvalidSecurity", "AuthorizationHeaderMalformed", "CredentialsNotSupported", "NotSignedUp", "MissingSecurityHeader", "UnauthorizedAccess":
		return fmt.Errorf("%w: %s: %s", ErrCredentialsRefused, e.Code, e.Message)
	}
	e.Extra = slices.DeleteFunc(e.Extra, func(f s3.Field) bool {
		switch f.Name {
		case "AWSAccessKeyId", "StringToSign", "StringToSignBytes", "SignatureProvided", "CanonicalRequest", "CanonicalRequestBytes":
			return true
		}
		return false
	})
	return nil
}

var (
	ErrUnreachable = errors.New("the store did not answer")
	// ErrCredentialsRefused is returned if the store refuses the signature of a request.
	ErrCredentialsRefused = fmt.Errorf("%w: it refused the credentials that waxseal has for it", ErrUnreachable)
	ErrClientGone         = errors.New("the client is gone")
)

// Unanswered returns the error of a request without a response: the error of its body, the reason for which its context
// ended, or ErrUnreachable.
func Unanswered(ctx context.Context, err error) error {
	var own *s3.Error
	switch {
	case errors.As(err, &own):
		// The body's own reader failed: the client broke off, or a checksum or size was wrong.
		return err
	case errors.Is(err, ErrBodyRefused):
		return err
	case errors.As(context.Cause(ctx), &own):
		return own
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrClientGone, ctx.Err())
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// AnswerError is an error response of the store: its code, and its headers.
type AnswerError struct {
	Cause  *s3.Error
	Header http.Header
}

func (a *AnswerError) Error() string { return "the store answered " + a.Cause.Error() }

func (a *AnswerError) Unwrap() error { return a.Cause }

// CodeForStatus returns the error code for a response with a status and no error document: of a HEAD, or a load
// balancer's page.
func CodeForStatus(status int) s3.Code {
	switch status {
	case http.StatusBadRequest:
		return s3.BadRequest
	case http.StatusForbidden:
		return s3.AccessDenied
	case http.StatusNotFound:
		return s3.NoSuchKey
	case http.StatusMethodNotAllowed:
		return s3.MethodNotAllowed
	case http.StatusPreconditionFailed:
		return s3.PreconditionFailed
	case http.StatusRequestedRangeNotSatisfiable:
		return s3.InvalidRange
	case http.StatusNotImplemented:
		return s3.NotImplemented
	case http.StatusServiceUnavailable:
		return s3.ServiceUnavailable
	}
	return s3.InternalError
}
