package store

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	"waxseal/proxy/s3"
)

// Drain reads up to 64 KiB of the rest of a response body, so that the connection can be used again, and closes the
// body.
func Drain(resp *http.Response) {
	io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close()
}

// ReadDocument reads a whole XML response.
func ReadDocument(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	var b bytes.Buffer
	// Room for a page of a listing is allocated at once. Beyond that, memory grows with the bytes received and not with
	// the Content-Length announced.
	b.Grow(int(min(max(resp.ContentLength, 0), 1<<20)) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(resp.Body, MaxDocument+1)); err != nil {
		return nil, fmt.Errorf("%w: reading its answer: %w", ErrUnreachable, err)
	}
	if b.Len() > MaxDocument {
		return nil, fmt.Errorf("%w: its answer is over %d bytes", ErrUnreachable, MaxDocument)
	}
	return b.Bytes(), nil
}

// MaxDocument bounds an XML document or error from the store.
const MaxDocument = 16 << 20

// Failure returns the error of a response: an AnswerError, or ErrCredentialsRefused.
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

// ETagOf returns the store's ETag without quotes.
func ETagOf(h http.Header) string { return strings.Trim(h.Get("Etag"), `"`) }

// Result decodes the XML document of a response. A long operation can fail with an error document behind status 200.
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
