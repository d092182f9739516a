package objects

import (
	"errors"
	"fmt"
	"net/http"

	"waxseal/proxy/s3"
	"waxseal/sse"
)

var (
	// ErrNotSealed refuses an object without a valid envelope in a bucket whose objects must have one.
	ErrNotSealed = errors.New("the object has no waxseal envelope")
	// ErrTampered refuses an object on failed authentication: altered, cut, swapped, or under another object's envelope.
	ErrTampered = errors.New("the object failed authentication")
	// ErrChanged reports that an object was written anew between two requests to the store.
	ErrChanged = errors.New("the object changed while it was read")
	// ErrArchived is the store's answer to a read of an archived object: the object must be restored first.
	ErrArchived = s3.NewError(s3.InvalidObjectState)
)

func Tampered(err error) error { return fmt.Errorf("%w: %w", ErrTampered, err) }

// OpenError makes ErrTampered of a failed authentication, and leaves errors of a key service as they are.
func OpenError(err error) error {
	if errors.Is(err, sse.ErrAuthentication) || errors.Is(err, sse.ErrMalformed) {
		return Tampered(err)
	}
	return err
}

// WhileChanging reads again when the object was written anew between two requests to the store.
func WhileChanging(read func() error) (err error) {
	for range 3 {
		if err = read(); !errors.Is(err, ErrChanged) {
			break
		}
	}
	return err
}

// ChangedError makes ErrChanged of a failed If-Match, and leaves other errors as they are.
func ChangedError(err error) error {
	var e *s3.Error
	if errors.As(err, &e) && (e.Code == s3.PreconditionFailed || e.Status() == http.StatusPreconditionFailed) {
		return ErrChanged
	}
	return err
}
