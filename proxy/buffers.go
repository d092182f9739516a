package proxy

import "bytes"

// inlineBuffers lends buffers of inlineLimit bytes. There is a fixed number of them: when all are in use, a body is
// streamed, which costs a manifest and no memory.
type inlineBuffers struct {
	free chan *bytes.Buffer
}

const (
	inlineBufferCount = 64
	compressingAtOnce = 4 // bodies of up to sse.MaxCompressible in memory
)

func newInlineBuffers() *inlineBuffers {
	b := &inlineBuffers{free: make(chan *bytes.Buffer, inlineBufferCount)}
	for range inlineBufferCount {
		b.free <- new(bytes.Buffer)
	}
	return b
}

func (b *inlineBuffers) take() *bytes.Buffer {
	select {
	case buf := <-b.free:
		return buf
	default:
		return nil
	}
}

func (b *inlineBuffers) give(buf *bytes.Buffer) {
	clear(buf.Bytes()) // plaintext
	buf.Reset()
	b.free <- buf
}
