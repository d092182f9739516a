package server

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// A client that speaks plain HTTP to a port with TLS, or TLS to one without, sees no more than a broken connection. So it
// gets a plain HTTP answer that says why, as net/http gives to the first kind, and of the second kind the operator learns,
// too: a client of TLS does not show the answer.

const (
	greetingTime  = 500 * time.Millisecond // for the answer, and for what the client still sends
	greetingBytes = 64 << 10               // of that
	greetingEvery = time.Minute            // between two lines of the log

	clientHello = 0x16 // the record type of a TLS handshake: RFC 8446, 5.1
)

// greetings is a listener that looks at the first byte of each connection, when the server reads it: nothing is kept and
// nobody is waited for that the server would not wait for.
type greetings struct {
	net.Listener
	tls  bool
	name string // of the endpoint
	hint string // what would make it speak TLS
	log  *slog.Logger

	mu   sync.Mutex
	said time.Time
}

// greeted makes the listener of an endpoint tell clients of the wrong transport.
func (p *App) greeted(l net.Listener, name string, log *slog.Logger) net.Listener {
	return &greetings{Listener: l, tls: p.tls != nil, name: name, hint: "give it a certificate with --tls-cert and --tls-key, or --tls-self-signed", log: log}
}

// greetedPlain is greeted for an endpoint that never has TLS.
func greetedPlain(l net.Listener, name string, log *slog.Logger) net.Listener {
	return &greetings{Listener: l, name: name, hint: "it speaks plain HTTP always, --tls-cert and --tls-self-signed are for S3 and KMS", log: log}
}

func (g *greetings) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok && err == nil {
		return &greetedConn{TCPConn: tcp, greetings: g}, nil
	}
	return c, err
}

// wrong reports whether a connection that begins with b has the wrong transport. Methods of HTTP begin with a letter,
// records of TLS with a number from 20 to 24.
func (g *greetings) wrong(b byte) bool {
	if g.tls {
		return b >= 'A' && b <= 'Z'
	}
	return b == clientHello
}

// warn says, once in a while, that a client speaks TLS to a port without.
func (g *greetings) warn(client net.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.Sub(g.said) >= greetingEvery {
		g.said = now
		g.log.Warn("a client speaks TLS to an endpoint that speaks plain HTTP", "endpoint", g.name, "client", client, "hint", g.hint)
	}
}

// answer is readable for both kinds of clients: Go's, for one, tell an answer in plain HTTP from other bytes.
func (g *greetings) answer() string {
	text := "This is a plain HTTP endpoint (" + g.name + "), and the request came over TLS: its URL begins with http.\n"
	if g.tls {
		text = "This is an HTTPS endpoint (" + g.name + "), and the request came over plain HTTP: its URL begins with https.\n"
	}
	return fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
}

// greetedConn is a connection whose first byte is looked at. It is a TCPConn for those who look for a client that left.
type greetedConn struct {
	*net.TCPConn
	greetings *greetings
	begun     bool
}

// Read ends a connection of the wrong transport, once its client has had the answer.
func (c *greetedConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if c.begun || n == 0 {
		return n, err
	}
	c.begun = true
	if !c.greetings.wrong(b[0]) {
		return n, err
	}
	if !c.greetings.tls {
		c.greetings.warn(c.RemoteAddr())
	}
	c.refuse(b)
	return 0, io.EOF
}

// refuse gives the answer, and reads a little of what still comes: closed before, the connection would be reset, and the
// answer lost. Whatever fails here, the connection ends.
func (c *greetedConn) refuse(b []byte) {
	if c.SetDeadline(time.Now().Add(greetingTime)) != nil {
		return
	}
	if _, err := io.WriteString(c.TCPConn, c.greetings.answer()); err != nil || c.CloseWrite() != nil {
		return
	}
	for left := greetingBytes; left > 0; {
		n, err := c.TCPConn.Read(b)
		if err != nil {
			return
		}
		left -= n
	}
}
