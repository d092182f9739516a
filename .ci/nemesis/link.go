package main

import (
	"io"
	"net"
	"sync"
	"time"
)

// link is a TCP proxy with a switch. A cut link carries nothing: connections stay open and stand still, new ones are
// taken and get no answer, as on a network that drops packets. A healed link delivers what was held back.
type link struct {
	addr   string // where the link listens
	target string

	listener net.Listener
	mu       sync.Mutex
	healed   *sync.Cond
	isCut    bool
	closed   bool
}

// newLink listens on a free port of loopback, in front of target.
func newLink(target string) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{addr: listener.Addr().String(), target: target, listener: listener}
	l.healed = sync.NewCond(&l.mu)
	go l.serve()
	return l, nil
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
	if !l.passable() {
		return
	}
	server, err := net.DialTimeout("tcp", l.target, 5*time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	ended := make(chan struct{}, 2)
	go l.pump(server, client, ended)
	go l.pump(client, server, ended)
	<-ended
	<-ended
}

// pump copies one direction and passes its end on.
func (l *link) pump(to, from net.Conn, ended chan<- struct{}) {
	defer func() { ended <- struct{}{} }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !l.passable() {
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

// passable waits while the link is cut. It is false once the link is closed.
func (l *link) passable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.isCut && !l.closed {
		l.healed.Wait()
	}
	return !l.closed
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
}

func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = false
	l.healed.Broadcast()
}

func (l *link) close() {
	l.listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.healed.Broadcast()
}

func cutAll(links []*link) {
	for _, l := range links {
		l.cut()
	}
}

func healAll(links []*link) {
	for _, l := range links {
		l.heal()
	}
}
