package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/sigv4"
	"waxseal/keystore/state"
	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

var errSlowDown = s3.Errorf(s3.SlowDown, "Please reduce your request rate.")

// fail answers a request with an error.
func (c *call) fail(err error) {
	if !c.streaming { // else the status is on the wire; the body's reader cuts the connection
		c.refuse(err)
	}
}

// refuse is the one place where an error becomes a status.
func (c *call) refuse(err error) {
	c.answeredUnknown()
	e := c.toS3(err)
	if errors.Is(err, store.ErrCredentialsRefused) && c.storeTakesCredentials() {
		e = s3.Errorf(s3.InvalidRequest, "The store behind waxseal does not take this request, though it takes waxseal's credentials: a name or a header of it has characters that the store reads otherwise.")
	}
	hideSecrets(e)
	e.RequestID, e.HostID = c.id, hostID
	c.errCode, c.errMessage = e.Code, e.Message
	c.logFailure(e, err)
	if e.Code == s3.MissingContentLength {
		c.ctx.SetConnectionClose() // what follows may be a body of unknown length
	}
	var answered *store.AnswerError
	if errors.As(err, &answered) {
		c.copyHeaders(withoutBodyHeaders(answered.Header))
	}
	for _, h := range e.Header {
		c.res.Header.Set(h.Name, h.Value)
	}
	status := e.Status()
	if status == http.StatusServiceUnavailable {
		c.res.Header.Set("Retry-After", "1")
	}
	c.res.ResetBody()
	switch {
	case c.method == http.MethodHead || status == http.StatusNotModified:
		c.answer(status, "", nil)
		c.res.SkipBody = true
	case c.isForKeyService():
		c.answerKeyClient(e)
	default:
		c.answer(status, "application/xml", e.AppendXML(nil))
	}
	c.refused = true
}

const md5Size = 24 // of an MD5 in base64, which is no secret; an SSE-C key is longer

// hideSecrets takes the value out of an error about an argument that is a secret.
func hideSecrets(e *s3.Error) {
	secret := slices.ContainsFunc(e.Extra, func(f s3.Field) bool { return f.Name == "ArgumentName" && sigv4.SecretName(f.Value) })
	if !secret {
		return
	}
	e.Extra = slices.Clone(e.Extra)
	for i := range e.Extra {
		if v := e.Extra[i].Value; e.Extra[i].Name == "ArgumentValue" && !slices.Contains(plainValues, v) && len(v) != md5Size {
			e.Extra[i].Value = ""
		}
	}
}

// plainValues are what errors say of secret arguments: that there is none, or its kind.
var plainValues = []string{"null", "Anonymous", "AWS"}

func withoutBodyHeaders(h http.Header) http.Header {
	out := h.Clone()
	out.Del("Content-Type")
	if out.Get("X-Amz-Delete-Marker") == "" {
		out.Del("Last-Modified") // of a delete marker it is told: nothing else can be
	}
	return out
}

// toS3 finds the S3 error that an error is to the client.
func (c *call) toS3(err error) *s3.Error {
	var (
		own  *s3.Error
		auth *sigv4.Error
		kms  *keystore.Error
	)
	switch {
	case errors.As(err, &own):
		e := *own
		return &e
	case errors.As(err, &auth):
		return authError(auth)
	case errors.As(err, &kms):
		return kmsError(kms)
	case errors.Is(err, errForKeyService):
		return s3.Errorf(s3.InvalidRequest, toKeyService)
	case errors.Is(err, objects.ErrChanged):
		return s3.Errorf(s3.SlowDown, "The object changes faster than it can be read. Please try again.")
	case errors.Is(err, objects.ErrNotSealed):
		return s3.Errorf(s3.InvalidObjectState, "The object was not written through waxseal, and its bucket is not one that plaintext is read from").
			WithHeader(s3.HeaderErrorKind, s3.KindNotSealed)
	case errors.Is(err, objects.ErrTampered), errors.Is(err, sse.ErrAuthentication), errors.Is(err, sse.ErrMalformed):
		return s3.Errorf(s3.InvalidObjectState, "The stored object failed authentication: it was altered, cut short, or moved since it was written")
	case errors.Is(err, sse.ErrUnsupportedVersion):
		return s3.Errorf(s3.InvalidObjectState, "The stored object is in a format that this version of waxseal does not know")
	case errors.Is(err, store.ErrClientGone), errors.Is(err, context.Canceled):
		return &s3.Error{Code: s3.RequestTimeout, Message: "Your socket connection to the server was not read from or written to within the timeout period."}
	case errors.Is(err, state.ErrUnavailable), errors.Is(err, state.ErrUnknown):
		return s3.Errorf(s3.ServiceUnavailable, "waxseal's state store does not answer. Please try again.")
	case errors.Is(err, store.ErrUnreachable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF):
		// The reader of a client's body calls a cut one IncompleteBody itself: what else ends early is the store's.
		return s3.Errorf(s3.ServiceUnavailable, "The object store behind waxseal does not answer. Please try again.")
	}
	return s3.Errorf(s3.InternalError, "We encountered an internal error. Please try again.")
}

