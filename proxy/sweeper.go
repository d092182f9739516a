package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"waxseal/keystore/state"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

const (
	sweepEvery = time.Hour
	// keepDone is how long a completed upload's answer can be had again.
	keepDone = 24 * time.Hour
	// sweepAfter is how long an upload must have been in its phase before the store's word that there is none counts.
	sweepAfter = time.Hour
)

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

const sweepPage = 500

func (s *Server) sweepOnce(ctx context.Context) error {
	after := ""
	for {
		entries, err := s.cfg.State.Range(ctx, uploadPrefix, after, sweepPage)
		if err != nil {
			return err
		}
		for _, e := range entries {
			after = e.Key
			u, err := decodeUpload(e)
			if err != nil {
				s.log.Error("the record of an upload cannot be read and stays", "key", e.Key, "err", err)
				continue
			}
			if err := s.sweepUpload(ctx, u); err != nil {
				return err
			}
		}
		if len(entries) < sweepPage {
			break
		}
	}
	if err := s.sweepParts(ctx); err != nil {
		return err
	}
	if err := s.sweepCopies(ctx); err != nil {
		return err
	}
	return s.uploads.staged.sweep(ctx)
}

// sweepParts removes parts whose upload was forgotten when something stopped their removal.
func (s *Server) sweepParts(ctx context.Context) error {
	after := ""
	for {
		entries, err := s.cfg.State.Range(ctx, partPrefix, after, 1)
		if err != nil || len(entries) == 0 {
			return err
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(entries[0].Key, partPrefix), "/")
		_, err = s.cfg.State.Get(ctx, uploadPrefix+name)
		if errors.Is(err, state.ErrNotFound) {
			err = s.uploads.forgetParts(ctx, &upload{name: name})
		}
		if err != nil {
			return err
		}
		after = partPrefix + name + "/~" // behind all of this upload's
	}
}

// sweepUpload forgets an upload that has ended. Every removal is of the record as it was read: a request that has
// changed it since keeps it.
func (s *Server) sweepUpload(ctx context.Context, u *upload) error {
	age := s.cfg.Now().Sub(u.Changed)
	switch {
	case u.Phase == phaseDone && age < keepDone, age < sweepAfter:
		return nil
	case u.Phase == phaseDone:
	default:
		gone, err := s.uploadGone(ctx, u)
		if err != nil || !gone {
			return err
		}
		if u.Phase == phaseCompleting && age < keepDone {
			return nil // its Complete may still be sent again, and must be recognised then
		}
	}
	err := s.uploads.forget(ctx, u)
	if errors.Is(err, state.ErrConflict) {
		return nil
	}
	if err == nil {
		s.log.Info("forgot an upload", "bucket", u.Bucket, "key", u.Key, "upload", u.UploadID, "phase", string(u.Phase))
	}
	return err
}

// uploadGone says whether the store has said that there is no such upload. No answer, or any other, says nothing.
func (s *Server) uploadGone(ctx context.Context, u *upload) (bool, error) {
	resp, err := s.up.Send(ctx, &store.Request{Method: http.MethodGet, Bucket: u.Bucket, Key: u.Key, Query: "max-parts=1&" + uploadQuery(u.UploadID)})
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
