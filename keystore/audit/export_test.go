package audit

import "os"

// Wrap replaces the sink's current file by a file of the test.
func (s *FileSink) Wrap(wrap func(*os.File) interface {
	Write(p []byte) (int, error)
	Sync() error
	Truncate(size int64) error
	Seek(offset int64, whence int) (int64, error)
	Close() error
}) {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.file = wrap(s.file.(*os.File))
}

// WithFault has fault say, at each step of a rotation, a close or a prune, whether the process ends there.
func WithFault(o FileOptions, fault func(step string) error) FileOptions {
	o.fault = fault
	return o
}

// Sign returns the content of a link's file.
func (r *Register) Sign(d *Digest) ([]byte, error) {
	content, _, err := d.sign(r.key)
	return content, err
}
