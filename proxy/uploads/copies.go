package uploads

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"waxseal/keystore/state"
)

// A copy by parts has an upload at the store of which no client knows. A note of it lies in the state store until it has
// ended, so that it does not stay at the store for ever when waxseal is killed:
//
//	proxy/copy/<name>   as the name of any upload
//
// Only a crash between the store's answer to Create and the note leaves one that the store itself must remove.
const CopyPrefix = "proxy/copy/"

// CopyOrphan is the age at which a note is of a copy that was broken off. Every part renews it, and neither a part nor
// Complete takes longer than the store may with an answer.
const CopyOrphan = 24 * time.Hour

// copyNote is the upload of a copy by parts.
type copyNote struct {
	Bucket   string    `json:"bucket"`
	Key      string    `json:"key"`
	UploadID string    `json:"upload_id"`
	Renewed  time.Time `json:"renewed"`
}

func copyName(bucket, key, id string) string { return CopyPrefix + UploadName(bucket, key, id) }

// NoteCopy writes a copy's note, or renews it.
func (s *Records) NoteCopy(ctx context.Context, bucket, key, id string) error {
	value, err := json.Marshal(copyNote{Bucket: bucket, Key: key, UploadID: id, Renewed: s.now().UTC()})
	if err == nil {
		_, err = s.state.Txn(ctx, nil, []state.Op{{Key: copyName(bucket, key, id), Value: value}})
	}
	if err != nil {
		return fmt.Errorf("note of a copy: %w", err)
	}
	return nil
}

// ForgetCopy removes the note of a copy whose upload has ended.
func (s *Records) ForgetCopy(ctx context.Context, bucket, key, id string) error {
	_, err := s.state.Txn(ctx, nil, []state.Op{{Key: copyName(bucket, key, id), Delete: true}})
	return err
}
