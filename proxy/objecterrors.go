package proxy

import (
	"errors"
	"fmt"
	"net/http"

	"waxseal/proxy/s3"
	"waxseal/sse"
)

var (
	// errNotSealed refuses an object without a valid envelope in a bucket whose objects must have one.
	errNotSealed = errors.New("the object has no waxseal envelope")
	// errTampered refuses an object that does not authenticate: altered, cut, swapped, or under another object's envelope.
	errTampered = errors.New("the object failed authentication")
	// errChanged reports that an object was written anew between two requests to the store.
	errChanged = errors.New("the object changed while it was read")
	// errArchived is the store's answer to a read of an object that must be restored first.
	errArchived = s3.NewError(s3.InvalidObjectState)
)

func tampered(err error) error { return fmt.Errorf("%w: %w", errTampered, err) }

// openError tells tampering from what a key service says.
func openError(err error) error {
	if errors.Is(err, sse.ErrAuthentication) || errors.Is(err, sse.ErrMalformed) {
		return tampered(err)
	}
	return err
}

// whileChanging reads again when the object was written anew between two requests to the store.
func whileChanging(read func() error) (err error) {
	for range 3 {
		if err = read(); !errors.Is(err, errChanged) {
			break
		}
	}
	return err
}

// changedError tells a pin that no longer holds from other errors.
func changedError(err error) error {
	var e *s3.Error
	if errors.As(err, &e) && (e.Code == s3.PreconditionFailed || e.Status() == http.StatusPreconditionFailed) {
		return errChanged
	}
	return err
}
