package proxy

import (
	"github.com/valyala/fasthttp"

	"waxseal/proxy/objects"
	"waxseal/sse"
)

// showEncryption sets the answer's encryption headers. The context is never shown, and a Bucket Key only when used.
func (c *call) showEncryption(e *sse.Envelope, customer *objects.CustomerKey) {
	c.showKeyVersion(e)
	showEncryption(&c.res.Header, e, customer)
}

func showEncryption(h *fasthttp.ResponseHeader, e *sse.Envelope, customer *objects.CustomerKey) {
	if alg := algorithmOf(e.Mode); alg != "" {
		h.Set(hdrSSE, alg)
	}
	switch e.Mode {
	case sse.SSEKMS, sse.DSSEKMS:
		h.Set(hdrKMSKey, e.KeyID)
		if e.BucketKey {
			h.Set(hdrBucket, "true")
		}
	case sse.SSEC:
		if customer != nil {
			h.Set(hdrSSEC+"algorithm", algAES256)
			h.Set(hdrSSEC+"key-MD5", customer.MD5)
		}
	}
}
