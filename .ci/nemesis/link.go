package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// gate is a switch for connections. A shut gate lets nothing pass: connections stay open and stand still, new ones are
// taken and get no answer, as on a network that drops packets. An open one delivers what was held back.
type gate struct {
	mu     sync.Mutex
	opened *sync.Cond
	isShut bool
	closed bool
}

func newGate() *gate {
	g := &gate{}
	g.opened = sync.NewCond(&g.mu)
	return g
}

// passable waits while the gate is shut. It is false once the gate is closed for good.
func (g *gate) passable() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.isShut && !g.closed {
		g.opened.Wait()
	}
	return !g.closed
}

func (g *gate) set(shut, closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isShut, g.closed = shut, closed
	g.opened.Broadcast()
}

func shut(gates []*gate) {
	for _, g := range gates {
		g.set(true, false)
	}
}

func open(gates []*gate) {
	for _, g := range gates {
		g.set(false, false)
	}
}

// link is a TCP proxy with a gate for each of its clients.
type link struct {
	addr     string // where the link listens
	target   string
	gateOf   func(client net.Conn) *gate
	listener net.Listener
}

// newLink listens on a free port of loopback, in front of target, with one gate for all clients.
func newLink(target string) (*link, *gate, error) {
	g := newGate()
	l, err := newSharedLink(target, func(net.Conn) *gate { return g })
	if err == nil {
		go l.serve()
	}
	return l, g, err
}

// newSharedLink listens, and does not serve yet.
func newSharedLink(target string, gateOf func(net.Conn) *gate) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &link{addr: listener.Addr().String(), target: target, gateOf: gateOf, listener: listener}, nil
}

func (l *link) serve() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		go l.carry(conn)
	}
}

// carry connects a client with the target. A target that takes no connection closes the client's.
func (l *link) carry(client net.Conn) {
	defer client.Close()
	g := l.gateOf(client)
	if g == nil || !g.passable() {
		return
	}
	server, err := net.DialTimeout("tcp", l.target, 5*time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	ended := make(chan struct{}, 2)
	go pump(g, server, client, ended)
	go pump(g, client, server, ended)
	<-ended
	<-ended
}

// pump copies one direction and passes its end on.
func pump(g *gate, to, from net.Conn, ended chan<- struct{}) {
	defer func() { ended <- struct{}{} }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !g.passable() {
			break
		}
		if n > 0 {
			if _, failed := to.Write(buffer[:n]); failed != nil {
				break
			}
		}
		if err == io.EOF {
			to.(*net.TCPConn).CloseWrite()
			return
		}
		if err != nil {
			break
		}
	}
	to.Close()
	from.Close()
}

// owns reports whether a process is at the other end of a connection over loopback.
func (p *process) owns(client net.Conn) bool {
	port := client.RemoteAddr().(*net.TCPAddr).Port
	sockets, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false
	}
	local := fmt.Sprintf("0100007F:%04X", port)
	for line := range strings.Lines(string(sockets)) {
		if f := strings.Fields(line); len(f) > 9 && f[1] == local {
			return p.hasSocket("socket:[" + f[9] + "]")
		}
	}
	return false
}

func (p *process) hasSocket(name string) bool {
	p.mu.Lock()
	if p.cmd == nil {
		p.mu.Unlock()
		return false
	}
	fds := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	p.mu.Unlock()
	files, err := os.ReadDir(fds)
	if err != nil {
		return false
	}
	for _, f := range files {
		if to, err := os.Readlink(filepath.Join(fds, f.Name())); err == nil && to == name {
			return true
		}
	}
	return false
}
