package uploads

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"waxseal/keystore/state"
)

// A copy by parts has an upload at the store, unknown to every client. A record of it lies in the state store until the
// copy has ended, so that the upload does not stay for ever if waxseal is killed:
//
//	proxy/copy/<name>   named as any upload is
//
// A crash between the store's response to CreateMultipartUpload and the record leaves the upload to the store itself.
const CopyPrefix = "proxy/copy/"

// CopyOrphan is the age at which a record belongs to an abandoned copy. Every part renews the record, and the time
// limits for the store's responses keep each part and CompleteMultipartUpload far below this age.
const CopyOrphan = 24 * time.Hour

// copyNote is the record of a copy by parts: its upload.
type copyNote struct {
	Bucket   string    `json:"bucket"`
	Key      string    `json:"key"`
	UploadID string    `json:"upload_id"`
	Renewed  time.Time `json:"renewed"`
}

func copyName(bucket, key, id string) string { return CopyPrefix + UploadName(bucket, key, id) }

// NoteCopy writes or renews the record of a copy.
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

// ForgetCopy removes the record of a copy after its upload has ended.
func (s *Records) ForgetCopy(ctx context.Context, bucket, key, id string) error {
	_, err := s.state.Txn(ctx, nil, []state.Op{{Key: copyName(bucket, key, id), Delete: true}})
	return err
}
