//go:build !linux

package unproven

// Gone returns false on systems without a way to tell short of reading: the next read or write will fail instead.
func (c *Conn) Gone() bool { return false }
