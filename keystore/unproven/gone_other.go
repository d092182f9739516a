//go:build !linux

package unproven

// Gone is false where the system cannot tell without reading: the next read or write will.
func (c *Conn) Gone() bool { return false }
