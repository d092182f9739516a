package proxy

import (
	"fmt"
	"io"

	"waxseal/proxy/store"
)

// stream sends exactly size bytes from body after the handler has returned. fasthttp closes the connection when body
// fails or falls short, so that a client never takes a cut answer for a whole one.
func (c *call) stream(status int, body io.ReadCloser, size int64) {
	c.status = status
	c.showCORS()
	c.streaming = true
	c.res.SetStatusCode(status)
	c.res.SetBodyStream(&answerBody{call: c, body: body, left: size}, int(size))
}

// answerBody is an answer's body on its way out; its Close ends the call.
type answerBody struct {
	call   *call
	body   io.ReadCloser
	left   int64
	closed bool
}

func (b *answerBody) Read(p []byte) (n int, err error) {
	defer func() { b.note(int64(n), err) }()
	defer caught(&err)
	return b.body.Read(p)
}

// WriteTo lets large blocks go from the decrypter to the connection without a copy.
func (b *answerBody) WriteTo(w io.Writer) (n int64, err error) {
	wt, ok := b.body.(io.WriterTo)
	if !ok {
		return io.Copy(w, struct{ io.Reader }{b})
	}
	sink := &clientSink{w: w}
	defer func() {
		if sink.failed && err != nil {
			err = fmt.Errorf("%w: %w", store.ErrClientGone, err)
		}
		b.note(n, err)
	}()
	defer caught(&err)
	return wt.WriteTo(sink)
}

func (b *answerBody) note(n int64, err error) {
	b.left -= n
	b.call.sentBytes += n
	if err != nil && err != io.EOF {
		b.call.cutMidStream(err)
	}
}

// clientSink tells a client that takes no more from a source that gives no more.
type clientSink struct {
	w      io.Writer
	failed bool
}

func (s *clientSink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.failed = s.failed || err != nil
	return n, err
}

func (b *answerBody) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	err := b.body.Close()
	b.call.streaming = false
	b.call.finish()
	return err
}
