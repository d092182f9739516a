package proxy

import (
	"context"
	"net/http"
	"time"

	"waxseal/proxy/ledger"
	"waxseal/proxy/objects"
)

// chargeParts charges the object that an upload becomes. The upload itself was charged as an object without bytes.
func (p *completion) chargeParts() error {
	var size int64
	for _, part := range p.chosen {
		size += part.Size
	}
	return p.Charge(p.upload.Env, p.place(), size)
}

// endCharges ends the request's charges. A request that was answered with an error of the server, or not at all, may have
// written all the same: the store may commit what it has received later.
func (c *call) endCharges() {
	doubtful := c.status == 0 || c.status >= http.StatusInternalServerError || c.errCode != "" && c.status == http.StatusOK
	c.Settle(doubtful)
}

// UploadsUnderWay counts the uploads that began before a time and may become objects, by their holdings in the ledger.
func (s *Server) UploadsUnderWay(ctx context.Context, before time.Time) (map[ledger.Holding]int64, error) {
	all, err := s.uploads.Unfinished(ctx, before)
	if err != nil {
		return nil, err
	}
	counts := make(map[ledger.Holding]int64)
	for _, u := range all {
		h, err := objects.HoldingOf(u.Env, u.Bucket)
		if err != nil {
			return nil, err
		}
		counts[h]++
	}
	return counts, nil
}
