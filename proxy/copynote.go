package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"waxseal/keystore/state"
	"waxseal/proxy/store"
)

// A copy by parts has an upload at the store of which no client knows. A note of it lies in the state store until it has
// ended, so that it does not stay at the store for ever when waxseal is killed:
//
//	proxy/copy/<name>   as the name of any upload
//
// Only a crash between the store's answer to Create and the note leaves one that the store itself must remove.
const copyPrefix = "proxy/copy/"

// copyOrphan is the age at which a note is of a copy that was broken off. Every part renews it, and neither a part nor
// Complete takes longer than the store may with an answer.
const copyOrphan = 24 * time.Hour

// copyNote is the upload of a copy by parts.
type copyNote struct {
	Bucket   string    `json:"bucket"`
	Key      string    `json:"key"`
	UploadID string    `json:"upload_id"`
	Renewed  time.Time `json:"renewed"`
}

func copyName(at sealTarget, id string) string { return copyPrefix + uploadName(at.bucket, at.key, id) }

// noteCopy writes a copy's note, or renews it.
func (s *uploads) noteCopy(ctx context.Context, at sealTarget, id string) error {
	value, err := json.Marshal(copyNote{Bucket: at.bucket, Key: at.key, UploadID: id, Renewed: s.now().UTC()})
	if err == nil {
		_, err = s.state.Txn(ctx, nil, []state.Op{{Key: copyName(at, id), Value: value}})
	}
	if err != nil {
		return fmt.Errorf("note of a copy: %w", err)
	}
	return nil
}

// forgetCopy removes the note of a copy whose upload has ended. When that fails, the sweeper does it.
func (p *copying) forgetCopy(id string) {
	ctx, cancel := p.outlasting()
	defer cancel()
	if _, err := p.s.uploads.state.Txn(ctx, nil, []state.Op{{Key: copyName(p.to, id), Delete: true}}); err != nil {
		p.s.log.Warn("the note of a copy was left", "id", p.id, "bucket", p.to.bucket, "key", p.to.key, "upload", id, "err", err)
	}
}

// sweepCopies aborts the uploads of copies that were broken off.
func (s *Server) sweepCopies(ctx context.Context) error {
	after := ""
	for {
		entries, err := s.cfg.State.Range(ctx, copyPrefix, after, sweepPage)
		if err != nil {
			return err
		}
		for _, e := range entries {
			after = e.Key
			if err := s.sweepCopy(ctx, e); err != nil {
				return err
			}
		}
		if len(entries) < sweepPage {
			return nil
		}
	}
}

func (s *Server) sweepCopy(ctx context.Context, e state.Entry) error {
	var n copyNote
	if err := json.Unmarshal(e.Value, &n); err != nil {
		s.log.Error("the note of a copy cannot be read and stays", "key", e.Key, "err", err)
		return nil
	}
	if s.cfg.Now().Sub(n.Renewed) < copyOrphan {
		return nil
	}
	resp, err := s.up.Send(ctx, &store.Request{Method: http.MethodDelete, Bucket: n.Bucket, Key: n.Key, Query: uploadQuery(n.UploadID)})
	if err != nil {
		return err
	}
	if err := uploadEnded(resp); err != nil {
		s.log.Warn("the upload of a copy stays at the store", "bucket", n.Bucket, "key", n.Key, "upload", n.UploadID, "err", err)
		return nil
	}
	_, err = s.cfg.State.Txn(ctx, []state.Cond{{Key: e.Key, Revision: e.Revision}}, []state.Op{{Key: e.Key, Delete: true}})
	if errors.Is(err, state.ErrConflict) {
		return nil
	}
	if err == nil {
		s.log.Info("aborted the upload of a copy that was broken off", "bucket", n.Bucket, "key", n.Key, "upload", n.UploadID)
	}
	return err
}
