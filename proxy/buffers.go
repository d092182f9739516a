package proxy

import (
	"bytes"
	"sync"
)

// inlineBuffers lends buffers of inlineLimit bytes. There is a limit on their number: when all are in use, a body is
// streamed, which costs a manifest and no memory. The one given back last is lent first, so that there are only as
// many as were ever used at once, and the one in the processor's cache is used.
type inlineBuffers struct {
	mu   sync.Mutex
	free []*bytes.Buffer
	lent int
}

const (
	inlineBufferCount = 64
	compressingAtOnce = 4 // bodies of up to sse.MaxCompressible in memory
)

// take lends a buffer with room for size bytes, or nil.
func (b *inlineBuffers) take(size int64) *bytes.Buffer {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lent == inlineBufferCount {
		return nil
	}
	b.lent++
	buf := new(bytes.Buffer)
	if n := len(b.free); n > 0 {
		buf, b.free = b.free[n-1], b.free[:n-1]
	}
	// What Buffer.ReadFrom wants free, it would otherwise double the buffer for.
	buf.Grow(int(size) + bytes.MinRead)
	return buf
}

func (b *inlineBuffers) give(buf *bytes.Buffer) {
	clear(buf.Bytes()) // plaintext
	buf.Reset()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lent--
	b.free = append(b.free, buf)
}
