package proxy

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"waxseal/proxy/ledger"
	"waxseal/sse"
)

// ledgerModes are the modes as the ledger names them.
var ledgerModes = map[sse.Mode]string{sse.SSES3: "AES256", sse.SSEKMS: "aws:kms", sse.DSSEKMS: "aws:kms:dsse", sse.SSEC: ledger.CustomerKey}

// holdingOf returns the holding of the ledger that an object belongs to.
func holdingOf(env *sse.Envelope, bucket string) (ledger.Holding, error) {
	mode, ok := ledgerModes[env.Mode]
	if !ok {
		return ledger.Holding{}, fmt.Errorf("the ledger has no name for encryption mode %d", env.Mode)
	}
	return ledger.Holding{Bucket: bucket, Mode: mode, Key: env.KeyID}, nil
}

// charge charges an object to the ledger before the store hears of it. The charge ends with the request.
func (s *session) charge(env *sse.Envelope, at sealTarget, size int64) error {
	h, err := holdingOf(env, at.bucket)
	if err != nil {
		return err
	}
	c, err := s.ledger.Charge(s.up, h, max(size, 0))
	if c != nil {
		s.charges = append(s.charges, c)
	}
	return err
}

// chargeParts charges the object that an upload becomes. The upload itself was charged as an object without bytes.
func (p *completion) chargeParts() error {
	var size int64
	for _, part := range p.chosen {
		size += part.Size
	}
	return p.charge(p.upload.Env, p.place(), size)
}

// endCharges ends the request's charges. A request that was answered with an error of the server, or not at all, may have
// written all the same: the store may commit what it has received later.
func (c *call) endCharges() {
	doubtful := c.status == 0 || c.status >= http.StatusInternalServerError || c.errCode != "" && c.status == http.StatusOK
	for _, charge := range c.charges {
		charge.End(doubtful)
	}
	c.charges = nil
}

// UploadsUnderWay counts the uploads that began before a time and may become objects, by their holdings in the ledger.
func (s *Server) UploadsUnderWay(ctx context.Context, before time.Time) (map[ledger.Holding]int64, error) {
	all, err := s.uploads.Unfinished(ctx, before)
	if err != nil {
		return nil, err
	}
	counts := make(map[ledger.Holding]int64)
	for _, u := range all {
		h, err := holdingOf(u.Env, u.Bucket)
		if err != nil {
			return nil, err
		}
		counts[h]++
	}
	return counts, nil
}
