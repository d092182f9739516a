package uploads

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"

	"waxseal/keystore/state"
)

const (
	// KeepDone is how long a repeated CompleteMultipartUpload gets the response of the completed upload.
	KeepDone = 24 * time.Hour
	// sweepAfter is how long an upload must have been in its phase before a NoSuchUpload of the store counts.
	sweepAfter = time.Hour
)

const sweepPage = 500

// Store holds the requests of the sweeper to the store behind.
type Store interface {
	// Gone reports whether the store answers NoSuchUpload. Without a response, or with a different response, it returns
	// false.
	Gone(ctx context.Context, bucket, key, id string) (bool, error)
	// Abort aborts an upload. An upload that does not exist is no error.
	Abort(ctx context.Context, bucket, key, id string) error
}

// ErrStays is returned if the store refuses to abort an upload.
var ErrStays = errors.New("the upload stays at the store")

// sweeper is a single pass of Sweep.
type sweeper struct {
	uploads *Records
	store   Store
	log     *slog.Logger
}

// Sweep cleans up after uploads that ended without waxseal: aborted by the store's lifecycle rules, aborted at the
// store directly, or interrupted by a crash between two steps.
func (s *Records) Sweep(ctx context.Context, behind Store, log *slog.Logger) error {
	return (&sweeper{s, behind, log}).sweepOnce(ctx)
}

func (w *sweeper) sweepOnce(ctx context.Context) error {
	after := ""
	for {
		entries, err := w.uploads.state.Range(ctx, UploadPrefix, after, sweepPage)
		if err != nil {
			return err
		}
		for _, e := range entries {
			after = e.Key
			u, err := DecodeUpload(e)
			if err != nil {
				w.log.Error("the record of an upload cannot be read and stays", "key", e.Key, "err", err)
				continue
			}
			if err := w.sweepUpload(ctx, u); err != nil {
				return err
			}
		}
		if len(entries) < sweepPage {
			break
		}
	}
	if err := w.sweepParts(ctx); err != nil {
		return err
	}
	if err := w.sweepCopies(ctx); err != nil {
		return err
	}
	return w.uploads.Staged.Sweep(ctx)
}

// sweepParts removes parts without an upload: the removal of the upload was interrupted.
func (w *sweeper) sweepParts(ctx context.Context) error {
	after := ""
	for {
		entries, err := w.uploads.state.Range(ctx, PartPrefix, after, 1)
		if err != nil || len(entries) == 0 {
			return err
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(entries[0].Key, PartPrefix), "/")
		_, err = w.uploads.state.Get(ctx, UploadPrefix+name)
		if errors.Is(err, state.ErrNotFound) {
			err = w.uploads.ForgetParts(ctx, &Upload{Name: name})
		}
		if err != nil {
			return err
		}
		after = PartPrefix + name + "/~" // after all parts of the upload
	}
}

// sweepUpload forgets an upload that has ended. It removes a record only if the record is unchanged: a concurrent
// request keeps its upload.
func (w *sweeper) sweepUpload(ctx context.Context, u *Upload) error {
	age := w.uploads.now().Sub(u.Changed)
	switch {
	case u.Phase == Done && age < KeepDone, age < sweepAfter:
		return nil
	case u.Phase == Done:
	default:
		gone, err := w.store.Gone(ctx, u.Bucket, u.Key, u.UploadID)
		if err != nil || !gone {
			return err
		}
		if u.Phase == Completing && age < KeepDone {
			return nil // a repeated Complete must still find its upload
		}
	}
	err := w.uploads.Forget(ctx, u)
	if errors.Is(err, state.ErrConflict) {
		return nil
	}
	if err == nil {
		w.log.Info("forgot an upload", "bucket", u.Bucket, "key", u.Key, "upload", u.UploadID, "phase", string(u.Phase))
	}
	return err
}

// sweepCopies aborts the uploads of abandoned copies.
func (w *sweeper) sweepCopies(ctx context.Context) error {
	after := ""
	for {
		entries, err := w.uploads.state.Range(ctx, CopyPrefix, after, sweepPage)
		if err != nil {
			return err
		}
		for _, e := range entries {
			after = e.Key
			if err := w.sweepCopy(ctx, e); err != nil {
				return err
			}
		}
		if len(entries) < sweepPage {
			return nil
		}
	}
}

func (w *sweeper) sweepCopy(ctx context.Context, e state.Entry) error {
	var n copyNote
	if err := json.Unmarshal(e.Value, &n); err != nil {
		w.log.Error("the note of a copy cannot be read and stays", "key", e.Key, "err", err)
		return nil
	}
	if w.uploads.now().Sub(n.Renewed) < CopyOrphan {
		return nil
	}
	if err := w.store.Abort(ctx, n.Bucket, n.Key, n.UploadID); errors.Is(err, ErrStays) {
		w.log.Warn("the upload of a copy stays at the store", "bucket", n.Bucket, "key", n.Key, "upload", n.UploadID, "err", err)
		return nil
	} else if err != nil {
		return err
	}
	_, err := w.uploads.state.Txn(ctx, []state.Cond{{Key: e.Key, Revision: e.Revision}}, []state.Op{{Key: e.Key, Delete: true}})
	if errors.Is(err, state.ErrConflict) {
		return nil
	}
	if err == nil {
		w.log.Info("aborted the upload of a copy that was broken off", "bucket", n.Bucket, "key", n.Key, "upload", n.UploadID)
	}
	return err
}
