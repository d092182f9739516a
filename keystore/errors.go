package keystore

import (
	"context"
	"errors"
	"fmt"
)

// Kind is the class of an error, for the caller's reaction; the words for people are in Error.Message.
type Kind string

const (
	NotFound          Kind = "NotFound"          // no such key or alias
	Disabled          Kind = "Disabled"          // the key is disabled
	InvalidState      Kind = "InvalidState"      // the key is pending deletion or import, or unavailable
	AccessDenied      Kind = "AccessDenied"      // the caller may not do this with this key
	InvalidKeyUsage   Kind = "InvalidKeyUsage"   // the key is not a symmetric encryption key
	InvalidCiphertext Kind = "InvalidCiphertext" // the blob is not whole, or the context is another
	IncorrectKey      Kind = "IncorrectKey"      // the blob is another key's
	Throttled         Kind = "Throttled"         // too many calls; again later
	Unavailable       Kind = "Unavailable"       // the key service does not answer; again later
	Internal          Kind = "Internal"          // anything else
)

// Error is the error of a key service.
type Error struct {
	Kind    Kind
	KeyARN  string // of the key concerned, where known
	Message string // KMS's own wording, for the client: "<key ARN> is disabled."; empty where KMS sends none
	Err     error  // the cause, for the log
	OneKey  bool   // with Unavailable: the key service answered, and only this key is not available
}

func (e *Error) Error() string {
	s := "keystore: " + string(e.Kind)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// concernsOneKey reports whether an error, of any kind, is the answer of a working key service.
func concernsOneKey(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.OneKey
}

// Errorf makes an Error whose message is for the client.
func Errorf(kind Kind, keyARN, format string, args ...any) *Error {
	return &Error{Kind: kind, KeyARN: keyARN, Message: fmt.Sprintf(format, args...)}
}

// KindOf returns the kind of an error: of the Error in its chain, Unavailable for a context's end, else Internal. It is
// empty for nil.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	}
	return Internal
}

// Transient reports whether the same call may succeed later without anybody's doing.
func Transient(err error) bool {
	k := KindOf(err)
	return k == Throttled || k == Unavailable
}
