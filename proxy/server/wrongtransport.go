package server

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// A client with plain HTTP at a TLS port, or with TLS at a plain port, would see only a broken connection. So waxseal
// answers it in plain HTTP with the reason, as net/http does at a TLS port. A TLS client does not show this answer, so
// the log tells the operator, too.

const (
	greetingTime  = 500 * time.Millisecond // for the answer, and for reading the client's remaining bytes
	greetingBytes = 64 << 10               // of these bytes
	greetingEvery = time.Minute            // between two log lines

	clientHello = 0x16 // the record type of a TLS handshake: RFC 8446, 5.1
)

// greetings is a listener that checks the first byte of each connection when the server reads it. It keeps nothing, and
// waits only when the server waits.
type greetings struct {
	net.Listener
	tls  bool
	name string // of the endpoint
	hint string // the setting that would turn TLS on
	log  *slog.Logger

	mu   sync.Mutex
	said time.Time
}

// greeted wraps the listener of an endpoint to answer clients of the wrong transport.
func (p *App) greeted(l net.Listener, name string, log *slog.Logger) net.Listener {
	return &greetings{Listener: l, tls: p.tls != nil, name: name, hint: "give it a certificate with --tls-cert and --tls-key, or --tls-self-signed", log: log}
}

// greetedPlain wraps the listener of an endpoint without TLS.
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

// wrong reports whether a connection beginning with b has the wrong transport. HTTP methods begin with a letter, TLS
// records with a number from 20 to 24.
func (g *greetings) wrong(b byte) bool {
	if g.tls {
		return b >= 'A' && b <= 'Z'
	}
	return b == clientHello
}

// warn logs, at most once in greetingEvery, that a client speaks TLS to a plain port.
func (g *greetings) warn(client net.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.Sub(g.said) >= greetingEvery {
		g.said = now
		g.log.Warn("a client speaks TLS to an endpoint that speaks plain HTTP", "endpoint", g.name, "client", client, "hint", g.hint)
	}
}

// answer returns a response that both kinds of clients can read: Go's TLS client, for example, recognises plain HTTP.
func (g *greetings) answer() string {
	text := "This is a plain HTTP endpoint (" + g.name + "), and the request came over TLS: its URL begins with http.\n"
	if g.tls {
		text = "This is an HTTPS endpoint (" + g.name + "), and the request came over plain HTTP: its URL begins with https.\n"
	}
	return fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
}

// greetedConn is a connection whose first byte is checked. It looks like a TCPConn to code that watches for the
// client's disconnect.
type greetedConn struct {
	*net.TCPConn
	greetings *greetings
	begun     bool
}

// Read ends a connection of the wrong transport after sending the answer.
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

// refuse sends the answer and reads some of the client's remaining bytes: an immediate close would reset the connection
// and lose the answer. On any error here, the connection ends.
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
