package uploads

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// Space keeps sealed parts that cannot go to the store yet. A part below the store's least part size can only be its
// upload's last part: CompleteMultipartUpload sends it, with the manifest appended. Part 10,000 is kept too, because it
// leaves no number for a manifest.
//
// A part is on disk and synced before its client gets a response. No part stays in memory.
type Space struct {
	dir   string
	limit int64 // of all staged bytes
	sync  func(dir string) error

	mu    sync.Mutex
	used  int64
	owned map[string]int64 // by user
}

var castagnoliTable = crc32.MakeTable(crc32.Castagnoli)

const (
	heldSuffix = ".part"
	heldTemp   = ".tmp"
	// heldOrphan is the age at which a file without a record counts as left over from a crash.
	heldOrphan = time.Hour
)

// NewSpace counts the files that are already in dir.
func NewSpace(dir string, limit int64) (*Space, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory for held parts: %w", err)
	}
	h := &Space{dir: dir, limit: limit, sync: syncDir, owned: make(map[string]int64)}
	return h, h.scan(func(name string, size int64, _ time.Time) { h.count(ownerOf(name), size) })
}

// scan calls f for every staged file, including unfinished files.
func (h *Space) scan(f func(name string, size int64, modified time.Time)) error {
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return fmt.Errorf("directory for held parts: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), heldSuffix) && !strings.HasSuffix(e.Name(), heldTemp) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("directory for held parts: %w", err)
		}
		f(e.Name(), info.Size(), info.ModTime())
	}
	return nil
}

// put writes size bytes of src to the file name, which ends with the owner's hash, and returns their CRC32C. The file
// is durable when put returns.
func (h *Space) put(name string, src io.Reader, size int64) (crc uint32, err error) {
	room := &Room{h: h, owner: ownerOf(name)}
	crc, err = h.write(name, src, size, room)
	room.trim()
	if err != nil {
		room.Leave()
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			return 0, fmt.Errorf("%w: holding a part: %w", s3.Errorf(s3.SlowDown, "There is no space left for parts that wait for CompleteMultipartUpload. Please try again later."), err)
		}
		return 0, err
	}
	return crc, nil
}

func (h *Space) write(name string, src io.Reader, size int64, room *Room) (crc uint32, err error) {
	temp := filepath.Join(h.dir, name+heldTemp)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("holding a part: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(temp)
		}
	}()
	sum := crc32.New(castagnoliTable)
	n, err := io.Copy(io.MultiWriter(roomWriter{room}, f, sum), src)
	if err != nil {
		return 0, err
	}
	if n != size {
		return 0, fmt.Errorf("holding a part: %d bytes came, not %d", n, size)
	}
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("holding a part: %w", err)
	}
	if err := f.Close(); err != nil {
		return 0, fmt.Errorf("holding a part: %w", err)
	}
	final := filepath.Join(h.dir, name+heldSuffix)
	if err := os.Rename(temp, final); err != nil {
		return 0, fmt.Errorf("holding a part: %w", err)
	}
	if err := h.sync(h.dir); err != nil {
		os.Remove(final) // its bytes are not counted
		return 0, err
	}
	return sum.Sum32(), nil
}

// syncDir makes the name of a renamed file durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("holding a part: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("holding a part: %w", err)
	}
	return nil
}

// open opens a staged part. Its reader returns io.EOF only if the bytes are unchanged.
func (h *Space) open(p *Part) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(h.dir, p.Staged+heldSuffix))
	if err != nil {
		return nil, fmt.Errorf("part %d was held here: %w", p.Number, err)
	}
	return &heldReader{f: f, src: bufio.NewReaderSize(f, 128<<10), left: p.Sealed, want: p.StagedCRC}, nil
}

type heldReader struct {
	f    *os.File
	src  io.Reader
	left int64
	sum  uint32
	want uint32
}

func (r *heldReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	r.sum = crc32.Update(r.sum, castagnoliTable, p[:n])
	r.left -= int64(n)
	if err == io.EOF && (r.left != 0 || r.sum != r.want) {
		return n, fmt.Errorf("%w: the held part %s was damaged on disk", store.ErrBodyRefused, filepath.Base(r.f.Name()))
	}
	return n, err
}

func (r *heldReader) Close() error { return r.f.Close() }

// remove removes the staged files of parts. The sweeper retries a failed removal.
func (h *Space) remove(parts ...*Part) {
	for _, p := range parts {
		if p.Staged != "" {
			h.removeFile(p.Staged + heldSuffix)
		}
	}
}

func (h *Space) removeFile(name string) {
	path := filepath.Join(h.dir, name)
	info, err := os.Stat(path)
	if err != nil || os.Remove(path) != nil {
		return
	}
	h.release(ownerOf(name), info.Size())
}
