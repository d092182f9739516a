package sigv4

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The aws-chunked frame of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and, with trailers, of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html.

const (
	frameBuffer    = 64 << 10
	maxChunkHeader = 256      // "size;chunk-signature=64 hex digits"
	maxTrailer     = 16 << 10 // all trailers together
	maxChunkDigits = 16
)

var framePool = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, frameBuffer) }}

// frame reads the parts of an aws-chunked body and counts its content.
type frame struct {
	in   *bufio.Reader
	left int64    // content still to come
	want []string // the announced trailers
	got  []Header
	may  bool // trailers are allowed
}

func newFrame(a *Auth, r io.Reader) frame {
	in := framePool.Get().(*bufio.Reader)
	in.Reset(r)
	return frame{in: in, left: a.DecodedLength, want: a.TrailerNames, may: a.Payload != StreamingSigned}
}

func (f *frame) trailers() []Header { return f.got }

func (f *frame) close() {
	if f.in != nil {
		f.in.Reset(nil)
		framePool.Put(f.in)
		f.in = nil
	}
}

// cut turns the end of the stream in the middle of a frame into the error of a cut body.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// line reads up to a line feed, of at most maxChunkHeader bytes, and drops the line's end.
func (f *frame) line() (string, error) {
	line, err := f.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull), len(line) > maxChunkHeader:
		return "", errChunkEncoding("a chunk header is too long.")
	case err != nil:
		return "", cut(err)
	}
	header, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok {
		return "", errChunkEncoding("a chunk header does not end with CR and LF.")
	}
	return header, nil
}

// size reads a chunk's size and takes it off the content still to come.
func (f *frame) size(digits string) (int64, error) {
	if digits == "" || len(digits) > maxChunkDigits {
		return 0, errChunkEncoding("a chunk size is not valid.")
	}
	for i := range len(digits) {
		if unhex(digits[i]) < 0 {
			return 0, errChunkEncoding("a chunk size is not valid.")
		}
	}
	size, err := strconv.ParseUint(digits, 16, 63)
	if err != nil {
		return 0, errChunkEncoding("a chunk size is not valid.")
	}
	if int64(size) > f.left {
		return 0, errLength(Header{"additionalMessage", "The body holds more bytes than x-amz-decoded-content-length says."})
	}
	f.left -= int64(size)
	return int64(size), nil
}

// chunkEnd reads the line end behind a chunk's bytes.
func (f *frame) chunkEnd() error {
	var end [2]byte
	if _, err := io.ReadFull(f.in, end[:]); err != nil {
		return cut(err)
	}
	if end != [2]byte{'\r', '\n'} {
		return errChunkEncoding("a chunk does not end where its size says.")
	}
	return nil
}

// finish reads the rest after the last chunk, to the end of the body, and returns the trailers as lines of name and
// value. Clients differ in the empty lines between trailers, and without trailers in the final empty line.
func (f *frame) finish() ([]Header, error) {
	if f.left != 0 {
		return nil, errLength()
	}
	rest, err := io.ReadAll(io.LimitReader(f.in, maxTrailer+1))
	if err != nil {
		return nil, cut(err)
	}
	if len(rest) > maxTrailer {
		return nil, errMalformedTrailer()
	}
	if !f.may {
		return nil, nothing(rest)
	}
	if string(rest) != "\r\n" && !bytes.HasSuffix(rest, []byte("\n\r\n")) {
		return nil, errChunkEncoding("it does not end with an empty line.")
	}
	var lines []Header
	for line := range bytes.SplitSeq(rest, []byte("\n")) {
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
			continue
		}
		name, value, ok := strings.Cut(string(line), ":")
		if !ok || name == "" {
			return nil, errMalformedTrailer()
		}
		lines = append(lines, Header{strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)})
	}
	return lines, nil
}

// nothing refuses bytes behind the last chunk of a body without trailers, but for the empty line that some clients
// leave out.
func nothing(rest []byte) error {
	if len(bytes.TrimRight(rest, "\r\n")) > 0 {
		return errChunkEncoding("it goes on behind its last chunk.")
	}
	return nil
}

// announced checks that the trailers are exactly the names in x-amz-trailer, each once.
func (f *frame) announced(trailers []Header) error {
	for i, t := range trailers {
		if !slices.Contains(f.want, t.Name) {
			return errMalformedTrailer()
		}
		for _, other := range trailers[:i] {
			if other.Name == t.Name {
				return errMalformedTrailer()
			}
		}
	}
	for _, name := range f.want {
		if !slices.ContainsFunc(trailers, func(t Header) bool { return t.Name == name }) {
			return errMalformedTrailer()
		}
	}
	f.got = trailers
	return nil
}

// chunked is a body of unsigned chunks. Their bytes pass straight through; the frame still has to be whole.
type chunked struct {
	frame
	chunk int64 // bytes left of the current chunk
	open  bool  // inside a chunk
}

func newChunked(a *Auth, r io.Reader) *chunked { return &chunked{frame: newFrame(a, r)} }

func (c *chunked) read(p []byte) (int, error) {
	if c.in == nil {
		return 0, errClosed
	}
	for !c.open {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > c.chunk {
		p = p[:c.chunk]
	}
	n, err := c.in.Read(p)
	c.chunk -= int64(n)
	if err != nil {
		return n, cut(err)
	}
	if c.chunk == 0 {
		c.open = false
		return n, c.chunkEnd()
	}
	return n, nil
}

// next opens the next chunk; io.EOF: the last chunk and the trailers were read.
func (c *chunked) next() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	if c.chunk, err = c.size(line); err != nil {
		return err
	}
	if c.chunk > 0 {
		c.open = true
		return nil
	}
	trailers, err := c.finish()
	if err != nil {
		return err
	}
	if err := c.announced(trailers); err != nil {
		return err
	}
	return io.EOF
}
