package proxy

import (
	"fmt"

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

// settle ends the session's charges; a doubtful one keeps its object counted, because the store may have written it.
func (s *session) settle(doubtful bool) {
	for _, c := range s.charges {
		c.End(doubtful)
	}
	s.charges = nil
}
