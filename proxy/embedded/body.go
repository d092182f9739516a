package embedded

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"syscall"

	"waxseal/proxy/s3"
)

// inlineMax is the size up to which a body lies in the index: one sync less, and no file.
const inlineMax = 16 << 10

// spooled is a body that has arrived and is durable, or will be with the index. It is in flight until keep or discard.
type spooled struct {
	extent
	bytes []byte // of an inline body
}

// spoolBuffer is what bodies are read and written with.
type spoolBuffer [128 << 10]byte

var spoolBuffers = sync.Pool{New: func() any { return new(spoolBuffer) }}

// spool takes a body off its reader. It returns an error of the reader as it is, and has then kept nothing.
func (s *Store) spool(src io.Reader) (body spooled, err error) {
	buf := spoolBuffers.Get().(*spoolBuffer)
	defer spoolBuffers.Put(buf)
	n, err := io.ReadFull(src, buf[:])
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return spooled{}, err
	}
	ended := err != nil
	if ended && n <= inlineMax {
		if n == 0 {
			return spooled{}, nil
		}
		if err := s.room(int64(n)); err != nil {
			return spooled{}, err
		}
		return spooled{extent{s.nextSeq(), int64(n), true}, append([]byte(nil), buf[:n]...)}, nil
	}
	return s.spoolFile(src, buf, n, ended)
}

// spoolFile writes a body to a file, of which the first n bytes are in buf.
func (s *Store) spoolFile(src io.Reader, buf *spoolBuffer, n int, ended bool) (body spooled, err error) {
	if err := s.room(int64(n)); err != nil {
		return spooled{}, err
	}
	id := s.allot()
	f, err := s.medium.create(id)
	if err != nil {
		s.release(id)
		return spooled{}, s.writeError(err)
	}
	body.extent = extent{id: id}
	defer func() {
		if end := f.Close(); err == nil {
			err = s.writeError(end)
		}
		if err != nil {
			s.discard(body)
			body = spooled{}
		}
	}()
	for {
		if _, err := f.Write(buf[:n]); err != nil {
			return body, s.writeError(err)
		}
		body.size += int64(n)
		if ended {
			return body, s.writeError(f.sync())
		}
		n, err = io.ReadFull(src, buf[:])
		if ended = err == io.ErrUnexpectedEOF || err == io.EOF; err != nil && !ended {
			return body, err
		}
		if err := s.room(int64(n)); err != nil {
			return body, err
		}
	}
}

// writeError tells a full disk from a broken one. A sync that failed ends the store.
func (s *Store) writeError(err error) error {
	switch {
	case errors.Is(err, errUncertain):
		s.fail(err)
	case isFull(err):
		return errDiskFull()
	}
	return err
}

// discard removes a body that did not become the index's.
func (s *Store) discard(body spooled) {
	if body.inline || body.id == 0 {
		return
	}
	if err := s.medium.remove(body.id); err != nil {
		s.log.Error("a file without an entry stays until fsck", "id", body.id, "err", err)
	}
	s.release(body.id)
}

// settle ends a body's flight once its change was tried: the index has it, or it goes.
func (s *Store) settle(body spooled, err error) {
	switch {
	case body.inline || body.id == 0:
	case err == nil:
		s.release(body.id)
	case s.failed() != nil:
		// The commit may have happened after all. The next start looks.
	default:
		s.discard(body)
	}
}

// span is the part of a body that a reader wants.
type span struct{ offset, length int64 }

// openBodies opens bytes of an object. It gives errMoved if the object was overwritten since it was looked up.
func (s *Store) openBodies(extents []extent, at span) (io.ReadCloser, error) {
	var pieces []piece
	for _, x := range extents {
		if at.length == 0 {
			break
		}
		if at.offset >= x.size {
			at.offset -= x.size
			continue
		}
		n := min(x.size-at.offset, at.length)
		pieces = append(pieces, piece{extent: x, span: span{at.offset, n}})
		at = span{0, at.length - n}
	}
	if at.length > 0 {
		return nil, errDamaged
	}
	r := &bodies{store: s, pieces: pieces}
	return r, r.begin()
}

// errMoved is a body that is not where the index had it a moment ago.
var errMoved = errors.New("embedded store: the object was overwritten while it was opened")

type piece struct {
	extent
	span
}

// bodies reads one piece after the other. Files of later pieces are pinned.
type bodies struct {
	store  *Store
	pieces []piece
	pinned []uint64
	at     io.Reader
	file   io.Closer
	small  map[uint64][]byte // bytes of inline pieces
}

