package store

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	"waxseal/proxy/s3"
)

// Drain reads a small rest of an answer so that its connection can be used again, and closes it.
func Drain(resp *http.Response) {
	io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close()
}

// ReadDocument reads a whole XML answer.
func ReadDocument(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	var b bytes.Buffer
	// As much as a page of a listing is read into one piece; beyond that memory grows with what really comes.
	b.Grow(int(min(max(resp.ContentLength, 0), 1<<20)) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(resp.Body, MaxDocument+1)); err != nil {
		return nil, fmt.Errorf("%w: reading its answer: %w", ErrUnreachable, err)
	}
	if b.Len() > MaxDocument {
		return nil, fmt.Errorf("%w: its answer is over %d bytes", ErrUnreachable, MaxDocument)
	}
	return b.Bytes(), nil
}

// MaxDocument bounds an XML document or error that the store sends.
const MaxDocument = 16 << 20

// Failure returns the error that an answer of the store is: an AnswerError, or ErrCredentialsRefused.
func Failure(resp *http.Response) error {
	b, err := ReadDocument(resp)
	if err != nil {
		return err
	}
	e := s3.ParseError(resp.StatusCode, b)
	if e.Code == "" {
		e.Code, e.Message = CodeForStatus(resp.StatusCode), resp.Status
	}
	if err := refusedCredentials(e); err != nil {
		return err
	}
	return &AnswerError{Cause: e, Header: resp.Header}
}

// ETagOf returns the ETag of the store, without quotes.
func ETagOf(h http.Header) string { return strings.Trim(h.Get("Etag"), `"`) }

// Result decodes the document that the store answered with. A long operation can fail with an error document behind
// status 200.
func Result(resp *http.Response, doc any) error {
	if resp.StatusCode != http.StatusOK {
		return Failure(resp)
	}
	body, err := ReadDocument(resp)
	if err != nil {
		return err
	}
	if e := s3.ParseError(http.StatusInternalServerError, body); e.Code != "" {
		e.HTTPStatus = 0
		return &AnswerError{Cause: e, Header: resp.Header}
	}
	return s3.DecodeReply(bytes.NewReader(body), MaxDocument, doc)
}
