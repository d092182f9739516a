package local

import "fmt"

// Error is an exception of the KMS API: its name, AWS's message for it, and the HTTP status.
type Error struct {
	Code    string // e.g. "NotFoundException"
	Message string
	Status  int
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code
	}
	return e.Code + ": " + e.Message
}

// Exception names, as clients see them in __type.
const (
	codeAccessDenied       = "AccessDeniedException"
	codeAlreadyExists      = "AlreadyExistsException"
	codeConflict           = "ConflictException"
	codeDependencyTimeout  = "DependencyTimeoutException"
	codeDisabled           = "DisabledException"
	codeDryRun             = "DryRunOperationException"
	codeExpiredImportToken = "ExpiredImportTokenException"
	codeIncorrectKey       = "IncorrectKeyException"
	codeIncorrectMaterial  = "IncorrectKeyMaterialException"
	codeInternal           = "KMSInternalException"
	codeInvalidAliasName   = "InvalidAliasNameException"
	codeInvalidArn         = "InvalidArnException"
	codeInvalidCiphertext  = "InvalidCiphertextException"
	codeInvalidGrantID     = "InvalidGrantIdException"
	codeInvalidGrantToken  = "InvalidGrantTokenException"
	codeInvalidImportToken = "InvalidImportTokenException"
	codeInvalidKeyUsage    = "InvalidKeyUsageException"
	codeInvalidMac         = "KMSInvalidMacException"
	codeInvalidMarker      = "InvalidMarkerException"
	codeInvalidSignature   = "KMSInvalidSignatureException"
	codeInvalidState       = "KMSInvalidStateException"
	codeKeyUnavailable     = "KeyUnavailableException"
	codeLimitExceeded      = "LimitExceededException"
	codeMalformedPolicy    = "MalformedPolicyDocumentException"
	codeNotAuthorized      = "NotAuthorizedException"
	codeNotFound           = "NotFoundException"
	codeTag                = "TagException"
	codeThrottling         = "ThrottlingException"
	codeUnsupported        = "UnsupportedOperationException"
	codeValidation         = "ValidationException"
)

// failf makes an exception. Messages carry names and ARNs, never key material or plaintext.
func failf(code, format string, args ...any) *Error {
	status := 400
	switch code {
	case codeInternal, codeKeyUnavailable:
		status = 500
	case codeDependencyTimeout:
		status = 503
	}
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: status}
}

func invalid(format string, args ...any) *Error { return failf(codeValidation, format, args...) }

// errStateAway returns the error for the client if the state store is unreachable, or a transaction's outcome is unknown.
func errStateAway() *Error {
	return failf(codeDependencyTimeout, "The system timed out while trying to fulfill the request. You can retry the request.")
}

// errInternal returns the error for a client after an internal fault; only the log has the cause.
func errInternal() *Error {
	return failf(codeInternal, "The request was rejected because an internal exception occurred. The request can be retried.")
}
