package proxy

import (
	"encoding/hex"
	"net"

	"waxseal/keystore"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// The operator's jobs are S3 clients with the operator's credentials. They come by a listener that nobody else can
// reach, and there, and only there, the proxy understands what no S3 client may ask for:
//
//	x-waxseal-order: rewrap      on a copy of an object onto itself: new key-encryption key, same data key, same ETag
//	x-waxseal-order: reencrypt   the same with a new data key, which means that the data is read and written anew
//
// and says in HEAD and GET which version of its key an object's data key hangs on:
//
//	x-waxseal-key-version        names it
//	x-waxseal-key-current        true, or false when there is a newer one

// ServeOperator answers requests of the operator's own jobs from l, until Shutdown. Whoever can connect to l can have
// any object sealed anew, if they have credentials for it.
func (s *Server) ServeOperator(l net.Listener) error {
	return s.serveAt(operatorListener{s.limitListener(l)})
}

type operatorListener struct{ net.Listener }

func (l operatorListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &operatorConn{c}, nil
}

type operatorConn struct{ net.Conn }

// byOperator says whether the request came by the operator's listener.
func (c *call) byOperator() bool {
	_, ok := c.ctx.Conn().(*operatorConn)
	return ok
}

// ordered says whether the operator ordered this of a copy.
func (c *call) ordered(order string) bool { return c.byOperator() && c.header(s3.HeaderOrder) == order }

// showKeyVersion tells the operator, and nobody else, which version of its key an object hangs on. What cannot be told
// is left out.
func (c *call) showKeyVersion(e *sse.Envelope) {
	if !c.byOperator() {
		return
	}
	var version string
	current := true
	for _, of := range c.keyBlobs(e) {
		v, now, err := of.version(c, e.KeyID, of.blob)
		if err != nil || v == "" {
			return
		}
		if version != "" {
			version += "+"
		}
		version += v
		current = current && v == now
	}
	if version != "" {
		c.res.Header.Set(s3.HeaderKeyVersion, version)
		c.res.Header.Set(s3.HeaderKeyCurrent, boolText(current))
	}
}

// keyBlob is one of an envelope's blobs, and how to tell the version of its key.
type keyBlob struct {
	blob    []byte
	version func(c *call, keyID string, blob []byte) (version, current string, err error)
}

func (c *call) keyBlobs(e *sse.Envelope) []keyBlob {
	switch e.Mode {
	case sse.SSES3:
		return []keyBlob{{e.KeyBlob, (*call).rootVersion}}
	case sse.SSEKMS:
		return []keyBlob{{e.KeyBlob, (*call).kmsVersion}}
	case sse.DSSEKMS:
		return []keyBlob{{e.KeyBlob, (*call).kmsVersion}, {e.OuterKeyBlob, (*call).rootVersion}}
	}
	return nil
}

func (c *call) rootVersion(_ string, id []byte) (version, current string, err error) {
	h, now, err := c.s.cfg.Root.Current(c.Up)
	if err != nil {
		return "", "", err
	}
	h.Release()
	return hex.EncodeToString(id), hex.EncodeToString(now), nil
}

func (c *call) kmsVersion(keyID string, blob []byte) (version, current string, err error) {
	return keystore.KeyVersion(c.Up, c.s.cfg.Provider, keyID, blob)
}
