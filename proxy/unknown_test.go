package proxy

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"

	"waxseal/keystore/state"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/uploads"
)

// losingState loses the answer of the next transaction that writes under a prefix: it is committed and reported as
// state.ErrUnknown.
type losingState struct {
	state.Store
	prefix atomic.Pointer[string]
}

func (l *losingState) lose(prefix string) { l.prefix.Store(&prefix) }

func (l *losingState) Txn(ctx context.Context, conds []state.Cond, ops []state.Op) (int64, error) {
	rev, err := l.Store.Txn(ctx, conds, ops)
	p := l.prefix.Load()
	if err == nil && p != nil && len(ops) > 0 && strings.HasPrefix(ops[0].Key, *p) && l.prefix.CompareAndSwap(p, nil) {
		return 0, fmt.Errorf("%w: the answer was lost", state.ErrUnknown)
	}
	return rev, err
}

// TestUnknownOutcome (attack R4): when the answer of a state transaction is lost, the client gets 503 and nothing that
// the transaction may have recorded is undone: not the staged part, not the upload.
func TestUnknownOutcome(t *testing.T) {
	_, up := memoryStore(t, proxytest.Options{})
	lossy, staged := &losingState{Store: state.NewMemory()}, t.TempDir()
	k := start(t, up, func(c *Config) { c.State, c.HeldDir = lossy, staged })
	b := k.bucket(t)
	core := k.impatient(t)

	lossy.lose(uploads.UploadPrefix)
	_, err := core.NewMultipartUpload(t.Context(), b, "created", minio.PutObjectOptions{})
	wantUnavailable(t, "Create", err)
	list, err := core.ListMultipartUploads(t.Context(), b, "", "", "", "", 10)
	if err != nil || len(list.Uploads) != 1 {
		t.Fatalf("%d uploads, %v", len(list.Uploads), err)
	}
	u := &mpu{t: t, core: core, bucket: b, key: "created", id: list.Uploads[0].UploadID, parts: map[int]minio.CompletePart{}, data: map[int][]byte{}}

	lossy.lose(uploads.PartPrefix)
	wantUnavailable(t, "UploadPart", u.put(1, noise(1, 1000)))
	if files, err := os.ReadDir(staged); err != nil || len(files) != 1 {
		t.Errorf("%d staged parts, %v: the record names one", len(files), err)
	}
	parts, err := core.ListObjectParts(t.Context(), b, u.key, u.id, 0, 10)
	if err != nil || len(parts.ObjectParts) != 1 {
		t.Fatalf("%d parts, %v", len(parts.ObjectParts), err)
	}
	u.parts[1], u.data[1] = minio.CompletePart{PartNumber: 1, ETag: parts.ObjectParts[0].ETag}, noise(1, 1000)
	lossy.lose(uploads.UploadPrefix)
	u.mustComplete() // it reads the record that it has written itself
	if lossy.prefix.Load() != nil {
		t.Error("Complete wrote no record")
	}
	if got := u.get(minio.GetObjectOptions{}); string(got) != string(u.whole()) {
		t.Error("the object is not what was sent")
	}
}

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	if e := minio.ToErrorResponse(err); e.StatusCode != http.StatusServiceUnavailable || e.Code != "ServiceUnavailable" {
		t.Errorf("%s: %v", what, err)
	}
}
