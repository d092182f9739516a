package awskms

import (
	"context"
	"errors"
	"net/http"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"waxseal/keystore"
)

// kinds are the kinds of KMS errors meant for a requester, by KMS's names.
var kinds = map[string]keystore.Kind{
	"NotFoundException":             keystore.NotFound,
	"InvalidArnException":           keystore.NotFound,
	"DisabledException":             keystore.Disabled,
	"KMSInvalidStateException":      keystore.InvalidState,
	"AccessDeniedException":         keystore.AccessDenied,
	"InvalidGrantTokenException":    keystore.AccessDenied,
	"InvalidKeyUsageException":      keystore.InvalidKeyUsage,
	"UnsupportedOperationException": keystore.InvalidKeyUsage,
	"InvalidCiphertextException":    keystore.InvalidCiphertext,
	"IncorrectKeyException":         keystore.IncorrectKey,
	"ThrottlingException":           keystore.Throttled,
	"LimitExceededException":        keystore.Throttled,
	"TooManyRequestsException":      keystore.Throttled,
	"DependencyTimeoutException":    keystore.Unavailable,
	"KeyUnavailableException":       keystore.Unavailable,
	"KMSInternalException":          keystore.Unavailable,
}

// credentialErrors are refusals of waxseal's own credentials: a matter for the operator and not for the requester,
// and over once the credentials are renewed.
var credentialErrors = map[string]bool{
	"UnrecognizedClientException": true, "InvalidSignatureException": true, "IncompleteSignature": true,
	"ExpiredTokenException": true, "MissingAuthenticationToken": true, "MissingAuthenticationTokenException": true,
	"InvalidClientTokenId": true, "SignatureDoesNotMatch": true, "NotAuthorized": true,
}

// translate makes a *keystore.Error of an SDK error. When the requester has gone (ctx ended) it returns ctx's error.
func translate(ctx context.Context, keyID string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := &keystore.Error{Kind: keystore.Unavailable, KeyARN: keyID, Err: err}
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	switch {
	case !errors.As(err, &api):
		e.Message = "The key service did not answer."
	case credentialErrors[api.ErrorCode()]:
		e.Message = "The key service does not accept this service's credentials."
	case kinds[api.ErrorCode()] != "":
		e.Kind, e.Message = kinds[api.ErrorCode()], api.ErrorMessage()
		e.OneKey = api.ErrorCode() == "KeyUnavailableException"
	case errors.As(err, &response) && response.HTTPStatusCode() < http.StatusInternalServerError:
		e.Kind, e.Message = keystore.Internal, api.ErrorMessage()
	default:
		e.Message = api.ErrorMessage()
	}
	return e
}

// broken returns the error for an unusable response.
func broken(keyID, what string) error {
	return &keystore.Error{Kind: keystore.Internal, KeyARN: keyID, Err: errors.New("awskms: " + what)}
}