// authError keeps the code and the diagnostic fields of a signature that did not verify.
func authError(a *sigv4.Error) *s3.Error {
	e := &s3.Error{Code: s3.Code(a.Code), Message: a.Message, HTTPStatus: a.Status}
	for _, f := range a.Fields {
		e.Extra = append(e.Extra, s3.Field{Name: f.Name, Value: f.Value})
	}
	return e
}

// kmsError is how S3 reports a KMS error: its own code behind "KMS.", with status 400, but for a missing permission.
func kmsError(k *keystore.Error) *s3.Error {
	switch k.Kind {
	case keystore.NotFound:
		return s3.Errorf(s3.KMSNotFoundException, "%s", k.Message)
	case keystore.Disabled:
		return s3.Errorf(s3.KMSDisabledException, "%s", k.Message)
	case keystore.InvalidState:
		return s3.Errorf(s3.KMSInvalidStateException, "%s", k.Message)
	case keystore.InvalidKeyUsage:
		return s3.Errorf(s3.KMSInvalidKeyUsageException, "%s", k.Message)
	case keystore.AccessDenied:
		return s3.Errorf(s3.AccessDenied, "%s", k.Message)
	case keystore.InvalidCiphertext, keystore.IncorrectKey:
		return s3.Errorf(s3.InvalidObjectState, "The KMS could not open the object's data key with the key %s", k.KeyARN)
	case keystore.Throttled:
		return s3.Errorf(s3.SlowDown, "The KMS throttled the request. Please reduce your request rate.")
	}
	return s3.Errorf(s3.ServiceUnavailable, "The KMS is not available. Please try again.")
}

// errUnparsable is what fasthttp's parser refused.
func errUnparsable(err error) error {
	if strings.Contains(err.Error(), "small read buffer") {
		return &s3.Error{Code: s3.RequestHeaderSectionTooLarge, HTTPStatus: 400,
			Message: fmt.Sprintf("Your request header section exceeds the maximum allowed size of %d bytes.", maxHeaderBytes)}
	}
	return s3.Errorf(s3.InvalidRequest, "The request could not be parsed")
}

func errMethod(c *call) *s3.Error {
	e := s3.Errorf(s3.MethodNotAllowed, "The specified method is not allowed against this resource.")
	e.Extra = append(e.Extra, s3.Field{Name: "Method", Value: c.method})
	return e
}

// Limits of what is read of a body that was refused before it was read. A client that has not finished sending would
// see a reset instead of the answer; a client that sends without end must not hold the connection.
const (
	drainBytes = 64 << 20
	drainTime  = 5 * time.Second
)

// isNotFound says whether an error is that there is no such object.
func isNotFound(err error) bool {
	var e *s3.Error
	return errors.As(err, &e) && e.Status() == http.StatusNotFound
}

// caught makes an error of a panic: a fault of waxseal's own in one request does not end the others.
func caught(err *error) {
	if v := recover(); v != nil {
		*err = keystore.Panicked(v)
	}
}