// begin makes sure that nothing of what is to be read goes away before it was read.
func (b *bodies) begin() error {
	for _, p := range b.pieces {
		if !p.inline {
			b.pinned = append(b.pinned, p.id)
		}
	}
	b.store.readers.pin(b.pinned)
	err := b.store.view(func(t *txn) error {
		for _, p := range b.pieces {
			if !p.inline {
				if t.get(fileSpace, idKey(p.id)) == nil {
					return errMoved
				}
				continue
			}
			data := t.get(inlineSpace, idKey(p.id))
			if data == nil {
				return errMoved
			}
			if b.small == nil {
				b.small = map[uint64][]byte{}
			}
			b.small[p.id] = append([]byte(nil), data...)
		}
		return nil
	})
	if err == nil {
		err = b.open()
	}
	if err != nil {
		b.release()
	}
	return err
}

func (b *bodies) release() {
	b.store.readers.unpin(b.pinned)
	if b.pinned != nil {
		b.store.wake()
	}
	b.pinned = nil
}

// open opens the next piece.
func (b *bodies) open() error {
	if len(b.pieces) == 0 {
		b.at = nil
		return nil
	}
	p := b.pieces[0]
	b.pieces = b.pieces[1:]
	if p.inline {
		data := b.small[p.id]
		if int64(len(data)) != p.extent.size {
			return errDamaged
		}
		b.at = &sliceReader{data[p.offset : p.offset+p.length]}
		return nil
	}
	f, err := b.store.medium.open(p.id)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errDamaged, err)
	}
	if err != nil {
		return err
	}
	b.file = f
	n, err := f.size()
	if err == nil && n != p.extent.size {
		err = errDamaged
	}
	b.at = io.NewSectionReader(f, p.offset, p.length)
	return err
}

type sliceReader struct{ rest []byte }

func (r *sliceReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (b *bodies) Read(p []byte) (int, error) {
	for b.at != nil {
		n, err := b.at.Read(p)
		if err != io.EOF {
			return n, err
		}
		if err := b.closeFile(); err != nil {
			return n, err
		}
		if err := b.open(); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

func (b *bodies) closeFile() error {
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file = nil
	return err
}

func (b *bodies) Close() error {
	b.release()
	b.at = nil
	return b.closeFile()
}

// duplicate gives the bytes of extents other ids, for a copy that shares them with its source.
func (s *Store) duplicate(ctx context.Context, extents []extent) (copies []spooled, err error) {
	defer func() {
		if err != nil {
			for _, c := range copies {
				s.discard(c)
			}
			copies = nil
		}
	}()
	for _, x := range extents {
		if err := ctx.Err(); err != nil {
			return copies, err
		}
		c, err := s.duplicateOne(x)
		if err != nil {
			return copies, err
		}
		copies = append(copies, c)
	}
	return copies, nil
}

func (s *Store) duplicateOne(x extent) (c spooled, err error) {
	if x.id == 0 {
		return c, nil
	}
	if x.inline {
		c.extent = extent{s.nextSeq(), x.size, true}
		err = s.view(func(t *txn) error {
			data := t.get(inlineSpace, idKey(x.id))
			if data == nil {
				return errMoved
			}
			c.bytes = append([]byte(nil), data...)
			return nil
		})
		return c, err
	}
	c.extent = extent{id: s.allot(), size: x.size}
	err = s.medium.link(x.id, c.id)
	if err == nil {
		return c, nil
	}
	s.release(c.id)
	if errors.Is(err, fs.ErrNotExist) {
		return spooled{}, errMoved
	}
	if !isLinkLimit(err) {
		return spooled{}, s.writeError(err)
	}
	r, err := s.openBodies([]extent{x}, span{0, x.size})
	if err != nil {
		return spooled{}, err
	}
	c, err = s.spool(r)
	return c, errors.Join(err, r.Close())
}

// isLinkLimit reports whether a file system gives a file no more names: ext4 gives 65,000, some give one.
func isLinkLimit(err error) bool {
	return errors.Is(err, syscall.EMLINK) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP)
}

// lookTwice runs a request again whose object was overwritten while it was opened.
func lookTwice(look func() error) error {
	for range 100 {
		if err := look(); !errors.Is(err, errMoved) {
			return err
		}
	}
	return s3.NewError(s3.OperationAborted)
}
