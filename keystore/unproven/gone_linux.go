package unproven

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Gone reports whether the client has closed its side of the connection. It reads nothing from the connection, so it
// works behind unread bytes, such as the rest of a body or TLS's close_notify.
func (c *Conn) Gone() bool {
	raw, ok := c.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return true // it is closed here already
	}
	gone := false
	err = control.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}
