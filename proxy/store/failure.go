package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"waxseal/proxy/s3"
)

// Redirected is for a store that sends its client elsewhere. That client is waxseal, which goes where it is configured
// to: the requester would send plaintext there.
func Redirected(resp *http.Response) error {
	Drain(resp)
	return fmt.Errorf("%w: it answered %s and named %q: is that its endpoint and region?", ErrUnreachable, resp.Status, resp.Header.Get("Location"))
}

// refusedCredentials is the error of a store that does not take waxseal's signature: the operator's concern. To a client,
// whose own signature was good, the store's answer would be wrong, and would show it waxseal's access key.
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
	// ErrCredentialsRefused is a store that does not take the signature of a request.
	ErrCredentialsRefused = fmt.Errorf("%w: it refused the credentials that waxseal has for it", ErrUnreachable)
	ErrClientGone         = errors.New("the client is gone")
)

// Unanswered returns the error of a request without an answer: the error of its body, the reason for which its context
// ended, or ErrUnreachable.
func Unanswered(ctx context.Context, err error) error {
	var own *s3.Error
	switch {
	case errors.As(err, &own):
		// The body's own reader failed: the client's fault, or a check's verdict.
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

// AnswerError is an error that the store answered: its code, and the headers beside it.
type AnswerError struct {
	Cause  *s3.Error
	Header http.Header
}

func (a *AnswerError) Error() string { return "the store answered " + a.Cause.Error() }

func (a *AnswerError) Unwrap() error { return a.Cause }

// CodeForStatus returns the code for an answer that has only a status: an answer to a HEAD, or a load balancer's page.
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
