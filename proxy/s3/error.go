// Package s3 holds the parts of Amazon S3's HTTP interface: error codes, header names, XML documents and the small
// grammars in headers. It knows no connection, no key and no store.
package s3

import (
	"fmt"
	"strings"
)

// Namespace is the XML namespace of S3's documents.
const Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// A Field is a named value, kept in order: a child of <Error>, or a metadata entry of a listing.
type Field struct{ Name, Value string }

// An Error is an S3 error response, returned by every layer.
type Error struct {
	Code    Code
	Message string
	// HTTPStatus overrides the code's own status, for stores with an unusual status for a known code.
	HTTPStatus int

	RequestID string
	HostID    string

	// Extra are the further children of <Error>, in order: ArgumentName, BucketName, Key, Condition, ...
	Extra []Field
	// Header are response headers that belong to the answer: Retry-After, Allow, x-amz-delete-marker, ...
	Header []Field
}

// Errorf makes an error with its own message. With an empty format the message is S3's.
func Errorf(code Code, format string, args ...any) *Error {
	if format == "" {
		return &Error{Code: code, Message: code.Message()}
	}
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// NewError makes an error with S3's own words for the code.
func NewError(code Code) *Error { return &Error{Code: code, Message: code.Message()} }

// InvalidArgument makes S3's answer to a bad header, parameter or form field, which names it.
func InvalidArgument(name, value, message string) *Error {
	return &Error{Code: InvalidArgumentCode, Message: message,
		Extra: []Field{{"ArgumentName", name}, {"ArgumentValue", value}}}
}

// With adds a child of <Error> and returns the error.
func (e *Error) With(name, value string) *Error {
	e.Extra = append(e.Extra, Field{name, value})
	return e
}

// WithHeader adds a response header and returns the error.
func (e *Error) WithHeader(name, value string) *Error {
	e.Header = append(e.Header, Field{name, value})
	return e
}

// Error implements error.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Is reports whether the target has the same code and, where its message is not S3's own for the code, the same message. So
// errors.Is(err, NewError(NoSuchKey)) finds NoSuchKey in any words, and a sentinel made with Errorf finds only itself.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	if !ok || t.Code != e.Code {
		return false
	}
	return t.Message == "" || t.Message == t.Code.Message() || t.Message == e.Message
}

// Status is the HTTP status to answer with.
func (e *Error) Status() int {
	if e.HTTPStatus != 0 {
		return e.HTTPStatus
	}
	return e.Code.Status()
}

// AppendXML appends the document, in the order AWS writes it. Values are escaped, and characters that XML
// cannot hold are replaced, so that an error about a strange key is still readable.
func (e *Error) AppendXML(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, Declaration...)
	dst = append(dst, "<Error>"...)
	dst = appendElement(dst, "Code", string(e.Code))
	dst = appendElement(dst, "Message", e.Message)
	for _, f := range e.Extra {
		dst = appendElement(dst, f.Name, f.Value)
	}
	dst = appendElement(dst, "RequestId", e.RequestID)
	if e.HostID != "" {
		dst = appendElement(dst, "HostId", e.HostID)
	}
	dst = append(dst, "</Error>"...)
	return append(dst[:start], plainQuotes.Replace(string(dst[start:]))...)
}

// plainQuotes leaves quotation marks as they are, as AWS does in errors (though not around ETags), and as there are clients that
// look for them: Policy Condition failed: ["eq", "$key", "k"].
var plainQuotes = strings.NewReplacer("&quot;", `"`, "&#39;", "'")

// ParseError reads a store's error response. It keeps unknown elements as Extra and never fails: a body without an S3
// error (a load balancer's page) gives an empty code and the status.
func ParseError(status int, body []byte) *Error {
	e := &Error{HTTPStatus: status}
	for _, f := range topLevelText(body, "Error") {
		e.set(f)
	}
	return e
}

func (e *Error) set(f Field) {
	switch f.Name {
	case "Code":
		e.Code = Code(strings.TrimSpace(f.Value))
	case "Message":
		e.Message = f.Value
	case "Resource": // the store's address of it; S3 has no such element
	case "RequestId":
		e.RequestID = f.Value
	case "HostId":
		e.HostID = f.Value
	default:
		e.Extra = append(e.Extra, f)
	}
}
