package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/proxy/uploads"
)

const sweepEvery = time.Hour

// sweep clears up, now and then, after uploads that ended without waxseal: aborted by the store's life cycle rules or
// behind its back, or with a crash between two steps.
func (s *Server) sweep() {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.base.Done():
			return
		case <-ticker.C:
		}
		if err := s.sweepOnce(s.base); err != nil && s.base.Err() == nil {
			s.log.Warn("clearing up after uploads was broken off", "err", err)
		}
	}
}

func (s *Server) sweepOnce(ctx context.Context) error {
	return s.uploads.Sweep(ctx, behind{s}, s.log)
}

// behind is the store as the sweeper sees it.
type behind struct{ s *Server }

// Gone asks for the parts of an upload.
func (b behind) Gone(ctx context.Context, bucket, key, id string) (bool, error) {
	resp, err := b.s.up.Send(ctx, &store.Request{Method: http.MethodGet, Bucket: bucket, Key: key, Query: "max-parts=1&" + uploadQuery(id)})
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusNotFound {
		store.Drain(resp)
		return false, nil
	}
	err = store.Failure(resp)
	return isNoSuchUpload(err) || errors.Is(err, &s3.Error{Code: s3.NoSuchBucket}), nil
}

// Abort gives an upload of a copy up.
func (b behind) Abort(ctx context.Context, bucket, key, id string) error {
	resp, err := b.s.up.Send(ctx, &store.Request{Method: http.MethodDelete, Bucket: bucket, Key: key, Query: uploadQuery(id)})
	if err != nil {
		return err
	}
	if err := uploadEnded(resp); err != nil {
		return fmt.Errorf("%w: %w", uploads.ErrStays, err)
	}
	return nil
}

// AdoptStaging makes the staging bucket, or looks at the one that is there. Without one there is nothing to do.
func (s *Server) AdoptStaging(ctx context.Context) error {
	return s.uploads.AdoptStaging(ctx)
}
