package kmsapi

import (
	"context"
	"errors"
	"fmt"

	"waxseal/keystore/local"
	"waxseal/keystore/sigv4"
)

// exception is an error in its wire form: {"__type": code, "message": message}.
type exception struct {
	status  int
	code    string
	message string
}

func (e *exception) Error() string { return e.code + ": " + e.message }

func serialization(format string, args ...any) error {
	return &exception{400, "SerializationException", fmt.Sprintf(format, args...)}
}

func unknownOperation() error { return &exception{400, "UnknownOperationException", ""} }

// exceptionOf turns every error into an exception.
func exceptionOf(err error) *exception {
	var ours *exception
	var kms *local.Error
	var signature *sigv4.Error
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &kms):
		return &exception{kms.Status, kms.Code, kms.Message}
	case errors.As(err, &signature):
		return &exception{signature.Status, signature.Code, signature.Message}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &exception{503, "DependencyTimeoutException", "The system timed out while trying to fulfill the request. You can retry the request."}
	}
	return &exception{500, "KMSInternalException", "The request was rejected because an internal exception occurred. The request can be retried."}
}
