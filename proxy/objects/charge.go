package objects

import (
	"fmt"

	"waxseal/proxy/ledger"
	"waxseal/sse"
)

// ledgerModes are the modes as the ledger names them.
var ledgerModes = map[sse.Mode]string{sse.SSES3: "AES256", sse.SSEKMS: "aws:kms", sse.DSSEKMS: "aws:kms:dsse", sse.SSEC: ledger.CustomerKey}

// HoldingOf returns the ledger's holding of an object: its bucket, mode and KMS key.
func HoldingOf(env *sse.Envelope, bucket string) (ledger.Holding, error) {
	mode, ok := ledgerModes[env.Mode]
	if !ok {
		return ledger.Holding{}, fmt.Errorf("the ledger has no name for encryption mode %d", env.Mode)
	}
	return ledger.Holding{Bucket: bucket, Mode: mode, Key: env.KeyID}, nil
}

// Charge charges an object to the ledger before the store hears of it. The charge ends with the request.
func (s *Session) Charge(env *sse.Envelope, at Place, size int64) error {
	h, err := HoldingOf(env, at.Bucket)
	if err != nil {
		return err
	}
	c, err := s.Ledger.Charge(s.Up, h, max(size, 0))
	if c != nil {
		s.charges = append(s.charges, c)
	}
	return err
}

// Settle ends the session's charges; a doubtful one keeps its object counted, because the store may have written it.
func (s *Session) Settle(doubtful bool) {
	for _, c := range s.charges {
		c.End(doubtful)
	}
	s.charges = nil
}
